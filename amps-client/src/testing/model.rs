//! The contract of bookmark stores, word for word and slowly.

use crate::bookmark_store::{Arrival, RecoveryPoint};
use crate::bookmarks::MessageId;

/// One subscription: everything that happened, and what follows from it.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    start: Option<String>,
    log: Vec<Happened>,
    /// What earlier runs have left: the points of their runs of discarded messages, messages that were discarded
    /// singly, and persisted bookmarks that had joined.
    points: Vec<MessageId>,
    singly: Vec<MessageId>,
    joined: Vec<MessageId>,
}

#[derive(Clone, Copy, Debug)]
enum Happened {
    Arrived { message: MessageId, discarded: bool },
    Persisted(MessageId),
}

impl Model {
    pub(super) fn begin(&mut self, from: &str) {
        let earlier = [&self.points, &self.singly, &self.joined];
        if self.start.is_none() && self.log.is_empty() && earlier.iter().all(|it| it.is_empty()) {
            self.start = Some(from.to_owned());
        }
    }

    pub(super) fn arrived(&mut self, message: MessageId) -> Arrival {
        let before_point = self.point_of(message.publisher).is_some_and(|point| message.sequence <= point);
        if before_point || self.find(message).is_some() {
            return Arrival::Duplicate;
        }
        let discarded = self.singly.contains(&message);
        self.log.push(Happened::Arrived { message, discarded });
        if discarded { Arrival::Duplicate } else { Arrival::New }
    }

    pub(super) fn discard(&mut self, wanted: MessageId) {
        for happened in &mut self.log {
            if let Happened::Arrived { message, discarded } = happened {
                *discarded |= *message == wanted;
            }
        }
    }

    pub(super) fn persisted(&mut self, last: MessageId) {
        self.log.push(Happened::Persisted(last));
    }

    pub(super) fn open(&self) -> Vec<MessageId> {
        let open = self.log.iter().filter_map(|happened| match happened {
            Happened::Arrived { message, discarded: false } => Some(*message),
            _ => None,
        });
        open.collect()
    }

    /// Its entries in order of their text.
    pub(super) fn recovery_point(&self) -> (Vec<String>, bool) {
        let joined = self.all_joined();
        let mut publishers: Vec<u64> = self.points.iter().map(|message| message.publisher).collect();
        publishers.extend(self.run().filter_map(|happened| match happened {
            Happened::Arrived { message, .. } => Some(message.publisher),
            Happened::Persisted(_) => None,
        }));
        let entry = |publisher: u64| {
            let last = joined.iter().rfind(|message| message.publisher == publisher);
            let sequence = last.map(|message| message.sequence).max(self.point_of(publisher));
            MessageId { publisher, sequence: sequence.unwrap_or_default() }.to_string()
        };
        let mut entries: Vec<String> = publishers.into_iter().map(entry).collect();
        entries.extend(joined.last().map(MessageId::to_string));
        let progress = !entries.is_empty();
        if !progress {
            entries.extend(self.start.clone());
        }
        (sorted(entries), progress)
    }

    /// The process ends, and the next has what was kept.
    pub(super) fn restart(&mut self) {
        let points = self.run().filter_map(|happened| match happened {
            Happened::Arrived { message, .. } => Some(*message),
            Happened::Persisted(_) => None,
        });
        let points: Vec<MessageId> = points.collect();
        self.joined = self.all_joined();
        self.points.extend(points);
        for happened in std::mem::take(&mut self.log) {
            if let Happened::Arrived { message, discarded: true } = happened {
                self.singly.push(message);
            }
        }
    }

    /// What happened before the first open message arrived.
    fn run(&self) -> impl Iterator<Item = &Happened> {
        self.log.iter().take_while(|happened| !matches!(happened, Happened::Arrived { discarded: false, .. }))
    }

    /// The last message of a publisher within that.
    fn point_of(&self, publisher: u64) -> Option<u64> {
        let run = self.run().filter_map(|happened| match happened {
            Happened::Arrived { message, .. } => Some(message),
            Happened::Persisted(_) => None,
        });
        run.chain(&self.points)
            .filter(|message| message.publisher == publisher)
            .map(|message| message.sequence)
            .max()
    }

    fn all_joined(&self) -> Vec<MessageId> {
        let run = self.run().filter_map(|happened| match happened {
            Happened::Persisted(message) => Some(*message),
            Happened::Arrived { .. } => None,
        });
        self.joined.iter().copied().chain(run).collect()
    }

    fn find(&self, wanted: MessageId) -> Option<&Happened> {
        self.log
            .iter()
            .find(|happened| matches!(happened, Happened::Arrived { message, .. } if *message == wanted))
    }
}

/// The entries of a recovery point in the order of their text, each once.
pub(super) fn entries(point: &RecoveryPoint) -> (Vec<String>, bool) {
    let entries = point.bookmark.split(',').filter(|entry| !entry.is_empty());
    (sorted(entries.map(str::to_owned).collect()), point.progress)
}

fn sorted(mut entries: Vec<String>) -> Vec<String> {
    entries.sort_unstable();
    entries.dedup();
    entries
}
