//! What the processes have said, and what must not be true of it.
//!
//! Owns the promises that are checked (P4, P5 and P6 of the house). It believes no counter of the client,
//! only what an application was told before its process died.

use std::collections::HashMap;
use std::fmt;

/// A message: the `sequence`th of a thread of the `life`th publisher. Those of one thread are in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) life: u32,
    pub(super) thread: u32,
    pub(super) sequence: u64,
}

impl Id {
    pub(super) fn body(self) -> String {
        let Self { life, thread, sequence } = self;
        format!(r#"{{"life":{life},"thread":{thread},"sequence":{sequence}}}"#)
    }

    pub(super) fn from_body(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let numbers: Vec<&str> =
            text.split(|c: char| !c.is_ascii_digit()).filter(|s| !s.is_empty()).collect();
        Self::from_numbers(&numbers)
    }

    fn parse(text: &str) -> Option<Self> {
        Self::from_numbers(&text.split('-').collect::<Vec<_>>())
    }

    fn from_numbers(numbers: &[&str]) -> Option<Self> {
        let [life, thread, sequence] = numbers else { return None };
        Some(Self {
            life: life.parse().ok()?,
            thread: thread.parse().ok()?,
            sequence: sequence.parse().ok()?,
        })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.life, self.thread, self.sequence)
    }
}

/// What is known of one message.
#[derive(Debug, Default)]
struct Message {
    accepted: bool,
    /// The first time.
    bookmark: Option<Box<str>>,
    /// The last subscriber that it came to; 0 for none.
    came_in: u32,
    /// It has come to somebody who has not begun to discard it: if that one dies, it has to come again.
    owed: bool,
    /// The last subscriber that has discarded it.
    discarded_in: Option<u32>,
}

/// What is open somewhere, as far as the processes have said it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct InFlight {
    /// In the publisher's store, and not confirmed by the server.
    pub(super) unpersisted: u64,
    /// Accepted, and never seen by a subscriber.
    pub(super) on_the_way: u64,
    /// Came to the subscriber that runs now, and are not discarded.
    pub(super) open: u64,
}

impl InFlight {
    pub(super) const fn any(self) -> bool {
        self.unpersisted > 0 || self.on_the_way > 0 || self.open > 0
    }
}

#[derive(Debug)]
pub(super) struct Ledger {
    messages: HashMap<Id, Message>,
    /// The last message of each thread of the publisher: of the current subscriber, and first seen by any.
    here: HashMap<u32, Id>,
    ever: HashMap<u32, Id>,
    in_flight: InFlight,
    pub(super) accepted: u64,
    /// Different messages that came.
    pub(super) received: u64,
    /// Messages that came again, each time counted.
    pub(super) repeated: u64,
    /// Messages that are owed.
    owed: u64,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            messages: HashMap::new(),
            here: HashMap::new(),
            ever: HashMap::new(),
            in_flight: InFlight::default(),
            accepted: 0,
            received: 0,
            repeated: 0,
            owed: 0,
        }
    }

    pub(super) const fn in_flight(&self) -> InFlight {
        self.in_flight
    }

    /// Everything that was accepted has come, and is discarded.
    pub(super) const fn is_done(&self) -> bool {
        self.in_flight.on_the_way == 0 && self.owed == 0 && self.in_flight.open == 0
    }

    /// Why it is not done, after a long wait.
    pub(super) fn missing(&self) -> String {
        let first = |wanted: fn(&Message) -> bool| {
            let ids = self.messages.iter().filter(|(_, message)| wanted(message)).map(|(id, _)| *id);
            ids.min().map_or_else(|| "none".to_owned(), |id| id.to_string())
        };
        let lost = first(|message| message.accepted && message.came_in == 0);
        let owed = first(|message| message.owed);
        format!(
            "accepted, and never came: {} messages, the first is {lost}; came to somebody who died before it was \
             discarded, and did not come again: {} messages, the first is {owed}; {} are open",
            self.in_flight.on_the_way, self.owed, self.in_flight.open
        )
    }

    /// The server has all that the publisher has published.
    pub(super) const fn persisted(&mut self) {
        self.in_flight.unpersisted = 0;
    }

    /// Another publisher begins.
    pub(super) const fn publisher_begins(&mut self) {
        self.in_flight.unpersisted = 0;
    }

    /// Another subscriber begins.
    pub(super) fn subscriber_begins(&mut self) {
        self.in_flight.open = 0;
        self.here.clear();
    }

    /// Takes down what a publisher said: `a THREAD FIRST COUNT UNPERSISTED`.
    pub(super) fn accepted(&mut self, life: u32, words: &[&str]) -> Result<(), String> {
        let numbers: Vec<u64> = words.iter().filter_map(|word| word.parse().ok()).collect();
        let [thread, first, count, unpersisted] = numbers[..] else {
            return Err(format!("a publisher said what nobody understands: {words:?}"));
        };
        let thread = u32::try_from(thread).unwrap_or(u32::MAX);
        for sequence in first..first + count {
            let message = self.messages.entry(Id { life, thread, sequence }).or_default();
            message.accepted = true;
            self.accepted += 1;
            // The subscriber may have been faster.
            self.in_flight.on_the_way += u64::from(message.came_in == 0);
        }
        self.in_flight.unpersisted = unpersisted;
        Ok(())
    }

    /// Takes down what the subscriber of this life said: `r MESSAGE BOOKMARK`.
    pub(super) fn came(&mut self, life: u32, words: &[&str]) -> Result<(), String> {
        let (&[text, bookmark], Some(id)) = (words, words.first().and_then(|text| Id::parse(text))) else {
            return Err(format!("a subscriber said what nobody understands: {words:?}"));
        };
        if let Some(before) = self.here.insert(id.thread, id).filter(|before| *before >= id) {
            return Err(format!(
                "P4: to subscriber {life}, message {text} came after {before} of the same thread"
            ));
        }
        let message = self.messages.entry(id).or_default();
        let first = message.bookmark.get_or_insert_with(|| bookmark.into());
        if **first != *bookmark {
            return Err(format!("P5: message {text} is in the log twice, at {first} and at {bookmark}"));
        }
        let (came_in, discarded_in) = (message.came_in, message.discarded_in);
        message.came_in = life;
        self.owed += u64::from(!message.owed);
        message.owed = true;
        self.in_flight.open += 1;
        if came_in == 0 {
            self.received += 1;
            self.in_flight.on_the_way -= u64::from(message.accepted);
            if let Some(before) = self.ever.insert(id.thread, id).filter(|before| *before >= id) {
                return Err(format!(
                    "P6: message {text} came first after {before} of the same thread had come"
                ));
            }
            return Ok(());
        }
        self.repeated += 1;
        // Whoever had it last may have died with it in hand. What was discarded is done with for ever.
        match discarded_in {
            None => Ok(()),
            Some(before) => Err(format!(
                "P6: message {text} came to subscriber {life} again, though subscriber {before} had \
                 discarded it before it died"
            )),
        }
    }

    /// Takes down that a subscriber is about to discard: `t MESSAGE`. Whether it did nobody knows if it dies now.
    pub(super) fn taken(&mut self, words: &[&str]) -> Result<(), String> {
        let (_, message) = self.message(words)?;
        let owed = std::mem::take(&mut message.owed);
        self.owed -= u64::from(owed);
        Ok(())
    }

    /// Takes down what a subscriber said: `d MESSAGE`.
    pub(super) fn discarded(&mut self, life: u32, words: &[&str]) -> Result<(), String> {
        let (_, message) = self.message(words)?;
        message.discarded_in = Some(life);
        self.in_flight.open -= 1;
        Ok(())
    }

    fn message(&mut self, words: &[&str]) -> Result<(Id, &mut Message), String> {
        let id = words.first().and_then(|text| Id::parse(text));
        let found = id.and_then(|id| Some((id, self.messages.get_mut(&id)?)));
        found.ok_or_else(|| format!("a subscriber speaks of what never came: {words:?}"))
    }

    /// When all is quiet: everything arrived.
    pub(super) fn close(&self) -> Result<(), String> {
        if self.is_done() { Ok(()) } else { Err(self.missing()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays what processes say, each with its life: `2r 1-0-5 7|5|` is said by the second subscriber.
    fn play(words: &[&str]) -> Result<(), String> {
        let mut ledger = Ledger::new();
        ledger.subscriber_begins();
        let mut current = 1;
        for line in words {
            let parts: Vec<&str> = line.split(' ').collect();
            let (said, rest) = parts.split_first().unwrap();
            let (life, what) = said.split_at(1);
            let life: u32 = life.parse().unwrap();
            if what != "a" && life > current {
                ledger.subscriber_begins();
                current = life;
            }
            match what {
                "a" => ledger.accepted(life, rest)?,
                "r" => ledger.came(life, rest)?,
                "t" => ledger.taken(rest)?,
                "d" => ledger.discarded(life, rest)?,
                other => panic!("{other}"),
            }
        }
        ledger.close()
    }

    fn violation(words: &[&str]) -> String {
        play(words).unwrap_err()
    }

    #[test]
    fn what_arrives_and_is_discarded_is_in_order() {
        let words =
            ["1a 0 1 2 2", "1r 1-0-1 7|1|", "1t 1-0-1", "1d 1-0-1", "1r 1-0-2 7|2|", "1t 1-0-2", "1d 1-0-2"];
        assert_eq!(play(&words), Ok(()));
    }

    #[test]
    fn an_accepted_message_that_never_comes_is_found() {
        let words = ["1a 0 1 2 2", "1r 1-0-1 7|1|", "1t 1-0-1", "1d 1-0-1"];
        let violation = violation(&words);
        assert!(violation.contains("never came: 1 messages, the first is 1-0-2"), "{violation}");
    }

    #[test]
    fn what_nobody_began_to_discard_has_to_come_again() {
        let mut words = vec!["1a 0 1 2 2", "1r 1-0-1 7|1|", "1r 1-0-2 7|2|", "1t 1-0-2", "1d 1-0-2"];
        let violation = violation(&words);
        assert!(violation.contains("did not come again: 1 messages, the first is 1-0-1"), "{violation}");
        words.extend(["2r 1-0-1 7|1|", "2t 1-0-1", "2d 1-0-1"]);
        assert_eq!(play(&words), Ok(()));
    }

    #[test]
    fn what_was_being_discarded_may_come_again_or_not() {
        let mut words = vec!["1r 1-0-1 7|1|", "1t 1-0-1", "2r 1-0-2 7|2|", "2t 1-0-2", "2d 1-0-2"];
        assert_eq!(play(&words), Ok(()));
        words.splice(2..2, ["2r 1-0-1 7|1|", "2t 1-0-1", "2d 1-0-1"]);
        assert_eq!(play(&words), Ok(()));
    }

    #[test]
    fn a_discard_that_is_forgotten_is_found() {
        let words = ["1r 1-0-1 7|1|", "1t 1-0-1", "1d 1-0-1", "2r 1-0-1 7|1|"];
        let violation = violation(&words);
        assert!(violation.contains("message 1-0-1 came to subscriber 2 again"), "{violation}");
    }

    #[test]
    fn disorder_a_gap_and_a_second_copy_are_found() {
        let disorder = violation(&["1r 1-0-2 7|2|", "1r 1-0-1 7|1|"]);
        assert!(disorder.starts_with("P4: "), "{disorder}");
        let twice = violation(&["1r 1-0-2 7|2|", "1r 1-0-2 7|2|"]);
        assert!(twice.starts_with("P4: "), "{twice}");
        let gap = violation(&["1r 1-0-2 7|2|", "2r 1-0-1 7|1|"]);
        assert!(gap.starts_with("P6: message 1-0-1 came first after 1-0-2"), "{gap}");
        let copy = violation(&["1r 1-0-2 7|2|", "2r 1-0-2 7|9|"]);
        assert!(copy.starts_with("P5: message 1-0-2 is in the log twice"), "{copy}");
    }

    #[test]
    fn a_message_is_named_by_its_body_and_by_its_name() {
        let id = Id { life: 3, thread: 1, sequence: 42 };
        assert_eq!(Id::from_body(id.body().as_bytes()), Some(id));
        assert_eq!(Id::parse(&id.to_string()), Some(id));
        assert_eq!(Id::from_body(b"{}"), None);
    }
}
