//! The records of publish stores, in words.

use amps_protocol::Message;

use super::file::{DISCARDED, MESSAGE, REFUSED, RESERVED, State, message};
use crate::journal::{Explain, Owner};

/// Who explains the records of a publish store.
pub(crate) fn explainer() -> Box<dyn Explain> {
    Box::<State>::default()
}

impl Explain for State {
    fn record(&mut self, position: u64, kind: u8, payload: &[u8]) -> Result<String, String> {
        self.replay(position, kind, payload)?;
        let (number, frame) = message(payload).ok_or("a record without a number")?;
        Ok(match kind {
            MESSAGE => format!("message {number}: {}", frame_in_words(frame)),
            DISCARDED => format!("discarded: everything up to {number}"),
            REFUSED => format!("refused: message {number} is not sent again"),
            RESERVED => format!("reserved: no number above {number} is in use"),
            _ => format!("kind {kind} with the number {number}"),
        })
    }

    fn live(&self) -> String {
        let next = self.last_used.max(self.reserved).saturating_add(1);
        let kept = match (self.places.first(), self.places.last_number()) {
            (Some(first), Some(last)) => format!(
                "{} messages, {} bytes, from {} to {last}",
                self.places.len(),
                self.places.bytes(),
                first.number
            ),
            _ => "no message".to_owned(),
        };
        format!("{kept}; persisted up to {}; the next number is {next}", self.last_discarded)
    }
}

fn frame_in_words(frame: &[u8]) -> String {
    let Ok(message) = Message::decode(frame) else { return format!("{} bytes", frame.len()) };
    let topic = message.topic().map(|topic| format!(" to {topic:?}")).unwrap_or_default();
    format!("{}{topic}, {} bytes of data", message.command().token(), message.data().len())
}
