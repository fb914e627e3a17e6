//! Sinks that are slow or stalled.
