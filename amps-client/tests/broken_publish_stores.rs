//! Each rule of the suites for publish stores fails a store that breaks it.
#![cfg(feature = "testing")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use amps_client::testing::{Violation, check_durable_publish_store, check_publish_store};
use amps_client::{Attached, MemoryPublishStore, Progress, PublishStore, StoreError};

/// A mistake that somebody might make in a publish store.
#[derive(Clone, Copy, Debug, PartialEq)]
enum PublishFault {
    ForgetsTheOldest,
    KeepsEmptyFramesOut,
    ChangesBytes,
    ReadsFromTheNext,
    ReadsOn,
    CountsBytesWrong,
    DiscardsOneMore,
    DiscardsNothing,
    RefusesLargeNumbers,
    RefusesUnknownDiscards,
    IsNeverSafe,
    IsSilent,
    KnowsNumbers,
    CannotBeClosed,
    // And beyond the process:
    ForgetsAtClose,
    BringsBackDiscarded,
    ReusesNumbers,
    SaysTooMuchIsPersisted,
    TakesAnyClient,
}

/// What is left of a store when it is closed.
type Left = Arc<Mutex<(BTreeMap<u64, Vec<u8>>, u64, String)>>;

/// A store that is right but for one thing.
struct BrokenPublishes {
    fault: PublishFault,
    inner: MemoryPublishStore,
    left: Left,
    last: u64,
    late: Arc<Mutex<u64>>,
}

impl BrokenPublishes {
    fn new(fault: PublishFault, left: Left) -> Self {
        Self { fault, inner: MemoryPublishStore::new(), left, last: 0, late: Arc::default() }
    }

    fn is(&self, fault: PublishFault) -> bool {
        self.fault == fault
    }
}

impl PublishStore for BrokenPublishes {
    fn attach(&mut self, client: &str, progress: Progress) -> Result<Attached, StoreError> {
        let (kept, last, owner) = self.left.lock().unwrap().clone();
        if !owner.is_empty() && owner != client && !self.is(PublishFault::TakesAnyClient) {
            return Err(StoreError::other("somebody else's"));
        }
        self.left.lock().unwrap().2 = client.to_owned();
        self.last = last;
        for (number, frame) in &kept {
            self.inner.append(*number, frame)?;
        }
        let mut attached = self.inner.attach(client, progress)?;
        attached.last_used = attached.last_used.max(last);
        if kept.is_empty() {
            attached.last_persisted = attached.last_used;
        }
        if self.is(PublishFault::KnowsNumbers) {
            attached.last_used += 7;
        }
        if self.is(PublishFault::ReusesNumbers) && kept.is_empty() {
            attached = Attached::default();
        }
        if self.is(PublishFault::SaysTooMuchIsPersisted) {
            attached.last_persisted = attached.last_used;
        }
        Ok(attached)
    }

    fn append(&mut self, sequence: u64, frame: &[u8]) -> Result<(), StoreError> {
        if self.is(PublishFault::RefusesLargeNumbers) && sequence > u64::from(u32::MAX) {
            return Err(StoreError::other("too large"));
        }
        self.last = sequence;
        let mut frame = frame.to_vec();
        if self.is(PublishFault::KeepsEmptyFramesOut) && frame.is_empty() {
            return Ok(());
        }
        if self.is(PublishFault::ChangesBytes) && frame.len() > 1000 {
            frame[999] ^= 1;
        }
        self.inner.append(sequence, &frame)?;
        if self.is(PublishFault::ForgetsTheOldest) && self.inner.len() > 5 {
            let lowest = self.inner.lowest().unwrap_or_default();
            self.inner.discard_up_to(lowest)?;
        }
        Ok(())
    }

    fn discard_up_to(&mut self, sequence: u64) -> Result<(), StoreError> {
        match self.fault {
            PublishFault::DiscardsNothing => Ok(()),
            PublishFault::DiscardsOneMore => self.inner.discard_up_to(sequence + 1),
            PublishFault::RefusesUnknownDiscards if sequence > self.last => Err(StoreError::other("unknown")),
            _ => self.inner.discard_up_to(sequence),
        }
    }

    fn read(&mut self, from: u64, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), StoreError> {
        match self.fault {
            PublishFault::ReadsFromTheNext if from > 0 => self.inner.read(from + 1, visit),
            PublishFault::ReadsOn => self.inner.read(from, &mut |number, frame| {
                visit(number, frame);
                true
            }),
            _ => self.inner.read(from, visit),
        }
    }

    fn len(&self) -> usize {
        self.inner.len()
    }

    fn bytes(&self) -> u64 {
        self.inner.bytes() + u64::from(self.is(PublishFault::CountsBytesWrong))
    }

    fn lowest(&self) -> Option<u64> {
        self.inner.lowest()
    }

    fn safe(&self) -> u64 {
        match self.fault {
            PublishFault::IsNeverSafe => self.last.saturating_sub(1),
            PublishFault::IsSilent => {
                // It is safe when it is asked for the second time, and tells nobody.
                let mut asked = self.late.lock().unwrap();
                *asked += 1;
                if *asked % 2 == 0 { u64::MAX } else { 0 }
            }
            _ => u64::MAX,
        }
    }

    fn close(&mut self) -> Result<(), StoreError> {
        if self.is(PublishFault::CannotBeClosed) {
            return Err(StoreError::other("not yet"));
        }
        let mut left = self.left.lock().unwrap();
        let mut kept = BTreeMap::new();
        self.inner.read(0, &mut |number, frame| {
            kept.insert(number, frame.to_vec());
            true
        })?;
        match self.fault {
            PublishFault::ForgetsAtClose => kept.clear(),
            PublishFault::BringsBackDiscarded => {
                let before = left.0.clone();
                kept.extend(before);
            }
            _ => {}
        }
        left.0 = kept;
        left.1 = self.last;
        Ok(())
    }
}

impl Drop for BrokenPublishes {
    fn drop(&mut self) {
        if !self.left.lock().unwrap().2.is_empty() {
            let _ = self.close();
        }
    }
}

/// A rule is broken, and it is this one.
#[track_caller]
fn breaks(outcome: Result<(), Violation>, rule: &str, fault: &dyn std::fmt::Debug) {
    match outcome {
        Ok(()) => panic!("nobody notices that it {fault:?}"),
        Err(violation) => {
            assert!(violation.rule().contains(rule), "{fault:?} was noticed as: {violation}");
            assert!(!violation.seen().is_empty());
        }
    }
}

#[test]
fn a_mistake_in_a_publish_store_is_noticed_as_what_it_is() {
    use PublishFault as F;
    let faults = [
        (F::ForgetsTheOldest, "what was appended is shown"),
        (F::KeepsEmptyFramesOut, "what was appended is shown"),
        (F::ChangesBytes, "what was appended is shown"),
        (F::ReadsFromTheNext, "reading begins at the number"),
        (F::ReadsOn, "reading ends when"),
        (F::CountsBytesWrong, "len, is_empty, bytes and lowest"),
        (F::DiscardsOneMore, "a discard forgets everything up to its number, and nothing else"),
        (F::DiscardsNothing, "a discard forgets everything up to its number, and nothing else"),
        (F::RefusesLargeNumbers, "a message is accepted"),
        (F::RefusesUnknownDiscards, "any number can be discarded"),
        (F::IsNeverSafe, "becomes safe within seconds"),
        (F::IsSilent, "tells its client by Progress"),
        (F::KnowsNumbers, "a new store keeps nothing"),
        (F::CannotBeClosed, "a store can be closed"),
    ];
    // Some are noticed only when the suite has lost its patience: that need not be one after the other.
    std::thread::scope(|scope| {
        for (fault, rule) in faults {
            scope.spawn(move || {
                breaks(
                    check_publish_store(|| Ok(BrokenPublishes::new(fault, Left::default()))),
                    rule,
                    &fault,
                );
            });
        }
    });
}

#[test]
fn a_mistake_in_a_publish_store_that_outlives_its_process_is_noticed_as_what_it_is() {
    use PublishFault as F;
    for (fault, rule) in [
        (F::ForgetsAtClose, "what was safe is there"),
        (F::BringsBackDiscarded, "does not come back after an orderly close"),
        (F::ReusesNumbers, "no number that was given out"),
        (F::SaysTooMuchIsPersisted, "last_persisted lies before"),
        (F::TakesAnyClient, "belongs to one client"),
    ] {
        let mut places: BTreeMap<String, Left> = BTreeMap::new();
        let outcome = check_durable_publish_store(|place| {
            let left = Arc::clone(places.entry(place.to_owned()).or_default());
            Ok(BrokenPublishes::new(fault, left))
        });
        breaks(outcome, rule, &fault);
    }
}
