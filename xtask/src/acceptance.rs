//! Whether every acceptance check of the fake server has a test.
//!
//! Owns the reading of the list; a test names what it checks in its name, its title or a comment.

use std::fs;
use std::path::Path;

/// All checks, a line each.
const LIST: &str = "amps-testkit/tests/acceptance.txt";

/// Where tests are.
const PLACES: &[&str] = &["amps-testkit/tests", "amps-testkit/src", "amps-client/tests"];

/// Adds a finding for each check without a test, and for each that has one against what the list
/// says.
pub fn check(findings: &mut Vec<String>) {
    let Ok(list) = fs::read_to_string(LIST) else { return findings.push(format!("{LIST}: cannot be read")) };
    let mut texts = String::new();
    PLACES.iter().for_each(|place| gather(Path::new(place), &mut texts));
    for line in list.lines().filter(|line| line.starts_with("AC-")) {
        let (id, later) = line.split_once(' ').unwrap_or((line, ""));
        match (is_named(&texts, id), later.is_empty()) {
            (false, true) => findings.push(format!("{LIST}: no test names {id}")),
            (true, false) => findings.push(format!("{LIST}: {id} has a test; remove \"{later}\"")),
            _ => {}
        }
    }
}

/// Whether the id stands there, and not only a longer one.
fn is_named(texts: &str, id: &str) -> bool {
    texts
        .match_indices(id)
        .any(|(at, _)| !texts[at + id.len()..].starts_with(|next: char| next.is_ascii_digit()))
}

fn gather(place: &Path, texts: &mut String) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            gather(&path, texts);
        } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "txt")
            && path != Path::new(LIST)
        {
            texts.push_str(&fs::read_to_string(&path).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_named;

    #[test]
    fn an_id_is_not_found_in_a_longer_one() {
        assert!(is_named("## AC-Q-1 a title", "AC-Q-1"));
        assert!(!is_named("## AC-Q-12 a title", "AC-Q-1"));
    }
}
