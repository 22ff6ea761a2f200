//! The suites of `amps_client::testing` pass every store of this crate.
#![cfg(feature = "testing")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use amps_client::testing::{
    Violation, check_bookmark_store, check_durable_bookmark_store, check_durable_publish_store,
    check_publish_store, check_recovery_points,
};
use amps_client::{
    FileBookmarkStore, FilePublishStore, HybridPublishStore, MemoryBookmarkStore, MemoryPublishStore,
    RecoveryPointAdapter, RingBookmarkStore, StoreError, StoredPoint, SyncPolicy,
};

const POLICIES: [SyncPolicy; 2] = [SyncPolicy::Never, SyncPolicy::EveryWrite];

/// A name that was not used before in this directory.
fn fresh(directory: &tempfile::TempDir) -> impl FnMut() -> std::path::PathBuf {
    let (path, mut number) = (directory.path().to_owned(), 0);
    move || {
        number += 1;
        path.join(number.to_string())
    }
}

#[test]
fn publish_stores_of_this_crate_keep_their_promises() -> Result<(), Violation> {
    check_publish_store(|| Ok(MemoryPublishStore::new()))?;
    for policy in POLICIES {
        let directory = tempfile::tempdir().unwrap();
        let mut name = fresh(&directory);
        check_publish_store(|| FilePublishStore::builder(name()).sync(policy).open())?;
        check_publish_store(|| HybridPublishStore::builder(name(), 7).sync(policy).open())?;
        check_durable_publish_store(|place| {
            let path = directory.path().join(format!("hybrid-{place}"));
            HybridPublishStore::builder(path, 7).sync(policy).open()
        })?;
        check_durable_publish_store(|place| {
            FilePublishStore::builder(directory.path().join(place)).sync(policy).open()
        })?;
    }
    Ok(())
}

#[test]
fn bookmark_stores_of_this_crate_keep_their_promises() -> Result<(), Violation> {
    check_bookmark_store(|| Ok(MemoryBookmarkStore::new()))?;
    let directory = tempfile::tempdir().unwrap();
    let mut name = fresh(&directory);
    check_bookmark_store(|| RingBookmarkStore::open(name(), 16))?;
    check_recovery_points(|place| RingBookmarkStore::open(directory.path().join(place), 8))?;
    check_bookmark_store(|| FileBookmarkStore::open(name()))?;
    check_durable_bookmark_store(|place| {
        FileBookmarkStore::open(directory.path().join(format!("f-{place}")))
    })?;
    check_durable_bookmark_store(|place| {
        let path = directory.path().join(format!("e-{place}"));
        FileBookmarkStore::builder(path).sync(SyncPolicy::EveryWrite).open()
    })
}

/// Rows of a table, as an adapter of somebody's would keep them.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<BTreeMap<String, String>>>);

impl RecoveryPointAdapter for Table {
    fn recovered(&self) -> Result<Vec<StoredPoint>, StoreError> {
        let rows = self.0.lock().unwrap().clone();
        Ok(rows.into_iter().map(|(sub_id, bookmark)| StoredPoint { sub_id, bookmark }).collect())
    }

    fn update(&self, point: StoredPoint) -> Result<(), StoreError> {
        self.0.lock().unwrap().insert(point.sub_id, point.bookmark);
        Ok(())
    }

    fn purge(&self) -> Result<(), StoreError> {
        self.0.lock().unwrap().clear();
        Ok(())
    }

    fn purge_sub(&self, sub_id: &str) -> Result<(), StoreError> {
        self.0.lock().unwrap().remove(sub_id);
        Ok(())
    }
}

#[test]
fn a_memory_store_with_an_adapter_keeps_recovery_points() -> Result<(), Violation> {
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    check_recovery_points(|place| {
        let table = tables.entry(place.to_owned()).or_default().clone();
        Ok(MemoryBookmarkStore::new().with_adapter(table))
    })
}
