//! Processes of this program that play a part: a publisher, a subscriber, a server.
//!
//! Owns how they are started, heard, told something and killed. A process says lines on its stdout: a line
//! that was written whole is heard, however the process ends. It ends by itself when its stdin does, so that
//! none outlives whoever started it.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio, exit};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::SystemTime;

use amps_testkit::sim::Rng;

/// The first argument of a process that plays a part, for `main` to tell it from a chore.
pub const PART: &str = "part";

/// What a process said, or that it ended.
#[derive(Debug)]
pub(crate) enum Said {
    Line(String),
    End,
}

/// Something that was heard.
#[derive(Debug)]
pub(crate) struct Heard<W> {
    pub(crate) who: W,
    /// Which process of this part it was, from 1 on.
    pub(crate) life: u32,
    pub(crate) said: Said,
}

/// A process; killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts `program part ARGS…`. What it says goes to `heard`.
    ///
    /// # Errors
    /// The system cannot start it.
    pub(crate) fn start<W: Copy + Send + 'static>(
        program: &Path,
        args: &[String],
        who: (W, u32),
        heard: Sender<Heard<W>>,
    ) -> Result<Self, String> {
        Self::start_below(Command::new(program), args, who, heard)
    }

    /// Starts `command part ARGS…`: this program, or another that starts it with what follows.
    ///
    /// # Errors
    /// The system cannot start it.
    pub(crate) fn start_below<W: Copy + Send + 'static>(
        mut command: Command,
        args: &[String],
        (who, life): (W, u32),
        heard: Sender<Heard<W>>,
    ) -> Result<Self, String> {
        command.arg(PART).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let shown = format!("{command:?}");
        let failed = |error: io::Error| format!("cannot start {shown}: {error}");
        let mut child = command.spawn().map_err(failed)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let process = Self { child, stdin };
        let listen = move || {
            let mut lines = stdout.map(BufReader::new);
            let mut line = String::new();
            while lines.as_mut().is_some_and(|lines| lines.read_line(&mut line).is_ok_and(|read| read > 0)) {
                // What was cut off by the end of the process was not said.
                if let Some(whole) = line.strip_suffix('\n') {
                    let said = Said::Line(whole.to_owned());
                    if heard.send(Heard { who, life, said }).is_err() {
                        return;
                    }
                }
                line.clear();
            }
            let _nobody_listens_any_more = heard.send(Heard { who, life, said: Said::End });
        };
        thread::Builder::new().name("ear".to_owned()).spawn(listen).map_err(failed)?;
        Ok(process)
    }

    /// Tells it a line.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn tell(&mut self, line: &str) -> io::Result<()> {
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(stdin, "{line}").and_then(|()| stdin.flush())
    }

    /// Ends it without warning, and waits until it is gone.
    ///
    /// # Errors
    /// The system refused.
    pub(crate) fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// Asks it to end, and waits for that.
    ///
    /// # Errors
    /// The system refused.
    pub(crate) fn end(mut self) -> io::Result<ExitStatus> {
        self.stdin = None;
        self.child.wait()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.kill();
    }
}

/// Says something to whoever started this process; ends it if nobody is there.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        exit(1);
    }
}

/// Calls `told` with each line that this process is told, on a thread of its own.
///
/// # Errors
/// The system has no thread left.
pub(crate) fn listen(mut told: impl FnMut(Option<&str>) + Send + 'static) -> Result<(), String> {
    let ear = move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            told(Some(&line));
        }
        told(None);
    };
    thread::Builder::new().name("ear".to_owned()).spawn(ear).map_err(|error| error.to_string()).map(drop)
}

/// An address on loopback where nobody listens, on a port that the system gives to nobody by itself: a client
/// that connects to its own machine may be given the very port that it looks for, and would meet itself there
/// while the server is away.
///
/// # Errors
/// Every port that was tried is in use.
pub(crate) fn free_address() -> Result<String, String> {
    const FIRST: u64 = 10_000;
    let given_out = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let end: u64 =
        given_out.and_then(|range| range.split_whitespace().next()?.parse().ok()).unwrap_or(32_768).max(2);
    // Not the same as another run's that is looking for one just now.
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_nanos() as u64);
    let mut rng = Rng::new(now ^ u64::from(std::process::id()) << 32);
    let mut last = "none tried".to_owned();
    for _ in 0..100 {
        let port = rng.between(FIRST.min(end / 2), end - 1);
        let address = format!("127.0.0.1:{port}");
        match TcpListener::bind(&address) {
            Ok(_) => return Ok(address),
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Err(format!("no free port: {last}"))
}
