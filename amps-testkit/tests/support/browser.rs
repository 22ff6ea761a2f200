//! A browser without a window, driven by Chromium's DevTools protocol over a WebSocket.
//!
//! Waits for conditions inside of a page, never for time; when it is dropped nothing of the browser is left.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

/// How long a condition may take to hold, and a browser to start. Only a test that fails takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Longer, so that it is the page which says what did not happen.
const MORE_PATIENCE: Duration = Duration::from_secs(60);

/// What Chromium, and what is made of it, are called.
const NAMES: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--remote-debugging-port=0",
];

/// A browser with one page.
pub(crate) struct Browser {
    process: Group,
    /// Says nothing; it is disconnected when the stderr of the browser has ended.
    stderr: Receiver<Infallible>,
    socket: WebSocket<TcpStream>,
    session: Option<String>,
    last: u64,
    /// What the page was refused, and what went wrong in its script.
    complaints: Vec<String>,
}

/// A process with all that it has started, and its files. All of it ends when this is dropped.
struct Group {
    leader: Child,
    _profile: TempDir,
}

impl Drop for Group {
    fn drop(&mut self) {
        // A negative number is that of the group. The shell knows `kill` even where there is no such program.
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -s KILL -- \"-$0\"", &self.leader.id().to_string()]);
        let _gone_already = kill.stderr(Stdio::null()).status();
        let _ = self.leader.kill();
        let _ = self.leader.wait();
    }
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    NAMES.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name))).find(|file| file.is_file())
}

impl Browser {
    /// A browser that shows nothing yet; `None` if none is installed.
    pub(crate) fn start() -> Option<Self> {
        let program = program()?;
        let profile = TempDir::new().unwrap();
        let mut data_dir = OsStr::new("--user-data-dir=").to_owned();
        data_dir.push(profile.path());
        let mut command = Command::new(program);
        command.args(FLAGS).arg(data_dir).arg("about:blank").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Group { leader: command.spawn().unwrap(), _profile: profile };
        let stderr = process.leader.stderr.take().unwrap();
        let (found, url) = channel();
        let (reads, ended) = channel();
        // Reads on to the end, so that the browser can always write.
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(url) = line.strip_prefix("DevTools listening on ") {
                    let _nobody_waits = found.send(url.to_owned());
                }
            }
            drop(reads);
        });
        let url = url.recv_timeout(PATIENCE).expect("the browser has not said where it listens");
        let address = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(MORE_PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client(&*url, stream).unwrap();
        let mut browser =
            Self { process, stderr: ended, socket, session: None, last: 0, complaints: Vec::new() };
        let page = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", &attach);
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        // As if its window were in front.
        browser.call("Emulation.setFocusEmulationEnabled", &json!({"enabled": true}));
        Some(browser)
    }

    /// Says something, and returns what is answered.
    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.last += 1;
        let mut call = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            call["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(call.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else { continue };
            let mut answer: Value = serde_json::from_str(&text).unwrap();
            if answer["id"] == self.last {
                assert_eq!(answer["error"], Value::Null, "{method}");
                return answer["result"].take();
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let complains = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            // A server that is gone is no mistake of the page.
            Some("Log.entryAdded") => {
                params["entry"]["level"] == "error" && params["entry"]["source"] != "network"
            }
            _ => false,
        };
        if complains {
            self.complaints.push(params.to_string());
        }
    }

    pub(crate) fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", &json!({"url": url}));
        assert_eq!(opened["errorText"], Value::Null, "{url}");
    }

    /// What an expression of JavaScript is; a promise is waited for.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.call("Runtime.evaluate", &params);
        let thrown = &answer["exceptionDetails"];
        assert_eq!(*thrown, Value::Null, "{expression}: {}", thrown["exception"]["description"]);
        answer["result"]["value"].take()
    }

    /// Waits until a condition in JavaScript holds; it is looked at whenever the page changes.
    pub(crate) fn wait_for(&mut self, condition: &str) {
        let wait = r"new Promise((done, fail) => {
            const holds = () => { try { return CONDITION; } catch { return false; } };
            const look = () => {
                if (!holds()) return;
                observer.disconnect();
                clearTimeout(limit);
                done();
            };
            const observer = new MutationObserver(look);
            const limit = setTimeout(() => {
                observer.disconnect();
                fail(new Error('this never was in ' + document.body.innerText));
            }, PATIENCE);
            const all = {subtree: true, childList: true, characterData: true, attributes: true};
            observer.observe(document, all);
            look();
        })";
        let wait = wait.replace("CONDITION", condition);
        self.value(&wait.replace("PATIENCE", &PATIENCE.as_millis().to_string()));
    }

    /// Waits until the element that a selector finds has this text.
    pub(crate) fn wait_for_text(&mut self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        self.wait_for(&format!("document.querySelector({selector}).textContent === {text}"));
    }

    /// Waits until there is such an element that can be used, and clicks on it.
    pub(crate) fn click(&mut self, selector: &str) {
        let found = format!("document.querySelector({})", json!(selector));
        self.wait_for(&format!("{found}.disabled === false && {found}.checkVisibility()"));
        self.value(&format!("{found}.click()"));
    }

    /// Gives an element the focus, and presses the key.
    pub(crate) fn press_enter_on(&mut self, selector: &str) {
        self.value(&format!("document.querySelector({}).focus()", json!(selector)));
        for (kind, text) in [("keyDown", "\r"), ("keyUp", "")] {
            let key = json!({
                "type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": text,
            });
            self.call("Input.dispatchKeyEvent", &key);
        }
    }

    /// From now on the window is so wide.
    pub(crate) fn resize(&mut self, width: u32) {
        let size = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// What went wrong in the page up to now.
    pub(crate) fn complaints(&mut self) -> &[String] {
        // Whatever was on its way comes before the answer.
        self.value("0");
        &self.complaints
    }

    /// Whether a process of it lives. All of them have one stderr, and the last to go ends it.
    pub(crate) fn lives(&self) -> bool {
        self.stderr.try_recv() == Err(TryRecvError::Empty)
    }

    /// Drops it, and waits until no process of it lives; `false` if one never goes.
    pub(crate) fn ends(self) -> bool {
        let Self { process, stderr, .. } = self;
        drop(process);
        stderr.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Disconnected)
    }
}
