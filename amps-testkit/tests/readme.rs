//! The shell script in the README, as it stands there. The Rust in it is a test of the
//! documentation.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const README: &str = include_str!("../README.md");

/// The directory of a program.
fn directory(program: &str) -> PathBuf {
    Path::new(program).parent().unwrap().to_owned()
}

fn is_there(program: &str) -> bool {
    let asked = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

#[test]
fn the_script_of_the_readme_runs() {
    if let Some(missing) = ["bash", "curl"].into_iter().find(|program| !is_there(program)) {
        eprintln!("skipped: there is no {missing} on this machine");
        return;
    }
    let (_, script) = README.split_once("```bash\n").unwrap();
    let (script, _) = script.split_once("```").unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut path = vec![directory(env!("CARGO_BIN_EXE_amps-testkit")), root.join("tests/data")];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let path = std::env::join_paths(path).unwrap();
    let run =
        Command::new("bash").arg("-c").arg(script).current_dir(root).env("PATH", path).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{stdout}\n{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 8, "one answer for each request: {stdout}");
    assert!(lines[4].contains(r#""body":"{\"id\":1}""#), "the job is still in the queue: {stdout}");
    assert_eq!(lines[5], r#"{"now":"20260101T000030.000000Z"}"#);
    assert!(stderr.contains("stopped by the control port"), "{stderr}");
}
