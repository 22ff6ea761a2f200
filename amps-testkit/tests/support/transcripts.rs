//! All transcripts.

use super::script::{Dialogue, parse};

pub(crate) const TRANSCRIPTS: &[&str] = &[
    include_str!("../dialogues/connection.txt"),
    include_str!("../dialogues/publish.txt"),
    include_str!("../dialogues/queue.txt"),
    include_str!("../dialogues/queue_limits.txt"),
    include_str!("../dialogues/log.txt"),
    include_str!("../dialogues/sow.txt"),
    include_str!("../dialogues/rights.txt"),
    include_str!("../dialogues/pair.txt"),
    include_str!("../dialogues/actions.txt"),
    include_str!("../dialogues/past_and_joins.txt"),
    include_str!("../dialogues/switches.txt"),
];

/// The dialogues of all of them.
pub(crate) fn dialogues() -> impl Iterator<Item = Dialogue> {
    TRANSCRIPTS.iter().flat_map(|text| parse(text))
}
