//! `cargo xtask instructions`: how many instructions decoding and encoding take, held against
//! the recorded baseline.
//!
//! Instruction counts repeat exactly where wall time does not, so a gate can hold them to a
//! few per cent. Each case is run twice under callgrind, with different numbers of
//! repetitions; the difference is the case alone, without the start of the process.
//!
//! A count belongs to a compiler and to a vector unit. With others than those of the baseline
//! there is nothing to compare, and the chore says so instead of failing.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

const BASELINE: &str = "benches/instructions.txt";
/// The case of which one function counts, in the thread that calls it.
const PUBLISHING: &str = "encode and enqueue";

const FEW: u32 = 1_000;
const MANY: u32 = 3_000;

/// Growth, in per cent, up to which a count is taken for the same.
const TOLERANCE: f64 = 3.0;
/// The same for a case of two threads: how often one finds the other asleep is chance.
const TOLERANCE_OF_TWO: f64 = 6.0;
const OF_TWO: &str = "hand to a stream";

/// How often a case that grew is counted before that is believed: where a process has several threads and a peer,
/// chance adds to a count, and never takes from it.
const TRIES: usize = 3;

/// Counts every case; compares with the baseline, or records a new one.
///
/// # Errors
/// A case that grew by more than 3% (6% where two threads meet), one that is missing in the baseline, or a tool that
/// failed.
pub fn run(record: bool) -> Result<(), String> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("== instruction counts: skipped, because valgrind is not installed");
        return Ok(());
    }
    let conditions = conditions()?;
    let baseline = fs::read_to_string(BASELINE).unwrap_or_default();
    if !record && !baseline.starts_with(&conditions) {
        let recorded = baseline.lines().take(2).collect::<Vec<_>>().join(", ");
        println!(
            "== instruction counts: skipped, because they were recorded with {recorded}; this is {}",
            conditions.trim_end().replace('\n', ", ")
        );
        return Ok(());
    }
    output("cargo", &["build", "--release", "-q", "-p", "benches", "--bin", "codec", "--bin", "client"])?;
    let mut text = conditions;
    let mut grown = Vec::new();
    for case in cases()? {
        let (name, mut count) = (&*case.name, case.count()?);
        let before = baseline.lines().find_map(|line| line.split_once('\t').filter(|(n, _)| *n == name));
        let before = match before.map(|(_, count)| count.parse::<f64>()) {
            Some(Ok(before)) => before,
            _ if record => count,
            _ => {
                return Err(format!(
                    "\"{name}\" is not in {BASELINE}; record it: cargo xtask instructions --record"
                ));
            }
        };
        let tolerance = if name == OF_TWO { TOLERANCE_OF_TWO } else { TOLERANCE };
        let change = |count: f64| (count / before - 1.0) * 100.0;
        for _ in 1..TRIES {
            if change(count) > tolerance {
                count = count.min(case.count()?);
            }
        }
        // What was gained could be lost again, and nobody would notice.
        let hint =
            if change(count) < -tolerance { "  record it: cargo xtask instructions --record" } else { "" };
        println!("{name:<28} {count:>9.1} {:>+6.1}%{hint}", change(count));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}\t{count:.1}");
        if change(count) > tolerance {
            grown.push(name.to_owned());
        }
    }
    if record {
        return fs::write(BASELINE, text).map_err(|error| format!("{BASELINE}: {error}"));
    }
    if grown.is_empty() {
        return Ok(());
    }
    Err(format!(
        "more instructions than recorded: {}; find out why, or record the new counts in the same commit \
         (cargo xtask instructions --record)",
        grown.join(", ")
    ))
}

/// What is counted.
struct Case {
    binary: String,
    name: String,
    /// Of work, in one repetition.
    units: f64,
}

impl Case {
    /// Instructions that one unit takes.
    fn count(&self) -> Result<f64, String> {
        let (few, many) = (total(&self.binary, &self.name, FEW)?, total(&self.binary, &self.name, MANY)?);
        Ok((many - few) / f64::from(MANY - FEW) / self.units)
    }
}

/// The cases of both programs.
fn cases() -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    for program in ["codec", "client"] {
        let binary = binary(program)?;
        for line in output(&binary, &[])?.lines() {
            let (name, units) = line.split_once('\t').ok_or("cases are listed as name, tab, units")?;
            let units = units.parse().map_err(|_| format!("{name}: units"))?;
            cases.push(Case { binary: binary.clone(), name: name.to_owned(), units });
        }
    }
    Ok(cases)
}

fn total(binary: &str, case: &str, repetitions: u32) -> Result<f64, String> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    // Of a client that publishes, one thread: what the others do meanwhile is chance.
    command.args((case == PUBLISHING).then_some("--toggle-collect=*publish_all*"));
    let result = command
        .args([binary, case, &repetitions.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let told = String::from_utf8_lossy(&result.stderr);
    told.lines()
        .find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
        .filter(|_| result.status.success())
        .ok_or_else(|| format!("valgrind failed on \"{case}\": {told}"))
}

/// Where cargo put what it built: beside this very program, whatever directory that is.
fn binary(program: &str) -> Result<String, String> {
    let own = std::env::current_exe().map_err(|error| format!("the path of xtask: {error}"))?;
    let target = own.ancestors().nth(2).ok_or("xtask runs from an unknown place")?;
    Ok(target.join("release").join(program).to_string_lossy().into_owned())
}

/// What the counts depend on, as it stands at the top of the baseline.
fn conditions() -> Result<String, String> {
    let compiler = output("rustc", &["--version"])?;
    let features = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let vectors = if features.contains(" avx2") { "avx2" } else { "sse2" };
    Ok(format!("# {}\n# {} {vectors}\n", compiler.trim(), std::env::consts::ARCH))
}

fn output(program: &str, args: &[&str]) -> Result<String, String> {
    let result = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if result.status.success() {
        Ok(String::from_utf8_lossy(&result.stdout).into_owned())
    } else {
        Err(format!("{program} failed: {}", String::from_utf8_lossy(&result.stderr)))
    }
}
