//! Whatever clients do, a queue keeps its books: every message is in exactly one of
//! available, leased and gone; nobody holds more than the granted backlog; nothing is leased
//! twice at a time, or lost. A view over it shows what is available (server.md VIEW-01, Q-15).

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use amps_protocol::{CommandKind, Message};
use amps_testkit::{Fairness, FakeServer, QueueConfig, QueueSnapshot, Semantics, ViewConfig, ViewSource};
use proptest::prelude::*;
use support::in_process::InProcess;
use support::stage::Stage;

const CLIENTS: usize = 3;
const BACKLOGS: [u32; CLIENTS] = [1, 2, 5];

#[derive(Clone, Debug)]
enum Operation {
    Publish {
        kind: u8,
    },
    /// To both queues (`wide`), or only to the one with leases.
    Subscribe {
        client: usize,
        filter: Option<u8>,
        backlog: u32,
        wide: bool,
    },
    Unsubscribe {
        client: usize,
    },
    /// Acknowledge the n-th message ever delivered, as some client, in some way.
    Settle {
        client: usize,
        nth: usize,
        how: &'static str,
    },
    Reconnect {
        client: usize,
    },
    Advance {
        seconds: u64,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let client = 0..CLIENTS;
    let settle = (client.clone(), 0usize..200, prop::sample::select(vec!["", "cancel", "expire"]));
    prop_oneof![
        6 => (0u8..3).prop_map(|kind| Operation::Publish { kind }),
        3 => (client.clone(), prop::option::of(0u8..3), 0u32..7, any::<bool>()).prop_map(
            |(client, filter, backlog, wide)| Operation::Subscribe { client, filter, backlog, wide }
        ),
        1 => client.clone().prop_map(|client| Operation::Unsubscribe { client }),
        6 => settle.prop_map(|(client, nth, how)| Operation::Settle { client, nth, how }),
        1 => client.prop_map(|client| Operation::Reconnect { client }),
        2 => (0u64..8).prop_map(|seconds| Operation::Advance { seconds }),
    ]
}

/// The clients of one server.
struct Play {
    stage: InProcess,
    /// The connection of each client.
    connections: Vec<usize>,
    connected: usize,
    published: u64,
    /// Queues and bookmarks in the order of first delivery.
    delivered: Vec<(String, String)>,
}

impl Play {
    fn start(queue: QueueConfig) -> Self {
        let once = QueueConfig::new("once").underlying("T").semantics(Semantics::AtMostOnce).max_backlog(9);
        let open = ViewConfig::new("open", ViewSource::Topic("work".into()))
            .group_by("/kind")
            .field("/kind")
            .field("COUNT(/kind) AS /n");
        let stage = InProcess::start(FakeServer::builder().queue(queue).queue(once).view(open), None);
        let mut play =
            Self { stage, connections: Vec::new(), connected: 0, published: 0, delivered: Vec::new() };
        for client in 0..CLIENTS {
            let connection = play.connect(client);
            play.connections.push(connection);
        }
        play
    }

    fn connect(&mut self, client: usize) -> usize {
        let connection = self.connected;
        self.connected += 1;
        self.stage.connect();
        self.stage.send(
            connection,
            &frame(&format!(r#"{{"c":"logon","cid":"1","mt":"json","client_name":"c{client}"}}"#)),
            1,
        );
        connection
    }

    fn perform(&mut self, operation: &Operation) {
        match operation {
            Operation::Publish { kind } => {
                self.published += 1;
                self.stage.publish("T", &format!("{{\"kind\":{kind}}}"));
            }
            Operation::Subscribe { client, filter, backlog, wide } => {
                let topic = if *wide { "^(work|once)$" } else { "work" };
                let filter = filter.map_or(String::new(), |kind| format!(r#","f":"/kind = {kind}""#));
                let header = format!(
                    r#"{{"c":"subscribe","sub_id":"s","t":"{topic}"{filter},"o":"replace,max_backlog={backlog}"}}"#
                );
                self.stage.send(self.connections[*client], &frame(&header), 1);
            }
            Operation::Unsubscribe { client } => {
                self.stage.send(
                    self.connections[*client],
                    &frame(r#"{"c":"unsubscribe","sub_id":"all"}"#),
                    1,
                );
            }
            Operation::Settle { client, nth, how } => {
                let nth = nth % self.delivered.len().max(1);
                let Some((queue, bookmark)) = self.delivered.get(nth) else { return };
                let header = format!(r#"{{"c":"sow_delete","t":"{queue}","bm":"{bookmark}","o":"{how}"}}"#);
                self.stage.send(self.connections[*client], &frame(&header), 1);
            }
            Operation::Reconnect { client } => {
                self.stage.disconnect(self.connections[*client]);
                self.connections[*client] = self.connect(*client);
            }
            Operation::Advance { seconds } => self.stage.advance(Duration::from_secs(*seconds)),
        }
        self.take_deliveries();
    }

    fn take_deliveries(&mut self) {
        for &connection in &self.connections {
            while let Some(frame) = self.stage.poll(connection) {
                let message = Message::decode(frame).unwrap();
                assert_eq!(message.command(), CommandKind::Publish);
                let delivery =
                    (message.topic().unwrap().to_string(), message.bookmark().unwrap().to_string());
                if !self.delivered.contains(&delivery) {
                    self.delivered.push(delivery);
                } else {
                    assert_ne!(delivery.0, "once", "delivered at most once");
                }
            }
        }
    }

    fn check(&mut self, granted: u32) {
        let queue: QueueSnapshot = self.stage.queue("work");
        let expired: u64 = queue.counters.expired.values().sum();
        let here = (queue.available.len() + queue.leased.len()) as u64;
        assert_eq!(here + expired + queue.counters.acknowledged, self.published, "none lost, none twice");
        let mut open: BTreeMap<String, usize> = BTreeMap::new();
        for message in &queue.available {
            let kind = String::from_utf8(message.body.clone()).unwrap();
            *open.entry(kind.replace('}', ",\"n\":")).or_default() += 1;
        }
        let open: Vec<String> = open.into_iter().map(|(kind, n)| format!("{kind}{n}}}")).collect();
        let shown = self.stage.engine().sow("open").into_iter();
        let mut shown: Vec<String> = shown.map(|record| String::from_utf8(record.body).unwrap()).collect();
        shown.sort_unstable();
        assert_eq!(shown, open, "the view shows what is available");
        let distinct: BTreeSet<_> =
            queue.available.iter().chain(&queue.leased).map(|message| &message.bookmark).collect();
        assert_eq!(distinct.len() as u64, here, "every message is there once");
        let mut held: BTreeMap<&str, u32> = BTreeMap::new();
        for message in &queue.leased {
            *held.entry(message.holder.as_deref().expect("a lease has a holder")).or_default() += 1;
        }
        let once = self.stage.queue("once");
        assert_eq!(
            once.available.len() as u64
                + once.counters.delivered
                + once.counters.expired.values().sum::<u64>(),
            self.published
        );
        assert!(held.values().all(|held| *held <= granted), "{held:?} exceeds the backlog of {granted}");
    }
}

fn frame(header: &str) -> Vec<u8> {
    let mut bytes = (header.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_keeps_its_books(
        operations in prop::collection::vec(operation(), 1..120),
        backlog in prop::sample::select(BACKLOGS.to_vec()),
        fairness in prop::sample::select(vec![Fairness::Fast, Fairness::RoundRobin, Fairness::Proportional]),
        limits in (0u32..4, 0u32..4),
    ) {
        let queue = QueueConfig::new("work")
            .underlying("T")
            .lease(Duration::from_secs(5))
            .max_backlog(backlog)
            .fairness(fairness)
            .max_deliveries(limits.0)
            .max_cancels(limits.1);
        let mut play = Play::start(queue);
        for operation in &operations {
            play.perform(operation);
            play.check(backlog);
        }
    }
}

/// server.md Q-70: what is beyond the target depth is not considered by a view either.
#[test]
fn a_view_does_not_see_beyond_the_target_depth_of_its_queue() {
    let queue = QueueConfig::new("work").underlying("T").target_depth(1000);
    let mut play = Play::start(queue);
    for _ in 0..1002 {
        play.perform(&Operation::Publish { kind: 0 });
    }
    let shown = |play: &Play, n: u32| {
        let bodies: Vec<_> = play.stage.engine().sow("open").into_iter().map(|record| record.body).collect();
        assert_eq!(bodies, [format!("{{\"kind\":0,\"n\":{n}}}").into_bytes()]);
    };
    shown(&play, 1000);
    let all = frame(r#"{"c":"sow_delete","t":"work","f":"/kind = 0"}"#);
    play.stage.send(play.connections[0], &all, 1);
    shown(&play, 2);
}
