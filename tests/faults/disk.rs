//! Recordings and JSON lines on disks that are full, read-only, or lose power.
