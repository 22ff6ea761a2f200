//! Everything that is promised, beside its floor: `cargo bench -p benches --bench results [-- PART… --json FILE]`. The
//! parts are `receive`, `publish`, `queue`, `round_trips`, `connections` and `scaling`; without any, all are measured.
//! `cargo xtask bench` makes tables and plots of it.

#[cfg(unix)]
mod rows;
#[cfg(unix)]
mod scaling;

#[cfg(unix)]
use benches::report::{ROUNDS, Report};

/// What is measured by itself, and its name.
#[cfg(unix)]
type Part = (&'static str, fn(&mut Report));

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    let parts: [Part; 6] = [
        ("receive", rows::receive),
        ("publish", rows::publish),
        ("queue", rows::queue),
        ("round_trips", rows::round_trips),
        ("connections", rows::connections),
        ("scaling", scaling::all),
    ];
    let (mut wanted, mut path) = (Vec::new(), None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--json" => match arguments.next() {
                Some(file) => path = Some(std::path::PathBuf::from(file)),
                None => return wrong("--json needs a file"),
            },
            // Cargo's own.
            "--bench" => {}
            _ if parts.iter().any(|(name, _)| *name == argument) => wanted.push(argument),
            _ => {
                return wrong(&format!(
                    "no part \"{argument}\"; there are {}",
                    parts.map(|p| p.0).join(", ")
                ));
            }
        }
    }
    let mut report = Report::new(path.as_deref());
    println!("median of {ROUNDS} rounds, minimum and maximum in brackets");
    for (_, measure) in parts.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name))
    {
        measure(&mut report);
    }
    std::process::ExitCode::SUCCESS
}

#[cfg(unix)]
fn wrong(text: &str) -> std::process::ExitCode {
    eprintln!("{text}");
    std::process::ExitCode::from(2)
}

#[cfg(not(unix))]
fn main() {}
