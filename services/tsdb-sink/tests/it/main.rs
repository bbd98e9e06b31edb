//! The service on a real broker and a real PostgreSQL.
