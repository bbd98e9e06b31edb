//! Scrapes dcgm-exporter endpoints and produces one record per GPU to Kafka.
