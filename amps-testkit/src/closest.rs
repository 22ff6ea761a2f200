//! Which of several words somebody probably meant.

/// A word that begins as written, or else the one that takes the fewest changed, added or missing
/// letters; the first of equals. Capitals count as small letters.
pub(crate) fn closest<'w>(written: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    known.into_iter().min_by_key(|word| (!word.starts_with(written), distance(written, word)))
}

/// As [`closest`], if at most half of the letters differ.
pub(crate) fn similar<'w>(written: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    closest(written, known).filter(|word| distance(written, word) * 2 <= word.chars().count())
}

/// The Levenshtein distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, letter) in left.to_lowercase().chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(above + 1);
        let pairs = row.iter().zip(row.iter().skip(1)).zip(&right);
        for ((diagonal, up), other) in pairs {
            let left = next.last().copied().unwrap_or_default();
            let changed = diagonal + usize::from(letter != *other);
            next.push(changed.min(up + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_are_changed_added_or_missing_count() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("Name", "name"), 0);
        assert_eq!(similar("Nmae", ["MessageType", "Name"]), Some("Name"));
        assert_eq!(similar("Whatever", ["MessageType", "Name"]), None);
        assert_eq!(closest("a.long", ["a.name", "a.long.name"]), Some("a.long.name"));
        assert_eq!(closest("x", []), None);
    }
}
