//! What was measured, as lines of JSON, and what follows from the numbers: medians, spreads, ratios, what is short,
//! and how cost grows.
//!
//! Checks every line when it is read, so that what makes the report meets no number that it cannot show.

use serde::{Deserialize, Serialize};

/// A line of the file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Line {
    Machine(Machine),
    Row(Row),
    Series(Series),
}

/// What was measured on, and with.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Machine {
    pub(super) cpus: usize,
    pub(super) model: String,
    pub(super) rustc: String,
    pub(super) kernel: String,
    pub(super) date: String,
}

/// One thing, measured in several runs, beside its floor if it has one.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) group: String,
    pub(super) name: String,
    pub(super) unit: String,
    /// One of each run.
    pub(super) values: Vec<f64>,
    pub(super) floor: Option<String>,
    /// Of the same runs, in the same order.
    pub(super) floor_values: Option<Vec<f64>>,
    pub(super) better: Better,
    /// A bound for the median of the ratios to the floor.
    pub(super) target_ratio: Option<f64>,
    /// A bound for the median, in `unit`.
    pub(super) target: Option<f64>,
    pub(super) note: Option<String>,
}

/// Which way a target bounds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Better {
    Higher,
    Lower,
}

/// A line of a plot.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Series {
    pub(super) plot: String,
    pub(super) name: String,
    pub(super) x_name: String,
    pub(super) y_name: String,
    pub(super) x: Vec<f64>,
    pub(super) y: Vec<f64>,
    #[serde(default)]
    pub(super) log_x: bool,
    #[serde(default)]
    pub(super) log_y: bool,
    /// Whether the report says how `y` grows with `x`.
    #[serde(default)]
    pub(super) exponent: bool,
}

/// All lines of a file.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) machine: Option<Machine>,
    pub(super) rows: Vec<Row>,
    pub(super) series: Vec<Series>,
}

/// Several runs of the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// Whether a row is as it is wanted.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Nothing is wanted: the row is for information.
    Unasked,
    Met,
    /// By this share of the target that is missed most.
    Short(f64),
}

impl Line {
    /// One line, with its end.
    pub(super) fn to_json(&self) -> Result<String, String> {
        let text = serde_json::to_string(self).map_err(|error| format!("a result as JSON: {error}"))?;
        Ok(text + "\n")
    }
}

impl Measured {
    /// Reads the lines of the file called `name`. Of several machines, the last counts: it is the one that the run
    /// itself added.
    pub(super) fn read(name: &str, text: &str) -> Result<Self, String> {
        let mut measured = Self::default();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            measured.add(line).map_err(|error| format!("{name}, line {}: {error}", at + 1))?;
        }
        Ok(measured)
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        match serde_json::from_str(line).map_err(|error| without_line(&error))? {
            Line::Machine(machine) => self.machine = Some(machine),
            Line::Row(row) => {
                row.check()?;
                self.rows.push(row);
            }
            Line::Series(series) => {
                series.check()?;
                if let Some(other) = self.series.iter().find(|other| other.plot == series.plot) {
                    other.check_axes(&series)?;
                }
                self.series.push(series);
            }
        }
        Ok(())
    }

    /// Rows by their group, in the order in which they came.
    pub(super) fn groups(&self) -> Vec<(&str, Vec<&Row>)> {
        grouped(&self.rows, |row| &row.group)
    }

    /// Series by their plot, in the order in which they came.
    pub(super) fn plots(&self) -> Vec<(&str, Vec<&Series>)> {
        grouped(&self.series, |series| &series.plot)
    }
}

impl Row {
    pub(super) fn spread(&self) -> Spread {
        Spread::of(&self.values)
    }

    pub(super) fn floor_spread(&self) -> Option<Spread> {
        self.floor_values.as_deref().map(Spread::of)
    }

    /// Each run against the floor of the same run.
    pub(super) fn ratio(&self) -> Option<Spread> {
        let floors = self.floor_values.as_deref()?;
        let ratios: Vec<f64> = self.values.iter().zip(floors).map(|(value, floor)| value / floor).collect();
        Some(Spread::of(&ratios))
    }

    pub(super) fn verdict(&self) -> Verdict {
        let ratio = self.target_ratio.zip(self.ratio()).map(|(target, ratio)| (ratio.median, target));
        let value = self.target.map(|target| (self.spread().median, target));
        let missed =
            [ratio, value].into_iter().flatten().map(|(value, target)| self.better.miss(value, target));
        match missed.reduce(f64::max) {
            None => Verdict::Unasked,
            Some(share) if share > 0.0 => Verdict::Short(share),
            Some(_) => Verdict::Met,
        }
    }

    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        if self.values.is_empty() {
            return Err(format!("row \"{name}\" has no values"));
        }
        if let Some(floors) = &self.floor_values {
            let (values, count) = (self.values.len(), floors.len());
            if values != count {
                return Err(format!("row \"{name}\" has {values} values, but {count} of its floor"));
            }
            if !floors.iter().all(|floor| *floor > 0.0) {
                return Err(format!("row \"{name}\" has a floor value that is not above zero"));
            }
        } else if self.target_ratio.is_some() {
            return Err(format!("row \"{name}\" has a target ratio, but no floor values"));
        }
        if ![self.target, self.target_ratio].iter().flatten().all(|target| *target > 0.0) {
            return Err(format!("row \"{name}\" has a target that is not above zero"));
        }
        Ok(())
    }
}

impl Better {
    /// The share of the target by which the value misses it; zero or less if it does not.
    fn miss(self, value: f64, target: f64) -> f64 {
        match self {
            Self::Higher => 1.0 - value / target,
            Self::Lower => value / target - 1.0,
        }
    }
}

impl Series {
    /// The `k` of the power law `y = c·x^k` that fits best, by least squares over the logarithms.
    pub(super) fn power(&self) -> Option<f64> {
        self.exponent.then(|| {
            let logarithms = self.x.iter().zip(&self.y).map(|(x, y)| (x.ln(), y.ln()));
            let count = self.x.len() as f64;
            let (sum_x, sum_y) = logarithms.clone().fold((0.0, 0.0), |(xs, ys), (x, y)| (xs + x, ys + y));
            let (mean_x, mean_y) = (sum_x / count, sum_y / count);
            let (both, square) = logarithms.fold((0.0, 0.0), |(both, square), (x, y)| {
                (both + (x - mean_x) * (y - mean_y), square + (x - mean_x).powi(2))
            });
            both / square
        })
    }

    /// The same over the last decade of x alone, where growth shows that the whole range hides.
    pub(super) fn power_at_end(&self) -> Option<f64> {
        let (x, y) = (*self.x.last()?, *self.y.last()?);
        let before = self.x.iter().zip(&self.y).rev().find(|(earlier, _)| **earlier * 9.99 <= x)?;
        self.exponent.then(|| (y / before.1).ln() / (x / before.0).ln())
    }

    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        let (xs, ys) = (self.x.len(), self.y.len());
        if xs != ys {
            return Err(format!("series \"{name}\" has {xs} values of x, but {ys} of y"));
        }
        if xs == 0 {
            return Err(format!("series \"{name}\" has no points"));
        }
        for (axis, values, logarithmic) in [("x", &self.x, self.log_x), ("y", &self.y, self.log_y)] {
            if (logarithmic || self.exponent) && !values.iter().all(|value| *value > 0.0) {
                return Err(format!(
                    "series \"{name}\" has a value of {axis} without a logarithm: it is not above zero"
                ));
            }
        }
        if self.exponent && self.x.iter().all(|x| Some(x) == self.x.first()) {
            return Err(format!("series \"{name}\" has one value of x only: no exponent follows from it"));
        }
        Ok(())
    }

    /// One plot has one pair of axes.
    fn check_axes(&self, other: &Self) -> Result<(), String> {
        let axes = |series: &Self| (series.x_name.clone(), series.y_name.clone(), series.log_x, series.log_y);
        if axes(self) == axes(other) {
            return Ok(());
        }
        Err(format!("series \"{}\" has other axes than \"{}\" of the same plot", other.name, self.name))
    }
}

impl Spread {
    /// Of one value or more.
    fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        // The same one twice, or the two in the middle.
        let median = f64::midpoint(at(last / 2), at(last.div_ceil(2)));
        Self { median, min: at(0), max: at(last) }
    }
}

fn grouped<T>(items: &[T], key: impl Fn(&T) -> &str) -> Vec<(&str, Vec<&T>)> {
    let mut groups: Vec<(&str, Vec<&T>)> = Vec::new();
    for item in items {
        match groups.iter_mut().find(|(name, _)| *name == key(item)) {
            Some((_, members)) => members.push(item),
            None => groups.push((key(item), vec![item])),
        }
    }
    groups
}

/// `serde_json` counts the lines of the text that it is given, which is always one.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((cause, _)) => format!("{cause} (column {})", error.column()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(better: &str, rest: &str) -> Row {
        let line = format!(
            r#"{{"kind":"row","group":"g","name":"n","unit":"s","values":[4,2,9],"better":"{better}"{rest}}}"#
        );
        Measured::read("test", &line).unwrap().rows.pop().unwrap()
    }

    fn series(x: &[f64], y: &[f64]) -> Series {
        let line = format!(
            r#"{{"kind":"series","plot":"p","name":"n","x_name":"x","y_name":"y","x":{x:?},"y":{y:?},"exponent":true}}"#
        );
        Measured::read("test", &line).unwrap().series.pop().unwrap()
    }

    fn refused(text: &str) -> String {
        Measured::read("bench.jsonl", text).unwrap_err()
    }

    #[test]
    fn the_median_is_the_value_in_the_middle_or_between_the_two_there() {
        assert_eq!(Spread::of(&[9.0, 1.0, 4.0]), Spread { median: 4.0, min: 1.0, max: 9.0 });
        assert_eq!(Spread::of(&[9.0, 1.0, 4.0, 5.0]), Spread { median: 4.5, min: 1.0, max: 9.0 });
        assert_eq!(Spread::of(&[3.0]), Spread { median: 3.0, min: 3.0, max: 3.0 });
    }

    #[test]
    fn ratios_are_made_within_a_run() {
        // The ratio of the medians would be 4 / 4.
        let row = row("higher", r#","floor_values":[8,4,3]"#);
        assert_eq!(row.ratio(), Some(Spread { median: 0.5, min: 0.5, max: 3.0 }));
        assert_eq!(row.floor_spread().map(|floor| floor.median), Some(4.0));
    }

    #[test]
    fn a_target_is_a_bound_from_below_where_more_is_better_and_from_above_where_less_is() {
        assert_eq!(row("higher", r#","target":4"#).verdict(), Verdict::Met);
        assert_eq!(row("higher", r#","target":5"#).verdict(), Verdict::Short(1.0 - 4.0 / 5.0));
        assert_eq!(row("lower", r#","target":4"#).verdict(), Verdict::Met);
        assert_eq!(row("lower", r#","target":3.2"#).verdict(), Verdict::Short(4.0 / 3.2 - 1.0));
        assert_eq!(row("lower", r#","target":null,"floor":null"#).verdict(), Verdict::Unasked);
    }

    #[test]
    fn all_targets_count_and_the_one_that_is_missed_most_is_told() {
        let floor = r#","floor_values":[8,4,18]"#;
        let verdict = |targets: &str| row("higher", &format!("{floor}{targets}")).verdict();
        assert_eq!(verdict(r#","target_ratio":0.5,"target":4"#), Verdict::Met);
        assert_eq!(verdict(r#","target_ratio":1,"target":4"#), Verdict::Short(0.5));
        assert_eq!(verdict(r#","target_ratio":1,"target":16"#), Verdict::Short(0.75));
    }

    #[test]
    fn the_exponent_is_that_of_the_power_law() {
        let near = |series: &Series, k: f64| (series.power().unwrap() - k).abs() < 1e-9;
        assert!(near(&series(&[1.0, 10.0, 1000.0], &[3.0, 30.0, 3000.0]), 1.0));
        assert!(near(&series(&[2.0, 4.0, 8.0], &[4.0, 16.0, 64.0]), 2.0));
        assert!(near(&series(&[1.0, 4.0], &[8.0, 4.0]), -0.5));
        assert!(near(&series(&[1.0, 50.0, 70.0], &[6.0, 6.0, 6.0]), 0.0));
        // By hand: over 0, 1, 2 the values 0, 2, 1 have the slope 1/2.
        let e = std::f64::consts::E;
        assert!(near(&series(&[1.0, e, e * e], &[1.0, e * e, e]), 0.5));
    }

    #[test]
    fn a_line_that_says_nothing_is_told_with_its_file_and_number() {
        let machine = r#"{"kind":"machine","cpus":2,"model":"m","rustc":"r","kernel":"k","date":"d"}"#;
        assert_eq!(
            refused(&format!("{machine}\n\n{{\"kind\":\"row\"")),
            "bench.jsonl, line 3: EOF while parsing an object (column 13)"
        );
        assert_eq!(
            refused(&format!("{machine}\n{{\"kind\":\"row\",\"group\":\"g\"}}")),
            "bench.jsonl, line 2: missing field `name`"
        );
        assert!(refused("{}").starts_with("bench.jsonl, line 1: missing field `kind`"), "{}", refused("{}"));
        assert!(refused(r#"{"kind":"raw"}"#).contains("unknown variant `raw`"));
    }

    #[test]
    fn numbers_from_which_nothing_follows_are_refused() {
        let row = |rest: &str| {
            refused(&format!(r#"{{"kind":"row","group":"g","name":"n","unit":"s","better":"lower",{rest}}}"#))
        };
        assert_eq!(row(r#""values":[]"#), "bench.jsonl, line 1: row \"n\" has no values");
        assert_eq!(
            row(r#""values":[1,2],"floor_values":[1]"#),
            "bench.jsonl, line 1: row \"n\" has 2 values, but 1 of its floor"
        );
        assert!(row(r#""values":[1],"floor_values":[0]"#).ends_with("a floor value that is not above zero"));
        assert!(row(r#""values":[1],"target_ratio":1"#).ends_with("a target ratio, but no floor values"));
        assert!(row(r#""values":[1],"target":0"#).ends_with("a target that is not above zero"));
        // A mistyped target would otherwise be none.
        assert!(row(r#""values":[1],"traget":1"#).contains("unknown field `traget`"));
        let series = |rest: &str| {
            let start = r#"{"kind":"series","plot":"p","name":"n","x_name":"x","y_name":"y""#;
            refused(&format!("{start},{rest}}}"))
        };
        assert!(series(r#""x":[1],"y":[]"#).ends_with("has 1 values of x, but 0 of y"));
        assert!(series(r#""x":[],"y":[]"#).ends_with("has no points"));
        assert!(series(r#""x":[0],"y":[1],"log_x":true"#).contains("a value of x without a logarithm"));
        assert!(series(r#""x":[1,1],"y":[1,2],"exponent":true"#).ends_with("no exponent follows from it"));
    }

    #[test]
    fn series_of_one_plot_share_its_axes() {
        let series = |name: &str, y: &str| {
            format!(
                r#"{{"kind":"series","plot":"p","name":"{name}","x_name":"x","y_name":"{y}","x":[1],"y":[1]}}"#
            )
        };
        let text = format!("{}\n{}\n", series("a", "MB/s"), series("b", "ns"));
        assert_eq!(
            refused(&text),
            "bench.jsonl, line 2: series \"b\" has other axes than \"a\" of the same plot"
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let line = Line::Row(row("higher", r#","floor":"f","floor_values":[1,2,3],"note":"why""#))
            .to_json()
            .unwrap();
        let read = Measured::read("test", &line).unwrap();
        assert_eq!(read.rows[0].note.as_deref(), Some("why"));
        assert_eq!(read.rows[0].floor_values.as_deref(), Some(&[1.0, 2.0, 3.0][..]));
        assert_eq!(Line::Row(read.rows.into_iter().next().unwrap()).to_json().unwrap(), line);
    }
}
