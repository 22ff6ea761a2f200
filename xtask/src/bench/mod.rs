//! `cargo xtask bench`: what we reach of what is possible, and the report about it.
//!
//! Owns the order of the steps: the benchmark `results` writes its lines to a file, the machine and the compile
//! time are added to it, and the file becomes `benches/RESULTS.md` with its plots. It measures nothing itself,
//! and everything that the report says stands in that file.

mod compile;
mod machine;
mod measured;
mod plot;
mod results;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use measured::{Line, Measured};

/// The lines of the last run, in the directory where cargo builds.
const LINES: &str = "bench.jsonl";
const REPORT: &str = "benches/RESULTS.md";
/// Beside the report. All that is drawn in there is ours.
const PLOTS: &str = "benches/plots";

/// Measures, and writes the report. With `all`, criterion's benchmarks run afterwards; they are for a person who
/// reads along, and not in the report.
///
/// # Errors
/// The benchmark that failed, a line of it that says nothing, or a file that cannot be written.
pub fn run(all: bool) -> Result<(), String> {
    let target = target_directory()?;
    let lines = target.join(LINES);
    // A benchmark that writes nothing must not leave us with the results of another day.
    if lines.exists() {
        fs::remove_file(&lines).map_err(|error| format!("{}: {error}", lines.display()))?;
    }
    bench("results", &["--json".as_ref(), lines.as_os_str()])?;
    let mut text = read(&lines)?;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&Line::Machine(machine::this()?).to_json()?);
    for row in compile::rows(&target)? {
        text.push_str(&Line::Row(row).to_json()?);
    }
    write(&lines, &text)?;
    render(&lines)?;
    if all {
        for name in ["ratios", "recovery", "receive", "publish"] {
            bench(name, &[])?;
        }
    }
    Ok(())
}

/// Writes `benches/RESULTS.md` and its plots from the lines of a run that was before. The same file gives the same
/// report, byte by byte.
///
/// # Errors
/// A line that says nothing, with its number, or a file that cannot be read or written.
pub fn render(lines: &Path) -> Result<(), String> {
    let measured = Measured::read(&lines.display().to_string(), &read(lines)?)?;
    fs::create_dir_all(PLOTS).map_err(|error| format!("{PLOTS}: {error}"))?;
    let mut drawn = BTreeSet::new();
    for (title, series) in measured.plots() {
        let name = plot::file_name(title);
        let path = Path::new(PLOTS).join(&name);
        if !drawn.insert(path.clone()) {
            return Err(format!(
                "two plots would be drawn to {}: name \"{title}\" otherwise",
                path.display()
            ));
        }
        write(&path, &plot::svg(title, &series)?)?;
    }
    for old in plots()?.difference(&drawn) {
        fs::remove_file(old).map_err(|error| format!("{}: {error}", old.display()))?;
    }
    write(Path::new(REPORT), &results::markdown(&measured))?;
    println!("== {REPORT}, and {} plots in {PLOTS}", drawn.len());
    Ok(())
}

/// Builds and runs one benchmark; what it prints is for the person who waits for it.
fn bench(name: &str, args: &[&std::ffi::OsStr]) -> Result<(), String> {
    let mut command = Command::new("cargo");
    command.args(["bench", "-p", "benches", "--bench", name]);
    if !args.is_empty() {
        command.arg("--").args(args);
    }
    let status = command.status().map_err(|error| format!("cargo bench: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("benchmark {name} failed ({status})")) }
}

/// What is drawn so far.
fn plots() -> Result<BTreeSet<PathBuf>, String> {
    let entries = fs::read_dir(PLOTS).map_err(|error| format!("{PLOTS}: {error}"))?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|extension| extension == "svg")).collect())
}

/// Where cargo builds, as an absolute path: a benchmark runs in the directory of its package.
fn target_directory() -> Result<PathBuf, String> {
    let text = output("cargo", &["metadata", "--no-deps", "--offline", "--format-version", "1"])?;
    let metadata: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
    let directory = metadata.get("target_directory").and_then(serde_json::Value::as_str);
    directory.map(PathBuf::from).ok_or_else(|| "cargo metadata names no target directory".to_owned())
}

/// What a program prints.
fn output(program: &str, args: &[&str]) -> Result<String, String> {
    let result = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    if result.status.success() {
        return Ok(String::from_utf8_lossy(&result.stdout).into_owned());
    }
    let told = String::from_utf8_lossy(&result.stderr);
    Err(format!("{program} {} failed: {}", args.join(" "), told.trim_end()))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
