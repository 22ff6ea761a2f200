//! Whether every acceptance check of the fake server and of the client has a test.
//!
//! Owns the reading of the list, and what counts as naming a check: the title of a dialogue, the name of a
//! test, and the doc comment of a test. Any other mention proves nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// All checks, a line each, and how their names begin.
const LISTS: &[(&str, &str)] =
    &[("amps-testkit/tests/acceptance.txt", "AC-"), ("amps-client/tests/acceptance.txt", "C-")];

/// Where tests are.
const PLACES: &[&str] = &["amps-testkit/tests", "amps-testkit/src", "amps-client/tests", "amps-client/src"];

/// Where dialogues are, among them.
const DIALOGUES: &str = "amps-testkit/tests/dialogues";

/// Adds a finding for each check without a test, for each that has one against what the list says, and for
/// each that a test names and no list knows.
pub fn check(findings: &mut Vec<String>) {
    let mut named = BTreeSet::new();
    PLACES.iter().for_each(|place| gather(Path::new(place), &mut named));
    for (list, begin) in LISTS {
        let Ok(checks) = fs::read_to_string(list) else {
            return findings.push(format!("{list}: cannot be read"));
        };
        let mut of_list: BTreeSet<String> =
            named.iter().filter(|id| id.starts_with(begin)).cloned().collect();
        for line in checks.lines().filter(|line| line.starts_with(begin)) {
            let (id, later) = line.split_once(' ').unwrap_or((line, ""));
            match (of_list.remove(id), later.is_empty()) {
                (false, true) => findings.push(format!("{list}: no test names {id}")),
                (true, false) => findings.push(format!("{list}: {id} has a test; remove \"{later}\"")),
                _ => {}
            }
        }
        findings
            .extend(of_list.into_iter().map(|id| format!("{list}: a test names {id}, which is no check")));
    }
}

fn gather(place: &Path, named: &mut BTreeSet<String>) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            gather(&path, named);
            continue;
        }
        let text = || fs::read_to_string(&path).unwrap_or_default();
        if path.extension().is_some_and(|kind| kind == "rs") {
            of_tests(&text(), named);
        } else if path.parent() == Some(Path::new(DIALOGUES)) {
            of_dialogues(&text(), named);
        }
    }
}

/// What the titles of dialogues name.
fn of_dialogues(text: &str, named: &mut BTreeSet<String>) {
    text.lines().filter_map(|line| line.strip_prefix("## ")).for_each(|title| ids(title, named));
}

/// What the names and the doc comments of tests name.
fn of_tests(text: &str, named: &mut BTreeSet<String>) {
    let (mut docs, mut is_test) = (String::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(doc) = line.strip_prefix("///") {
            docs += doc;
        } else if line.starts_with("#[test]") {
            is_test = true;
        } else if line.starts_with("#[") {
            // Other attributes stand between a test and its comment.
        } else {
            if let Some(name) = line.strip_prefix("fn ").filter(|_| is_test) {
                ids(&docs, named);
                ids(name, named);
            }
            docs.clear();
            is_test = false;
        }
    }
}

/// Every `AC-Q-12` and `C-2-3-4`, or in a name `ac_q_12`.
fn ids(text: &str, named: &mut BTreeSet<String>) {
    let plain = text.to_ascii_uppercase().replace('_', "-");
    let words = plain.split(|c: char| c != '-' && !c.is_ascii_alphanumeric());
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    for word in words {
        match word.split('-').collect::<Vec<_>>()[..] {
            ["AC", area, n, ..] if number(n) => _ = named.insert(format!("AC-{area}-{n}")),
            ["C", section, n] if number(section) && number(n) => _ = named.insert(format!("C-{section}-{n}")),
            ["C", section, part, n, ..] if [section, part, n].into_iter().all(number) => {
                _ = named.insert(format!("C-{section}-{part}-{n}"));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{of_dialogues, of_tests};

    fn found(read: fn(&str, &mut std::collections::BTreeSet<String>), text: &str) -> Vec<String> {
        let mut named = std::collections::BTreeSet::new();
        read(text, &mut named);
        named.into_iter().collect()
    }

    #[test]
    fn titles_of_dialogues_name_checks_and_nothing_else_in_them_does() {
        let text = "# AC-Q-01\n## AC-Q-12, AC-Q-13: a title\n-- A logs on AC-Q-02\n";
        assert_eq!(found(of_dialogues, text), ["AC-Q-12", "AC-Q-13"]);
    }

    #[test]
    fn names_and_comments_of_tests_name_checks_and_nothing_else_does() {
        let text = "//! AC-Q-01\n/// AC-Q-02\nfn helper() {}\n/// AC-Q-03\n/// (AC-CI-04).\n#[test]\n\
                    #[cfg(unix)]\nfn ac_pub_05_holds() {\n// AC-Q-06\n\"AC-Q-07\";\n}\n/// AC-Q-08\nstruct S;";
        assert_eq!(found(of_tests, text), ["AC-CI-04", "AC-PUB-05", "AC-Q-03"]);
        let text = "/// C-2-3-4 C-11-1: (C-10-4-2), a C-word, C-3 and C-1-x\n#[test]\nfn a_test() {}";
        assert_eq!(found(of_tests, text), ["C-10-4-2", "C-11-1", "C-2-3-4"]);
    }
}
