//! The thread that keeps a map: reads its subscription, applies what comes, and tells.

use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use amps_protocol::CommandKind;
use serde::de::{DeserializeOwned, Error as _};

use super::table::{Rows, Table};
use super::{Change, Kept, MapState};
use crate::dispatcher::panic_text;
use crate::error::Error;
use crate::hooks::Hooks;
use crate::message::Message;
use crate::subscription::Subscription;
use crate::typed::TypedError;

pub(super) type OnChange<K, V> = Box<dyn FnMut(&Change<K, V>) + Send>;
pub(super) type OnError = Box<dyn FnMut(&TypedError) + Send>;

/// See the module's documentation.
pub(super) struct Keeper<K, V> {
    /// The topic.
    pub(super) name: String,
    pub(super) hooks: Arc<Hooks>,
    pub(super) kept: Arc<Kept<K, V>>,
    pub(super) table: Table<K, V>,
    pub(super) on_change: Option<OnChange<K, V>>,
    pub(super) on_error: Option<OnError>,
}

impl<K, V> Keeper<K, V>
where
    K: Eq + Hash + Clone + DeserializeOwned,
    V: DeserializeOwned,
{
    /// Until the subscription ends, or a key does what a key must not do: hashing, comparing and cloning it is the
    /// application's code, and what a panic in it leaves of the rows nobody knows.
    pub(super) fn run(mut self, subscription: Subscription) {
        let mut end = End { kept: Arc::clone(&self.kept), error: Some(self.failed("it ended in a panic")) };
        match catch_unwind(AssertUnwindSafe(|| self.follow(subscription))) {
            Ok(error) => end.error = error,
            Err(panic) => {
                let error =
                    self.failed(&format!("a key or a value of the map panicked: {}", panic_text(panic)));
                end.error = Some(error.clone());
                self.tell(&TypedError::Subscription(error));
            }
        }
    }

    fn follow(&mut self, subscription: Subscription) -> Option<Error> {
        let mut end = None;
        for message in subscription {
            match message {
                Ok(message) => self.apply(message),
                // The query runs again, and its result follows.
                Err(Error::Resumed) => self.kept.set_state(MapState::Resynchronizing, None),
                Err(error) => {
                    self.tell(&TypedError::Subscription(error.clone()));
                    end = Some(error);
                }
            }
        }
        end
    }

    fn failed(&self, text: &str) -> Error {
        Error::Handler { subscription: self.name.clone(), text: text.to_owned() }
    }

    fn apply(&mut self, message: Message) {
        let mut changes = Vec::new();
        let mut trouble = None;
        match message.command() {
            CommandKind::GroupBegin => {
                self.table.begin();
                let loading = self.kept.lock().state == MapState::Loading;
                if !loading {
                    self.kept.set_state(MapState::Resynchronizing, None);
                }
            }
            CommandKind::GroupEnd => {
                for gone in self.table.finish() {
                    self.change(&mut changes, |table, rows, changes| table.remove(&gone, rows, changes));
                }
                self.announce(&mut changes);
                self.kept.set_state(MapState::Current, None);
            }
            CommandKind::Ack => trouble = message.result().err().map(TypedError::Subscription),
            kind => {
                let key = message.sow_key().map(|key| key.to_vec());
                let put = match key {
                    None => Err(serde_json::Error::custom("it bears no record key")),
                    Some(key) if kind == CommandKind::Oof => {
                        self.change(&mut changes, |table, rows, changes| table.remove(&key, rows, changes));
                        Ok(())
                    }
                    Some(key) => {
                        let part = kind != CommandKind::Sow;
                        // Reading is the application's code: without the lock.
                        let (read, error) = match self.read(&key, message.data(), part) {
                            Ok(read) => (Some(read), Ok(())),
                            Err(error) => (None, Err(error)),
                        };
                        self.change(&mut changes, |table, rows, changes| {
                            table.put(&key, read, rows, changes);
                        });
                        error
                    }
                };
                trouble = put.err().map(|error| TypedError::unreadable(message, error));
            }
        }
        self.announce(&mut changes);
        if let Some(trouble) = trouble {
            self.tell(&trouble);
        }
    }

    /// Reads a record. What panics while it does cannot read it.
    fn read(&mut self, key: &[u8], body: &[u8], part: bool) -> Result<(K, V), serde_json::Error> {
        let table = &mut self.table;
        catch_unwind(AssertUnwindSafe(|| table.read(key, body, part))).unwrap_or_else(|panic| {
            let text = panic_text(panic);
            Err(serde_json::Error::custom(format!("what reads its value or its key panicked: {text}")))
        })
    }

    /// Changes the rows that the application sees.
    fn change(
        &mut self,
        changes: &mut Vec<Change<K, V>>,
        change: impl FnOnce(&mut Table<K, V>, &mut Rows<K, V>, &mut Vec<Change<K, V>>),
    ) {
        let mut inner = self.kept.lock();
        change(&mut self.table, Arc::make_mut(&mut inner.rows), changes);
        inner.unreadable = self.table.unreadable();
    }

    fn announce(&mut self, changes: &mut Vec<Change<K, V>>) {
        for change in changes.drain(..) {
            if let Some(listener) = &mut self.on_change {
                let told = catch_unwind(AssertUnwindSafe(|| listener(&change)));
                self.guarded(told);
            }
        }
    }

    fn tell(&mut self, error: &TypedError) {
        let Some(listener) = &mut self.on_error else {
            return match error {
                TypedError::Subscription(error) => self.hooks.report(error),
                // What the record says is nobody's business who reads a log.
                TypedError::Unreadable(unreadable) => {
                    let source = unreadable.json_error();
                    let (line, column) = (source.line(), source.column());
                    let text = format!(
                        "a record cannot be read as a value of the map (line {line}, column {column}); set on_error to see it"
                    );
                    self.hooks.report(&self.failed(&text));
                }
            };
        };
        let told = catch_unwind(AssertUnwindSafe(|| listener(error)));
        self.guarded(told);
    }

    fn guarded(&self, told: std::thread::Result<()>) {
        if let Err(panic) = told {
            let text = format!("a listener of the map panicked: {}", panic_text(panic));
            self.hooks.report(&self.failed(&text));
        }
    }
}

/// Says that the map has ended, however its thread ends: whoever waits for the map hears of it.
struct End<K, V> {
    kept: Arc<Kept<K, V>>,
    error: Option<Error>,
}

impl<K, V> Drop for End<K, V> {
    fn drop(&mut self) {
        self.kept.set_state(MapState::Ended, self.error.take());
    }
}
