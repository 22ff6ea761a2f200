//! The rows of a [`SowMap`](super::SowMap), and what a message changes of them.
//!
//! Owns the keys, the merging of deltas and what has to be known of each row. Pure: no lock, no thread, no user
//! code but `serde`'s and the function that reads a key.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use serde::de::{DeserializeOwned, Error as _, IntoDeserializer};
use serde_json::Value;

use super::Change;

/// What the application sees.
pub(super) type Rows<K, V> = HashMap<K, Arc<V>>;

/// How a row gets its key.
pub(super) enum KeyOf<K, V> {
    /// It is that of the record, as the server has it.
    Record,
    /// It is a field of the value, named by a path such as `/id`.
    Field(String),
    /// It is computed.
    Function(Box<dyn Fn(&V) -> K + Send>),
}

impl<K> Default for Record<K> {
    fn default() -> Self {
        Self { key: None, counted: false, whole: None, lacks_whole: false }
    }
}

/// See the module's documentation.
pub(super) struct Table<K, V> {
    key_of: KeyOf<K, V>,
    /// Updates are partial.
    merges: bool,
    records: HashMap<Box<[u8]>, Record<K>>,
    /// Whose value is seen under a key.
    owners: HashMap<K, Box<[u8]>>,
    /// Records whose values cannot be read.
    unreadable: usize,
    /// The records of the result under way.
    seen: Option<HashSet<Box<[u8]>>>,
}

struct Record<K> {
    /// `None` while its value cannot be read.
    key: Option<K>,
    /// It is one of those that cannot be read.
    counted: bool,
    /// Only where updates are merged.
    whole: Option<Value>,
    /// Nobody knows what it is: a part of it was no JSON. Nothing can be merged until it comes as a whole.
    lacks_whole: bool,
}

impl<K: Eq + Hash + Clone + DeserializeOwned, V: DeserializeOwned> Table<K, V> {
    pub(super) fn new(key_of: KeyOf<K, V>, merges: bool) -> Self {
        Self { key_of, merges, records: HashMap::new(), owners: HashMap::new(), unreadable: 0, seen: None }
    }

    /// Records whose values cannot be read.
    pub(super) const fn unreadable(&self) -> usize {
        self.unreadable
    }

    /// A result begins: what it does not have is gone.
    pub(super) fn begin(&mut self) {
        self.seen = Some(HashSet::new());
    }

    /// The result is there. Returns the records that are gone.
    pub(super) fn finish(&mut self) -> Vec<Box<[u8]>> {
        let Some(seen) = self.seen.take() else { return Vec::new() };
        self.records.keys().filter(|record| !seen.contains(*record)).cloned().collect()
    }

    /// A record was read, or could not be: then it is not seen any more, as what it was it is not.
    pub(super) fn put(
        &mut self,
        record: &[u8],
        read: Option<(K, V)>,
        rows: &mut Rows<K, V>,
        changes: &mut Vec<Change<K, V>>,
    ) {
        if let Some(seen) = &mut self.seen {
            seen.insert(record.into());
        }
        let kept = self.records.entry(record.into()).or_default();
        let was = kept.key.take();
        self.unreadable -= usize::from(kept.counted);
        kept.counted = read.is_none();
        let Some((key, value)) = read else {
            self.unreadable += 1;
            return self.hide(record, was, rows, changes);
        };
        kept.key = Some(key.clone());
        if was.as_ref() != Some(&key) {
            self.hide(record, was, rows, changes);
        }
        let value = Arc::new(value);
        changes.push(match rows.insert(key.clone(), Arc::clone(&value)) {
            None => Change::Inserted { key: key.clone(), value },
            Some(old) => Change::Updated { key: key.clone(), old, value },
        });
        self.owners.insert(key, record.into());
    }

    /// A record is gone.
    pub(super) fn remove(&mut self, record: &[u8], rows: &mut Rows<K, V>, changes: &mut Vec<Change<K, V>>) {
        let Some(Record { key: was, counted, .. }) = self.records.remove(record) else { return };
        self.unreadable -= usize::from(counted);
        self.hide(record, was, rows, changes);
    }

    /// Takes a record's value out of sight, if it is the one that is seen.
    fn hide(
        &mut self,
        record: &[u8],
        key: Option<K>,
        rows: &mut Rows<K, V>,
        changes: &mut Vec<Change<K, V>>,
    ) {
        let Some(key) = key.filter(|key| self.owners.get(key).is_some_and(|owner| **owner == *record)) else {
            return;
        };
        self.owners.remove(&key);
        if let Some(old) = rows.remove(&key) {
            changes.push(Change::Removed { key, old });
        }
    }

    /// Reads a record, or an update of one: `part` if that may be a delta. What it says is to be
    /// [put](Self::put).
    ///
    /// # Errors
    /// It cannot be read, or it is an update of a record of which an earlier part could not be.
    pub(super) fn read(
        &mut self,
        record: &[u8],
        body: &[u8],
        part: bool,
    ) -> Result<(K, V), serde_json::Error> {
        if !self.merges {
            // From the bytes: `Value` has no number beyond 64 bits, and no raw text.
            let value = serde_json::from_slice(body)?;
            let fields = match self.key_of {
                KeyOf::Field(_) => serde_json::from_slice(body)?,
                KeyOf::Record | KeyOf::Function(_) => Value::Null,
            };
            return Ok((self.key(record, &fields, &value)?, value));
        }
        let whole = self.whole(record, body, part)?;
        let value = V::deserialize(&whole)?;
        Ok((self.key(record, &whole, &value)?, value))
    }

    /// What a record is as a whole, now that this came. The first of a record is whole whatever it is (server.md
    /// DS-01), and so is that of a query (DS-09); a publish that is whole looks like one that is not.
    fn whole(&mut self, record: &[u8], body: &[u8], part: bool) -> Result<Value, serde_json::Error> {
        let kept = self.records.entry(record.into()).or_default();
        let came = match serde_json::from_slice::<Value>(body) {
            Ok(came) => came,
            Err(error) => {
                kept.whole = None;
                kept.lacks_whole = true;
                return Err(error);
            }
        };
        let whole = match kept.whole.take() {
            Some(mut old) if part => {
                merge(&mut old, came);
                old
            }
            _ if part && kept.lacks_whole => {
                return Err(serde_json::Error::custom(
                    "it is an update of a record of which an earlier part was no JSON; it is read again once it comes as a whole",
                ));
            }
            _ => came,
        };
        kept.lacks_whole = false;
        kept.whole = Some(whole.clone());
        Ok(whole)
    }

    fn key(&self, record: &[u8], whole: &Value, value: &V) -> Result<K, serde_json::Error> {
        match &self.key_of {
            KeyOf::Function(key) => Ok(key(value)),
            KeyOf::Field(path) => match whole.pointer(path) {
                Some(field) => K::deserialize(field),
                None => Err(serde_json::Error::custom(format!("it has no field {path} to be its key"))),
            },
            KeyOf::Record => {
                let text = std::str::from_utf8(record).map_err(serde_json::Error::custom)?;
                // A text where K is one; else what the text says, such as a number.
                K::deserialize(IntoDeserializer::<serde_json::Error>::into_deserializer(text))
                    .or_else(|_| serde_json::from_str(text))
            }
        }
    }
}

/// Puts a delta into a value: what it names is replaced, leaf by leaf; the rest stays (server.md DP-01, DP-03).
fn merge(whole: &mut Value, delta: Value) {
    match (whole, delta) {
        (Value::Object(whole), Value::Object(delta)) => {
            for (name, field) in delta {
                merge(whole.entry(name).or_insert(Value::Null), field);
            }
        }
        (whole, delta) => *whole = delta,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    type Changes = Vec<Change<String, Value>>;

    impl<K: Eq + Hash + Clone + DeserializeOwned, V: DeserializeOwned> Table<K, V> {
        fn take(
            &mut self,
            record: &[u8],
            body: &[u8],
            part: bool,
            rows: &mut Rows<K, V>,
            changes: &mut Vec<Change<K, V>>,
        ) -> Result<(), serde_json::Error> {
            let (read, error) = match self.read(record, body, part) {
                Ok(read) => (Some(read), None),
                Err(error) => (None, Some(error)),
            };
            self.put(record, read, rows, changes);
            error.map_or(Ok(()), Err)
        }
    }

    fn table(key_of: KeyOf<String, Value>, merges: bool) -> (Table<String, Value>, Rows<String, Value>) {
        (Table::new(key_of, merges), Rows::new())
    }

    #[test]
    fn a_delta_replaces_leaf_by_leaf_and_lists_as_a_whole() {
        let mut whole = json!({"id":1,"n":{"x":1,"y":2},"v":[{"k":1},{"k":2}]});
        merge(&mut whole, json!({"n":{"x":9},"v":[{"k":7}],"a":null,"z":true}));
        assert_eq!(whole, json!({"id":1,"n":{"x":9,"y":2},"v":[{"k":7}],"a":null,"z":true}));
    }

    #[test]
    fn deltas_make_whole_values() {
        let (mut table, mut rows) = table(KeyOf::Record, true);
        let mut changes = Changes::new();
        table.take(b"1", br#"{"id":1,"a":1}"#, true, &mut rows, &mut changes).unwrap();
        table.take(b"1", br#"{"a":2,"b":3}"#, true, &mut rows, &mut changes).unwrap();
        assert_eq!(*rows["1"], json!({"id":1,"a":2,"b":3}));
        table.take(b"1", br#"{"id":1}"#, false, &mut rows, &mut changes).unwrap();
        assert_eq!(*rows["1"], json!({"id":1}), "a whole record replaces");
        let kinds: Vec<_> = changes.iter().map(|change| matches!(change, Change::Updated { .. })).collect();
        assert_eq!(kinds, [false, true, true]);
    }

    /// What came in a part that is no JSON nobody knows: what is merged behind it would look good, and be wrong.
    #[test]
    fn a_record_of_which_a_part_is_lost_is_not_seen_until_it_comes_as_a_whole() {
        for first in [&br#"{"id":1,"a":1,"b":1}"#[..], b"broken"] {
            let (mut table, mut rows) = table(KeyOf::Record, true);
            let mut changes = Changes::new();
            _ = table.take(b"1", first, true, &mut rows, &mut changes);
            table.take(b"1", b"broken", true, &mut rows, &mut changes).unwrap_err();
            let error = table.take(b"1", br#"{"id":1,"b":3}"#, true, &mut rows, &mut changes).unwrap_err();
            assert!(error.to_string().contains("an earlier part"), "{error}");
            assert!(rows.is_empty());
            assert_eq!(table.unreadable(), 1);
            // A query brings it as a whole, and then updates count again.
            table.take(b"1", br#"{"id":1,"a":2,"b":3}"#, false, &mut rows, &mut changes).unwrap();
            table.take(b"1", br#"{"id":1,"b":4}"#, true, &mut rows, &mut changes).unwrap();
            assert_eq!(*rows["1"], json!({"id":1,"a":2,"b":4}));
            // So it does once the record was gone.
            table.take(b"1", b"broken", false, &mut rows, &mut changes).unwrap_err();
            table.remove(b"1", &mut rows, &mut changes);
            table.take(b"1", br#"{"id":1}"#, true, &mut rows, &mut changes).unwrap();
            assert_eq!((&*rows["1"], table.unreadable()), (&json!({"id":1}), 0));
        }
    }

    /// Of a value that JSON has and `V` has not, everything is known.
    #[test]
    fn a_record_that_is_no_value_for_a_while_is_merged_on() {
        let mut table = Table::<String, HashMap<String, u32>>::new(KeyOf::Record, true);
        let (mut rows, mut changes) = (Rows::new(), Vec::new());
        table.take(b"1", br#"{"a":1,"b":1}"#, true, &mut rows, &mut changes).unwrap();
        table.take(b"1", br#"{"a":"one","b":2}"#, true, &mut rows, &mut changes).unwrap_err();
        assert!(rows.is_empty());
        table.take(b"1", br#"{"a":3}"#, true, &mut rows, &mut changes).unwrap();
        assert_eq!(*rows["1"], HashMap::from([("a".into(), 3), ("b".into(), 2)]));
    }

    #[test]
    fn a_value_is_read_from_the_bytes_and_loses_no_digit() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Large {
            n: u128,
        }
        let body = br#"{"id":"a","n":340282366920938463463374607431768211455}"#;
        for key_of in [KeyOf::Record, KeyOf::Field("/id".into()), KeyOf::Function(Box::new(|_| "a".into()))] {
            let mut table = Table::<String, Large>::new(key_of, false);
            let (mut rows, mut changes) = (Rows::new(), Vec::new());
            table.take(b"a", body, true, &mut rows, &mut changes).unwrap();
            assert_eq!(*rows["a"], Large { n: u128::MAX });
        }
    }

    #[test]
    fn a_record_that_changes_its_key_moves() {
        let (mut table, mut rows) = table(KeyOf::Field("/name".into()), false);
        let mut changes = Changes::new();
        table.take(b"1", br#"{"name":"a"}"#, true, &mut rows, &mut changes).unwrap();
        table.take(b"1", br#"{"name":"b"}"#, true, &mut rows, &mut changes).unwrap();
        assert!(matches!(&changes[1], Change::Removed { key, .. } if key == "a"));
        assert!(matches!(&changes[2], Change::Inserted { key, .. } if key == "b"));
        assert_eq!(rows.len(), 1);
        assert!(table.take(b"2", b"{}", true, &mut rows, &mut changes).is_err(), "it has no such field");
    }

    #[test]
    fn the_newest_of_two_records_of_one_key_is_seen_and_the_end_of_the_other_changes_nothing() {
        let (mut table, mut rows) = table(KeyOf::Function(Box::new(|_| "all".into())), false);
        let mut changes = Changes::new();
        table.take(b"1", b"1", true, &mut rows, &mut changes).unwrap();
        table.take(b"2", b"2", true, &mut rows, &mut changes).unwrap();
        table.remove(b"1", &mut rows, &mut changes);
        assert_eq!(*rows["all"], json!(2));
        table.remove(b"2", &mut rows, &mut changes);
        assert!(rows.is_empty());
        assert_eq!(changes.len(), 3);
    }

    #[test]
    fn what_cannot_be_read_is_not_seen_until_it_can() {
        let mut table = Table::<u64, u32>::new(KeyOf::Record, false);
        let (mut rows, mut changes) = (Rows::new(), Vec::new());
        table.take(b"7", b"1", true, &mut rows, &mut changes).unwrap();
        table.take(b"7", b"\"one\"", true, &mut rows, &mut changes).unwrap_err();
        assert!(rows.is_empty());
        assert_eq!(table.unreadable(), 1);
        table.take(b"7", b"2", true, &mut rows, &mut changes).unwrap();
        assert_eq!((*rows[&7], table.unreadable()), (2, 0));
        assert!(table.take(b"no number", b"3", true, &mut rows, &mut changes).is_err());
    }

    proptest! {
        /// Whatever comes, the rows are those of a map that is kept by hand, and the changes tell how they came about.
        #[test]
        fn the_changes_make_the_rows(steps in proptest::collection::vec((0..4_u8, 0..5_u8, 0..9_u8), 0..60)) {
            let (mut table, mut rows) = table(KeyOf::Record, false);
            let (mut model, mut told) = (HashMap::new(), HashMap::new());
            let mut result: Option<HashSet<String>> = None;
            for (what, key, value) in steps {
                let (key, mut changes) = (key.to_string(), Changes::new());
                match what {
                    0 | 1 => {
                        table.take(key.as_bytes(), value.to_string().as_bytes(), true, &mut rows, &mut changes).unwrap();
                        if let Some(result) = &mut result {
                            result.insert(key.clone());
                        }
                        model.insert(key, json!(value));
                    }
                    2 => {
                        table.remove(key.as_bytes(), &mut rows, &mut changes);
                        model.remove(&key);
                    }
                    _ => match result.take() {
                        None => {
                            table.begin();
                            result = Some(HashSet::new());
                        }
                        Some(seen) => {
                            for gone in table.finish() {
                                table.remove(&gone, &mut rows, &mut changes);
                            }
                            model.retain(|key, _| seen.contains(key));
                        }
                    },
                }
                for change in changes {
                    match change {
                        Change::Inserted { key, value } => prop_assert!(told.insert(key, value).is_none()),
                        Change::Updated { key, old, value } => prop_assert_eq!(told.insert(key, value), Some(old)),
                        Change::Removed { key, old } => prop_assert_eq!(told.remove(&key), Some(old)),
                    }
                }
                prop_assert_eq!(&told, &rows);
                let seen: HashMap<_, _> = rows.iter().map(|(k, v)| (k.clone(), (**v).clone())).collect();
                prop_assert_eq!(&seen, &model);
            }
        }
    }
}
