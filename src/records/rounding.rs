//! Rounding of numbers in records.

/// `value` to the nearest 1 / `parts`.
pub(crate) fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}
