//! Owns the GPU assets in PostgreSQL and publishes every change to Kafka.
