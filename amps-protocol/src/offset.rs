//! Where a part of a text lies within it: what errors tell.

/// The distance in bytes from the beginning of `text` to `part`, a slice of it.
pub(crate) fn offset_of(text: &str, part: &str) -> usize {
    // Both point into one allocation; the difference of the addresses is all that is used.
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize).min(text.len())
}
