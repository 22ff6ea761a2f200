//! `cargo xtask soak`: many clients in one process for a long time, whose connections are lost together again
//! and again.
//!
//! Owns the course of a run and its verdict: memory, descriptors and threads of this process stay where they
//! are, whatever happens to the connections. What the clients do is in `load.rs`.

mod load;
mod plot;
mod samples;

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use load::Load;
use plot::Panel;
use samples::{Sample, Tolerance, csv, flat};

use crate::process::{Heard, Process, Said, free_address};
use crate::served::STORM;

/// Seconds from one storm to the next.
const BETWEEN_STORMS: usize = 10;

/// Nothing takes this long when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

const MEMORY: Tolerance = Tolerance { percent: 3, least: 3 << 10 };
const DESCRIPTORS: Tolerance = Tolerance { percent: 0, least: 4 };
const THREADS: Tolerance = Tolerance { percent: 0, least: 4 };

/// What a run consists of.
#[derive(Clone, Copy, Debug)]
pub struct Soak<'a> {
    /// The program that plays the server: `cargo xtask`'s own.
    pub program: &'a Path,
    /// How long it takes; a sample is taken each second.
    pub seconds: usize,
    /// Clients in this process.
    pub clients: usize,
    /// Where `soak.csv` and `soak.svg` go.
    pub out: &'a Path,
}

impl Soak<'_> {
    /// Plays the run, writes down what was measured, and says what it adds up to.
    ///
    /// # Errors
    /// Something grows, or a client has failed. The table and the plot are written all the same, if the run came to
    /// its end.
    pub fn run(&self) -> Result<String, String> {
        let address = free_address()?;
        let (sender, heard) = channel();
        let args = ["server".to_owned(), address.clone()];
        let mut server = Process::start(self.program, &args, ((), 1), sender)?;
        expect(&heard, "ready")?;
        let load = Load::begin(&format!("tcp://{address}/amps/json"), self.clients)
            .map_err(|error| format!("the clients: {error}"))?;
        let began = Instant::now();
        let (mut samples, mut storms, mut dropped) = (Vec::with_capacity(self.seconds), Vec::new(), 0);
        for second in 0..self.seconds {
            samples.push(Sample::take(load.received(), load.reconnects(), server.id())?);
            if second % BETWEEN_STORMS == BETWEEN_STORMS / 2 {
                server.tell(STORM).map_err(|error| format!("the server: {error}"))?;
                dropped += expect(&heard, "dropped")?;
                storms.push(second);
            }
            let next = began + Duration::from_secs(second as u64 + 1);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let (published, reconnects) = load.end(PATIENCE)?;
        server.end().map_err(|error| format!("the server: {error}"))?;
        self.write(&samples, &storms)?;
        self.verdict(&samples, (published, reconnects), (storms.len(), dropped))
    }

    fn write(&self, samples: &[Sample], storms: &[usize]) -> Result<(), String> {
        let panel =
            |title, value: fn(&Sample) -> f64| Panel { title, values: samples.iter().map(value).collect() };
        let rate = |title, value: fn(&Sample) -> u64| {
            let rates = samples.windows(2).map(|pair| value(&pair[1]).saturating_sub(value(&pair[0])) as f64);
            Panel { title, values: std::iter::once(0.0).chain(rates).collect() }
        };
        let panels = [
            panel("resident memory, MiB", |sample| mebibytes(sample.memory)),
            panel("open descriptors", |sample| sample.descriptors as f64),
            panel("threads", |sample| sample.threads as f64),
            rate("messages received in a second", |sample| sample.messages),
            rate("reconnects in a second", |sample| sample.reconnects),
            panel("resident memory of the server, which keeps a log, MiB", |sample| mebibytes(sample.server)),
        ];
        let title =
            format!("{} clients, {} seconds, a storm every {BETWEEN_STORMS}", self.clients, samples.len());
        let wrong = |error: std::io::Error| format!("{}: {error}", self.out.display());
        fs::create_dir_all(self.out).map_err(wrong)?;
        fs::write(self.out.join("soak.csv"), csv(samples)).map_err(wrong)?;
        fs::write(self.out.join("soak.svg"), plot::svg(&title, &panels, storms)).map_err(wrong)
    }

    fn verdict(
        &self,
        samples: &[Sample],
        (published, reconnects): (u64, u64),
        (storms, dropped): (usize, u64),
    ) -> Result<String, String> {
        let of = |value: fn(&Sample) -> u64| samples.iter().map(value).collect::<Vec<_>>();
        let last = samples.last().copied().unwrap_or_default();
        let mut text = format!(
            "soak: {} clients, {} s, {storms} storms that dropped {dropped} connections\n  {published} messages \
             published, {} received, {reconnects} reconnects\n  medians of the second and of the last third:",
            self.clients,
            samples.len(),
            last.messages,
        );
        let mut grows = Vec::new();
        let quantities = [
            ("memory, KiB", of(|sample| sample.memory >> 10), MEMORY),
            ("descriptors", of(|sample| sample.descriptors), DESCRIPTORS),
            ("threads", of(|sample| sample.threads), THREADS),
        ];
        for (name, values, tolerance) in quantities {
            let (before, after, is_flat) = flat(&values, &tolerance);
            let Tolerance { percent, least } = tolerance;
            let verdict = if is_flat { "flat" } else { "GROWS" };
            text += &format!(
                "\n    {name:<12} {before:>8} {after:>8}  {verdict} (tolerated: {percent} % or {least} more)"
            );
            if !is_flat {
                grows.push(name);
            }
        }
        if reconnects < dropped {
            return Err(format!("{text}\nof {dropped} dropped connections only {reconnects} came back"));
        }
        let rest = samples.get(samples.len() * 2 / 3).copied().unwrap_or_default();
        if last.messages == rest.messages {
            return Err(format!("{text}\nno message has arrived in the last third"));
        }
        if grows.is_empty() { Ok(text) } else { Err(format!("{text}\nthis grows: {}", grows.join(", "))) }
    }
}

/// Runs for so many minutes, and prints what that adds up to.
///
/// # Errors
/// As [`Soak::run`].
pub fn run(minutes: u32, clients: usize, out: &Path) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let soak = Soak { program: &program, seconds: minutes as usize * 60, clients, out };
    let text = soak.run()?;
    println!("{text}\n  table and plot: {0}/soak.csv, {0}/soak.svg", out.display());
    Ok(())
}

/// Waits until the server says a word, and returns the number behind it.
fn expect(heard: &Receiver<Heard<()>>, word: &str) -> Result<u64, String> {
    match heard.recv_timeout(PATIENCE) {
        Ok(Heard { said: Said::Line(line), .. }) => match line.strip_prefix(word) {
            Some(number) => Ok(number.trim().parse().unwrap_or_default()),
            None => Err(format!("the server says: {line}")),
        },
        Ok(Heard { said: Said::End, .. }) => Err("the server has ended by itself".to_owned()),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(format!("the server did not say \"{word}\" within {PATIENCE:?}"))
        }
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
