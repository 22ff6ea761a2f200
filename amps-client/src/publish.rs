//! What a publish returns.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use amps_protocol::{Command as Wire, Publish};

use crate::error::Result;
use crate::session::Shared;
use crate::session::outbound::{Generation, PublishState};

/// Tells what became of one published message. Ignore it, or ask it later.
///
/// Queued and written are different answers, and neither says that the server has the
/// message: after [`Client::flush`](crate::Client::flush) everything written before was
/// processed by the server.
#[derive(Clone)]
pub struct Receipt {
    shared: Arc<Shared>,
    generation: Generation,
    end: u64,
}

impl Receipt {
    pub(crate) const fn new(shared: Arc<Shared>, generation: Generation, end: u64) -> Self {
        Self { shared, generation, end }
    }

    /// What became of the message so far.
    pub fn state(&self) -> PublishState {
        self.shared.with(|outbound| outbound.publish_state(self.generation, self.end))
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receipt").field(&self.state()).finish()
    }
}

/// What a publish may say besides its topic and data; see
/// [`Client::publish_with`](crate::Client::publish_with).
///
/// ```
/// use std::time::Duration;
/// use amps_client::{Client, PublishOptions};
/// # let server = amps_testkit::FakeServer::builder()
/// #     .sow(amps_testkit::SowConfig::new("notes")).start()?;
/// # let uri = server.uri("json");
///
/// let client = Client::builder("desk-7").server(&uri).connect()?;
/// let options = PublishOptions::new().sow_key("note-1").correlation_id("bWFyaw==");
/// client.publish_with("notes", r#"{"text":"late"}"#, &options)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishOptions {
    expiration: Option<u64>,
    sow_key: Option<String>,
    correlation_id: Option<String>,
}

impl PublishOptions {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// The message expires after this time. AMPS counts whole seconds; a fraction is rounded up.
    #[must_use]
    pub fn expiration(mut self, after: Duration) -> Self {
        self.expiration = Some(after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)));
        self
    }

    /// The key of the record to write, where the topic leaves keys to publishers.
    #[must_use]
    pub fn sow_key(mut self, key: impl Into<String>) -> Self {
        self.sow_key = Some(key.into());
        self
    }

    /// A mark of your own that goes with the message. AMPS asks for Base64 characters.
    #[must_use]
    pub fn correlation_id(mut self, mark: impl Into<String>) -> Self {
        self.correlation_id = Some(mark.into());
        self
    }

    /// Refuses what a server could only misread.
    pub(crate) fn check(&self) -> Result<()> {
        for (what, text) in [("record key", &self.sow_key), ("correlation id", &self.correlation_id)] {
            if let Some(text) = text {
                crate::command::refuse_controls("publish", what, text)?;
            }
        }
        Ok(())
    }
}

/// One publish on its way to the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publishing<'a> {
    pub(crate) topic: &'a str,
    pub(crate) data: &'a [u8],
    pub(crate) delta: bool,
    pub(crate) options: Option<&'a PublishOptions>,
}

impl<'a> Publishing<'a> {
    pub(crate) const fn new(topic: &'a str, data: &'a [u8]) -> Self {
        Self { topic, data, delta: false, options: None }
    }

    #[inline]
    pub(crate) fn command(&self) -> Publish<'a> {
        let publish = if self.delta { Wire::delta_publish(self.topic) } else { Wire::publish(self.topic) };
        let mut publish = publish.data(self.data);
        let Some(options) = self.options else { return publish };
        if let Some(seconds) = options.expiration {
            publish = publish.expiration(seconds);
        }
        if let Some(key) = &options.sow_key {
            publish = publish.sow_key(key.as_str());
        }
        if let Some(mark) = &options.correlation_id {
            publish = publish.correlation_id(mark.as_str());
        }
        publish
    }
}
