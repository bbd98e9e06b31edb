//! Validates raw GPU telemetry: required fields, ranges, time, duplicates.
