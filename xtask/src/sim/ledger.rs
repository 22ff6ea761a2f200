//! The referee of the server: who holds which message, as the server's own wires show it.
//!
//! A message belongs to one consumer at a time, until it is acknowledged, given back, or its
//! lease is over by time, by the end of its subscription, or by the end of its connection.
//! Once acknowledged it never comes again. No subscription holds more than its backlog.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use amps_protocol::{AckType, CommandKind, Message, Options, Status, parse_timestamp};
use amps_transport::{ConnId, Time};

use super::model::Mark;
use super::watch::Breach;

#[derive(Clone, Debug)]
struct Lease {
    conn: ConnId,
    sid: Mark,
    until: Time,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    lease: Option<Lease>,
    /// The event that acknowledged or expired it.
    gone: Option<u64>,
    /// The event that last named it to settle it, with effect or without.
    named: Option<u64>,
    /// Who holds it, if anybody, cannot be told from the wires.
    unclear: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    strict: bool,
    entries: BTreeMap<Box<[u8]>, Entry>,
    /// By connection and command id: the subscription that it places.
    asked: BTreeMap<(u64, Box<[u8]>), Mark>,
    granted: BTreeMap<(u64, Box<[u8]>), u32>,
    /// By connection and subscription: the event that ended it.
    ended: BTreeMap<(u64, Box<[u8]>), u64>,
}

impl Ledger {
    pub(super) fn new(strict: bool) -> Self {
        Self { strict, ..Self::default() }
    }

    /// A frame that the server is about to be given.
    pub(super) fn received(&mut self, step: u64, conn: ConnId, frame: &Message<&[u8]>) {
        match frame.command() {
            CommandKind::SowDelete => {
                let Some(list) = frame.bookmark() else { return };
                let option = frame.options().map(|text| text.to_vec());
                for mark in list.split(|byte| *byte == b',') {
                    self.settled(step, conn, mark, option.as_deref());
                }
            }
            CommandKind::Unsubscribe => {
                let Some(sid) = frame.sub_id() else { return };
                self.ended.insert((conn.0, (**sid).into()), step);
                for entry in self.entries.values_mut() {
                    let theirs = |lease: &Lease| lease.conn == conn && lease.sid.bytes() == &**sid;
                    if entry.lease.as_ref().is_some_and(theirs) {
                        entry.lease = None;
                    }
                }
            }
            CommandKind::Subscribe => {
                let (Some(cid), Some(sid)) = (frame.command_id(), frame.sub_id()) else { return };
                self.ended.remove(&(conn.0, (**sid).into()));
                self.asked.insert((conn.0, (**cid).into()), Mark::new(sid));
            }
            _ => {}
        }
    }

    fn settled(&mut self, step: u64, conn: ConnId, mark: &[u8], option: Option<&[u8]>) {
        let strict = self.strict;
        let Some(entry) = self.entries.get_mut(mark) else { return };
        entry.named = Some(step);
        if entry.unclear {
            return;
        }
        let foreign = entry.lease.as_ref().is_some_and(|lease| lease.conn != conn);
        if foreign && strict {
            return;
        }
        entry.lease = None;
        if option != Some(b"cancel") {
            entry.gone.get_or_insert(step);
        }
    }

    /// A frame that the server sent.
    pub(super) fn sent(
        &mut self,
        step: u64,
        now: Time,
        conn: ConnId,
        frame: &Message<&[u8]>,
        is_open: impl Fn(ConnId) -> bool,
    ) -> Result<(), Breach> {
        match frame.command() {
            CommandKind::Ack => self.answered(conn, frame),
            CommandKind::Publish => return self.delivered(step, now, conn, frame, is_open),
            _ => {}
        }
        Ok(())
    }

    fn answered(&mut self, conn: ConnId, frame: &Message<&[u8]>) {
        if !frame.is_ack(AckType::Processed) || frame.status() != Some(Status::Success) {
            return;
        }
        let Some(cid) = frame.command_id() else { return };
        let Some(sid) = self.asked.remove(&(conn.0, (**cid).into())) else { return };
        let options = frame.options().map(|text| Options::parse(&text.to_string()));
        if let Some(backlog) = options.and_then(|options| options.max_backlog().ok().flatten()) {
            self.granted.insert((conn.0, sid.bytes().into()), backlog);
        }
    }

    fn delivered(
        &mut self,
        step: u64,
        now: Time,
        conn: ConnId,
        frame: &Message<&[u8]>,
        is_open: impl Fn(ConnId) -> bool,
    ) -> Result<(), Breach> {
        let (Some(mark), Some(sid), Some(lease)) = (frame.bookmark(), frame.sub_ids(), frame.lease()) else {
            return Ok(());
        };
        let until = parse_timestamp(lease).map_or(Time::NEVER, Time::from_unix_nanos);
        let entry = self.entries.entry((**mark).into()).or_default();
        if entry.gone.is_some_and(|at| at < step) {
            return Err(("engine", format!("{mark} was delivered again after it had been acknowledged")));
        }
        if let Some(old) = &entry.lease {
            // One read may free a place and then settle the very message that went there: what is
            // sent in between and afterwards is one burst, whose order with the read is unknown.
            if old.until > now && is_open(old.conn) && entry.named != Some(step) {
                let text = format!(
                    "{mark} was delivered to {conn:?} while {:?} held it until {:?}",
                    old.conn, old.until
                );
                return Err(("engine", text));
            }
        }
        match self.ended.get(&(conn.0, (**sid).into())) {
            // What one read asked for and took back again is answered by one burst.
            Some(at) if *at == step => return Ok(()),
            Some(_) => return Err(("engine", format!("{mark} was delivered to {sid}, which had ended"))),
            None => {}
        }
        if entry.named == Some(step) {
            // For the same reason it may be settled again already: say nothing of its lease.
            entry.lease = None;
            entry.unclear = true;
            return Ok(());
        }
        entry.unclear = false;
        entry.lease = Some(Lease { conn, sid: Mark::new(sid), until });
        let theirs = |lease: &Lease| lease.conn == conn && lease.sid.bytes() == &**sid && lease.until > now;
        let held = self.entries.values().filter(|entry| entry.lease.as_ref().is_some_and(theirs)).count();
        let granted = self.granted.get(&(conn.0, (**sid).into()));
        match granted {
            Some(granted) if held > *granted as usize => {
                Err(("engine", format!("{sid} of {conn:?} holds {held} messages, its backlog is {granted}")))
            }
            Some(_) => Ok(()),
            None => Err((
                "engine",
                format!("{mark} was delivered to {sid} of {conn:?}, which was not granted yet"),
            )),
        }
    }
}
