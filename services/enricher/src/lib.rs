//! Joins validated GPU telemetry with the asset table.
