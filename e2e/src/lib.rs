//! The fleet as its user sees it: pipeline, replay, crashes, layering.
