//! The tracker beside a naive model of it, and what the contract says in words.

use proptest::prelude::*;

use super::*;

const fn id(publisher: u64, sequence: u64) -> MessageId {
    MessageId { publisher, sequence }
}

fn quiet(_: Note<'_>) {}

/// A tracker at which these have arrived.
fn with(messages: &[MessageId]) -> Tracker {
    let mut tracker = Tracker::default();
    for message in messages {
        assert_eq!(tracker.arrived(*message, &mut quiet), Arrival::New);
    }
    tracker
}

fn point(tracker: &Tracker) -> String {
    tracker.recovery_point().bookmark
}

/// What the next run knows, if everything that was told was kept.
fn again(tracker: &Tracker) -> Tracker {
    let mut next = Tracker::default();
    tracker.recount(&mut |note| next.restore(note));
    next
}

/// BM-4
#[test]
fn the_recovery_point_stays_before_the_first_open_message() {
    let mut tracker = Tracker::default();
    tracker.begin("20240101T000000", &mut quiet);
    for sequence in 1..=3 {
        tracker.arrived(id(1, sequence), &mut quiet);
    }
    assert!(tracker.discard(id(1, 2), &mut quiet));
    assert!(tracker.discard(id(1, 3), &mut quiet));
    let start = RecoveryPoint { bookmark: "20240101T000000".to_owned(), progress: false };
    assert_eq!(tracker.recovery_point(), start);
    assert_eq!((tracker.oldest_open(), tracker.open_messages()), (Some(id(1, 1)), 1));
    assert!(tracker.discard(id(1, 1), &mut quiet));
    assert_eq!(tracker.recovery_point(), RecoveryPoint { bookmark: "1|3|".to_owned(), progress: true });
    assert_eq!((tracker.oldest_open(), tracker.open_messages()), (None, 0));
}

/// BM-6
#[test]
fn each_publisher_has_its_point() {
    let mut tracker = with(&[id(1, 7), id(2, 3)]);
    tracker.discard(id(1, 7), &mut quiet);
    tracker.discard(id(2, 3), &mut quiet);
    assert_eq!(point(&tracker), "1|7|,2|3|");
}

/// BM-3
#[test]
fn what_arrived_in_this_run_is_a_duplicate_and_what_is_merely_lower_is_none() {
    let mut tracker = with(&[id(1, 5)]);
    assert_eq!(tracker.arrived(id(1, 5), &mut quiet), Arrival::Duplicate);
    assert_eq!(tracker.arrived(id(1, 3), &mut quiet), Arrival::New, "ruling R4");
    tracker.discard(id(1, 5), &mut quiet);
    assert_eq!(tracker.arrived(id(1, 3), &mut quiet), Arrival::Duplicate);
    assert_eq!(tracker.arrived(id(1, 5), &mut quiet), Arrival::Duplicate);
    assert_eq!(tracker.open_messages(), 1);
}

/// BM-3, SM-4
#[test]
fn a_reconnect_resumes_behind_what_was_discarded_and_knows_what_is_open() {
    let mut tracker = with(&[id(1, 1), id(1, 2)]);
    tracker.discard(id(1, 1), &mut quiet);
    assert_eq!(point(&tracker), "1|1|");
    assert_eq!(tracker.arrived(id(1, 2), &mut quiet), Arrival::Duplicate);
}

/// BM-7
#[test]
fn a_persisted_bookmark_joins_once_nothing_before_it_is_open() {
    let mut tracker = Tracker::default();
    tracker.persisted(id(9, 100), &mut quiet);
    assert_eq!(point(&tracker), "9|100|");

    let mut tracker = with(&[id(1, 1)]);
    tracker.persisted(id(9, 100), &mut quiet);
    assert_eq!(tracker.recovery_point(), RecoveryPoint::default());
    tracker.arrived(id(1, 2), &mut quiet);
    tracker.discard(id(1, 1), &mut quiet);
    assert_eq!(point(&tracker), "1|1|,9|100|");
}

/// BM-7: and it discards nothing.
#[test]
fn a_persisted_bookmark_makes_no_duplicates() {
    let mut tracker = Tracker::default();
    tracker.persisted(id(1, 100), &mut quiet);
    assert_eq!(tracker.arrived(id(1, 50), &mut quiet), Arrival::New);
    let mut tracker = again(&tracker);
    assert_eq!(tracker.arrived(id(1, 50), &mut quiet), Arrival::New);
}

/// BM-8
#[test]
fn the_last_persisted_bookmark_is_listed_also_below_its_publishers_point() {
    let mut tracker = with(&[id(1, 5), id(2, 7)]);
    tracker.discard(id(1, 5), &mut quiet);
    tracker.discard(id(2, 7), &mut quiet);
    tracker.persisted(id(1, 3), &mut quiet);
    assert_eq!(point(&tracker), "1|5|,2|7|,1|3|");
    tracker.persisted(id(2, 9), &mut quiet);
    assert_eq!(point(&tracker), "1|5|,2|9|");
    tracker.persisted(id(1, 5), &mut quiet);
    assert_eq!(point(&tracker), "1|5|,2|9|");
}

#[test]
fn a_point_of_a_publisher_without_discarded_messages_is_not_listed_unless_it_is_the_last() {
    let mut tracker = with(&[id(1, 5)]);
    tracker.discard(id(1, 5), &mut quiet);
    tracker.persisted(id(8, 1), &mut quiet);
    tracker.persisted(id(9, 1), &mut quiet);
    assert_eq!(point(&tracker), "1|5|,9|1|");
}

#[test]
fn where_it_begins_is_said_once_and_only_if_nothing_is_known() {
    let mut tracker = Tracker::default();
    tracker.begin("0|1|", &mut quiet);
    tracker.begin("0", &mut quiet);
    assert_eq!(point(&tracker), "0|1|");
    let mut tracker = with(&[id(1, 1)]);
    tracker.discard(id(1, 1), &mut quiet);
    tracker.begin("0", &mut quiet);
    assert_eq!(tracker.recovery_point(), RecoveryPoint { bookmark: "1|1|".to_owned(), progress: true });
}

#[test]
fn a_message_that_is_not_open_cannot_be_discarded() {
    let mut tracker = with(&[id(1, 1), id(1, 2)]);
    let mut told = 0;
    let mut count = |_: Note<'_>| told += 1;
    assert!(!tracker.discard(id(7, 7), &mut count));
    assert!(!tracker.discard(id(1, 3), &mut count));
    assert!(tracker.discard(id(1, 2), &mut quiet));
    assert!(!tracker.discard(id(1, 2), &mut count));
    assert!(tracker.discard(id(1, 1), &mut quiet));
    assert!(!tracker.discard(id(1, 1), &mut count));
    assert_eq!((told, tracker.open_messages()), (0, 0));
}

/// P6: what was discarded behind an open message stays known.
#[test]
fn the_next_run_delivers_what_was_open_and_not_what_was_discarded() {
    let mut tracker = with(&[id(1, 1), id(1, 2), id(2, 1), id(1, 3)]);
    tracker.discard(id(1, 1), &mut quiet);
    tracker.discard(id(2, 1), &mut quiet);
    let mut next = again(&tracker);
    assert_eq!((point(&next), next.open_messages()), ("1|1|".to_owned(), 0));
    assert_eq!(next.arrived(id(1, 2), &mut quiet), Arrival::New);
    assert_eq!(next.arrived(id(2, 1), &mut quiet), Arrival::Duplicate);
    assert_eq!(next.arrived(id(2, 1), &mut quiet), Arrival::Duplicate);
    assert_eq!(next.arrived(id(1, 3), &mut quiet), Arrival::New);
    assert_eq!(point(&next), "1|1|", "what is open still comes first");
    next.discard(id(1, 2), &mut quiet);
    assert_eq!(point(&next), "1|2|,2|1|");
}

#[test]
fn single_messages_that_never_come_again_are_forgotten_once_the_points_have_passed_them() {
    let mut tracker = with(&[id(1, 1), id(1, 2), id(1, 3)]);
    tracker.discard(id(1, 2), &mut quiet);
    tracker.discard(id(1, 3), &mut quiet);
    let mut next = again(&tracker);
    assert_eq!(next.carried.len(), 2);
    for sequence in 10..20 {
        next.arrived(id(1, sequence), &mut quiet);
        next.discard(id(1, sequence), &mut quiet);
    }
    assert!(next.carried.is_empty());
    assert_eq!(point(&next), "1|19|");
}

#[test]
fn a_recovered_point_makes_no_duplicates_and_keeps_the_publishers_that_are_silent() {
    let mut tracker = Tracker::default();
    tracker.recover(&RecoveryPoint { bookmark: "1|5|,2|9|,1|3|".to_owned(), progress: true });
    assert_eq!(
        tracker.recovery_point(),
        RecoveryPoint { bookmark: "1|5|,2|9|,1|3|".to_owned(), progress: true }
    );
    assert_eq!(tracker.arrived(id(1, 4), &mut quiet), Arrival::New);
    tracker.arrived(id(1, 8), &mut quiet);
    tracker.discard(id(1, 4), &mut quiet);
    tracker.discard(id(1, 8), &mut quiet);
    tracker.persisted(id(1, 8), &mut quiet);
    assert_eq!(point(&tracker), "1|8|,2|9|");

    let mut tracker = Tracker::default();
    tracker.recover(&RecoveryPoint { bookmark: "20240101T000000".to_owned(), progress: false });
    assert_eq!(
        tracker.recovery_point(),
        RecoveryPoint { bookmark: "20240101T000000".to_owned(), progress: false }
    );
}

#[test]
fn many_persisted_bookmarks_behind_one_open_message_take_no_room() {
    let mut tracker = with(&[id(1, 1)]);
    for sequence in 1..1000 {
        tracker.persisted(id(sequence % 3, sequence), &mut quiet);
    }
    assert_eq!(tracker.markers.len(), 3);
    tracker.discard(id(1, 1), &mut quiet);
    assert_eq!(tracker.last_persisted, Some(id(0, 999)));
}

#[test]
fn places_count_on_across_their_end() {
    let mut tracker = Tracker { base: u32::MAX - 2, ..Tracker::default() };
    for sequence in 1..=8 {
        tracker.arrived(id(1, sequence), &mut quiet);
        tracker.persisted(id(2, sequence), &mut quiet);
    }
    for sequence in [7, 6, 2, 1, 3, 5] {
        assert!(tracker.discard(id(1, sequence), &mut quiet));
    }
    assert_eq!((point(&tracker), tracker.open_messages()), ("1|3|,2|3|".to_owned(), 2));
    tracker.discard(id(1, 4), &mut quiet);
    assert_eq!(point(&tracker), "1|7|,2|7|");
}

/// What `count` messages cost that are discarded in an order that jumps about, with persisted bookmarks among
/// them; every third is discarded in an earlier run.
fn cost(count: u64, order: impl Fn(u64) -> u64) -> u64 {
    let mut tracker = Tracker::default();
    let mut earlier = Vec::new();
    for n in 0..count {
        if n % 3 == 2 {
            earlier.push(id(n % 7, n));
        }
    }
    for message in &earlier {
        tracker.restore(Note::Discarded(*message));
    }
    for n in 0..count {
        tracker.arrived(id(n % 7, n), &mut quiet);
        if n % 5 == 0 {
            tracker.persisted(id(n % 7, n), &mut quiet);
        }
    }
    for n in 0..count {
        let n = order(n);
        tracker.discard(id(n % 7, n), &mut quiet);
    }
    assert_eq!((tracker.open_messages(), tracker.carried.len()), (0, 0));
    tracker.visited
}

#[test]
fn the_work_for_a_message_does_not_grow_with_their_number() {
    const COUNT: u64 = 50_000;
    // A step without a common divisor with either number.
    let jumping = |count: u64| move |n: u64| n * 611_953 % count;
    let backwards = |count: u64| move |n: u64| count - 1 - n;
    for (one, two) in [
        (cost(COUNT, |n| n), cost(2 * COUNT, |n| n)),
        (cost(COUNT, backwards(COUNT)), cost(2 * COUNT, backwards(2 * COUNT))),
        (cost(COUNT, jumping(COUNT)), cost(2 * COUNT, jumping(2 * COUNT))),
    ] {
        assert!(one > 2 * COUNT, "{one} visits: what is counted?");
        assert!(two <= 2 * one + COUNT / 10 && one <= 6 * COUNT, "{one} visits, then {two}");
    }
}

/// Messages of earlier runs that never come again are cleared away now and then, not each time.
#[test]
fn the_work_for_what_never_comes_again_is_bounded() {
    const COUNT: u64 = 20_000;
    let mut tracker = Tracker::default();
    for n in 0..COUNT {
        tracker.restore(Note::Discarded(id(1, 10 * COUNT + n)));
    }
    for n in 0..4 * COUNT {
        tracker.arrived(id(1, n), &mut quiet);
        tracker.discard(id(1, n), &mut quiet);
    }
    assert_eq!(tracker.carried.len() as u64, COUNT);
    assert!(tracker.visited <= 6 * 4 * COUNT, "{} visits", tracker.visited);
}

/// Everything that happened, and the answers straight from the words of the contract.
#[derive(Default)]
struct Model {
    start: Option<String>,
    /// What arrived, whether it was discarded; and persisted bookmarks.
    log: Vec<Happened>,
    /// Points and single messages of earlier runs.
    points: Vec<MessageId>,
    carried: Vec<MessageId>,
    persisted: Vec<MessageId>,
}

#[derive(Clone, Copy)]
enum Happened {
    Message(MessageId, bool),
    Persisted(MessageId),
}

impl Model {
    /// The run of discarded messages, and persisted bookmarks among them, at the front.
    fn prefix(&self) -> &[Happened] {
        let open = self.log.iter().position(|happened| matches!(happened, Happened::Message(_, false)));
        &self.log[..open.unwrap_or(self.log.len())]
    }

    /// The last discarded message of that run, of each publisher in the order given.
    fn discarded(&self, publisher: u64) -> Option<u64> {
        let run = self.prefix().iter().filter_map(|happened| match happened {
            Happened::Message(message, _) => Some(message),
            Happened::Persisted(_) => None,
        });
        run.chain(&self.points).filter(|m| m.publisher == publisher).map(|m| m.sequence).max()
    }

    fn all_persisted(&self) -> Vec<MessageId> {
        let run = self.prefix().iter().filter_map(|happened| match happened {
            Happened::Persisted(message) => Some(*message),
            Happened::Message(..) => None,
        });
        self.persisted.iter().copied().chain(run).collect()
    }

    fn arrived(&mut self, message: MessageId) -> Arrival {
        let before = self.discarded(message.publisher).is_some_and(|point| message.sequence <= point);
        let seen =
            self.log.iter().any(|happened| matches!(happened, Happened::Message(m, _) if *m == message));
        if before || seen {
            return Arrival::Duplicate;
        }
        let discarded = self.carried.contains(&message);
        self.log.push(Happened::Message(message, discarded));
        if discarded { Arrival::Duplicate } else { Arrival::New }
    }

    fn discard(&mut self, message: MessageId) {
        for happened in &mut self.log {
            if let Happened::Message(m, discarded) = happened {
                *discarded |= *m == message;
            }
        }
    }

    /// In no particular order.
    fn point(&self) -> Vec<String> {
        let persisted = self.all_persisted();
        let mut point: Vec<String> = Vec::new();
        for publisher in 0..PUBLISHERS {
            let last = persisted.iter().rev().find(|m| m.publisher == publisher).map(|m| m.sequence);
            if let Some(discarded) = self.discarded(publisher) {
                point.push(id(publisher, last.unwrap_or(0).max(discarded)).to_string());
            }
        }
        point.extend(persisted.last().map(MessageId::to_string));
        if point.is_empty() {
            point.extend(self.start.clone());
        }
        point.sort();
        point.dedup();
        point
    }

    /// The process ends, and another begins with what was kept.
    fn restart(&mut self) {
        let points = (0..PUBLISHERS).filter_map(|p| Some(id(p, self.discarded(p)?))).collect();
        self.persisted = self.all_persisted();
        self.points = points;
        for happened in std::mem::take(&mut self.log) {
            if let Happened::Message(message, true) = happened {
                self.carried.push(message);
            }
        }
    }

    fn open(&self) -> Vec<MessageId> {
        let open = self.log.iter().filter_map(|happened| match happened {
            Happened::Message(message, false) => Some(*message),
            _ => None,
        });
        open.collect()
    }
}

const PUBLISHERS: u64 = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(u8),
    Arrive(MessageId),
    Discard(MessageId),
    /// The open message of this rank.
    DiscardOpen(usize),
    Persisted(MessageId),
    Restart,
    /// As a restart, but from what was told along the way.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let message = (0..PUBLISHERS, 1..12u64).prop_map(|(publisher, sequence)| id(publisher, sequence));
    prop_oneof![
        1 => (0..3u8).prop_map(Step::Begin),
        12 => message.clone().prop_map(Step::Arrive),
        2 => message.clone().prop_map(Step::Discard),
        8 => (0..4usize).prop_map(Step::DiscardOpen),
        4 => message.prop_map(Step::Persisted),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ]
}

/// A note that can be kept.
#[derive(Clone)]
enum Kept {
    Begin(String),
    Other(Note<'static>),
}

fn keep(notes: &mut Vec<Kept>, note: Note<'_>) {
    notes.push(match note {
        Note::Begin(from) => Kept::Begin(from.to_owned()),
        Note::Discarded(message) => Kept::Other(Note::Discarded(message)),
        Note::Point(message) => Kept::Other(Note::Point(message)),
        Note::Persisted(message) => Kept::Other(Note::Persisted(message)),
    });
}

fn restored(notes: &[Kept]) -> Tracker {
    let mut tracker = Tracker::default();
    for note in notes {
        match note {
            Kept::Begin(from) => tracker.restore(Note::Begin(from)),
            Kept::Other(note) => tracker.restore(*note),
        }
    }
    tracker
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn it_agrees_with_the_words_of_the_contract(steps in prop::collection::vec(step(), 0..80)) {
        let (mut tracker, mut model, mut notes) = (Tracker::default(), Model::default(), Vec::new());
        for step in steps {
            let told = &mut |note: Note<'_>| keep(&mut notes, note);
            match step {
                Step::Begin(n) => {
                    let from = format!("2024010{n}T000000");
                    let unknown = model.start.is_none()
                        && (&model.log, &model.points, &model.persisted).is_unknown()
                        && model.carried.is_empty();
                    if unknown {
                        model.start = Some(from.clone());
                    }
                    tracker.begin(&from, told);
                }
                Step::Arrive(message) => {
                    prop_assert_eq!(tracker.arrived(message, told), model.arrived(message));
                }
                Step::Discard(message) => {
                    let open = model.open().contains(&message);
                    prop_assert_eq!(tracker.discard(message, told), open);
                    model.discard(message);
                }
                Step::DiscardOpen(rank) => {
                    if let Some(message) = model.open().get(rank) {
                        prop_assert!(tracker.discard(*message, told));
                        model.discard(*message);
                    }
                }
                Step::Persisted(message) => {
                    tracker.persisted(message, told);
                    model.log.push(Happened::Persisted(message));
                }
                Step::Restart => {
                    notes.clear();
                    tracker.recount(&mut |note| keep(&mut notes, note));
                    prop_assert!(notes.len() <= tracker.notes());
                    tracker = restored(&notes);
                    model.restart();
                }
                Step::Crash => {
                    tracker = restored(&notes);
                    model.restart();
                }
            }
            let recovery = tracker.recovery_point();
            let mut point: Vec<String> = recovery.bookmark.split(',').map(str::to_owned).collect();
            point.retain(|entry| !entry.is_empty());
            point.sort();
            prop_assert_eq!(&point, &model.point());
            prop_assert_eq!(recovery.progress, point.first().is_some_and(|entry| entry.contains('|')));
            prop_assert_eq!(tracker.open_messages(), model.open().len());
            prop_assert_eq!(tracker.oldest_open(), model.open().first().copied());
        }
    }
}

/// Whether nothing is known.
trait Unknown {
    fn is_unknown(&self) -> bool;
}

impl Unknown for (&Vec<Happened>, &Vec<MessageId>, &Vec<MessageId>) {
    fn is_unknown(&self) -> bool {
        self.0.is_empty() && self.1.is_empty() && self.2.is_empty()
    }
}
