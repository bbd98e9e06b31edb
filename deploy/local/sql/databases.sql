-- The databases that services own, for a server that is new. (compose.yaml; the native stack makes those that are missing.)
CREATE DATABASE gpu_assets;
CREATE DATABASE gpu_health;
\connect gpu_health
CREATE EXTENSION IF NOT EXISTS timescaledb;
