//! A stage with two servers and sockets: clients of both, reached in some way, which write as many bytes at a time
//! as told.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use amps_testkit::{FakeServerBuilder, JournalMode, LogCut, LoggedMessage, Pair, QueueSnapshot, Side, What};

use super::channel::{Channel, Socket, Way};
use super::data_dir::DataDir;
use super::stage::{PairChange, Stage};

/// How long anything may take. A test that fails takes this long; no other does.
const PATIENCE: Duration = Duration::from_secs(20);

struct Client {
    channel: Channel,
    side: Side,
    /// Its number on its server.
    index: u64,
    frames: usize,
}

pub(crate) struct PairOverSockets {
    way: Way,
    // Dropped before the servers, which would wait a while for clients to close their side.
    clients: Vec<Client>,
    pair: Pair,
    side: Side,
    bytes_per_write: usize,
    // Dropped after the servers, which write to them.
    _data: [DataDir; 2],
}

impl PairOverSockets {
    pub(crate) fn start(way: Way, builder: FakeServerBuilder, bytes_per_write: usize) -> Self {
        let data = [DataDir::new(), DataDir::new()];
        let builder = builder.listen(way.address()).virtual_clock().journal(JournalMode::All);
        let [a, b] = [&data[0], &data[1]].map(|data| builder.clone().data_dir(data.path()));
        let pair = Pair::start_with(a, b).unwrap();
        Self { way, pair, clients: Vec::new(), side: Side::A, bytes_per_write, _data: data }
    }

    fn wait_until_taken(&self, conn: usize) {
        let client = &self.clients[conn];
        let server = self.pair.server(client.side);
        let taken = std::cell::Cell::new(0);
        let last = |entry: &amps_testkit::Entry| {
            if entry.connection != client.index {
                return false;
            }
            taken.set(taken.get() + usize::from(entry.received().is_some()));
            taken.get() >= client.frames || matches!(entry.what, What::Closed(_))
        };
        server.wait_for(last, 1, PATIENCE).unwrap();
        server.advance(Duration::ZERO);
        assert!(self.pair.settle());
    }
}

impl Stage for PairOverSockets {
    fn connect(&mut self) {
        let server = self.pair.server(self.side);
        let channel = Channel::open(self.way, server, self.bytes_per_write).unwrap();
        let index = self.clients.iter().filter(|client| client.side == self.side).count() as u64;
        self.clients.push(Client { channel, side: self.side, index, frames: 0 });
        let accepted = |entry: &amps_testkit::Entry| matches!(entry.what, What::Accepted);
        server.wait_for(accepted, index as usize + 1, PATIENCE).unwrap();
    }

    fn send(&mut self, conn: usize, bytes: &[u8], frames: usize) {
        self.clients[conn].channel.send(bytes).unwrap();
        self.clients[conn].frames += frames;
        self.wait_until_taken(conn);
    }

    fn receive(&mut self, conn: usize) -> Option<Vec<u8>> {
        let frame = self.clients[conn].channel.receive();
        frame.unwrap_or_else(|error| panic!("the server sent nothing: {error}"))
    }

    fn disconnect(&mut self, conn: usize) {
        self.clients[conn].channel.finish();
        self.close_reason(conn);
        assert!(self.pair.settle());
    }

    fn close_reason(&mut self, conn: usize) -> String {
        let client = &self.clients[conn];
        let closed = |entry: &amps_testkit::Entry| {
            entry.connection == client.index && matches!(entry.what, What::Closed(_))
        };
        let closed = self.pair.server(client.side).wait_for(closed, 1, PATIENCE).unwrap();
        match closed[0].what {
            What::Closed(reason) => reason.to_string(),
            _ => unreachable!("only this was waited for"),
        }
    }

    fn advance(&mut self, by: Duration) {
        self.pair.advance(by);
    }

    fn publish(&mut self, topic: &str, body: &str) {
        self.pair.publish(self.side, topic, body).unwrap();
    }

    fn queue(&mut self, name: &str) -> QueueSnapshot {
        self.pair.server(self.side).queue(name).expect("the queue is configured")
    }

    fn restart(&mut self) {
        unreachable!("a pair is restarted side by side")
    }

    fn hold_durability(&mut self, held: bool) {
        self.pair.server(self.side).hold_durability(held);
    }

    fn truncate(&mut self, cut: LogCut) {
        self.pair.server(self.side).truncate_before(cut);
    }

    fn log(&mut self) -> Vec<LoggedMessage> {
        self.pair.server(self.side).logged_messages()
    }

    fn turn_to(&mut self, side: Side) {
        self.side = side;
    }

    fn change(&mut self, change: &PairChange) {
        let pair = &self.pair;
        match change.clone() {
            PairChange::Partition => pair.partition(),
            PairChange::Heal => pair.heal(),
            PairChange::Pause(link) => pair.pause(link),
            PairChange::Resume(link) => pair.resume(link),
            PairChange::Deliver(link, count) => pair.deliver(link, count),
            PairChange::Downgrade(link) => pair.downgrade(link),
            PairChange::Upgrade(link) => pair.upgrade(link),
            PairChange::Lag(link, lag) => pair.lag(link, lag),
            PairChange::Kill { side, keep_log } => pair.kill(side, keep_log),
            PairChange::Stop(side) => pair.stop(side),
            PairChange::Restart { side, early: false } => pair.restart(side).unwrap(),
            PairChange::Restart { side, early: true } => pair.restart_early(side).unwrap(),
            PairChange::Proxied { side, queue, on } => assert!(pair.proxied_transfer(side, &queue, on)),
            PairChange::Race { order, topic, on_a, on_b } => {
                pair.publish_race(order, &topic, on_a, on_b).unwrap();
            }
        }
        assert!(pair.settle(), "{change:?} does not come to an end");
        for side in [Side::A, Side::B] {
            assert_eq!(pair.server(side).data_error(), None);
        }
    }

    fn refuses_clients(&mut self) -> bool {
        let server = self.pair.server(self.side);
        assert!(!server.is_accepting());
        // A server that is down refuses at once; one that waits for its peer closes.
        match Socket::connect(&server.listeners()[0]) {
            // A socket file goes with its listener.
            Err(error) => matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound),
            // What a layer has to say at the end may come first.
            Ok(mut socket) => match socket.read_to_end(&mut Vec::new()) {
                Ok(_) => true,
                Err(error) => error.kind() == ErrorKind::ConnectionReset,
            },
        }
    }
}
