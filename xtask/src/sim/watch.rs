//! The referee of one client: compares the frames on its wire with what its application did.
//!
//! It trusts nothing that the client says about itself: it decodes both directions of every
//! connection, and is told by the scenario what the application was given and what it asked
//! for. Owns P1 (acks), P2 (none is forgotten), P3 (no starvation), P4 (order) and P8
//! (recovery). A check returns the promise that is broken and how.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;
use std::time::Duration;

use amps_client::simulation::Sub;
use amps_protocol::{AckType, CommandKind, LENGTH_PREFIX, Message, Options, Status, next_frame};
use amps_transport::{ConnId, Time};

use super::model::Mark;

/// A promise, and how it was broken.
pub(super) type Breach = (&'static str, String);

/// Virtual time that nobody needs, but that the interleaving of threads may take.
const SLACK: Duration = Duration::from_millis(2);

const FRAME_LIMIT: usize = 1 << 24;

/// An acknowledgement that the application asked for and that is not on the wire yet.
#[derive(Clone, Copy, Debug)]
struct Asked {
    mark: Mark,
    at: Time,
}

/// A subscription as the wire shows it.
#[derive(Debug)]
pub(super) struct SubWatch {
    pub(super) sub: Sub,
    pub(super) batch_size: usize,
    /// What its application asked for.
    wanted: (&'static str, u32),
    /// What the first `subscribe` said, from when it was seen.
    sid: Option<Vec<u8>>,
    topic: Vec<u8>,
    options: Vec<u8>,
    filter: Option<Vec<u8>>,
    /// The command whose answer grants the backlog.
    cid: Vec<u8>,
    granted: Option<u32>,
    pub(super) over: bool,
    asked: VecDeque<Asked>,
    /// Delivery frames that arrived and have not reached the application.
    arrived: VecDeque<Mark>,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    LoggingOn,
    /// What has to be sent before anything else.
    Recovering {
        heartbeat: bool,
        subs: VecDeque<usize>,
    },
    Open,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Watch {
    conn: Option<ConnId>,
    phase: Phase,
    sent: Vec<u8>,
    heartbeat: Option<u64>,
    ack_timeout: Duration,
    pub(super) subs: Vec<SubWatch>,
    /// Cancels and expiries that were asked for.
    returns: VecDeque<Mark>,
    pub(super) acks: u64,
    pub(super) recoveries: u64,
}

impl Watch {
    pub(super) fn new(heartbeat: Option<u64>, ack_timeout: Duration) -> Self {
        Self {
            conn: None,
            phase: Phase::LoggingOn,
            sent: Vec::new(),
            heartbeat,
            ack_timeout,
            subs: Vec::new(),
            returns: VecDeque::new(),
            acks: 0,
            recoveries: 0,
        }
    }

    // ----- what the application did -----------------------------------------------------

    /// The connection that the client counts on at present.
    pub(super) fn conn(&self) -> Option<ConnId> {
        self.conn
    }

    /// The client has a new connection.
    pub(super) fn connected(&mut self, conn: ConnId) {
        self.disconnected();
        self.conn = Some(conn);
    }

    /// The client's connection is over: whatever belonged to it is void.
    pub(super) fn disconnected(&mut self) {
        self.conn = None;
        self.phase = Phase::LoggingOn;
        self.sent.clear();
        self.returns.clear();
        for sub in &mut self.subs {
            sub.asked.clear();
            sub.arrived.clear();
            sub.granted = None;
            sub.cid.clear();
        }
        self.subs.retain(|sub| !sub.over);
    }

    /// The application asked for a subscription, to this topic and with this backlog.
    pub(super) fn subscribed(&mut self, sub: Sub, batch_size: usize, wanted: (&'static str, u32)) {
        self.subs.push(SubWatch {
            sub,
            batch_size,
            wanted,
            sid: None,
            topic: Vec::new(),
            options: Vec::new(),
            filter: None,
            cid: Vec::new(),
            granted: None,
            over: false,
            asked: VecDeque::new(),
            arrived: VecDeque::new(),
        });
    }

    pub(super) fn over(&mut self, sub: Sub) {
        if let Some(watch) = self.subs.iter_mut().find(|watch| watch.sub == sub) {
            watch.over = true;
            watch.arrived.clear();
        }
    }

    pub(super) fn is_live(&self, sub: Sub) -> bool {
        self.subs.iter().any(|watch| watch.sub == sub && !watch.over)
    }

    /// The application was given a message.
    pub(super) fn delivered(&mut self, sub: Sub, mark: &Mark) -> Result<(), Breach> {
        let Some(watch) = self.subs.iter_mut().find(|watch| watch.sub == sub) else {
            return Err(("P4", format!("{mark:?} was delivered to a subscription that is over")));
        };
        match watch.arrived.pop_front() {
            Some(expected) if expected.bytes() == mark.bytes() => Ok(()),
            Some(expected) => {
                Err(("P4", format!("{mark:?} was delivered where {expected:?} was the next to arrive")))
            }
            None => Err(("P4", format!("{mark:?} was delivered, but no such frame arrived"))),
        }
    }

    /// The application processed a message and asked to acknowledge it.
    pub(super) fn ack_asked(&mut self, now: Time, sub: Sub, mark: Mark) {
        if let Some(watch) = self.subs.iter_mut().find(|watch| watch.sub == sub && !watch.over) {
            watch.asked.push_back(Asked { mark, at: now });
        }
    }

    /// The application asked to give a message back, or to expire it.
    pub(super) fn return_asked(&mut self, mark: Mark) {
        self.returns.push_back(mark);
    }

    // ----- what the wire shows ------------------------------------------------------------

    /// Bytes that the client is about to be given; `bytes` begins with a frame.
    pub(super) fn received(&mut self, conn: ConnId, bytes: &[u8]) {
        if self.conn != Some(conn) {
            return;
        }
        each_frame(bytes, |message| match message.command() {
            CommandKind::Ack => self.answered(message),
            CommandKind::Publish => {
                let (Some(ids), Some(mark)) = (message.sub_ids().or(message.sub_id()), message.bookmark())
                else {
                    return;
                };
                let named = |watch: &&mut SubWatch| watch.sid.as_deref() == Some(&**ids) && !watch.over;
                if let Some(watch) = self.subs.iter_mut().find(named) {
                    watch.arrived.push_back(Mark::new(mark));
                }
            }
            _ => {}
        });
    }

    fn answered(&mut self, ack: &Message<&[u8]>) {
        if !ack.acks().contains(AckType::Processed) || ack.status() != Some(Status::Success) {
            return;
        }
        if self.phase == Phase::LoggingOn {
            let live = |(_, watch): &(usize, &SubWatch)| !watch.over && watch.sid.is_some();
            let subs = self.subs.iter().enumerate().filter(live).map(|(at, _)| at).collect();
            self.phase = Phase::Recovering { heartbeat: self.heartbeat.is_some(), subs };
            return;
        }
        let Some(cid) = ack.command_id() else { return };
        if let Some(watch) = self.subs.iter_mut().find(|watch| watch.cid == **cid) {
            let options = ack.options().map(|text| Options::parse(&text.to_string()));
            watch.granted = options.and_then(|options| options.max_backlog().ok().flatten());
        }
    }

    /// Bytes that the client sent.
    pub(super) fn sent(&mut self, conn: ConnId, bytes: &[u8]) -> Result<(), Breach> {
        if self.conn != Some(conn) {
            return Err(("P1", format!("{} bytes were sent on {conn:?}, which is over", bytes.len())));
        }
        let mut result = Ok(());
        if self.sent.is_empty() {
            let whole = each_frame(bytes, |frame| keep_first(&mut result, || self.frame_sent(frame)));
            self.sent.extend_from_slice(&bytes[whole..]);
        } else {
            let mut all = std::mem::take(&mut self.sent);
            all.extend_from_slice(bytes);
            let whole = each_frame(&all, |frame| keep_first(&mut result, || self.frame_sent(frame)));
            self.sent = all.split_off(whole);
        }
        result
    }

    fn frame_sent(&mut self, frame: &Message<&[u8]>) -> Result<(), Breach> {
        let command = frame.command();
        match &mut self.phase {
            Phase::LoggingOn if command == CommandKind::Logon => return Ok(()),
            Phase::LoggingOn => {
                return Err(("P8", format!("{command:?} was sent before the logon was acknowledged")));
            }
            Phase::Recovering { heartbeat: heartbeat @ true, .. } => {
                *heartbeat = false;
                let options = frame.options().map(ToString::to_string).unwrap_or_default();
                let wanted = format!("start,{}", self.heartbeat.unwrap_or_default());
                if command != CommandKind::Heartbeat || options != wanted {
                    return Err((
                        "P8",
                        format!("{command:?} ({options}) was sent instead of a heartbeat {wanted}"),
                    ));
                }
                return Ok(());
            }
            Phase::Recovering { subs, .. } => match subs.pop_front() {
                Some(at) => return self.resubscribed(at, frame),
                None => self.phase = Phase::Open,
            },
            Phase::Open => {}
        }
        match command {
            CommandKind::Subscribe => self.subscribe_sent(frame),
            CommandKind::Unsubscribe => self.unsubscribe_sent(frame),
            CommandKind::SowDelete => self.ack_sent(frame),
            CommandKind::Logon => Err(("P8", "a second logon on a connection that is online".into())),
            _ => Ok(()),
        }
    }

    fn resubscribed(&mut self, at: usize, frame: &Message<&[u8]>) -> Result<(), Breach> {
        self.recoveries += 1;
        let watch = &mut self.subs[at];
        let text = |field: Option<&amps_protocol::BStr>| field.map(|text| text.to_vec());
        let same = frame.command() == CommandKind::Subscribe
            && text(frame.sub_id()) == watch.sid
            && text(frame.topic()).unwrap_or_default() == watch.topic
            && text(frame.options()).unwrap_or_default() == watch.options
            && text(frame.filter()) == watch.filter;
        if same {
            watch.cid = text(frame.command_id()).unwrap_or_default();
            return Ok(());
        }
        let options = String::from_utf8_lossy(&watch.options).into_owned();
        Err(("P8", format!("{frame:?} was sent where {:?} ({options}) had to be placed again", watch.sub)))
    }

    fn subscribe_sent(&mut self, frame: &Message<&[u8]>) -> Result<(), Breach> {
        let text = |field: Option<&amps_protocol::BStr>| field.map(|text| text.to_vec());
        let sid = text(frame.sub_id());
        let replaces =
            frame.options().is_some_and(|options| Options::parse(&options.to_string()).contains("replace"));
        if self.subs.iter().any(|watch| watch.sid == sid && !watch.over) {
            return if replaces { Ok(()) } else { Err(("P8", format!("{frame:?} was sent twice"))) };
        }
        match self.subs.iter_mut().find(|watch| watch.sid.is_none()) {
            Some(watch) => {
                watch.sid = sid;
                watch.topic = text(frame.topic()).unwrap_or_default();
                watch.options = text(frame.options()).unwrap_or_default();
                watch.filter = text(frame.filter());
                watch.cid = text(frame.command_id()).unwrap_or_default();
                let (topic, backlog) = watch.wanted;
                let asked = watch.topic == topic.as_bytes()
                    && watch.options == format!("max_backlog={backlog}").as_bytes()
                    && watch.filter.is_none();
                if asked {
                    return Ok(());
                }
                Err(("P8", format!("{frame:?} was sent where {topic} with {backlog} was asked for")))
            }
            None => Err(("P8", format!("{frame:?} was sent, and nobody asked for it"))),
        }
    }

    fn unsubscribe_sent(&mut self, frame: &Message<&[u8]>) -> Result<(), Breach> {
        let sid = frame.sub_id().map(|text| text.to_vec());
        let Some(watch) = self.subs.iter_mut().find(|watch| watch.sid == sid) else { return Ok(()) };
        let forgotten = watch.asked.len();
        watch.asked.clear();
        match forgotten {
            0 => Ok(()),
            _ => {
                Err(("P2", format!("unsubscribed {:?} with {forgotten} acknowledgements unsent", watch.sub)))
            }
        }
    }

    fn ack_sent(&mut self, frame: &Message<&[u8]>) -> Result<(), Breach> {
        let Some(list) = frame.bookmark() else { return Ok(()) };
        if frame.options().is_some() {
            let at = self.returns.iter().position(|mark| mark.bytes() == &**list);
            let found = at.and_then(|at| self.returns.remove(at));
            return match found {
                Some(_) => Ok(()),
                None => Err(("P1", format!("{list} was given back, and nobody asked for it"))),
            };
        }
        let mut count = 0;
        let mut of = None;
        for mark in list.split(|byte| *byte == b',') {
            count += 1;
            self.acks += 1;
            let found = self.subs.iter_mut().enumerate().find_map(|(number, watch)| {
                let at = watch.asked.iter().position(|asked| asked.mark.bytes() == mark)?;
                watch.asked.remove(at).map(|_| number)
            });
            if found.is_none() {
                let mark = String::from_utf8_lossy(mark).into_owned();
                return Err((
                    "P1",
                    format!(
                        "{mark} was acknowledged on {:?}; no delivery of this connection awaits that",
                        self.conn
                    ),
                ));
            }
            of = found;
        }
        let granted = of.and_then(|at| self.subs[at].granted);
        match granted {
            Some(granted) if count > granted.max(1) => {
                Err(("P3", format!("a batch of {count} exceeds the granted backlog of {granted}")))
            }
            _ => Ok(()),
        }
    }

    // ----- what has to hold between events ---------------------------------------------------

    /// After each event of this client.
    pub(super) fn settled(&self) -> Result<(), Breach> {
        if let Phase::Recovering { subs, .. } = &self.phase {
            if !subs.is_empty() {
                return Err((
                    "P8",
                    format!("{} subscriptions were not placed again after the logon", subs.len()),
                ));
            }
        }
        for watch in self.subs.iter().filter(|watch| !watch.over) {
            if let Some(mark) = watch.arrived.front() {
                return Err(("P4", format!("{mark:?} arrived for {:?} and was not delivered", watch.sub)));
            }
            let waiting = watch.asked.len();
            if let Some(granted) = watch.granted.filter(|granted| waiting >= (*granted).max(1) as usize) {
                return Err((
                    "P3",
                    format!(
                        "{:?} starves: {waiting} acknowledgements wait, the backlog is {granted}",
                        watch.sub
                    ),
                ));
            }
            if waiting >= watch.batch_size.max(1) {
                return Err((
                    "P2",
                    format!("{waiting} acknowledgements wait in a batch of {}", watch.batch_size),
                ));
            }
        }
        Ok(())
    }

    /// At any time: no acknowledgement waits longer than it may. `excused` is the end of the
    /// last span in which nothing ran.
    pub(super) fn punctual(&self, now: Time, excused: Time) -> Result<(), Breach> {
        for watch in &self.subs {
            let Some(oldest) = watch.asked.front() else { continue };
            let due = (oldest.at + self.ack_timeout).max(excused) + SLACK;
            if now > due {
                let late = now - oldest.at;
                return Err((
                    "P2 (AB-3)",
                    format!(
                        "{:?} waits for {late:?}; batches wait {:?} at most",
                        oldest.mark, self.ack_timeout
                    ),
                ));
            }
        }
        Ok(())
    }
}

fn keep_first(result: &mut Result<(), Breach>, f: impl FnOnce() -> Result<(), Breach>) {
    if result.is_ok() {
        *result = f();
    }
}

/// Calls `f` with each whole frame; returns where the rest begins.
pub(super) fn each_frame(bytes: &[u8], mut f: impl FnMut(&Message<&[u8]>)) -> usize {
    let mut at = 0;
    while let Ok(Some(total)) = next_frame(&bytes[at..], FRAME_LIMIT) {
        if let Ok(message) = Message::decode(&bytes[at + LENGTH_PREFIX..at + total]) {
            f(&message);
        }
        at += total;
    }
    at
}
