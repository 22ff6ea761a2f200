//! What of a log's file still counts.
//!
//! Owns the rules by which records are dead: those before a reset, and those that a later one of the same
//! kind takes the place of. What a queue message was acknowledged by is not: its message is in the log, and
//! must not come back into the queue. Nor is what was truncated: it cannot be replayed any more, but a
//! record of the state of the world, and a message that waits in a queue, outlive that (RET-01, SOW-01).

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::{LogRecord, MessageId};

/// The records from which a server begins as from all of them. `keep_past`: earlier states of records count,
/// since they can be asked for.
pub(super) fn live(mut records: Vec<LogRecord>, keep_past: bool) -> Vec<LogRecord> {
    if let Some(reset) = records.iter().rposition(|record| matches!(record, LogRecord::Reset)) {
        records.drain(..=reset);
    }
    let mut dead = BTreeSet::new();
    if !keep_past {
        superseded(&records, &mut dead);
    }
    // Of each publisher the highest number is enough.
    let mut highest: BTreeMap<u64, u64> = BTreeMap::new();
    for record in &records {
        let MessageId { publisher, sequence } = match record {
            LogRecord::Sequence(number) => *number,
            _ => continue,
        };
        let known = highest.entry(publisher).or_default();
        *known = sequence.max(*known);
    }
    let numbers = highest
        .into_iter()
        .map(|(publisher, sequence)| LogRecord::Sequence(MessageId { publisher, sequence }));
    let rest = records
        .into_iter()
        .enumerate()
        .filter(|(index, record)| !dead.contains(index) && !matches!(record, LogRecord::Sequence(_)));
    numbers.chain(rest.map(|(_, record)| record)).collect()
}

/// Adds states of unlogged records that were replaced or dropped later.
fn superseded(records: &[LogRecord], dead: &mut BTreeSet<usize>) {
    let logged: BTreeSet<(&str, &str)> = records
        .iter()
        .filter_map(|record| match record {
            LogRecord::Message(message) => Some((&*message.message_type, &*message.topic)),
            _ => None,
        })
        .collect();
    let mut last: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    for (index, record) in records.iter().enumerate() {
        let (LogRecord::Kept { message_type, topic, key, .. }
        | LogRecord::Dropped { message_type, topic, key, .. }) = record
        else {
            continue;
        };
        dead.extend(last.insert((message_type, topic, key), index));
    }
    // Nothing is there that it could drop, unless the topic was logged in an earlier life.
    dead.extend(last.into_values().filter(|index| match records.get(*index) {
        Some(LogRecord::Dropped { message_type, topic, .. }) => {
            !logged.contains(&(message_type.as_str(), topic.as_str()))
        }
        _ => false,
    }));
}

#[cfg(test)]
mod tests {
    use amps_transport::Time;

    use super::*;
    use crate::engine::LoggedMessage;

    fn bookmark(sequence: u64) -> MessageId {
        MessageId { publisher: 1, sequence }
    }

    fn message(sequence: u64) -> LogRecord {
        LogRecord::Message(LoggedMessage {
            bookmark: bookmark(sequence),
            message_type: "json".into(),
            topic: "T".into(),
            body: b"{}".to_vec(),
            key: None,
            correlation: None,
            publisher: "p".into(),
            at: Time::EPOCH,
            expiration: None,
            via: None,
        })
    }

    fn departure(sequence: u64) -> LogRecord {
        let (queue, message_type) = ("q".into(), "json".into());
        LogRecord::Departure { queue, message_type, bookmark: bookmark(sequence), at: Time::EPOCH, via: None }
    }

    fn kept(topic: &str, key: &str, body: &str) -> LogRecord {
        LogRecord::Kept {
            message_type: "json".into(),
            topic: topic.into(),
            key: key.into(),
            body: body.into(),
            correlation: None,
            publisher: "p".into(),
            at: Time::EPOCH,
            expires: None,
        }
    }

    fn dropped(topic: &str, key: &str) -> LogRecord {
        let (message_type, topic, key) = ("json".into(), topic.into(), key.into());
        LogRecord::Dropped { message_type, topic, key, at: Time::EPOCH }
    }

    #[test]
    fn nothing_from_before_a_reset_counts() {
        let records = vec![message(1), LogRecord::Sequence(bookmark(9)), LogRecord::Reset, message(2)];
        assert_eq!(live(records, false), [message(2)]);
    }

    #[test]
    fn what_was_truncated_still_counts() {
        let records = vec![message(1), message(2), departure(1), LogRecord::Truncation(2), message(3)];
        assert_eq!(live(records.clone(), false), records);
    }

    #[test]
    fn what_was_acknowledged_stays_so() {
        let records = vec![message(1), departure(1), message(2)];
        assert_eq!(live(records.clone(), false), records);
    }

    #[test]
    fn of_numbers_the_highest_counts() {
        let numbers = [3, 7, 5].map(|sequence| LogRecord::Sequence(bookmark(sequence)));
        assert_eq!(live(numbers.to_vec(), false), [LogRecord::Sequence(bookmark(7))]);
    }

    #[test]
    fn of_an_unlogged_record_the_last_state_counts_unless_the_past_can_be_asked_for() {
        let records = vec![
            kept("U", "1", "a"),
            kept("U", "2", "b"),
            kept("U", "1", "c"),
            dropped("U", "2"),
            // Here it may be one that was logged.
            message(1),
            dropped("T", "1"),
        ];
        assert_eq!(live(records.clone(), false), [kept("U", "1", "c"), message(1), dropped("T", "1")]);
        assert_eq!(live(records.clone(), true), records);
    }
}
