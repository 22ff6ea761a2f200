//! What was measured: printed for people, and written line by line for whoever makes tables and plots of it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::ratio::spread;

/// So many times everything is measured, in turn with its floor.
pub const ROUNDS: usize = 7;

/// Whether more is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// It is: a rate.
    Higher,
    /// Less is: a time, or memory.
    Lower,
}

/// What is wanted of a row. `None` wants nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Of the floor in the same round.
    pub ratio: Option<f64>,
    /// In the row's unit.
    pub value: Option<f64>,
}

/// Takes what was measured.
#[derive(Debug, Default)]
pub struct Report {
    lines: Option<File>,
    group: &'static str,
}

impl Report {
    /// Writes lines to this file too, if there is one.
    ///
    /// # Panics
    /// When the file cannot be made.
    pub fn new(path: Option<&Path>) -> Self {
        let lines = path.map(|path| File::create(path).expect("a file for the results"));
        Self { lines, group: "" }
    }

    /// What follows belongs to this table.
    pub fn group(&mut self, name: &'static str) {
        self.group = name;
        println!("\n{name}");
    }

    /// One row: what was measured in each round, and its floor.
    pub fn row(
        &mut self,
        name: &str,
        (unit, better): (&str, Better),
        values: &[f64],
        floor: Option<(&str, &[f64])>,
        wanted: Wanted,
    ) {
        let (low, middle, high) = spread(values.to_vec());
        print!("  {name:<52} {middle:>8.2} {unit:<10} [{low:.2} {high:.2}]");
        if let Some((_, floor)) = floor {
            let (worst, ratio, best) =
                spread(values.iter().zip(floor).map(|(ours, floor)| ours / floor).collect());
            print!("   {ratio:.2} x the floor [{worst:.2} {best:.2}]");
            print!(", wanted {}", wanted.ratio.map_or("-".into(), |ratio| format!("{ratio:.2}")));
        }
        println!("{}", wanted.value.map_or(String::new(), |value| format!(", wanted {value} {unit}")));
        let better = if better == Better::Higher { "higher" } else { "lower" };
        self.line(&json!({
            "kind": "row", "group": self.group, "name": name, "unit": unit, "better": better, "values": values,
            "floor": floor.map(|floor| floor.0), "floor_values": floor.map(|floor| floor.1),
            "target_ratio": wanted.ratio, "target": wanted.value,
        }));
    }

    /// Points of a plot, all of whose axes are logarithmic; with `exponent`, how cost grows is asked for.
    pub fn series(
        &mut self,
        plot: &str,
        name: &str,
        axes: (&str, &str),
        points: &[(f64, f64)],
        exponent: bool,
    ) {
        println!("  {plot}, {name}");
        for (x, y) in points {
            println!("    {x:>12} {:<22} {y:>12.2} {}", axes.0, axes.1);
        }
        let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
        self.line(&json!({
            "kind": "series", "plot": plot, "name": name, "x_name": axes.0, "y_name": axes.1, "x": x, "y": y,
            "log_x": true, "log_y": true, "exponent": exponent,
        }));
    }

    fn line(&mut self, line: &Value) {
        if let Some(lines) = &mut self.lines {
            writeln!(lines, "{line}").expect("the file of the results");
        }
    }
}

/// Measures all in turn, so many rounds; returns what each took in each round. The first round only warms up.
pub fn rounds<const N: usize>(all: &mut [&mut dyn FnMut() -> Duration; N]) -> [Vec<Duration>; N] {
    let mut taken = [const { Vec::new() }; N];
    for round in 0..=ROUNDS {
        // In turn, and each time from another one on: whoever comes first may have it harder.
        for i in 0..N {
            let at = (i + round) % N;
            let took = all[at]();
            if round > 0 {
                taken[at].push(took);
            }
        }
    }
    taken
}

/// Millions a second.
pub fn rates(messages: usize, taken: &[Duration]) -> Vec<f64> {
    taken.iter().map(|took| messages as f64 / took.as_secs_f64() / 1e6).collect()
}
