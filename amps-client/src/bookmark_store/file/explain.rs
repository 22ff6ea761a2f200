//! The records of a bookmark store's file in words.

use super::{BEGIN, DISCARDED, PERSISTED, POINT, PURGED, PURGED_SUB, SUB, State, messages, text};
use crate::bookmarks::MessageId;
use crate::journal::{Explain, Owner};

/// So many messages are shown of a record.
const SHOWN: usize = 4;

/// Who explains the records of a bookmark store.
pub(crate) fn explainer() -> Box<dyn Explain> {
    Box::<State>::default()
}

impl Explain for State {
    fn record(&mut self, position: u64, kind: u8, payload: &[u8]) -> Result<String, String> {
        let number = payload.first_chunk().map(|number| u32::from_be_bytes(*number)).unwrap_or_default();
        // A purge takes the name away.
        let name = self.names.get(&number).cloned();
        self.replay(position, kind, payload)?;
        if kind == PURGED {
            return Ok("purged: nothing is known of any subscription".to_owned());
        }
        let name = name.or_else(|| self.names.get(&number).cloned()).unwrap_or_default();
        let rest = payload.get(4..).unwrap_or_default();
        Ok(match kind {
            SUB => format!("subscription {number}: {name:?}"),
            BEGIN => format!("{name:?} begins at {:?}", text(rest).unwrap_or_default()),
            DISCARDED => format!("{name:?} discarded singly: {}", list(rest)),
            POINT => format!("{name:?} discarded all up to: {}", list(rest)),
            PERSISTED => format!("{name:?} persisted up to: {}", list(rest)),
            PURGED_SUB => format!("{name:?} purged: nothing is known of it"),
            _ => format!("kind {kind} about {name:?}"),
        })
    }

    fn live(&self) -> String {
        let mut subs: Vec<_> = self.subs.iter().collect();
        subs.sort_unstable_by_key(|(name, _)| &***name);
        let points: Vec<String> = subs
            .into_iter()
            .map(|(name, sub)| format!("{name:?} goes on at {:?}", sub.tracker.recovery_point().bookmark))
            .collect();
        if points.is_empty() { "no subscription".to_owned() } else { points.join("; ") }
    }
}

/// The first few, and how many there are.
fn list(payload: &[u8]) -> String {
    let mut all: Vec<MessageId> = Vec::new();
    // It was read before.
    let _read = messages(payload, &mut |message| all.push(message));
    let shown: Vec<String> = all.iter().take(SHOWN).map(MessageId::to_string).collect();
    let more = all.len() - shown.len();
    if more == 0 { shown.join(" ") } else { format!("{} and {more} more", shown.join(" ")) }
}
