//! `cargo xtask network`: a client and a server in two network namespaces, and a cable between them that is slow, loses
//! packets, or is pulled.
//!
//! Owns the namespace and the cable, which are gone when it ends. It needs root and `ip`; where one is missing it says
//! so in one line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use amps_client::{
    Client, ConnectionState, MemoryPublishStore, PublishState, Receipt, Reconnect, Subscription,
};

use crate::process::{Heard, Process, Said};

/// How often each side says something.
const BEAT: Duration = Duration::from_secs(1);

/// Silence after which a connection counts as lost.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How much later than that a busy machine may notice.
const MARGIN: Duration = Duration::from_secs(2);

/// Shorter than what the heartbeat notices, longer than the first retransmissions of the kernel.
const HICCUP: Duration = Duration::from_millis(600);

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it takes at most until messages flow again after the cable is back: the kernel tries to connect again
/// after 1 s, 2 s and 4 s.
const RECOVERY: Duration = Duration::from_secs(15);

const PORT: u16 = 9007;

/// What is published in each part.
const COUNT: usize = 500;

/// What a cable does to packets, each way.
struct Disturbance {
    what: &'static str,
    /// In milliseconds; the second number is how much it varies, so that packets overtake others.
    delay: (u32, u32),
    /// In percent.
    loss: u32,
}

const NO_DISTURBANCE: Disturbance = Disturbance { what: "nothing", delay: (0, 0), loss: 0 };

const DISTURBANCES: &[Disturbance] = &[
    Disturbance { what: "50 ms each way", delay: (50, 0), loss: 0 },
    Disturbance { what: "5% of the packets lost", delay: (1, 0), loss: 5 },
    Disturbance { what: "late, lost, and overtaken by others", delay: (20, 10), loss: 2 },
];

/// Runs every part.
///
/// # Errors
/// A connection was lost without need, was not noticed as lost in time, or did not recover.
pub fn run() -> Result<(), String> {
    let Some(cable) = Cable::lay() else {
        println!("skipped: network needs root, and an `ip` that may make network namespaces");
        return Ok(());
    };
    let (sender, heard) = channel();
    let server = cable.serve(sender)?;
    ready(&heard)?;
    let desk = Desk::connect("desk", &cable.server())?;
    desk.exchange("a sound cable")?;
    if cable.disturb(&DISTURBANCES[0]) {
        for disturbance in DISTURBANCES {
            cable.disturb(disturbance);
            desk.bears(disturbance)?;
        }
        cable.calm();
    } else if let Some(mut bad) = BadCable::lay(&cable) {
        let desk = Desk::connect("distant-desk", &bad.server())?;
        for disturbance in DISTURBANCES {
            bad.disturb(disturbance)?;
            desk.bears(disturbance)?;
            println!("    {}", bad.disturb(&NO_DISTURBANCE)?);
        }
    } else {
        println!(
            "packets lost or late: skipped: no netem in this kernel, and no TUN, `tc` or python3 in its place"
        );
    }
    cable.pull()?;
    std::thread::sleep(HICCUP);
    cable.plug()?;
    desk.exchange("the cable out for a moment")?;
    desk.was_never_lost()?;
    for round in 1..=3 {
        desk.is_cut_off(&cable, round)?;
    }
    drop((desk, server));
    Ok(())
}

fn ready(heard: &Receiver<Heard<()>>) -> Result<(), String> {
    match heard.recv_timeout(PATIENCE).map(|heard| heard.said) {
        Ok(Said::Line(line)) if line == "ready" => Ok(()),
        other => Err(format!("the server does not start: {other:?}")),
    }
}

/// A namespace, and a pair of interfaces from here to there.
struct Cable {
    namespace: String,
    here: String,
    there: String,
    /// The first three numbers of both addresses.
    net: String,
}

impl Cable {
    /// Nothing where that may not be done.
    fn lay() -> Option<Self> {
        let id = std::process::id();
        let net = format!("10.231.{}", id % 256);
        let cable =
            Self { namespace: format!("amps-{id}"), here: format!("ah{id}"), there: format!("at{id}"), net };
        let Self { namespace, here, there, net } = &cable;
        let (ours, theirs) = (format!("{net}.1/30"), format!("{net}.2/30"));
        let laid = ip(&["netns", "add", namespace])
            && ip(&["link", "add", here, "type", "veth", "peer", "name", there])
            && ip(&["link", "set", there, "netns", namespace])
            && ip(&["addr", "add", &ours, "dev", here])
            && ip(&["link", "set", here, "up"])
            && ip(&["-n", namespace, "addr", "add", &theirs, "dev", there])
            && ip(&["-n", namespace, "link", "set", there, "up"]);
        laid.then_some(cable)
    }

    fn server(&self) -> String {
        format!("{}.2:{PORT}", self.net)
    }

    /// A server at the other end, which ends with this process.
    fn serve(&self, heard: std::sync::mpsc::Sender<Heard<()>>) -> Result<Process, String> {
        let program = std::env::current_exe().map_err(|error| format!("this program is gone: {error}"))?;
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        let args = ["server".to_owned(), format!("0.0.0.0:{PORT}")];
        Process::start_below(command, &args, ((), 1), heard)
    }

    /// Has the interfaces on both sides treat so what they send, if the kernel can.
    fn disturb(&self, how: &Disturbance) -> bool {
        let (delay, jitter) = (format!("{}ms", how.delay.0), format!("{}ms", how.delay.1));
        let loss = format!("{}%", how.loss);
        let netem = ["root", "netem", "delay", &*delay, &*jitter, "loss", &*loss];
        let here = ["qdisc", "replace", "dev", &self.here];
        let there = ["netns", "exec", &self.namespace, "tc", "qdisc", "replace", "dev", &self.there];
        runs("tc", &[&here[..], &netem].concat()) && ip(&[&there[..], &netem].concat())
    }

    fn calm(&self) {
        let there = ["netns", "exec", &self.namespace, "tc", "qdisc", "del", "dev", &self.there, "root"];
        let _both = (runs("tc", &["qdisc", "del", "dev", &self.here, "root"]), ip(&there));
    }

    /// At the far end: here it is a cable without a signal, and the address stays.
    fn pull(&self) -> Result<(), String> {
        self.set("down")
    }

    fn plug(&self) -> Result<(), String> {
        self.set("up")
    }

    fn set(&self, state: &str) -> Result<(), String> {
        let set = ip(&["-n", &self.namespace, "link", "set", &self.there, state]);
        if set { Ok(()) } else { Err(format!("the cable does not go {state}")) }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // What was not made cannot be taken away. The other end goes with this one.
        let _both = (ip(&["link", "del", &self.here]), ip(&["netns", "del", &self.namespace]));
    }
}

/// A second cable to the same server, which a script carries the packets over.
struct BadCable {
    net: String,
    carrier: Child,
    told: Option<ChildStdin>,
    says: BufReader<ChildStdout>,
}

impl BadCable {
    const SCRIPT: &str = "xtask/interop/cable.py";

    /// Nothing where that cannot be done.
    fn lay(cable: &Cable) -> Option<Self> {
        let (here, there) = (format!("b{}", cable.here), format!("b{}", cable.there));
        let mut carrier = Command::new("python3")
            .args([Self::SCRIPT, &here, &cable.namespace, &there])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let (told, says) = (carrier.stdin.take(), carrier.stdout.take()?);
        let mut bad = Self { net: cable.net.clone(), carrier, told, says: BufReader::new(says) };
        let mut line = String::new();
        bad.says.read_line(&mut line).ok()?;
        let (ours, theirs) = (format!("{}.5/30", bad.net), format!("{}.6/30", bad.net));
        let laid = line == "ready\n"
            && ip(&["addr", "add", &ours, "dev", &here])
            && ip(&["link", "set", &here, "up"])
            && ip(&["-n", &cable.namespace, "addr", "add", &theirs, "dev", &there])
            && ip(&["-n", &cable.namespace, "link", "set", &there, "up"]);
        laid.then_some(bad)
    }

    fn server(&self) -> String {
        format!("{}.6:{PORT}", self.net)
    }

    /// Says what became of the packets so far.
    fn disturb(&mut self, how: &Disturbance) -> Result<String, String> {
        let told = self.told.as_mut().ok_or("the cable's carrier hears nothing")?;
        let ((delay, jitter), loss) = (how.delay, how.loss);
        // In one piece: the script takes what it reads as a whole.
        let line = format!("{delay} {jitter} {loss}\n");
        let mut said = String::new();
        let written = told.write_all(line.as_bytes()).and_then(|()| self.says.read_line(&mut said));
        written.map_err(|error| format!("the cable's carrier has ended: {error}"))?;
        Ok(said.trim_end().to_owned())
    }
}

impl Drop for BadCable {
    fn drop(&mut self) {
        // Its interfaces go with it.
        let _ended = (self.carrier.kill(), self.carrier.wait());
    }
}

fn ip(arguments: &[&str]) -> bool {
    runs("ip", arguments)
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// A message, of a packet or so.
fn body(n: usize, what: &str) -> String {
    format!("{{\"n\":{n},\"what\":\"{what}\",\"more\":\"{}\"}}", "x".repeat(1_200))
}

/// A client that keeps what it publishes, a subscription of its own to it, and what becomes of the connection.
struct Desk {
    client: Client,
    /// Of its own.
    topic: String,
    states: Receiver<(Instant, ConnectionState)>,
    notes: std::cell::RefCell<Subscription>,
}

impl Desk {
    fn connect(name: &str, server: &str) -> Result<Self, String> {
        let (sender, states) = channel();
        let client = Client::builder(name)
            .server(format!("tcp://{server}/amps/json"))
            .reconnect(Reconnect::new().initial(Duration::from_millis(50)).max(Duration::from_millis(500)))
            .heartbeat(BEAT)
            .heartbeat_timeout(TIMEOUT)
            .connect_timeout(Duration::from_secs(10))
            .publish_store(MemoryPublishStore::new())
            .on_state(move |state| _ = sender.send((Instant::now(), state)))
            .connect()
            .map_err(|error| format!("cannot connect: {error}"))?;
        let notes = client.subscribe(name).resume_silently().start().map_err(|error| error.to_string())?;
        while states.try_recv().is_ok() {}
        Ok(Self { client, topic: name.to_owned(), states, notes: notes.into() })
    }

    fn publish(&self, what: &str) -> Result<Vec<Receipt>, String> {
        let publish = |n| self.client.publish(&self.topic, body(n, what));
        (0..COUNT).map(publish).collect::<Result<_, _>>().map_err(|error| format!("{what}: {error}"))
    }

    /// Publishes, and receives all of it, in order and once.
    fn exchange(&self, what: &str) -> Result<(), String> {
        let began = Instant::now();
        self.publish(what)?;
        let mut notes = self.notes.borrow_mut();
        for n in 0..COUNT {
            let message = notes.next_within(PATIENCE).map_err(|error| format!("{what}: {error}"))?;
            let message = message.ok_or_else(|| format!("{what}: nothing came for {PATIENCE:?}"))?;
            let (came, expected) = (message.data_str().unwrap_or_default(), body(n, what));
            if came != expected {
                let shown = |text: &str| text.trim_end_matches(['x', '"', '}']).to_owned();
                return Err(format!("{what}: {} was expected, and {} came", shown(&expected), shown(came)));
            }
        }
        self.client.flush(PATIENCE).map_err(|error| format!("{what}: {error}"))?;
        println!("{what}: {COUNT} messages, {:.1} s", began.elapsed().as_secs_f64());
        Ok(())
    }

    /// What is disturbed so is slower, and nothing else.
    fn bears(&self, disturbance: &Disturbance) -> Result<(), String> {
        self.exchange(disturbance.what)?;
        self.was_never_lost().map_err(|error| format!("{}: {error}", disturbance.what))
    }

    fn was_never_lost(&self) -> Result<(), String> {
        match self.states.try_iter().find(|(_, state)| *state == ConnectionState::Disconnected) {
            Some(_) => Err("the connection was given up without need".into()),
            None => Ok(()),
        }
    }

    fn wait_for(&self, wanted: ConnectionState, within: Duration) -> Result<Instant, String> {
        let until = Instant::now() + within;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.states.recv_timeout(left) {
                Ok((at, state)) if state == wanted => return Ok(at),
                Ok(_) => {}
                Err(_) => return Err(format!("not {wanted:?} within {within:?}")),
            }
        }
    }

    /// The cable is pulled while messages are under way, and is back when the loss was noticed.
    fn is_cut_off(&self, cable: &Cable, round: usize) -> Result<(), String> {
        let pulled = Instant::now();
        cable.pull()?;
        let receipts = self.publish("under way")?;
        let noticed = self.wait_for(ConnectionState::Disconnected, TIMEOUT + MARGIN)?.duration_since(pulled);
        let back = Instant::now();
        cable.plug()?;
        self.wait_for(ConnectionState::LoggedOn, RECOVERY)?;
        self.client.flush(PATIENCE).map_err(|error| format!("after the cable was back: {error}"))?;
        if let Some(lost) = receipts.iter().find(|receipt| receipt.state() != PublishState::Persisted) {
            return Err(format!("a message did not survive: {:?}", lost.state()));
        }
        let recovered = back.elapsed();
        // What the server had not seen before comes to the subscription after it was placed again.
        self.skip_to_the_end()?;
        self.exchange("the cable back")?;
        println!(
            "the cable pulled, round {round}: noticed after {noticed:.1?}, recovered {recovered:.1?} after it was back"
        );
        Ok(())
    }

    /// Reads what has come so far.
    fn skip_to_the_end(&self) -> Result<(), String> {
        const LAST: &str = "{\"last\":true}";
        self.client.publish(&self.topic, LAST).map_err(|error| error.to_string())?;
        let mut notes = self.notes.borrow_mut();
        while let Some(message) = notes.next_within(PATIENCE).map_err(|error| error.to_string())? {
            if message.data_str().unwrap_or_default() == LAST {
                return Ok(());
            }
        }
        Err(format!("nothing came for {PATIENCE:?}"))
    }
}
