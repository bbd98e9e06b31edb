//! Starts a real Kafka broker and a real PostgreSQL for tests.
