//! An application that keeps a copy of what it subscribed to, made of what it is given.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use amps_client::simulation::{Handled, LeaseId, Model, Sub};
use amps_client::{ConnectionState, Error};
use amps_protocol::{CommandKind, Message};

/// What a subscription is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A copy of the records of the groups up to this one.
    Mirror { group: u64 },
    /// Messages, in order.
    Ticks,
    /// The records of the groups up to this one, once.
    Query { group: u64 },
}

impl Kind {
    pub(super) const fn is_mirror(self) -> bool {
        matches!(self, Self::Mirror { .. })
    }
}

struct Copy {
    kind: Kind,
    /// By id: the number of the record's last message, and its group.
    records: BTreeMap<u64, (u64, u64)>,
    /// The next result replaces everything, and does not add to what is there.
    anew: bool,
    in_result: bool,
    /// The filter that a replacement under way asks for.
    replacing: Option<u64>,
    /// By publisher: the number of its last message.
    last: BTreeMap<u64, u64>,
}

pub(super) struct Application {
    copies: BTreeMap<Sub, Copy>,
    pub(super) delivered: u64,
    /// Messages since there was no room.
    crowded: Option<u32>,
    pub(super) resumed: u64,
    pub(super) breach: Option<(&'static str, String)>,
    pub(super) trace: Vec<String>,
    tracing: bool,
}

impl Application {
    pub(super) fn new(tracing: bool) -> Self {
        Self {
            copies: BTreeMap::new(),
            delivered: 0,
            crowded: None,
            resumed: 0,
            breach: None,
            trace: Vec::new(),
            tracing,
        }
    }

    pub(super) fn has_room(&mut self, room: bool) {
        if room {
            self.crowded = None;
        } else {
            self.crowded.get_or_insert(0);
        }
    }

    pub(super) fn placed(&mut self, sub: Sub, kind: Kind) {
        let copy = Copy {
            kind,
            records: BTreeMap::new(),
            anew: true,
            in_result: false,
            replacing: None,
            last: BTreeMap::new(),
        };
        self.copies.insert(sub, copy);
    }

    /// The subscriptions that go on.
    pub(super) fn live(&self) -> impl Iterator<Item = (Sub, Kind)> {
        let live = |kind: Kind| !matches!(kind, Kind::Query { .. });
        self.copies.iter().map(|(sub, copy)| (*sub, copy.kind)).filter(move |(_, kind)| live(*kind))
    }

    pub(super) fn may_replace(&self, sub: Sub) -> bool {
        self.copies.get(&sub).is_some_and(|copy| copy.replacing.is_none())
    }

    pub(super) fn replacing(&mut self, sub: Sub, group: u64) {
        if let Some(copy) = self.copies.get_mut(&sub) {
            copy.replacing = Some(group);
        }
    }

    /// How a copy differs from what the server has, if one does.
    pub(super) fn differs(&self, server: &[(u64, u64, u64)]) -> Option<String> {
        for (sub, copy) in &self.copies {
            let Kind::Mirror { group } = copy.kind else { continue };
            // Of a replacement that nobody answered, nobody knows whether it is in force.
            let groups = [Some(group), copy.replacing];
            let equal = groups.into_iter().flatten().any(|group| {
                let there: BTreeMap<u64, (u64, u64)> =
                    server.iter().filter(|(.., g)| *g <= group).map(|(id, n, g)| (*id, (*n, *g))).collect();
                there == copy.records
            });
            if !equal {
                return Some(format!(
                    "{sub:?} of group {group} has {:?}, the server {server:?}",
                    copy.records
                ));
            }
        }
        None
    }

    fn broken(&mut self, promise: &'static str, text: String) {
        self.breach.get_or_insert((promise, text));
    }
}

impl Model for Application {
    fn deliver(&mut self, sub: Sub, message: &Message<&[u8]>, _: Option<LeaseId>) -> Handled {
        self.delivered += 1;
        if let Some(count) = &mut self.crowded {
            *count += 1;
            if *count > 1 {
                self.broken("P10", format!("{sub:?}: there was no room, and {message:?} came all the same"));
                return Handled::Done;
            }
        }
        if self.tracing {
            self.trace.push(format!("{sub:?} < {message:?}"));
        }
        let Some(copy) = self.copies.get_mut(&sub) else {
            self.broken("P4", format!("{sub:?} has ended, and something came: {message:?}"));
            return Handled::Done;
        };
        match message.command() {
            CommandKind::GroupBegin => {
                copy.in_result = true;
                if std::mem::take(&mut copy.anew) {
                    copy.records.clear();
                }
            }
            CommandKind::GroupEnd => copy.in_result = false,
            CommandKind::Sow | CommandKind::Publish | CommandKind::Oof => {
                let is_record = message.command() == CommandKind::Sow;
                let is_oof = message.command() == CommandKind::Oof;
                let Some((id, n, g)) = read(message.data()) else { return Handled::Done };
                if is_record && !copy.in_result {
                    self.broken("P4", format!("{sub:?}: a record outside of a result: {message:?}"));
                    return Handled::Done;
                }
                if is_oof {
                    copy.records.remove(&id);
                    return Handled::Done;
                }
                let before = if is_record {
                    copy.records.get(&id).map(|(n, _)| *n)
                } else {
                    // Of one publisher everything comes in its order.
                    copy.last.insert(id / 100, n)
                };
                if before.is_some_and(|before| before > n) {
                    self.broken("P4", format!("{sub:?}: {n} came after {before:?}: {message:?}"));
                    return Handled::Done;
                }
                copy.records.insert(id, (n, g));
            }
            _ => {}
        }
        Handled::Done
    }

    fn ended(&mut self, sub: Sub, error: Option<Error>) {
        if self.tracing {
            self.trace.push(format!("{sub:?} has ended: {error:?}"));
        }
        self.copies.remove(&sub);
    }

    fn replaced(&mut self, sub: Sub) {
        if let Some(copy) = self.copies.get_mut(&sub) {
            if let (Some(group), Kind::Mirror { .. }) = (copy.replacing.take(), copy.kind) {
                copy.kind = Kind::Mirror { group };
            }
        }
    }

    fn interrupted(&mut self, sub: Sub) {
        if let Some(copy) = self.copies.get_mut(&sub) {
            (copy.anew, copy.in_result, copy.replacing) = (true, false, None);
        }
    }

    fn duplicate(&mut self, _: &Message<&[u8]>) {}
    fn resumed(&mut self, sub: Sub, _: bool) {
        self.resumed += 1;
        if self.tracing {
            self.trace.push(format!("{sub:?} was placed again"));
        }
    }

    fn draining(&mut self, _: Sub) {}

    fn state(&mut self, state: ConnectionState) {
        if self.tracing {
            self.trace.push(format!("{state:?}"));
        }
    }

    fn report(&mut self, error: &Error) {
        if self.tracing {
            self.trace.push(format!("reported: {error}"));
        }
    }
}

/// Id, number and group of a message.
pub(super) fn read(body: &[u8]) -> Option<(u64, u64, u64)> {
    let text = std::str::from_utf8(body).ok()?;
    let number = |name: &str| {
        let (_, rest) = text.split_once(&format!("\"{name}\":"))?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    Some((number("id")?, number("n")?, number("g")?))
}
