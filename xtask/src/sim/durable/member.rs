//! One client through all lives of its process: its stores, its wire, and its referees.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use amps_client::simulation::{LeaseId, SimClient, SimDisk, SimStores, Steps, Sub, Ticket};
use amps_client::{BookmarkStore, MemoryBookmarkStore, MemoryPublishStore, PublishStore, SyncPolicy};
use amps_protocol::{AckType, CommandKind, Message, Status};
use amps_testkit::MessageId;
use amps_testkit::sim::EndpointId;
use amps_transport::{ConnId, Time};

use super::super::model::Mark;
use super::super::watch::{Breach, each_frame};
use super::app::App;
use super::asks::Asks;
use super::kept::{End, Ledger};
use super::mistakes;
use super::replayed::Replayed;
use super::server::Server;
use super::setup::{MemberPlan, Role, Store};

/// A queue message that the application holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) lease: LeaseId,
    pub(super) mark: Mark,
    pub(super) id: u32,
    /// Where it came.
    pub(super) conn: Option<ConnId>,
}

/// The present connection, as its wire shows it.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) conn: Option<ConnId>,
    /// With which server, and in which life of its log.
    pub(super) server: Option<(usize, usize)>,
    /// The lives of all logs when it began.
    lives: Vec<usize>,
    logged_on: bool,
    /// The beginning of a frame.
    sent: Vec<u8>,
    /// Subscriptions that have to be placed again, in order.
    expected: VecDeque<String>,
}

pub(super) struct Member {
    pub(super) id: EndpointId,
    pub(super) plan: MemberPlan,
    /// `None` while its process is dead.
    pub(super) machine: Option<SimClient<App>>,
    pub(super) disk: SimDisk,
    /// The threads of its stores.
    pub(super) steps: Vec<Steps>,
    pub(super) stepping: bool,
    /// Its socket was full, and is about to have room.
    pub(super) blocked: bool,
    /// Something was written, or may have been, since everything was forced.
    pub(super) unforced_since: Option<Time>,
    pub(super) line: Line,
    /// The hash of its name, as servers say.
    pub(super) publisher: u64,
    pub(super) ledger: Ledger,
    pub(super) replays: Vec<Replayed>,
    /// The queue's subscription, and its answer while that is awaited.
    pub(super) queue: Option<(Sub, Option<Ticket>)>,
    queue_sent: bool,
    /// What the application is done with.
    asks: Asks,
    /// Messages of the queue whose acknowledgement was reported as persisted; `true`: every server has to
    /// know it.
    pub(super) acknowledged: Vec<(MessageId, bool)>,
    /// The server of the last connection, and whether anything was leased there when it ended.
    left: Option<(usize, bool)>,
    pub(super) held: Vec<Held>,
    /// Messages of replays that the application is not done with: which replay, which life.
    pub(super) open: Vec<(usize, MessageId, u32)>,
    /// Counts the lives of its process.
    pub(super) life: u32,
    pub(super) next: u32,
    /// The next publish goes where it is refused.
    pub(super) misdirected: bool,
    pub(super) leaving: bool,
    pub(super) acks: u64,
    pub(super) recoveries: u64,
    /// How often it went to the other server, and left leases behind.
    pub(super) failovers: u64,
}

impl Member {
    pub(super) fn new(id: EndpointId, plan: MemberPlan, disk: SimDisk) -> Self {
        let mut ledger = Ledger::default();
        match plan.publishes {
            Some(Store::Memory) | None => ledger.volatile = true,
            Some(Store::File(policy)) => ledger.forced_first = policy == SyncPolicy::EveryWrite,
        }
        let wants = if plan.role == Role::Subscriber { plan.wants } else { 0 };
        Self {
            id,
            machine: None,
            disk,
            steps: Vec::new(),
            stepping: false,
            blocked: false,
            unforced_since: None,
            line: Line::default(),
            publisher: 0,
            ledger,
            replays: (0..wants).map(|number| Replayed::new(format!("r{number}"))).collect(),
            queue: None,
            queue_sent: false,
            asks: Asks::default(),
            acknowledged: Vec::new(),
            left: None,
            held: Vec::new(),
            open: Vec::new(),
            life: 0,
            next: 0,
            misdirected: false,
            leaving: false,
            acks: 0,
            recoveries: 0,
            failovers: 0,
            plan,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.plan.config.name
    }

    pub(super) fn policy(&self) -> Option<SyncPolicy> {
        [self.plan.publishes, self.plan.bookmarks].into_iter().flatten().find_map(|store| match store {
            Store::File(policy) => Some(policy),
            Store::Memory => None,
        })
    }

    pub(super) fn is_up(&self) -> bool {
        self.machine.as_ref().is_some_and(SimClient::is_up)
    }

    // ----- lives ----------------------------------------------------------------------

    /// Its process starts, with what its disk holds.
    ///
    /// # Errors
    /// The stores cannot be opened, or not be used.
    pub(super) fn start(&mut self, id: EndpointId, tracing: bool) -> Result<(), String> {
        self.id = id;
        let bugs = self.plan.config.bugs;
        let text = |error: amps_client::StoreError| error.to_string();
        self.steps.clear();
        let publishes: Option<Box<dyn PublishStore>> = match self.plan.publishes {
            None => None,
            Some(Store::Memory) => Some(Box::new(MemoryPublishStore::new())),
            Some(Store::File(policy)) => {
                let (store, steps) = self.disk.publish_store(Path::new("publishes"), policy).map_err(text)?;
                self.steps.push(steps);
                Some(mistakes::publish_store(store, bugs))
            }
        };
        let bookmarks: Option<Arc<dyn BookmarkStore>> = match self.plan.bookmarks {
            None => None,
            Some(Store::Memory) => Some(mistakes::bookmark_store(MemoryBookmarkStore::new(), bugs)),
            Some(Store::File(policy)) => {
                let (store, steps) =
                    self.disk.bookmark_store(Path::new("bookmarks"), policy).map_err(text)?;
                self.steps.push(steps);
                Some(mistakes::bookmark_store(store, bugs))
            }
        };
        let MemberPlan { strict, retry, socket, .. } = self.plan;
        let stores = SimStores { publishes, bookmarks, strict, retry, socket };
        let at_once = self.plan.work.as_millis() % 2 == 0;
        let app = App { tracing, at_once, ..App::default() };
        let machine = SimClient::with_stores(self.plan.config.clone(), stores, app);
        self.machine = Some(machine.map_err(|error| error.to_string())?);
        Ok(())
    }

    /// Its process ends.
    pub(super) fn end(&mut self, end: End) {
        match end {
            // The stores are closed by being dropped, and nothing interferes.
            End::Orderly => self.disk.stop_after(1 << 40),
            End::Killed => self.disk.kill_process(),
            End::PowerCut => self.disk.cut_power(),
        }
        self.steps.clear();
        self.machine = None;
        if end == End::Orderly {
            self.disk.kill_process();
        }
        (self.stepping, self.blocked, self.unforced_since) = (false, false, None);
        self.life += 1;
        self.ledger.ended(end);
        let volatile = self.plan.bookmarks == Some(Store::Memory);
        self.replays.iter_mut().for_each(|replay| replay.ended(end, volatile));
        (self.queue, self.queue_sent) = (None, false);
        self.held.clear();
        self.open.clear();
        self.leave();
    }

    /// A message of the queue is processed; `conn`: where it was leased.
    pub(super) fn is_done_with_job(&mut self, mark: Mark, conn: Option<ConnId>) {
        // What ended with its connection cannot be acknowledged any more.
        if let (Some(conn), Ok(message)) = (conn, MessageId::parse(mark.bytes())) {
            if self.line.conn == Some(conn) {
                self.asks.done(message, conn);
            }
        }
    }

    /// The subscriptions and tickets whose answer has come.
    pub(super) fn poll_answers(&mut self) {
        for replay in &mut self.replays {
            match replay.ticket.as_ref().and_then(Ticket::outcome) {
                None => {}
                Some(Ok(())) => replay.ticket = None,
                Some(Err(_)) => (replay.ticket, replay.sub, replay.was_sent) = (None, None, false),
            }
        }
        if let Some((_, ticket)) = &mut self.queue {
            match ticket.as_ref().and_then(Ticket::outcome) {
                None => {}
                Some(Ok(())) => *ticket = None,
                Some(Err(_)) => (self.queue, self.queue_sent) = (None, false),
            }
        }
    }

    /// A subscription is over.
    pub(super) fn over(&mut self, sub: Sub) {
        for replay in self.replays.iter_mut().filter(|replay| replay.sub == Some(sub)) {
            (replay.sub, replay.was_sent) = (None, false);
        }
        if self.queue.as_ref().is_some_and(|(queue, _)| *queue == sub) {
            (self.queue, self.queue_sent) = (None, false);
        }
    }

    // ----- the wire -------------------------------------------------------------------

    pub(super) fn connected(&mut self, conn: ConnId, server: Option<(usize, usize)>, servers: &[Server]) {
        self.disconnected();
        let lives = servers.iter().map(|server| server.book.life()).collect();
        self.line = Line { conn: Some(conn), server, lives, ..Line::default() };
        self.ledger.connected();
    }

    fn leave(&mut self) {
        let had_leases = self.asks.disconnected();
        if let Some((server, _)) = self.line.server.filter(|_| self.line.logged_on) {
            self.left = Some((server, had_leases));
        }
        self.line = Line::default();
    }

    pub(super) fn disconnected(&mut self) {
        self.leave();
        self.replays.iter_mut().for_each(Replayed::disconnected);
    }

    /// Frames that the client is about to be given.
    pub(super) fn received(&mut self, conn: ConnId, bytes: &[u8], servers: &[Server]) -> Result<(), Breach> {
        let mut result = Ok(());
        if self.line.conn == Some(conn) {
            each_frame(bytes, |frame| {
                if result.is_ok() {
                    result = self.frame_received(frame, servers);
                }
            });
        }
        result
    }

    fn frame_received(&mut self, frame: &Message<&[u8]>, servers: &[Server]) -> Result<(), Breach> {
        let bookmark = frame.bookmark().and_then(|text| MessageId::parse(text).ok());
        let place = self.line.server;
        match frame.command() {
            CommandKind::Ack if !self.line.logged_on => {
                if frame.status() == Some(Status::Success) && frame.is_ack(AckType::Processed) {
                    self.line.logged_on = true;
                    let left = self.left.filter(|(_, had_leases)| *had_leases);
                    self.failovers +=
                        u64::from(left.zip(place).is_some_and(|((before, _), (server, _))| before != server));
                    self.expect_again();
                    self.publisher = bookmark.map_or(0, |bookmark| bookmark.publisher);
                    if let Some(has) = frame.sequence() {
                        return self.reported(has, servers, false);
                    }
                }
                Ok(())
            }
            CommandKind::Ack if frame.is_ack(AckType::Persisted) => {
                if let Some(sub) = frame.sub_id().or(frame.sub_ids()) {
                    let replay = self.replays.iter_mut().find(|replay| replay.id.as_bytes() == &**sub);
                    if let (Some(replay), Some(bookmark), Some((server, life))) = (replay, bookmark, place) {
                        replay.meets(bookmark, server, life);
                    }
                    return Ok(());
                }
                match (frame.sequence(), frame.status()) {
                    (Some(number), Some(Status::Success)) => self.reported(number, servers, true),
                    // It says nothing of what was published before.
                    (Some(number), _) => self.ledger.refused(number),
                    (None, _) => Ok(()),
                }
            }
            CommandKind::Publish if frame.lease().is_some() => {
                bookmark.into_iter().for_each(|message| self.asks.leased(message));
                Ok(())
            }
            CommandKind::Publish => {
                let (Some(bookmark), Some((server, life))) = (bookmark, place) else { return Ok(()) };
                for replay in &mut self.replays {
                    if frame.ids().any(|id| id == replay.id.as_bytes()) {
                        replay.meets(bookmark, server, life);
                        replay.arrives(bookmark);
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The server has everything up to a number; `waits`: and so has every server that it waits for
    /// (server.md HA-03), which nobody says at a logon.
    fn reported(&mut self, upto: u64, servers: &[Server], waits: bool) -> Result<(), Breach> {
        if self.plan.publishes.is_none() {
            return Ok(());
        }
        let publisher = self.publisher;
        let place = self.line.server;
        let by = place.and_then(|(server, _)| servers.get(server));
        let everywhere = waits && by.is_some_and(|server| server.waits);
        let numbers = &self.ledger.numbers;
        let lost = |number| numbers.get(&number).is_some_and(|kept| kept.doubtful);
        let known = self.asks.reported(upto, lost).into_iter();
        let mut known = known.map(|message| (message, everywhere)).collect();
        self.acknowledged.append(&mut known);
        let logs: Vec<(usize, usize)> = match everywhere {
            true => self.line.lives.iter().copied().enumerate().collect(),
            false => place.into_iter().collect(),
        };
        self.ledger.reported(upto, &logs, |sequence| {
            let number = MessageId { publisher, sequence };
            by.is_some_and(|server| server.book.took(number))
                && (!everywhere || servers.iter().all(|server| server.book.took(number)))
        })
    }

    /// The connection is open: what was placed is placed again first.
    fn expect_again(&mut self) {
        let replays = self.replays.iter().filter(|replay| replay.sub.is_some() && replay.was_sent);
        let mut all: Vec<(Sub, String)> =
            replays.filter_map(|replay| Some((replay.sub?, replay.id.clone()))).collect();
        if let Some((sub, _)) = self.queue.as_ref().filter(|_| self.queue_sent) {
            all.push((*sub, "q".into()));
        }
        all.sort();
        self.recoveries += all.len() as u64;
        self.line.expected = all.into_iter().map(|(_, id)| id).collect();
    }

    /// Bytes that the client sent.
    pub(super) fn sent(&mut self, conn: ConnId, bytes: &[u8]) -> Result<(), Breach> {
        if self.line.conn != Some(conn) {
            return Err(("P1", format!("{} bytes were sent on {conn:?}, which is over", bytes.len())));
        }
        let mut result = Ok(());
        let mut all = std::mem::take(&mut self.line.sent);
        all.extend_from_slice(bytes);
        let whole = each_frame(&all, |frame| {
            if result.is_ok() {
                result = self.frame_sent(frame);
            }
        });
        self.line.sent = all.split_off(whole);
        result
    }

    fn frame_sent(&mut self, frame: &Message<&[u8]>) -> Result<(), Breach> {
        let command = frame.command();
        if !self.line.logged_on && command != CommandKind::Logon {
            return Err(("P8", format!("{command:?} was sent before the logon was acknowledged")));
        }
        match command {
            CommandKind::Subscribe => return self.subscribe_sent(frame),
            CommandKind::SowDelete => {
                let number = frame.sequence().filter(|_| self.plan.publishes.is_some());
                let conn = self.line.conn.unwrap_or(ConnId(u64::MAX));
                for mark in frame.bookmark().iter().flat_map(|list| list.split(|byte| *byte == b',')) {
                    self.acks += 1;
                    let Ok(message) = MessageId::parse(mark) else {
                        return Err(("P1", format!("{frame:?} acknowledges what is no message")));
                    };
                    self.asks.sent(message, number, conn)?;
                }
            }
            _ => {}
        }
        match frame.sequence().filter(|_| self.plan.publishes.is_some()) {
            Some(number) => self.ledger.sent(number, payload(frame)),
            None if self.plan.publishes.is_some()
                && matches!(command, CommandKind::Publish | CommandKind::SowDelete) =>
            {
                Err(("P5", format!("{frame:?} went out without a number")))
            }
            None => Ok(()),
        }
    }

    fn subscribe_sent(&mut self, frame: &Message<&[u8]>) -> Result<(), Breach> {
        let id = frame.sub_id().map(ToString::to_string).unwrap_or_default();
        let replaces =
            |options: &amps_protocol::BStr| options.to_string().split(',').any(|it| it == "replace");
        if self.leaving && frame.options().is_some_and(replaces) {
            return Ok(());
        }
        match self.line.expected.front() {
            Some(first) if *first == id => {
                self.line.expected.pop_front();
                return Ok(());
            }
            Some(first) => return Err(("P8", format!("{id} was placed where {first} was the next"))),
            None => {}
        }
        let sent = match self.replays.iter_mut().find(|replay| replay.id == id) {
            Some(replay) => &mut replay.was_sent,
            None => &mut self.queue_sent,
        };
        if std::mem::replace(sent, true) {
            return Err(("P8", format!("{id} was placed twice")));
        }
        Ok(())
    }

    /// What still has to be placed again.
    pub(super) fn unplaced(&self) -> Option<&str> {
        self.line.expected.front().map(String::as_str)
    }
}

/// What a numbered command says, but for its number and how it is to be answered.
fn payload(frame: &Message<&[u8]>) -> u64 {
    let topic = frame.topic().map(|text| &**text).unwrap_or_default();
    let bookmark = frame.bookmark().map(|text| &**text).unwrap_or_default();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in [topic, bookmark, frame.data()] {
        for byte in part.iter().chain(&[0x1f]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}
