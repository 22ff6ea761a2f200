//! A publish store in memory.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;

use super::{Attached, Progress, PublishStore};
use crate::store_error::StoreError;

/// Frames are gathered in blocks of this size, which come and go as a whole.
const BLOCK_BYTES: usize = 256 << 10;

/// Keeps messages in memory: they outlive the connection and the server, not the process.
///
/// ```
/// use amps_client::{Client, MemoryPublishStore, Reconnect};
/// # let server = amps_testkit::FakeServer::builder().start()?;
/// # let uri = server.uri("json");
///
/// let client = Client::builder("order-entry")
///     .server(&uri)
///     .reconnect(Reconnect::new())
///     .publish_store(MemoryPublishStore::new())
///     .connect()?;
/// client.publish("orders", br#"{"id":1}"#)?;
/// client.flush(std::time::Duration::from_secs(10))?; // the server has it
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct MemoryPublishStore {
    blocks: VecDeque<Block>,
    len: usize,
    bytes: u64,
    /// Emptied, and used again.
    spare: Option<Block>,
}

/// Frames one behind the other.
#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    /// Number and end of each frame.
    ends: Vec<(u64, usize)>,
    /// Frames at the front that are forgotten.
    gone: usize,
}

impl Block {
    /// Where the frame at this place begins.
    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |(_, end)| *end)
    }
}

impl MemoryPublishStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl PublishStore for MemoryPublishStore {
    fn attach(&mut self, _client: &str, _progress: Progress) -> Result<Attached, StoreError> {
        let last_used = self.blocks.back().and_then(|block| block.ends.last()).map_or(0, |(last, _)| *last);
        let last_persisted = self.lowest().map_or(last_used, |lowest| lowest - 1);
        Ok(Attached { last_used, last_persisted })
    }

    fn append(&mut self, sequence: u64, frame: &[u8]) -> Result<(), StoreError> {
        let fits = |block: &Block| block.bytes.len() + frame.len() <= block.bytes.capacity();
        if !self.blocks.back().is_some_and(fits) {
            let mut block = self.spare.take().unwrap_or_default();
            block.bytes.reserve(frame.len().max(BLOCK_BYTES));
            self.blocks.push_back(block);
        }
        if let Some(block) = self.blocks.back_mut() {
            block.bytes.extend_from_slice(frame);
            block.ends.push((sequence, block.bytes.len()));
        }
        self.len += 1;
        self.bytes += frame.len() as u64;
        Ok(())
    }

    fn discard_up_to(&mut self, sequence: u64) -> Result<(), StoreError> {
        while let Some(block) = self.blocks.front_mut() {
            let before = block.gone;
            let upto = block.ends.partition_point(|(number, _)| *number <= sequence);
            if upto > before {
                self.len -= upto - before;
                self.bytes -= (block.start(upto) - block.start(before)) as u64;
                block.gone = upto;
            }
            if block.gone < block.ends.len() {
                break;
            }
            if let Some(mut block) = self.blocks.pop_front().filter(|b| b.bytes.capacity() <= 2 * BLOCK_BYTES)
            {
                block.bytes.clear();
                block.ends.clear();
                block.gone = 0;
                self.spare = Some(block);
            }
        }
        Ok(())
    }

    fn read(&mut self, from: u64, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), StoreError> {
        let first =
            self.blocks.partition_point(|block| block.ends.last().is_some_and(|(last, _)| *last < from));
        for block in self.blocks.range(first..) {
            let begin = block.ends.partition_point(|(number, _)| *number < from).max(block.gone);
            let mut start = block.start(begin);
            for &(number, end) in block.ends.get(begin..).unwrap_or_default() {
                if !visit(number, block.bytes.get(start..end).unwrap_or_default()) {
                    return Ok(());
                }
                start = end;
            }
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.len
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn lowest(&self) -> Option<u64> {
        let block = self.blocks.front()?;
        block.ends.get(block.gone).map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(store: &mut MemoryPublishStore, from: u64) -> Vec<(u64, String)> {
        let mut kept = Vec::new();
        let read = store.read(from, &mut |number, frame| {
            kept.push((number, String::from_utf8_lossy(frame).into_owned()));
            true
        });
        read.unwrap();
        kept
    }

    #[test]
    fn what_is_discarded_is_gone_and_the_rest_is_in_order() {
        let mut store = MemoryPublishStore::new();
        for number in [1, 2, 5, 9] {
            store.append(number, format!("frame {number}").as_bytes()).unwrap();
        }
        store.discard_up_to(3).unwrap();
        assert_eq!(kept(&mut store, 0), [(5, "frame 5".to_owned()), (9, "frame 9".to_owned())]);
        assert_eq!(kept(&mut store, 6).len(), 1);
        assert_eq!((store.len(), store.bytes(), store.lowest()), (2, 14, Some(5)));
        store.discard_up_to(100).unwrap();
        assert_eq!((store.len(), store.bytes(), store.lowest()), (0, 0, None));
    }

    #[test]
    fn blocks_come_and_go() {
        let mut store = MemoryPublishStore::new();
        let frame = vec![7; 1000];
        for number in 1..=10_000 {
            store.append(number, &frame).unwrap();
            if number > 600 {
                store.discard_up_to(number - 600).unwrap();
            }
        }
        assert_eq!((store.len(), store.lowest()), (600, Some(9401)));
        assert!(store.blocks.len() <= 4, "{}", store.blocks.len());
        assert_eq!(kept(&mut store, 0).len(), 600);
    }
}
