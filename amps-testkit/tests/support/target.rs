//! Transcripts against a server that is not ours: which can be played there, the configuration
//! that the server needs for them, and the stage.
//!
//! Every dialogue gets topics and client names of its own, so that one server serves all of them.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use amps_testkit::{FakeServer, LogCut, LoggedMessage, QueueSnapshot};

use super::script::Dialogue;
use super::stage::Stage;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest that a real clock is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long it takes, at most, until a server has taken what one client sent before another does.
const TAKEN: Duration = Duration::from_millis(50);

/// A dialogue as a server of somebody else can play it.
pub(crate) struct Elsewhere {
    pub dialogue: Dialogue,
    /// What it needs in the configuration.
    settings: Vec<String>,
    suffix: String,
}

/// The dialogues that can be played elsewhere, and why the others cannot.
pub(crate) fn elsewhere(dialogues: Vec<Dialogue>) -> (Vec<Elsewhere>, Vec<(String, String)>) {
    let (mut playable, mut left_out) = (Vec::new(), Vec::new());
    for (number, dialogue) in dialogues.into_iter().enumerate() {
        let settings: Vec<String> = dialogue.settings().map(str::to_owned).collect();
        let why_not = dialogue.lines().find_map(why_not);
        match why_not {
            Some(why) => left_out.push((dialogue.title.clone(), why)),
            None => {
                let suffix = format!("-{number}");
                let dialogue = dialogue.map(|line| (!looks(line)).then(|| renamed(line, &suffix)));
                playable.push(Elsewhere { dialogue, settings, suffix });
            }
        }
    }
    (playable, left_out)
}

/// Why a line needs a server that does what a test says.
fn why_not(line: &str) -> Option<String> {
    if let Some(setting) = line.strip_prefix("@ ") {
        let kind = setting.split(' ').next().unwrap_or_default();
        let known = matches!(kind, "sow" | "queue")
            && setting.split(' ').skip(2).all(|word| xml_of(kind, word).is_some());
        return (!known).then(|| format!("it needs \"{setting}\" in the configuration"));
    }
    if let Some(event) = line.strip_prefix("-- ") {
        let words: Vec<&str> = event.split(' ').collect();
        return match words[..] {
            ["advance", by] if super::script::duration(by) > LONGEST_WAIT => {
                Some(format!("it waits for {by}"))
            }
            ["advance", by] if by.ends_with("ms") => Some("it needs a clock that stands still".to_owned()),
            ["advance", _] | [_, "logs", "on"] | [_, "quiet"] | [_, "disconnects"] => None,
            ["server", "publishes", topic, ..] if is_plain(topic) => None,
            // What only looks into the server is left out of the dialogue.
            ["queue", ..] | ["log:", _] => None,
            [_, "publishes", _, "to", topic] | [_, "gets", _, "of", topic] if is_plain(topic) => None,
            _ => Some(format!("it looks into the server: {event}")),
        };
    }
    if line.contains("rate=") {
        return Some("it needs a clock that stands still".to_owned());
    }
    if line.contains("20260101T") {
        return Some("it names a time".to_owned());
    }
    let mut fields = line.split(' ').filter_map(|word| word.split_once('='));
    let odd = fields.find(|(key, value)| match *key {
        "t" => !is_plain(value),
        "ts" | "lp" => value.starts_with("t+"),
        // The number that stands for a client name is the server's choice.
        "bm" => value.split('|').any(|part| part.len() > 6 && part.bytes().all(|b| b.is_ascii_digit())),
        _ => false,
    });
    odd.map(|(key, value)| format!("{key}={value} is not its own"))
}

/// Whether a line looks into the server.
fn looks(line: &str) -> bool {
    line.starts_with("-- queue ") || line.starts_with("-- log: ")
}

fn is_plain(topic: &str) -> bool {
    !topic.is_empty() && topic.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// A line with topics and clients of its own.
fn renamed(line: &str, suffix: &str) -> String {
    let name = |word: &str| match word.split_once('=') {
        Some((key @ ("t" | "client_name"), value)) => format!("{key}={value}{suffix}"),
        _ => word.to_owned(),
    };
    if let Some(event) = line.strip_prefix("-- ") {
        let mut words: Vec<String> = event.split(' ').map(str::to_owned).collect();
        match words[0].as_str() {
            "advance" => {}
            "server" => words[2] += suffix,
            _ => words[0] += suffix,
        }
        if let [_, verb, _, of, topic] = &mut words[..] {
            if (verb == "publishes" && of == "to") || (verb == "gets" && of == "of") {
                *topic += suffix;
            }
        }
        return format!("-- {}", words.join(" "));
    }
    let (head, body) = line.split_once(" | ").map_or((line, None), |(head, body)| (head, Some(body)));
    let head: Vec<String> = head.split(' ').map(name).collect();
    let head = head.join(" ").replacen(")>", &format!("{suffix})>"), 1);
    body.map_or(head.clone(), |body| format!("{head} | {body}"))
}

/// A setting of a topic or a queue as an element.
fn xml_of(kind: &str, setting: &str) -> Option<String> {
    let (key, value) = setting.split_once('=')?;
    let element = match (kind, key) {
        ("sow", "key") => "Key",
        ("sow", "expiration") => "Expiration",
        ("queue", "underlying") if is_plain(value) => "UnderlyingTopic",
        ("queue", "lease") => "LeasePeriod",
        ("queue", "backlog") => "MaxPerSubscriptionBacklog",
        ("queue", "deliveries") => "MaxDeliveries",
        ("queue", "cancels") => "MaxCancels",
        ("queue", "fairness") => "FairnessModel",
        _ => return None,
    };
    Some(format!("<{element}>{value}</{element}>"))
}

/// An AMPS configuration with everything that these dialogues need.
pub(crate) fn configuration(dialogues: &[Elsewhere]) -> String {
    let mut sow = String::new();
    for Elsewhere { settings, suffix, .. } in dialogues {
        for setting in settings {
            let mut words = setting.split(' ');
            let (kind, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let element = if kind == "sow" { "Topic" } else { "Queue" };
            let _ = write!(sow, "    <{element}><Name>{name}{suffix}</Name><MessageType>json</MessageType>");
            if kind == "sow" {
                let _ = write!(sow, "<FileName>./sow/%n.sow</FileName>");
            }
            for word in words {
                let xml = xml_of(kind, word).unwrap_or_default();
                sow += &xml.replace("</UnderlyingTopic>", &format!("{suffix}</UnderlyingTopic>"));
            }
            let _ = writeln!(sow, "</{element}>");
        }
    }
    format!(
        "<AMPSConfig>\n  <Name>dialogues</Name>\n  <Transports>\n    <Transport><Name>any-tcp</Name><Type>tcp</Type>\
         <InetAddr>9007</InetAddr><Protocol>amps</Protocol></Transport>\n  </Transports>\n  <TransactionLog>\n    \
         <JournalDirectory>./journals</JournalDirectory>\n    <Topic><Name>.*</Name><MessageType>json</MessageType>\
         </Topic>\n  </TransactionLog>\n  <SOW>\n{sow}  </SOW>\n</AMPSConfig>\n"
    )
}

/// Somebody else's server.
pub(crate) struct Target<'s> {
    address: String,
    /// Ours, in the place of one: then the clock can be moved.
    ours: Option<&'s FakeServer>,
    clients: Vec<TcpStream>,
    last_sender: Option<usize>,
}

impl<'s> Target<'s> {
    pub(crate) fn at(address: &str) -> Self {
        Self { address: address.to_owned(), ours: None, clients: Vec::new(), last_sender: None }
    }

    pub(crate) fn ours(server: &'s FakeServer) -> Self {
        Self { ours: Some(server), ..Self::at(&server.addr().to_string()) }
    }
}

impl Target<'_> {
    /// Lets the server take what was sent.
    fn pause(&self) {
        match self.ours {
            Some(server) => server.settle(PATIENCE).unwrap(),
            // Nothing that is not ours tells when it has.
            None => std::thread::sleep(TAKEN),
        }
    }
}

impl Stage for Target<'_> {
    fn connect(&mut self) {
        let client =
            TcpStream::connect(&self.address).unwrap_or_else(|error| panic!("{}: {error}", self.address));
        client.set_nodelay(true).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        self.clients.push(client);
    }
    fn send(&mut self, conn: usize, bytes: &[u8], _frames: usize) {
        if self.last_sender.replace(conn).is_some_and(|last| last != conn) {
            self.pause();
        }
        self.clients[conn].write_all(bytes).unwrap();
    }
    fn receive(&mut self, conn: usize) -> Option<Vec<u8>> {
        let mut prefix = [0; 4];
        self.clients[conn].read_exact(&mut prefix).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        self.clients[conn].read_exact(&mut frame).ok()?;
        Some(frame)
    }
    fn disconnect(&mut self, conn: usize) {
        let _gone_already = self.clients[conn].shutdown(Shutdown::Both);
        self.pause();
    }
    fn advance(&mut self, by: Duration) {
        match self.ours {
            Some(server) => {
                self.pause();
                server.advance(by);
            }
            // There is no other way to let time pass on a clock that is not ours.
            None => std::thread::sleep(by + TAKEN),
        }
    }
    fn close_reason(&mut self, _: usize) -> String {
        unreachable!("such dialogues are left out")
    }
    /// By a client, for the server does not publish by itself. The ack says that it has taken it; that the
    /// client leaves is nothing to wait for.
    fn publish(&mut self, topic: &str, body: &str) {
        self.pause();
        let mut publisher = Target::at(&self.address);
        publisher.connect();
        let commands = [
            r#"{"c":"logon","cid":"1","mt":"json","client_name":"publisher","a":"processed"}"#.to_owned(),
            format!(r#"{{"c":"publish","cid":"2","t":"{topic}","a":"processed"}}{body}"#),
        ];
        for command in commands {
            publisher.send(0, &super::script::framed(command.as_bytes()), 1);
            assert!(
                publisher.receive(0).is_some_and(|ack| String::from_utf8_lossy(&ack).contains("success"))
            );
        }
    }
    fn queue(&mut self, _: &str) -> QueueSnapshot {
        unreachable!("such dialogues are left out")
    }
    fn restart(&mut self) {
        unreachable!("such dialogues are left out")
    }
    fn hold_durability(&mut self, _: bool) {
        unreachable!("such dialogues are left out")
    }
    fn truncate(&mut self, _: LogCut) {
        unreachable!("such dialogues are left out")
    }
    fn log(&mut self) -> Vec<LoggedMessage> {
        unreachable!("such dialogues are left out")
    }
}
