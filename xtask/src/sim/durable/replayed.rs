//! The referee of one bookmark subscription (P4, P6).
//!
//! It compares the frames that arrive with what the application is given, knows what the
//! application is done with and how safe that is, and looks at where each new subscription
//! begins. It is kept across the lives of the client's process.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use amps_client::simulation::{Sub, Ticket};
use amps_protocol::Message;
use amps_testkit::MessageId;

use super::super::watch::Breach;
use super::kept::End;
use super::server::Server;

/// How safe it is that a message is discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Safety {
    /// It may be forgotten with the process.
    Process,
    /// It outlives the process.
    Kill,
    /// It outlives the machine's failure.
    Power,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) id: String,
    /// The subscription as it is placed at present.
    pub(super) sub: Option<Sub>,
    /// While its answer is awaited.
    pub(super) ticket: Option<Ticket>,
    /// Its command has been on a wire in this life.
    pub(super) was_sent: bool,
    /// Frames of the present connection that the client has and has not dealt with.
    arrived: VecDeque<MessageId>,
    /// What the application was given in this life.
    delivered: BTreeSet<MessageId>,
    /// What it is done with, in this life or safely before.
    discarded: BTreeMap<MessageId, Safety>,
    /// What it is done with, ever.
    done: BTreeSet<MessageId>,
    /// Where each bookmark was met: server and life of its log.
    met: BTreeMap<MessageId, BTreeSet<(usize, usize)>>,
    /// Messages that no client could know to be missing.
    pub(super) excused: BTreeSet<MessageId>,
}

impl Replayed {
    pub(super) fn new(id: String) -> Self {
        Self { id, ..Self::default() }
    }

    /// A message, or a bookmark that a server calls persisted, reaches the client.
    pub(super) fn meets(&mut self, bookmark: MessageId, server: usize, life: usize) {
        self.met.entry(bookmark).or_default().insert((server, life));
    }

    pub(super) fn arrives(&mut self, bookmark: MessageId) {
        self.arrived.push_back(bookmark);
    }

    /// The application is given a message.
    pub(super) fn delivered(&mut self, bookmark: MessageId, servers: &[Server]) -> Result<(), Breach> {
        loop {
            match self.arrived.pop_front() {
                Some(next) if next == bookmark => break,
                Some(passed) => self.withheld(passed, servers)?,
                None => return Err(("P4", format!("{}: {bookmark} was delivered out of order", self.id))),
            }
        }
        if let Some(safety) = self.discarded.get(&bookmark) {
            return Err(("P6", format!("{}: {bookmark} came again, discarded ({safety:?})", self.id)));
        }
        if !self.delivered.insert(bookmark) {
            return Err(("P6", format!("{}: {bookmark} came twice in one run", self.id)));
        }
        Ok(())
    }

    /// The client has dealt with everything that arrived.
    pub(super) fn settled(&mut self, servers: &[Server]) -> Result<(), Breach> {
        while let Some(passed) = self.arrived.pop_front() {
            self.withheld(passed, servers)?;
        }
        Ok(())
    }

    /// A message arrived, and the application did not get it.
    ///
    /// A publisher that changed servers along a link that publishers do not wait for leaves a gap in
    /// the log of the second one (HA-04): what belongs there counts as seen, once what follows it is
    /// discarded. That, and nothing else, is excused.
    fn withheld(&mut self, bookmark: MessageId, servers: &[Server]) -> Result<(), Breach> {
        // What was discarded without being safe may be known all the same.
        let known = self.delivered.contains(&bookmark) || self.done.contains(&bookmark);
        if known || self.excused.contains(&bookmark) {
            return Ok(());
        }
        let last = MessageId { sequence: u64::MAX, ..bookmark };
        let mut later = self.met.range(bookmark..=last).map(|(later, _)| *later);
        if later.any(|later| later != bookmark && self.is_unknowable(bookmark, later, servers)) {
            self.excused.insert(bookmark);
            return Ok(());
        }
        Err(("P6", format!("{}: {bookmark} arrived and was withheld, but it is new", self.id)))
    }

    /// Whether a message is not before this bookmark in a log where the client met the bookmark.
    fn is_unknowable(&self, missed: MessageId, bookmark: MessageId, servers: &[Server]) -> bool {
        self.met.get(&bookmark).is_some_and(|met| {
            met.iter().any(|(server, life)| {
                let Some(book) = servers.get(*server).map(|server| &server.book) else { return false };
                let place = book.place(*life, bookmark);
                book.place(*life, missed).is_none_or(|missed| place.is_some_and(|place| missed > place))
            })
        })
    }

    /// The application is done with a message.
    pub(super) fn discard(&mut self, bookmark: MessageId, safety: Safety) {
        self.discarded.insert(bookmark, safety);
        self.done.insert(bookmark);
    }

    /// What was discarded so far is at least as safe as this.
    pub(super) fn note_safe(&mut self, safety: Safety) {
        self.discarded.values_mut().for_each(|known| *known = (*known).max(safety));
    }

    pub(super) fn disconnected(&mut self) {
        self.arrived.clear();
    }

    /// The process ended; `volatile`: its store was in memory.
    pub(super) fn ended(&mut self, end: End, volatile: bool) {
        self.arrived.clear();
        self.delivered.clear();
        (self.sub, self.ticket, self.was_sent) = (None, None, false);
        match (end, volatile) {
            (_, true) => self.discarded.clear(),
            (End::Orderly, _) => {}
            (End::Killed, _) => self.discarded.retain(|_, safety| *safety >= Safety::Kill),
            (End::PowerCut, _) => self.discarded.retain(|_, safety| *safety >= Safety::Power),
        }
    }

    pub(super) fn is_done_with(&self, bookmark: MessageId) -> bool {
        self.done.contains(&bookmark)
    }

    /// The subscription reaches a server: it must not begin behind what it has yet to get.
    ///
    /// Servers may order the messages of different publishers in different ways. What one of them
    /// has before a bookmark that the client met on another one which had it behind, or not at
    /// all, no bookmark can tell: that, and nothing else, is excused.
    pub(super) fn begins(
        &mut self,
        frame: &Message<&[u8]>,
        at: usize,
        servers: &[Server],
    ) -> Result<(), Breach> {
        let (Some(list), Some(book)) = (frame.bookmark(), servers.get(at).map(|server| &server.book)) else {
            return Err(("P6", format!("{}: placed without a bookmark", self.id)));
        };
        let known = list.split(|byte| *byte == b',').filter_map(|piece| MessageId::parse(piece).ok());
        let known = known.filter_map(|bookmark| Some((book.place(book.life(), bookmark)?, bookmark))).min();
        let to_epoch = frame.options().is_some_and(|options| {
            options.to_string().split(',').any(|option| option == "bookmark_not_found=epoch")
        });
        let (start, bookmark) = match known {
            Some((place, bookmark)) => (place, Some(bookmark)),
            None if &**list == b"0" || to_epoch => return Ok(()),
            None => (book.log.len(), None),
        };
        for message in book.log.iter().take(start).filter(|message| message.replayed) {
            let missed = message.bookmark;
            let known = self.delivered.contains(&missed)
                || self.done.contains(&missed)
                || self.excused.contains(&missed);
            if known {
                continue;
            }
            if !bookmark.is_some_and(|bookmark| self.is_unknowable(missed, bookmark, servers)) {
                let server = servers[at].name;
                let text =
                    format!("{}: placed on {server} at \"{list}\", behind {missed}, which is new", self.id);
                return Err(("P6", text));
            }
            self.excused.insert(missed);
        }
        Ok(())
    }
}
