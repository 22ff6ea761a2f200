//! Batches of acknowledgements: smart pipelining's way back.
//!
//! Owns what one subscription has acknowledged and not yet sent: per queue topic (a
//! regular-expression subscription spans several), counted together, because the backlog is
//! counted together. A batch goes out when it is full, or when its time has come. The time
//! is measured from the previous batch, or from the first acknowledgement after a pause, and
//! later acknowledgements never move it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use amps_protocol::{Command, Delete, Options, QueueAction, SowDelete};
use amps_transport::Time;

use crate::command::refuse_controls;
use crate::error::{Error, Result};

/// When a batch is full, and how long it may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AckSettings {
    /// Acknowledgements per batch; 0 and 1 send each at once.
    pub(crate) batch_size: usize,
    /// The longest a batch waits; zero waits for a full batch only.
    pub(crate) timeout: Duration,
}

impl Default for AckSettings {
    fn default() -> Self {
        Self { batch_size: 1, timeout: Duration::from_secs(1) }
    }
}

impl AckSettings {
    /// The batch size in force: never above the backlog that the server granted, or the
    /// consumer would starve with a full backlog and a half-full batch.
    pub(crate) fn effective_batch(&self, granted: Option<u32>) -> usize {
        let granted = granted.map_or(usize::MAX, |backlog| backlog as usize);
        self.batch_size.min(granted).max(1)
    }
}

/// Bookmarks in one frame, at the most (client.md AB-13).
const MAX_BOOKMARKS_PER_FRAME: usize = 1000;

/// What is to become of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AckOption {
    /// Return it to its queue at once, as if the lease had ended.
    Cancel,
    /// Remove it from its queue as expired.
    Expire,
    /// Keep it longer: the lease ends so much later than now. Nothing is acknowledged; the
    /// message has to be settled all the same. AMPS counts whole seconds; a fraction is
    /// rounded up. Not every server knows it.
    ExtendLease(Duration),
    /// Options that this client has no name for, made by [`AckOption::raw`]. Settles the
    /// message.
    Raw(RawAckOption),
}

/// Options of an acknowledgement that were found usable; see [`AckOption::raw`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAckOption(Options);

impl AckOption {
    /// Any other options, for servers newer than this client.
    ///
    /// ```
    /// use amps_client::AckOption;
    ///
    /// assert!(AckOption::raw("postpone=10s").is_ok());
    /// let error = AckOption::raw("oof").unwrap_err();
    /// assert!(error.to_string().contains("does not have the option \"oof\""));
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument`: there is none, the text breaks the grammar of options, or it has one
    /// that belongs to other commands.
    pub fn raw(text: &str) -> Result<Self> {
        let invalid = |fault: String| Error::InvalidArgument(format!("acknowledge: {fault}"));
        refuse_controls("acknowledge", "option", text)?;
        let options = Options::try_parse(text).map_err(|error| invalid(error.to_string()))?;
        if options.is_empty() {
            return Err(invalid("the option is empty; call `ack` to acknowledge without one".into()));
        }
        options
            .check(amps_protocol::CommandKind::SowDelete, true)
            .map_err(|problem| invalid(problem.to_string()))?;
        Ok(Self::Raw(RawAckOption(options)))
    }

    /// As options of a command.
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new();
        match self.action() {
            QueueAction::Cancel => _ = options.set_cancel(true),
            QueueAction::Expire => _ = options.set_expire(true),
            QueueAction::ExtendLease(longer) => _ = options.set_lease_extension(longer),
            QueueAction::Other(other) => options = other,
            _ => {}
        }
        options
    }

    pub(crate) fn action(&self) -> QueueAction {
        match self {
            Self::Cancel => QueueAction::Cancel,
            Self::Expire => QueueAction::Expire,
            Self::ExtendLease(span) => {
                let seconds = span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0));
                QueueAction::ExtendLease(Duration::from_secs(seconds).into())
            }
            Self::Raw(RawAckOption(options)) => QueueAction::Other(options.clone()),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// One entry per topic ever acknowledged, kept for its allocation.
    batches: Vec<Batch>,
    pending: usize,
    deadline: Option<Time>,
    last_sent: Option<Time>,
}

#[derive(Debug)]
struct Batch {
    topic: Box<[u8]>,
    /// Joined by commas, in the order of the acknowledgements.
    bookmarks: Vec<u8>,
    count: usize,
}

impl Acks {
    /// Adds an acknowledgement. Returns whether the batch is now full.
    pub(crate) fn add(
        &mut self,
        now: Time,
        topic: &[u8],
        bookmark: &[u8],
        full: usize,
        timeout: Duration,
        restart_timer: bool,
    ) -> bool {
        let at = match self.batches.iter().position(|batch| &*batch.topic == topic) {
            Some(at) => at,
            None => {
                self.batches.push(Batch { topic: topic.into(), bookmarks: Vec::new(), count: 0 });
                self.batches.len() - 1
            }
        };
        let batch = &mut self.batches[at];
        if batch.count > 0 {
            batch.bookmarks.push(b',');
        }
        batch.bookmarks.extend_from_slice(bookmark);
        batch.count += 1;
        self.pending += 1;
        if !timeout.is_zero() && (self.deadline.is_none() || restart_timer) {
            let since_last = self.last_sent.map(|sent| sent + timeout);
            self.deadline = Some(since_last.filter(|due| *due > now).unwrap_or(now + timeout));
            if restart_timer {
                self.deadline = Some(now + timeout);
            }
        }
        self.pending >= full
    }

    /// Whether the next acknowledgement is the first of a batch, or the last. The time of others does not matter.
    pub(crate) const fn begins_or_ends(&self, full: usize) -> bool {
        self.pending == 0 || self.pending + 1 >= full || self.deadline.is_none()
    }

    pub(crate) const fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    pub(crate) const fn pending(&self) -> usize {
        self.pending
    }

    /// Gives every pending acknowledgement to `write`: a topic, and a comma list of bookmarks.
    pub(crate) fn flush(&mut self, now: Time, mut write: impl FnMut(&[u8], &[u8])) {
        if self.pending == 0 {
            return;
        }
        for batch in self.batches.iter_mut().filter(|batch| batch.count > 0) {
            if batch.count <= MAX_BOOKMARKS_PER_FRAME {
                write(&batch.topic, &batch.bookmarks);
            } else {
                for part in split_after(&batch.bookmarks, MAX_BOOKMARKS_PER_FRAME) {
                    write(&batch.topic, part);
                }
            }
            batch.bookmarks.clear();
            batch.count = 0;
        }
        self.pending = 0;
        self.deadline = None;
        self.last_sent = Some(now);
    }

    /// Drops what is pending: its leases ended with their connection.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// One acknowledgement. `bookmarks` is one bookmark or a comma list.
pub(crate) fn ack_command<'a>(
    topic: &'a [u8],
    bookmarks: &'a [u8],
    option: Option<&AckOption>,
) -> SowDelete<'a> {
    let action = option.map(AckOption::action).unwrap_or_default();
    Command::sow_delete(topic, Delete::Messages { bookmarks: bookmarks.into(), action })
}

/// Cuts a comma list into pieces of at most `count` entries.
fn split_after(list: &[u8], count: usize) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let list = rest?;
        let cut = list.iter().enumerate().filter(|(_, byte)| **byte == b',').nth(count - 1).map(|(at, _)| at);
        let (piece, tail) = match cut {
            Some(at) => (&list[..at], Some(&list[at + 1..])),
            None => (list, None),
        };
        rest = tail;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use amps_protocol::{FrameDecoder, Message};
    use bytes::BytesMut;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Time {
        Time::EPOCH + Duration::from_secs(1000) + Duration::from_millis(millis)
    }

    fn flush(acks: &mut Acks, now: Time, out: &mut BytesMut) {
        acks.flush(now, |topic, bookmarks| {
            ack_command(topic, bookmarks, None).encode(out).unwrap();
        });
    }

    fn frames(out: &mut BytesMut) -> Vec<Message> {
        let mut frames = Vec::new();
        while let Some(frame) = FrameDecoder::default().decode(out).unwrap() {
            frames.push(Message::decode(frame).unwrap());
        }
        frames
    }

    #[test]
    fn the_timer_runs_from_the_first_acknowledgement_and_later_ones_do_not_move_it() {
        let mut acks = Acks::default();
        acks.add(at(0), b"q", b"1|1|", 10, SECOND, false);
        acks.add(at(900), b"q", b"1|2|", 10, SECOND, false);
        assert_eq!(acks.deadline(), Some(at(1000)));
    }

    #[test]
    fn the_timer_runs_from_the_last_batch_when_that_is_recent() {
        let mut acks = Acks::default();
        let mut out = BytesMut::new();
        acks.add(at(0), b"q", b"1|1|", 1, SECOND, false);
        flush(&mut acks, at(0), &mut out);
        assert_eq!(acks.deadline(), None);
        acks.add(at(300), b"q", b"1|2|", 10, SECOND, false);
        assert_eq!(acks.deadline(), Some(at(1000)), "no later than a second after the last batch");
        flush(&mut acks, at(1000), &mut out);
        acks.add(at(5000), b"q", b"1|3|", 10, SECOND, false);
        assert_eq!(acks.deadline(), Some(at(6000)), "a second after the first ack of an idle client");
    }

    #[test]
    fn one_frame_per_topic_in_the_order_of_acknowledgement() {
        let mut acks = Acks::default();
        let mut out = BytesMut::new();
        acks.add(at(0), b"q1", b"1|1|", 9, SECOND, false);
        acks.add(at(0), b"q2", b"1|2|", 9, SECOND, false);
        assert!(acks.add(at(0), b"q1", b"1|3|", 3, SECOND, false), "the backlog is shared by the topics");
        flush(&mut acks, at(0), &mut out);
        let frames = frames(&mut out);
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].bookmark().unwrap(), "1|1|,1|3|");
        assert_eq!(frames[1].topic().unwrap(), "q2");
        assert!(frames.iter().all(|frame| frame.acks().is_empty() && frame.options().is_none()));
    }

    #[test]
    fn a_large_batch_is_split_and_nothing_falls_between() {
        let mut acks = Acks::default();
        let mut out = BytesMut::new();
        for i in 0..2500 {
            acks.add(at(0), b"q", format!("1|{i}|").as_bytes(), usize::MAX, SECOND, false);
        }
        flush(&mut acks, at(0), &mut out);
        let counts: Vec<usize> = frames(&mut out)
            .iter()
            .map(|frame| frame.bookmark().unwrap().split(|b| *b == b',').count())
            .collect();
        assert_eq!(counts, [1000, 1000, 500]);
    }

    #[test]
    fn the_effective_batch_never_exceeds_the_grant_and_is_never_zero() {
        let settings = AckSettings { batch_size: 10, ..AckSettings::default() };
        assert_eq!(settings.effective_batch(Some(4)), 4);
        assert_eq!(settings.effective_batch(Some(0)), 1);
        assert_eq!(settings.effective_batch(None), 10);
    }
}
