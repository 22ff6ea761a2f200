//! Recovery points in a topic of the server.
//!
//! Owns how a record looks and how it is asked for. The records travel over a client of their own: the one whose
//! subscriptions they are about is being recovered when they are needed.

use std::fmt::Write as _;
use std::time::Duration;

use super::adapter::{RecoveryPointAdapter, StoredPoint};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::json_text::{put_string, string_fields};
use crate::sow_delete::SowDelete;
use crate::store_error::StoreError;

/// The topic, unless told otherwise (client.md RP-7, inferred).
const TOPIC: &str = "/ADMIN/bookmark_store";

/// Its fields (client.md RP-7, inferred).
const FIELDS: [&str; 3] = ["clientName", "subId", "bookmark"];

/// How long a query, a delete or the end may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Keeps the recovery points of a client in a topic of a server, which holds the last record of each key: a
/// program that is started on another machine goes on where it ended here.
///
/// The topic holds JSON, and its keys are the client's name and the subscription's id. In the configuration of the
/// server that is, with the names that are used here unless told otherwise:
///
/// ```xml
/// <Topic>
///   <Name>/ADMIN/bookmark_store</Name>
///   <MessageType>json</MessageType>
///   <Key>/clientName</Key>
///   <Key>/subId</Key>
/// </Topic>
/// ```
///
/// The client that is given here must be another than the one that subscribes, under another name, and
/// connected. Every recovery point is a publish, so put a
/// [`ConflatingRecoveryPointAdapter`](crate::ConflatingRecoveryPointAdapter) in front.
///
/// ```
/// use amps_client::bookmarks::MessageId;
/// use amps_client::{
///     BookmarkStore, Client, ConflatingRecoveryPointAdapter, MemoryBookmarkStore, SowRecoveryPointAdapter,
/// };
/// # let server = amps_testkit::FakeServer::builder()
/// #     .sow(amps_testkit::SowConfig::new("/ADMIN/bookmark_store").key("/clientName").key("/subId"))
/// #     .start()?;
/// # let uri = server.uri("json");
///
/// let open = || -> Result<_, Box<dyn std::error::Error>> {
///     let keeper = Client::builder("order-worker-keeper").server(&uri).connect()?;
///     let points = SowRecoveryPointAdapter::new(keeper, "order-worker")?.close_client(true);
///     Ok(MemoryBookmarkStore::new().with_adapter(ConflatingRecoveryPointAdapter::new(points)))
/// };
///
/// let store = open()?;
/// # // What a client does with it:
/// store.attach("order-worker")?;
/// let message = MessageId { publisher: 7, sequence: 12 };
/// store.arrived("orders-1", message)?;
/// store.discard("orders-1", message)?;
/// store.close()?;
///
/// let store = open()?;
/// store.attach("order-worker")?;
/// assert_eq!(store.recovery_point("orders-1").bookmark, "7|12|");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SowRecoveryPointAdapter {
    client: Client,
    tracked: String,
    topic: String,
    fields: [String; 3],
    timeout: Duration,
    close_client: bool,
}

impl SowRecoveryPointAdapter {
    /// Keeps the recovery points of the client with the name `tracked`, over `client`.
    ///
    /// # Errors
    /// `Usage` if `client` has that name itself.
    pub fn new(client: Client, tracked: impl Into<String>) -> Result<Self> {
        let tracked = tracked.into();
        if client.name() == tracked {
            return Err(Error::Usage(
                "recovery points are needed before their client is connected: keep them over another client, of \
                 another name",
            ));
        }
        Ok(Self {
            client,
            tracked,
            topic: TOPIC.to_owned(),
            fields: FIELDS.map(str::to_owned),
            timeout: TIMEOUT,
            close_client: false,
        })
    }

    /// The topic; by default `/ADMIN/bookmark_store`.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = topic.into();
        self
    }

    /// The names of the fields for the client's name, the subscription's id and the bookmark; by default
    /// `clientName`, `subId` and `bookmark`.
    ///
    /// # Errors
    /// `InvalidArgument` if one of them cannot be a name within a filter (letters, digits and `_` can), or two are the same.
    pub fn fields(
        mut self,
        client_name: impl Into<String>,
        sub_id: impl Into<String>,
        bookmark: impl Into<String>,
    ) -> Result<Self> {
        let fields = [client_name.into(), sub_id.into(), bookmark.into()];
        for (at, name) in fields.iter().enumerate() {
            let fits = |symbol: char| symbol.is_ascii_alphanumeric() || symbol == '_';
            if name.is_empty() || !name.chars().all(fits) || name.starts_with(|it: char| it.is_ascii_digit())
            {
                return Err(Error::InvalidArgument(format!(
                    "\"{name}\" cannot be the name of a field; use letters, digits and underscores"
                )));
            }
            if fields.iter().skip(at + 1).any(|other| other == name) {
                return Err(Error::InvalidArgument(format!(
                    "two fields have the name \"{name}\"; give them two"
                )));
            }
        }
        self.fields = fields;
        Ok(self)
    }

    /// How long the server may take to answer a query or a delete, between two records, and to confirm what was
    /// published before `close` gives up; by default 10 s.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether `close` closes the client as well; by default it does not.
    #[must_use]
    pub const fn close_client(mut self, close: bool) -> Self {
        self.close_client = close;
        self
    }

    fn record(&self, point: &StoredPoint) -> String {
        let mut record = String::new();
        for (name, content) in self.fields.iter().zip([&self.tracked, &point.sub_id, &point.bookmark]) {
            record.push(if record.is_empty() { '{' } else { ',' });
            put_string(&mut record, name);
            record.push(':');
            put_string(&mut record, content);
        }
        record.push('}');
        record
    }

    /// The point of a record; `None` if it is another client's.
    fn point(&self, record: &[u8]) -> Result<Option<StoredPoint>, StoreError> {
        let wrong = |what: String| {
            StoreError::other(format!("a record of {} is no recovery point: {what}", self.topic))
        };
        let text = std::str::from_utf8(record).map_err(|error| wrong(error.to_string()))?;
        let found = string_fields(text).map_err(|fault| wrong(fault.to_string()))?;
        let [client, sub_id, bookmark] = self.fields.each_ref().map(|name| {
            // Of two fields of one name the last counts, as elsewhere.
            found.iter().rfind(|field| field.0 == *name).map(|field| field.1.clone())
        });
        if client.as_ref().is_some_and(|client| *client != self.tracked) {
            return Ok(None);
        }
        let missing = |name: &String| wrong(format!("it has no text in the field {name}"));
        let [_, sub_field, bookmark_field] = &self.fields;
        Ok(Some(StoredPoint {
            sub_id: sub_id.ok_or_else(|| missing(sub_field))?,
            bookmark: bookmark.ok_or_else(|| missing(bookmark_field))?,
        }))
    }

    fn filter(&self, sub_id: Option<&str>) -> String {
        let [client, sub, _] = &self.fields;
        let mut filter = format!("/{client} = {}", quoted(&self.tracked));
        if let Some(sub_id) = sub_id {
            // Writing to a string cannot fail.
            let _ = write!(filter, " AND /{sub} = {}", quoted(sub_id));
        }
        filter
    }

    fn delete(&self, sub_id: Option<&str>) -> Result<(), StoreError> {
        let delete = SowDelete::by_filter(&self.topic, self.filter(sub_id)).timeout(self.timeout);
        self.client.sow_delete(&delete).map(drop).map_err(StoreError::other)
    }
}

impl RecoveryPointAdapter for SowRecoveryPointAdapter {
    fn recovered(&self) -> Result<Vec<StoredPoint>, StoreError> {
        let query = self.client.sow(&self.topic).filter(self.filter(None)).timeout(self.timeout);
        let mut records = query.start().map_err(StoreError::other)?;
        records.set_timeout(Some(self.timeout));
        let mut points = Vec::new();
        for message in records {
            let message = message.map_err(StoreError::other)?;
            if message.command() == amps_protocol::CommandKind::Sow {
                points.extend(self.point(message.data())?);
            }
        }
        Ok(points)
    }

    fn update(&self, point: StoredPoint) -> Result<(), StoreError> {
        self.client.publish(&self.topic, self.record(&point)).map(drop).map_err(StoreError::other)
    }

    fn purge(&self) -> Result<(), StoreError> {
        self.delete(None)
    }

    fn purge_sub(&self, sub_id: &str) -> Result<(), StoreError> {
        self.delete(Some(sub_id))
    }

    fn close(&self) -> Result<(), StoreError> {
        let flushed = self.client.flush(self.timeout);
        let closed = if self.close_client { self.client.close_within(self.timeout) } else { Ok(()) };
        flushed.and(closed).map_err(StoreError::other)
    }
}

/// A string literal of the filter language. Whatever could end it, or be taken for an escape, is written as the
/// number of its byte (server.md TYP-03).
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for symbol in text.chars() {
        match symbol {
            '\'' | '"' | '\\' | '\0'..=' ' | '\u{7f}' if symbol != ' ' => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\x{:02x}", u32::from(symbol));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('\'');
    quoted
}
