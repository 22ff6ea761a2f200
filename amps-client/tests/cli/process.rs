//! Runs `amps` and looks at it from outside. No process outlives its test, and nothing waits for ever.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use amps_client::CommandKind;
use amps_testkit::{FakeServer, Matcher};
use rustix::process::{Pid, Signal, kill_process};

/// Long enough for anything that comes at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a process left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    pub(crate) fn lines(&self) -> Vec<&str> {
        self.text().lines().collect()
    }

    /// It failed with this status and one line, which is returned.
    #[track_caller]
    pub(crate) fn failed(&self, status: i32) -> &str {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.stderr.starts_with("amps: ") && self.stderr.ends_with('\n'), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        &self.stderr
    }

    /// It did what it was asked to, without a word on stderr.
    #[track_caller]
    pub(crate) fn done(&self) -> &Self {
        assert_eq!((self.status, self.stderr.as_str()), (0, ""), "{self:?}");
        self
    }
}

/// `amps`, in an environment that says nothing.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amps"));
    command.args(arguments).env_remove("AMPS_PASSWORD").env_remove("NO_COLOR").env("TERM", "xterm");
    command
}

/// Where a server is, in the short form.
pub(crate) fn at(server: &FakeServer) -> String {
    server.addr().to_string()
}

/// Runs it to its end, with nothing to read.
pub(crate) fn amps(arguments: &[&str]) -> Ended {
    Running::start(program(arguments)).end()
}

/// Runs it to its end, with something to read.
pub(crate) fn amps_reading(input: impl Into<Vec<u8>>, arguments: &[&str]) -> Ended {
    let mut running = Running::start(program(arguments));
    running.feed(input);
    running.end()
}

/// A process that runs. Dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Receiver<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        let (sender, stderr) = channel();
        let errors = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in errors.split(b'\n') {
                let _ = sender.send(String::from_utf8_lossy(&line.unwrap()).into_owned());
            }
        });
        Self { stdin: child.stdin.take(), child, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Gives it something to read, and the end.
    pub(crate) fn feed(&mut self, input: impl Into<Vec<u8>>) {
        let (mut stdin, input) = (self.stdin.take().unwrap(), input.into());
        // It may end before it has read everything.
        std::thread::spawn(move || _ = stdin.write_all(&input));
    }

    /// Gives it something to read, and keeps its input open.
    pub(crate) fn write(&mut self, input: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(input).unwrap();
    }

    /// Waits until it has read all that it was given.
    #[cfg(target_os = "linux")]
    pub(crate) fn until_read(&self) {
        let stdin = self.stdin.as_ref().unwrap();
        until("reading", || rustix::io::ioctl_fionread(stdin).unwrap() == 0);
    }

    /// The next line of stdout, without its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let pid = self.pid();
        let out = self.stdout.as_mut().unwrap();
        watched(pid, || out.read_line(&mut line)).unwrap();
        assert!(line.ends_with('\n'), "stdout ended with {line:?}");
        line.trim_end_matches('\n').to_owned()
    }

    /// The next line of stderr.
    pub(crate) fn error_line(&self) -> String {
        self.stderr.recv_timeout(PATIENCE).expect("a line on stderr")
    }

    /// Reads stdout no more.
    pub(crate) fn close_stdout(&mut self) {
        self.stdout = None;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Ends its input, and waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        drop(self.stdin.take());
        self.end_open()
    }

    /// Waits for its end, and reads nothing before.
    pub(crate) fn unread_end(mut self) -> Ended {
        let pid = self.pid();
        let child = &mut self.child;
        watched(pid, || child.wait().unwrap());
        self.end_open()
    }

    /// Waits for its end while its input is open.
    pub(crate) fn end_open(mut self) -> Ended {
        let pid = self.pid();
        let mut stdout = Vec::new();
        let out = self.stdout.take();
        let child = &mut self.child;
        let status = watched(pid, || {
            out.into_iter().for_each(|mut out| _ = out.read_to_end(&mut stdout).unwrap());
            child.wait().unwrap()
        });
        let stderr: String = self.stderr.iter().map(|line| line + "\n").collect();
        Ended { status: status.code().unwrap_or(-1), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does something that waits for a process; kills the process if that takes for ever.
pub(crate) fn watched<T>(pid: Pid, work: impl FnOnce() -> T) -> T {
    let (done, waits): (Sender<()>, _) = channel();
    let guard = std::thread::spawn(move || {
        if waits.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let result = work();
    drop(done);
    guard.join().unwrap();
    result
}

/// Waits until a server has got so many commands of a kind.
pub(crate) fn placed(server: &FakeServer, kind: CommandKind, count: usize) {
    server.wait_for_commands(&Matcher::command(kind), count, PATIENCE).unwrap();
}

/// Waits until something holds that a process brings about.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what} never happened");
        std::thread::yield_now();
    }
}

/// Bodies of what was logged for a topic.
pub(crate) fn logged(server: &FakeServer, topic: &str) -> Vec<Vec<u8>> {
    let all = server.logged_messages().into_iter();
    all.filter(|message| message.topic == topic).map(|message| message.body.to_vec()).collect()
}
