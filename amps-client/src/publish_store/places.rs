//! Where the messages of a file store are, in 12 bytes each.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;

/// Places come and go in blocks of this many.
const BLOCK: usize = 4096;

/// A message that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its sequence number.
    pub(super) number: u64,
    /// The position of its record.
    pub(super) position: u64,
    /// The length of its frame.
    pub(super) len: u32,
}

/// Messages in ascending order.
#[derive(Debug, Default)]
pub(super) struct Places {
    blocks: VecDeque<Block>,
    len: usize,
    bytes: u64,
}

/// Messages whose numbers and positions are near each other.
#[derive(Debug)]
struct Block {
    number: u64,
    position: u64,
    /// Distances to these two, and the length.
    entries: Vec<(u32, u32, u32)>,
    /// So many at the front are forgotten.
    gone: usize,
}

impl Block {
    fn entry(&self, at: usize) -> Option<Entry> {
        let &(number, position, len) = self.entries.get(at)?;
        Some(Entry {
            number: self.number + u64::from(number),
            position: self.position + u64::from(position),
            len,
        })
    }

    fn push(&mut self, entry: Entry) -> bool {
        let near = |value: u64, base| value.checked_sub(base).and_then(|it| u32::try_from(it).ok());
        match (near(entry.number, self.number), near(entry.position, self.position)) {
            (Some(number), Some(position)) if self.entries.len() < BLOCK => {
                self.entries.push((number, position, entry.len));
                true
            }
            _ => false,
        }
    }

    /// How many have numbers up to this one.
    fn up_to(&self, number: u64) -> usize {
        self.entries.partition_point(|it| self.number + u64::from(it.0) <= number)
    }
}

impl Places {
    /// Adds a message; its number and its position are larger than any before.
    pub(super) fn push(&mut self, entry: Entry) {
        if !self.blocks.back_mut().is_some_and(|block| block.push(entry)) {
            let mut block =
                Block { number: entry.number, position: entry.position, entries: Vec::new(), gone: 0 };
            block.push(entry);
            self.blocks.push_back(block);
        }
        self.len += 1;
        self.bytes += u64::from(entry.len);
    }

    /// Forgets all up to this number.
    pub(super) fn forget_up_to(&mut self, number: u64) {
        while let Some(block) = self.blocks.front_mut() {
            let gone = block.up_to(number).max(block.gone);
            let forgotten = block.entries.get(block.gone..gone).unwrap_or_default();
            self.len -= forgotten.len();
            self.bytes -= forgotten.iter().map(|it| u64::from(it.2)).sum::<u64>();
            block.gone = gone;
            if gone < block.entries.len() {
                break;
            }
            self.blocks.pop_front();
        }
    }

    /// The first message with this number or a larger one.
    pub(super) fn first_from(&self, number: u64) -> Option<Entry> {
        let before = number.checked_sub(1);
        let block = self.blocks.partition_point(|block| {
            block.entries.last().is_none_or(|it| block.number + u64::from(it.0) < number)
        });
        let block = self.blocks.get(block)?;
        block.entry(before.map_or(0, |before| block.up_to(before)).max(block.gone))
    }

    /// The first message.
    pub(super) fn first(&self) -> Option<Entry> {
        self.first_from(0)
    }

    /// The number of the last message.
    pub(super) fn last_number(&self) -> Option<u64> {
        let block = self.blocks.back()?;
        block.entries.last().map(|it| block.number + u64::from(it.0))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The bytes of their frames.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_lies_far_apart_is_found() {
        let mut places = Places::default();
        let entries: Vec<Entry> = (0..10_000)
            .map(|i| Entry { number: 7 + i * i * 60_000, position: (1 << 48) + i * 1_000_003, len: 10 })
            .collect();
        entries.iter().for_each(|entry| places.push(*entry));
        for (at, entry) in entries.iter().enumerate() {
            assert_eq!(places.first_from(entry.number), Some(*entry));
            assert_eq!(places.first_from(entry.number + 1), entries.get(at + 1).copied());
        }
        places.forget_up_to(entries[5000].number);
        assert_eq!((places.len(), places.bytes(), places.first()), (4999, 49_990, Some(entries[5001])));
        assert_eq!(places.first_from(entries[17].number), Some(entries[5001]));
        places.forget_up_to(u64::MAX);
        assert_eq!((places.len(), places.bytes(), places.first()), (0, 0, None));
    }
}
