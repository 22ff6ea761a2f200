//! What a campaign of several runs adds up to: a small file, and a section of a document.
//!
//! The file has one line for each thing that is counted, so that two of them can be compared by
//! eye. It is replaced as a whole: a run that is interrupted loses at most what it had not noted.

use std::fmt::Write as _;
use std::path::Path;

use super::report::{Coverage, FaultKind, STATES, Summed};
use super::{Play, Summary};

const HEAD: &str = "amps simulation tally 1";
const BEGIN: &str = "<!-- simulation: begin -->";
const END: &str = "<!-- simulation: end -->";

/// What was run of one play.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Of {
    next: u64,
    runs: u64,
    coverage: Coverage,
    /// Seeds that broke a promise.
    failed: Vec<u64>,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally([Of; Play::ALL.len()]);

impl Tally {
    /// What the file says; nothing if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is no such file.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).ok_or_else(|| format!("{} is no tally", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut tally = Self::default();
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return None;
        }
        for line in lines {
            let mut words = line.split_whitespace();
            let (play, what) = (words.next()?, words.next()?);
            let at = Play::ALL.iter().position(|known| known.name() == play)?;
            let numbers: Vec<u64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
            let of = &mut tally.0[at];
            match (what, numbers.as_slice()) {
                ("next", [next]) => of.next = *next,
                ("runs", [runs]) => of.runs = *runs,
                ("failed", seeds) => of.failed = seeds.to_vec(),
                (what, [number]) => of.coverage.put(what, *number)?,
                _ => return None,
            }
        }
        Some(tally)
    }

    fn text(&self) -> String {
        let mut text = format!("{HEAD}\n");
        for (play, of) in Play::ALL.iter().zip(&self.0) {
            let name = play.name();
            // Writing to a string cannot fail.
            let _ = write!(text, "{name} next {}\n{name} runs {}\n", of.next, of.runs);
            if !of.failed.is_empty() {
                let seeds: Vec<String> = of.failed.iter().map(ToString::to_string).collect();
                let _ = writeln!(text, "{name} failed {}", seeds.join(" "));
            }
            of.coverage.each(|what, number| {
                let _ = writeln!(text, "{name} {what} {number}");
            });
        }
        text
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self, path: &Path) -> Result<(), String> {
        let beside = path.with_extension("new");
        std::fs::write(&beside, self.text())
            .and_then(|()| std::fs::rename(&beside, path))
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The first seed of a play that was not run.
    pub(super) fn next(&self, play: Play) -> u64 {
        self.0[play as usize].next
    }

    /// So many seeds were asked for, and this came of them.
    pub(super) fn add(&mut self, play: Play, seeds: u64, summary: &Summary) {
        let of = &mut self.0[play as usize];
        of.coverage.add(&summary.coverage);
        of.runs += summary.runs;
        match &summary.failure {
            None => of.next += seeds,
            Some(outcome) => {
                of.next = outcome.seed + 1;
                of.failed.push(outcome.seed);
            }
        }
    }

    /// Puts the totals into their section of a document, which is made if there is none.
    ///
    /// # Errors
    /// It cannot be read or written, or has no such section.
    pub(super) fn publish(&self, path: &Path) -> Result<(), String> {
        let fault = |error: std::io::Error| format!("{}: {error}", path.display());
        let old = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if let Some(directory) = path.parent() {
                    std::fs::create_dir_all(directory).map_err(fault)?;
                }
                format!("# Reliability\n\n{BEGIN}\n{END}\n")
            }
            Err(error) => return Err(fault(error)),
        };
        let new = self.replace(&old).ok_or_else(|| format!("{}: no line {BEGIN}", path.display()))?;
        std::fs::write(path, new).map_err(fault)
    }

    fn replace(&self, document: &str) -> Option<String> {
        let (before, rest) = document.split_once(BEGIN)?;
        let (_, after) = rest.split_once(END)?;
        Some(format!("{before}{BEGIN}\n{}{END}{after}", self.section()))
    }

    fn section(&self) -> String {
        let mut text = String::from("\n| | ");
        let row = |text: &mut String, name: &str, numbers: [u64; Play::ALL.len()]| {
            let cells = numbers.map(|number| match number {
                0 => "–".to_owned(),
                _ => grouped(number),
            });
            let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
        };
        let _ = writeln!(text, "{} |\n|---|{}", Play::ALL.map(Play::name).join(" | "), "---:|".repeat(3));
        row(&mut text, "seeds run", self.0.each_ref().map(|of| of.runs));
        row(&mut text, "promises broken", self.0.each_ref().map(|of| of.failed.len() as u64));
        for what in Summed::ALL {
            row(&mut text, what.words(), self.0.each_ref().map(|of| of.coverage.summed(what)));
        }
        for (at, kind) in FaultKind::ALL.iter().enumerate() {
            let name = format!("fault: {}", kind.words());
            row(&mut text, &name, self.0.each_ref().map(|of| of.coverage.faults[at]));
        }
        for (at, state) in STATES.iter().enumerate() {
            let name = format!("inputs to a session that is {state}");
            row(&mut text, &name, self.0.each_ref().map(|of| of.coverage.states[at]));
        }
        text.push('\n');
        text
    }
}

/// With a thin space between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Tally {
        let mut tally = Tally::default();
        let mut coverage = Coverage { messages: 7, steps: 1_234_567, ..Coverage::default() };
        coverage.fired(FaultKind::PowerCut);
        coverage.met("online");
        tally.add(Play::Durable, 10, &Summary { runs: 10, coverage, failure: None });
        tally
    }

    #[test]
    fn a_tally_reads_what_it_has_written() {
        let mut tally = some();
        tally.0[0].failed = vec![3, 99];
        assert_eq!(Tally::parse(&tally.text()), Some(tally));
        assert_eq!(Tally::parse("something else"), None);
    }

    #[test]
    fn runs_add_up_and_go_on_where_the_last_one_stopped() {
        let mut tally = some();
        assert_eq!((tally.next(Play::Durable), tally.next(Play::Workers)), (10, 0));
        tally.add(Play::Durable, 5, &Summary { runs: 5, ..Summary::default() });
        assert_eq!((tally.next(Play::Durable), tally.0[2].runs), (15, 15));
    }

    #[test]
    fn only_the_marked_section_is_replaced() {
        let document = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = some().replace(&document).unwrap();
        assert!(new.starts_with("before\n") && new.ends_with("\nafter\n") && !new.contains("old"));
        assert!(new.contains("| events | – | – | 1\u{202f}234\u{202f}567 |"), "{new}");
        assert_eq!(some().replace(&new), Some(new.clone()), "again it is the same");
        assert_eq!(some().replace("no marks"), None);
    }
}
