//! On a pseudo-terminal, as a person runs it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use amps_client::CommandKind;
use amps_testkit::{FakeServer, QueueConfig};
use rustix::process::Pid;

use crate::process::{amps, at, logged, placed, program, until, watched};

/// A program on a terminal of its own. Dropped, it is killed.
struct Session {
    child: Child,
    terminal: File,
    shown: String,
}

impl Session {
    fn start(mut command: Command) -> Self {
        let size = rustix::termios::Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = rustix_openpty::openpty(None, Some(&size)).unwrap();
        let user = pty.user;
        let own = user.try_clone().unwrap();
        command.stdin(own.try_clone().unwrap()).stdout(own.try_clone().unwrap()).stderr(own);
        let mut user = Some(user);
        // SAFETY: between fork and exec only system calls are made; nothing is allocated.
        #[allow(unsafe_code, reason = "a terminal becomes the controlling one of a process before it starts")]
        unsafe {
            command.pre_exec(move || Ok(user.take().map_or(Ok(()), rustix_openpty::login_tty)?));
        }
        let child = command.spawn().unwrap();
        // Its copies of the terminal have to be closed here, or its end is not seen.
        drop(command);
        Self { child, terminal: File::from(pty.controller), shown: String::new() }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Reads until the terminal shows something.
    fn shows(&mut self, text: &str) {
        let pid = self.pid();
        while !self.shown.contains(text) {
            let mut some = [0; 4096];
            let terminal = &mut self.terminal;
            let count = watched(pid, || terminal.read(&mut some)).unwrap_or(0);
            assert!(count > 0, "{text:?} never came: {:?}", self.shown);
            self.shown.push_str(&String::from_utf8_lossy(&some[..count]));
        }
    }

    fn types(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the end; what was shown, and the status.
    fn end(mut self) -> (String, i32) {
        let pid = self.pid();
        let (terminal, child) = (&mut self.terminal, &mut self.child);
        let mut rest = Vec::new();
        let status = watched(pid, || {
            // A terminal without a program is an error on Linux.
            let _ = terminal.read_to_end(&mut rest);
            child.wait().unwrap()
        });
        self.shown.push_str(&String::from_utf8_lossy(&rest));
        (std::mem::take(&mut self.shown), status.code().unwrap_or(-1))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const KEY: &str = "\u{1b}[36m\"id\"\u{1b}[0m";

#[test]
fn messages_are_coloured_on_a_terminal_and_plain_in_a_pipe() {
    let server = FakeServer::builder().start().unwrap();
    server.publish("t", r#"{"id":1}"#).unwrap();
    let address = at(&server);
    let line = ["subscribe", "--server", &address, "--topic", "t", "--bookmark", "epoch", "--count", "1"];
    let (shown, status) = Session::start(program(&line)).end();
    assert_eq!(status, 0, "{shown}");
    assert!(shown.contains(KEY) && shown.contains("Total messages received: 1"), "{shown:?}");
    assert_eq!(amps(&line).done().text(), "{\"id\":1}\n");
    assert!(amps(&[&line[..], &["--color", "always"]].concat()).done().text().contains(KEY));

    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let mut command = program(&line);
        command.env(name, value);
        let (shown, _) = Session::start(command).end();
        assert!(shown.contains(r#"{"id":1}"#) && !shown.contains('\u{1b}'), "{name}: {shown:?}");
    }
}

#[test]
fn nothing_that_was_published_controls_the_terminal() {
    let server = FakeServer::builder().start().unwrap();
    server.publish("t", b"\x1b[2J\x07\xff").unwrap();
    let line = ["subscribe", "--server", &at(&server), "--topic", "t", "--bookmark", "epoch", "--count", "1"];
    let (shown, _) = Session::start(program(&line)).end();
    assert!(!shown.contains("\u{1b}[2J") && shown.contains("[2J"), "{shown:?}");
}

#[test]
fn control_c_ends_a_subscription_and_leaves_nothing_unacknowledged() {
    let server = FakeServer::builder().queue(QueueConfig::new("work").max_backlog(5)).start().unwrap();
    server.publish("work", "1").unwrap();
    let mut session =
        Session::start(program(&["subscribe", "--server", &at(&server), "--topic", "work", "--ack"]));
    placed(&server, CommandKind::Subscribe, 1);
    session.shows("1\u{1b}[0m\r\n");
    session.types("\u{3}");
    let (shown, status) = session.end();
    assert_eq!(status, 130, "{shown}");
    assert!(shown.contains("Total messages received: 1 ("), "{shown}");
    assert_eq!(server.queue("work").unwrap().counters.acknowledged, 1);
}

#[test]
fn what_is_typed_is_published_line_by_line() {
    let server = FakeServer::builder().start().unwrap();
    let mut session = Session::start(program(&["publish", "--server", &at(&server), "--topic", "t"]));
    session.types("first\n");
    until("the line is published", || logged(&server, "t") == [b"first"]);
    session.types("second\n\u{4}");
    let (shown, status) = session.end();
    assert_eq!(status, 0, "{shown}");
    assert!(shown.contains("total messages published: 2 ("), "{shown}");
}

#[test]
fn a_person_is_asked_what_to_delete_and_not_waited_for() {
    let server = FakeServer::builder().start().unwrap();
    let line = ["sow_delete", "--server", &at(&server), "--topic", "t"];
    let (shown, status) = Session::start(program(&line)).end();
    assert_eq!(status, 2, "{shown}");
    assert!(shown.contains("say what to delete") && shown.contains("1=1"), "{shown}");
}

#[test]
fn a_file_has_a_progress_bar_on_a_terminal_only() {
    let server = FakeServer::builder().start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("messages");
    std::fs::write(&file, "{\"id\":1}\n".repeat(20_000)).unwrap();
    let address = at(&server);
    let line = ["publish", "--server", &address, "--topic", "t", "--file", file.to_str().unwrap()];
    let (shown, status) = Session::start(program(&line)).end();
    assert_eq!(status, 0, "{shown}");
    assert!(shown.contains("messages/s") && shown.contains("left"), "{shown:?}");
    assert!(shown.contains("total messages published: 20000 ("), "{shown}");
    amps(&line).done();
}
