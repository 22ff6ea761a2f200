//! What is known of the server at the other end.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use amps_protocol::{Endpoint, Message, ServerVersion};

/// The server that a client is logged on to, or was last.
///
/// ```
/// # let server = amps_testkit::FakeServer::builder().start()?;
/// # let uri = server.uri("json");
/// let client = amps_client::Client::builder("desk-7").server(&uri).connect()?;
/// let peer = client.peer().expect("logged on");
/// println!("{} runs {:?}", peer.uri(), peer.version());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Peer {
    uri: String,
    version: Option<ServerVersion>,
    version_text: Option<String>,
    name_hash: Option<u64>,
    last_sequence: Option<u64>,
}

impl Peer {
    pub(super) fn of(ack: &Message<&[u8]>, endpoint: Option<&Endpoint>) -> Self {
        let bookmark = ack.bookmark().map(ToString::to_string);
        Self {
            uri: endpoint.map(ToString::to_string).unwrap_or_default(),
            version: ack.server_version(),
            version_text: ack.get(amps_protocol::Field::Version).map(ToString::to_string),
            name_hash: bookmark.and_then(|text| text.split('|').next()?.parse().ok()),
            last_sequence: ack.sequence(),
        }
    }

    /// The connection string, without the password.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The server's version, if it said one that can be compared.
    pub const fn version(&self) -> Option<ServerVersion> {
        self.version
    }

    /// The server's version as it said it.
    pub fn version_text(&self) -> Option<&str> {
        self.version_text.as_deref()
    }

    /// The publisher id that the server makes of the client's name: the first number in the
    /// bookmarks of what this client publishes.
    pub const fn name_hash(&self) -> Option<u64> {
        self.name_hash
    }

    /// The last sequence number that the server has from this client's name.
    pub const fn last_sequence(&self) -> Option<u64> {
        self.last_sequence
    }
}
