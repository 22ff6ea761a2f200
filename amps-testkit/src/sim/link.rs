//! One direction of a connection: bytes that were sent and have not arrived yet.
//!
//! Owns the order of bytes, and when each arrives. Invariants:
//! * bytes arrive in the order in which they were sent, each at most once;
//! * no more than the window is on its way; the rest waits at the sender, as behind a full
//!   socket, and is counted by [`Link::unsent`];
//! * the end arrives last, and nothing is accepted behind it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;
use std::time::Duration;

use amps_transport::{CloseReason, Time};
use bytes::{Buf, BytesMut};

use super::plan::Rng;

/// Into what pieces the network cuts what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// What was sent at one time arrives at one time.
    Whole,
    /// Pieces of one to so many bytes.
    UpTo(usize),
}

/// How a link behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSettings {
    /// The shortest time that a byte takes.
    pub fastest: Duration,
    /// The longest time that a byte takes, bandwidth and stalls aside.
    pub slowest: Duration,
    /// Into what pieces bytes are cut.
    pub chunking: Chunking,
    /// Bytes that may be on their way, those included that the receiver does not read.
    pub window: usize,
    /// Nanoseconds that each byte occupies the link.
    pub nanos_per_byte: u64,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            fastest: Duration::from_micros(20),
            slowest: Duration::from_micros(200),
            chunking: Chunking::Whole,
            window: 256 << 10,
            nanos_per_byte: 0,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    arrives: Time,
    length: usize,
}

/// See the module's documentation.
///
/// ```
/// use amps_testkit::sim::{Chunking, Link, LinkSettings, Rng};
/// use amps_transport::Time;
/// use bytes::BytesMut;
///
/// let mut rng = Rng::new(1);
/// let mut link = Link::new(LinkSettings { chunking: Chunking::UpTo(2), ..LinkSettings::default() });
/// link.send(b"abc");
/// link.admit(Time::EPOCH, &mut rng);
/// let mut arrived = BytesMut::new();
/// while let Some(time) = link.next_arrival() {
///     link.arrive(time, &mut arrived);
/// }
/// assert_eq!(&arrived[..], b"abc");
/// ```
#[derive(Debug)]
pub struct Link {
    settings: LinkSettings,
    /// Taken from the machine, not on its way yet.
    unsent: BytesMut,
    /// On its way, in order; cut up by `chunks`.
    flight: BytesMut,
    chunks: VecDeque<Chunk>,
    /// No later chunk arrives before an earlier one.
    latest: Time,
    stalled_until: Time,
    dead: bool,
    end: Option<CloseReason>,
    end_arrives: Time,
}

impl Link {
    /// A link that carries nothing yet.
    pub fn new(settings: LinkSettings) -> Self {
        Self {
            settings,
            unsent: BytesMut::new(),
            flight: BytesMut::new(),
            chunks: VecDeque::new(),
            latest: Time::EPOCH,
            stalled_until: Time::EPOCH,
            dead: false,
            end: None,
            end_arrives: Time::EPOCH,
        }
    }

    /// Accepts bytes from the sender; [`admit`](Self::admit) puts them on their way. Dropped
    /// behind an end.
    pub fn send(&mut self, bytes: &[u8]) {
        if self.end.is_none() {
            self.unsent.extend_from_slice(bytes);
        }
    }

    /// Puts on their way as many bytes as the window takes.
    pub fn admit(&mut self, now: Time, rng: &mut Rng) {
        while !self.unsent.is_empty() {
            let room = self.settings.window.saturating_sub(self.flight.len()).min(self.unsent.len());
            if room == 0 {
                return;
            }
            let length = match self.settings.chunking {
                Chunking::Whole => room,
                Chunking::UpTo(most) => room.min(rng.between(1, most.max(1) as u64) as usize),
            };
            self.latest = self.latest.max(self.leaves(now, length, rng));
            self.chunks.push_back(Chunk { arrives: self.latest, length });
            if self.flight.is_empty() && length == self.unsent.len() {
                std::mem::swap(&mut self.flight, &mut self.unsent);
            } else {
                self.flight.extend_from_slice(&self.unsent[..length]);
                self.unsent.advance(length);
            }
        }
    }

    /// When a chunk that sets out now arrives.
    fn leaves(&self, now: Time, length: usize, rng: &mut Rng) -> Time {
        let occupied = Duration::from_nanos(self.settings.nanos_per_byte.saturating_mul(length as u64));
        let latency = rng.span(self.settings.fastest, self.settings.slowest);
        if occupied.is_zero() { now + latency } else { self.latest.max(now + latency) + occupied }
    }

    /// When the next bytes, or the end, arrive; `None` if nothing is on its way.
    pub fn next_arrival(&self) -> Option<Time> {
        if self.dead {
            return None;
        }
        let next = match self.chunks.front() {
            Some(chunk) => chunk.arrives,
            None if self.unsent.is_empty() => self.end.as_ref().map(|_| self.end_arrives.max(self.latest))?,
            None => return None,
        };
        Some(next.max(self.stalled_until))
    }

    /// Takes the next chunk, if it has arrived by `now`, and appends it to `into`. Returns its
    /// length; 0 if nothing has arrived.
    pub fn arrive(&mut self, now: Time, into: &mut BytesMut) -> usize {
        if self.next_arrival().is_none_or(|due| due > now) {
            return 0;
        }
        let Some(chunk) = self.chunks.pop_front() else { return 0 };
        into.extend_from_slice(&self.flight[..chunk.length]);
        self.flight.advance(chunk.length);
        if self.flight.is_empty() {
            self.flight.clear();
        }
        chunk.length
    }

    /// How the link ended, once everything before the end has arrived by `now`.
    pub fn ended(&self, now: Time) -> Option<&CloseReason> {
        let over = self.chunks.is_empty() && self.next_arrival().is_some_and(|due| due <= now);
        self.end.as_ref().filter(|_| over)
    }

    /// Bytes that wait at the sender.
    pub fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Bytes that are on their way.
    pub fn in_flight(&self) -> usize {
        self.flight.len()
    }

    /// Whether an end was put behind the bytes.
    pub fn is_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Nothing arrives before `until`.
    pub fn stall(&mut self, until: Time) {
        self.stalled_until = self.stalled_until.max(until);
    }

    /// Bytes vanish from now on, and nobody is told.
    pub fn die(&mut self) {
        self.dead = true;
    }

    /// Whether bytes vanish.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Changes how the link behaves towards bytes that have not set out yet.
    pub fn set(&mut self, settings: LinkSettings) {
        self.settings = settings;
    }

    /// How the link behaves.
    pub fn settings(&self) -> LinkSettings {
        self.settings
    }

    /// An orderly end behind everything sent so far.
    pub fn finish(&mut self, now: Time, rng: &mut Rng) {
        self.close(now, CloseReason::EndOfStream, rng);
    }

    /// Drops what still waits at the sender.
    pub fn drop_unsent(&mut self) {
        self.unsent.clear();
    }

    /// A reset: only the first `keep` bytes on their way still arrive.
    pub fn reset(&mut self, now: Time, keep: usize, rng: &mut Rng) {
        self.unsent.clear();
        self.flight.truncate(keep);
        let mut left = self.flight.len();
        self.chunks.retain_mut(|chunk| {
            chunk.length = chunk.length.min(left);
            left -= chunk.length;
            chunk.length > 0
        });
        // What was in a slow queue is gone: the reset itself need not wait for its turn.
        self.latest = self.chunks.back().map_or(now, |chunk| chunk.arrives);
        self.end = None;
        self.close(now, CloseReason::Reset, rng);
    }

    fn close(&mut self, now: Time, reason: CloseReason, rng: &mut Rng) {
        if self.end.is_none() {
            self.end = Some(reason);
            self.end_arrives = now + rng.span(self.settings.fastest, self.settings.slowest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(link: &mut Link) -> Vec<u8> {
        let mut arrived = BytesMut::new();
        while let Some(due) = link.next_arrival() {
            if link.arrive(due, &mut arrived) == 0 {
                break;
            }
        }
        arrived.to_vec()
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|i| i as u8).collect()
    }

    #[test]
    fn every_byte_arrives_once_and_in_order_however_it_is_cut() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let chunking = Chunking::UpTo(rng.between(1, 40) as usize);
            let window = rng.between(1, 300) as usize;
            let settings = LinkSettings { chunking, window, ..LinkSettings::default() };
            let mut link = Link::new(settings);
            let sent = text(1000);
            let (mut arrived, mut now, mut at) = (BytesMut::new(), Time::EPOCH, 0);
            while arrived.len() < sent.len() {
                let more = (at + rng.below(200) as usize).min(sent.len());
                link.send(&sent[at..more]);
                at = more;
                link.admit(now, &mut rng);
                assert!(link.in_flight() <= window);
                if let Some(due) = link.next_arrival() {
                    assert!(due >= now, "no arrival lies in the past");
                    now = due;
                    link.arrive(now, &mut arrived);
                }
            }
            assert_eq!(&arrived[..], &sent[..]);
        }
    }

    #[test]
    fn the_window_holds_the_rest_back() {
        let mut rng = Rng::new(1);
        let mut link = Link::new(LinkSettings { window: 10, ..LinkSettings::default() });
        link.send(&text(25));
        link.admit(Time::EPOCH, &mut rng);
        assert_eq!((link.in_flight(), link.unsent()), (10, 15));
        assert_eq!(drain(&mut link), text(10));
        link.admit(Time::EPOCH, &mut rng);
        assert_eq!((link.in_flight(), link.unsent()), (10, 5));
    }

    #[test]
    fn an_orderly_end_comes_behind_the_bytes_and_nothing_behind_it() {
        let mut rng = Rng::new(1);
        let mut link = Link::new(LinkSettings::default());
        link.send(b"last words");
        link.admit(Time::EPOCH, &mut rng);
        link.finish(Time::EPOCH, &mut rng);
        link.send(b"too late");
        link.admit(Time::EPOCH, &mut rng);
        let first = link.next_arrival().unwrap();
        assert!(link.ended(first).is_none());
        assert_eq!(drain(&mut link), b"last words");
        let end = link.next_arrival().unwrap();
        assert!(end >= first);
        assert!(matches!(link.ended(end), Some(CloseReason::EndOfStream)));
    }

    #[test]
    fn a_reset_destroys_bytes_at_any_point() {
        for keep in 0..=30 {
            let mut rng = Rng::new(keep as u64);
            let settings =
                LinkSettings { chunking: Chunking::UpTo(7), window: 20, ..LinkSettings::default() };
            let mut link = Link::new(settings);
            link.send(&text(30));
            link.admit(Time::EPOCH, &mut rng);
            link.reset(Time::EPOCH, keep, &mut rng);
            assert_eq!(drain(&mut link), text(keep.min(20)));
            let end = link.next_arrival().unwrap();
            assert!(matches!(link.ended(end), Some(CloseReason::Reset)));
        }
    }

    #[test]
    fn a_stall_delays_and_a_dead_link_never_delivers() {
        let mut rng = Rng::new(1);
        let mut link = Link::new(LinkSettings::default());
        let later = Time::EPOCH + Duration::from_secs(9);
        link.stall(later);
        link.send(b"x");
        link.admit(Time::EPOCH, &mut rng);
        assert_eq!(link.next_arrival(), Some(later));
        link.die();
        link.finish(later, &mut rng);
        assert_eq!(link.next_arrival(), None);
        assert!(link.ended(Time::NEVER).is_none());
    }

    #[test]
    fn bandwidth_spreads_bytes_over_time() {
        let mut rng = Rng::new(1);
        let settings = LinkSettings {
            nanos_per_byte: 1_000_000,
            chunking: Chunking::UpTo(1),
            ..LinkSettings::default()
        };
        let mut link = Link::new(settings);
        link.send(&text(100));
        link.admit(Time::EPOCH, &mut rng);
        let mut last = Time::EPOCH;
        let mut arrived = BytesMut::new();
        while let Some(due) = link.next_arrival() {
            assert!(due - last >= Duration::from_millis(1));
            last = due;
            link.arrive(due, &mut arrived);
        }
        assert!(last - Time::EPOCH >= Duration::from_millis(100));
    }
}
