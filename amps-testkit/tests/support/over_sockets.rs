//! A stage with sockets: a fake server, reached in some way, and clients that write as many bytes at a time as
//! told.

use std::time::Duration;

use amps_testkit::{
    FakeServer, FakeServerBuilder, JournalMode, LogCut, LoggedMessage, QueueSnapshot, TransportConfig, What,
};

use super::channel::{Channel, Way};
use super::data_dir::DataDir;
use super::stage::Stage;

/// How long anything may take. A test that fails takes this long; no other does.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct OverSockets {
    // Dropped before the server, which would wait a while for clients to close their side.
    way: Way,
    clients: Vec<Channel>,
    server: FakeServer,
    frames: Vec<usize>,
    bytes_per_write: usize,
    // Dropped after the server, which writes to it.
    _data: DataDir,
}

impl OverSockets {
    pub(crate) fn start(
        way: Way,
        builder: FakeServerBuilder,
        transport: Option<TransportConfig>,
        bytes_per_write: usize,
    ) -> Self {
        let data = DataDir::new();
        let server = builder
            .data_dir(data.path())
            .transport(way.address(), transport.unwrap_or_default())
            .virtual_clock()
            .journal(JournalMode::All)
            .start()
            .unwrap();
        Self { way, server, clients: Vec::new(), frames: Vec::new(), bytes_per_write, _data: data }
    }

    /// Waits until the server has taken all frames of a connection, or closed it.
    fn wait_until_taken(&self, conn: usize) {
        let wanted = self.frames[conn];
        let taken = std::cell::Cell::new(0);
        self.server
            .wait_for(
                |entry| {
                    if entry.connection != conn as u64 {
                        return false;
                    }
                    taken.set(taken.get() + usize::from(entry.received().is_some()));
                    taken.get() >= wanted || matches!(entry.what, What::Closed(_))
                },
                1,
                PATIENCE,
            )
            .unwrap();
        // What follows from the frames has been handed to the sockets after this.
        self.server.advance(Duration::ZERO);
    }
}

impl Stage for OverSockets {
    fn connect(&mut self) {
        self.clients.push(Channel::open(self.way, &self.server, self.bytes_per_write).unwrap());
        self.frames.push(0);
        let accepted = |entry: &amps_testkit::Entry| matches!(entry.what, What::Accepted);
        self.server.wait_for(accepted, self.clients.len(), PATIENCE).unwrap();
    }

    fn send(&mut self, conn: usize, bytes: &[u8], frames: usize) {
        self.clients[conn].send(bytes).unwrap();
        // Zero frames means malformed input: wait for the end of the connection.
        self.frames[conn] = if frames == 0 { usize::MAX } else { self.frames[conn] + frames };
        self.wait_until_taken(conn);
    }

    fn receive(&mut self, conn: usize) -> Option<Vec<u8>> {
        self.clients[conn].receive().unwrap_or_else(|error| panic!("the server sent nothing: {error}"))
    }

    fn disconnect(&mut self, conn: usize) {
        self.clients[conn].finish();
        self.close_reason(conn);
        self.server.advance(Duration::ZERO);
    }

    fn close_reason(&mut self, conn: usize) -> String {
        let closed = self
            .server
            .wait_for(
                |entry| entry.connection == conn as u64 && matches!(entry.what, What::Closed(_)),
                1,
                PATIENCE,
            )
            .unwrap();
        match closed[0].what {
            What::Closed(reason) => reason.to_string(),
            _ => unreachable!("only this was waited for"),
        }
    }

    fn advance(&mut self, by: Duration) {
        self.server.advance(by);
    }

    fn publish(&mut self, topic: &str, body: &str) {
        self.server.publish(topic, body).unwrap();
    }

    fn queue(&mut self, name: &str) -> QueueSnapshot {
        self.server.queue(name).expect("the queue is configured")
    }

    fn restart(&mut self) {
        self.server.restart();
        assert_eq!(self.server.data_error(), None);
    }

    fn hold_durability(&mut self, held: bool) {
        self.server.hold_durability(held);
    }

    fn truncate(&mut self, cut: LogCut) {
        self.server.truncate_before(cut);
    }

    fn log(&mut self) -> Vec<LoggedMessage> {
        self.server.logged_messages()
    }
}
