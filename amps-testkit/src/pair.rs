//! Two servers that replicate to each other, in the hand of one test (server.md 7.3).
//!
//! Owns the two servers, and the rule of when an operation is over: when both sides have said
//! to each other all that the links let through. It waits for that by being told of every step
//! of a link, never by waiting a while.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::Bell;
use crate::builder::FakeServerBuilder;
use crate::engine::{
    DestinationConfig, Exchange, Exchanges, LinkChange, LinkState, NotPublished, Published, SyncMode,
};
use crate::server::{FakeServer, StartError};

/// How long two servers may take to say to each other what there is to say, in real time.
const PATIENCE: Duration = Duration::from_secs(10);

/// One server of a [`Pair`].
///
/// ```
/// use amps_testkit::Side;
///
/// assert_eq!((Side::A.name(), Side::A.other()), ("A", Side::B));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The first; its instance is called `A`.
    A,
    /// The second; its instance is called `B`.
    B,
}

impl Side {
    /// The name of the instance.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }

    /// The server at the other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// One of the two links of a [`Pair`].
///
/// ```
/// use amps_testkit::{Direction, Side};
///
/// assert_eq!(Direction::AToB.source(), Side::A);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What A logs goes to B.
    AToB,
    /// What B logs goes to A.
    BToA,
}

impl Direction {
    /// Where it comes from.
    pub const fn source(self) -> Side {
        match self {
            Self::AToB => Side::A,
            Self::BToA => Side::B,
        }
    }
}

/// In which order two messages are logged that are published on both servers at once (PAIR-05).
///
/// ```
/// use amps_testkit::{FakeServerBuilder, Pair, RaceOrder, Side};
///
/// let pair = Pair::start(FakeServerBuilder::default().virtual_clock())?;
/// pair.publish_race(RaceOrder::EachOwnFirst, "T", "from A", "from B");
/// let bodies = |side| pair.server(side).logged_messages().into_iter().map(|m| m.body).collect::<Vec<_>>();
/// assert_eq!(bodies(Side::A), [b"from A", b"from B"]);
/// assert_eq!(bodies(Side::B), [b"from B", b"from A"]);
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaceOrder {
    /// That of A is first on both.
    AFirst,
    /// That of B is first on both.
    BFirst,
    /// Each server logs its own first.
    EachOwnFirst,
}

/// Two servers, A and B, that replicate everything they log to each other, synchronously until
/// a test says otherwise.
///
/// When a method returns, all that follows from it has happened on both servers, as far as the
/// links let it through.
///
/// ```
/// use amps_testkit::{Direction, FakeServerBuilder, Pair, Side};
///
/// let pair = Pair::start(FakeServerBuilder::default().virtual_clock())?;
/// pair.pause(Direction::AToB);
/// for n in 0..3 {
///     pair.publish(Side::A, "orders", n.to_string()).unwrap();
/// }
/// assert_eq!(pair.server(Side::B).logged_messages().len(), 0);
/// pair.deliver(Direction::AToB, 2);
/// assert_eq!(pair.server(Side::B).logged_messages().len(), 2);
/// pair.kill(Side::A, false);
/// pair.restart(Side::A)?;
/// assert_eq!(pair.server(Side::A).logged_messages().len(), 2, "B had two of them");
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Debug)]
pub struct Pair {
    a: FakeServer,
    b: FakeServer,
    bell: Arc<Bell>,
    virtual_clock: bool,
}

impl Pair {
    /// Starts two servers of one description. When this returns, they are connected, and clients
    /// can connect to both.
    ///
    /// # Errors
    /// As for [`FakeServerBuilder::start`].
    pub fn start(builder: FakeServerBuilder) -> Result<Self, StartError> {
        Self::start_with(builder.clone(), builder)
    }

    /// Starts two servers that differ, for example in the directories of their logs.
    ///
    /// # Errors
    /// As for [`FakeServerBuilder::start`].
    pub fn start_with(a: FakeServerBuilder, b: FakeServerBuilder) -> Result<Self, StartError> {
        let bell = Arc::new(Bell::default());
        let virtual_clock = a.has_virtual_clock() && b.has_virtual_clock();
        let start = |builder: FakeServerBuilder, side: Side| {
            builder
                .instance(side.name())
                .replicate_to(DestinationConfig::new(side.other().name()))
                .replication_listen("127.0.0.1:0")
                .early_accept(false)
                .bell(Arc::clone(&bell))
                .start()
        };
        let pair = Self { a: start(a, Side::A)?, b: start(b, Side::B)?, bell, virtual_clock };
        for side in [Side::A, Side::B] {
            let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
            let address = pair.server(side.other()).replication_addr().unwrap_or(nowhere);
            pair.server(side).change_link(side.other().name(), LinkChange::Address(address.to_string()));
        }
        pair.settle();
        Ok(pair)
    }

    /// One of the servers.
    pub const fn server(&self, side: Side) -> &FakeServer {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }

    /// Waits until both servers have said to each other all that the links let through: for
    /// what a client has sent and the server has taken, for example. Other methods do so by
    /// themselves. `false` if they did not within 10 s of real time.
    pub fn settle(&self) -> bool {
        self.bell.wait_until(PATIENCE, || {
            let before = [self.a.exchanges(), self.b.exchanges()];
            let after = [self.a.exchanges(), self.b.exchanges()];
            let [a, b] = &after;
            before == after && is_quiet(Side::A, a, b) && is_quiet(Side::B, b, a)
        })
    }

    /// Publishes a JSON message on behalf of a server.
    ///
    /// # Errors
    /// The server is stopped, or the publish of a client would be refused; nothing was done.
    pub fn publish(
        &self,
        side: Side,
        topic: &str,
        body: impl AsRef<[u8]>,
    ) -> Result<Published, NotPublished> {
        let published = self.server(side).publish(topic, body);
        self.settle();
        published
    }

    /// Publishes a message on each server, "at the same time": in whatever order is to be seen.
    /// Both links have to be up.
    ///
    /// # Errors
    /// What one of the servers refuses; the other has its message all the same.
    pub fn publish_race(
        &self,
        order: RaceOrder,
        topic: &str,
        on_a: impl AsRef<[u8]>,
        on_b: impl AsRef<[u8]>,
    ) -> Result<(), NotPublished> {
        let own_first = order == RaceOrder::EachOwnFirst;
        let links = [Direction::AToB, Direction::BToA].into_iter().filter(|_| own_first);
        links.clone().for_each(|link| self.pause(link));
        let on_a = || self.publish(Side::A, topic, on_a);
        let on_b = || self.publish(Side::B, topic, on_b);
        let published = match order {
            RaceOrder::AFirst | RaceOrder::EachOwnFirst => [on_a(), on_b()],
            RaceOrder::BFirst => [on_b(), on_a()],
        };
        links.for_each(|link| self.resume(link));
        published.into_iter().try_for_each(|published| published.map(drop))
    }

    /// Moves the clocks of both servers; timers of both fire in the order of their deadlines,
    /// and what follows from each crosses the links before the next one does. Unless both clocks
    /// are virtual it does nothing.
    pub fn advance(&self, by: Duration) {
        if !self.virtual_clock {
            return;
        }
        let end = [self.a.now() + by, self.b.now() + by];
        loop {
            let left = |server: &FakeServer, end| {
                let now = server.now();
                let next = server.next_timer().map(|timer| timer.at).filter(|at| *at <= end);
                next.map(|at| at.saturating_since(now))
            };
            let next = [left(&self.a, end[0]), left(&self.b, end[1])].into_iter().flatten().min();
            let Some(step) = next else { break };
            self.advance_both(step);
        }
        self.a.move_clock(end[0].saturating_since(self.a.now()));
        self.b.move_clock(end[1].saturating_since(self.b.now()));
        self.settle();
    }

    /// It is the same time on both before anything of that time happens on either.
    fn advance_both(&self, by: Duration) {
        self.a.move_clock(by);
        self.b.move_clock(by);
        self.a.advance(Duration::ZERO);
        self.b.advance(Duration::ZERO);
        self.settle();
    }

    /// Cuts both links.
    pub fn partition(&self) {
        for side in [Side::A, Side::B] {
            self.change(side, LinkChange::State(LinkState::Down));
        }
        self.settle();
    }

    /// Makes both links again, after a partition or pauses.
    pub fn heal(&self) {
        for side in [Side::A, Side::B] {
            self.change(side, LinkChange::State(LinkState::Up));
        }
        self.settle();
    }

    /// What is logged waits, and the link stays connected.
    pub fn pause(&self, direction: Direction) {
        self.change(direction.source(), LinkChange::State(LinkState::Paused));
        self.settle();
    }

    /// What waits is sent, and so is what is logged from now on.
    pub fn resume(&self, direction: Direction) {
        self.change(direction.source(), LinkChange::State(LinkState::Up));
        self.settle();
    }

    /// Sends so many of the entries that wait, or all that there are. Acknowledgements of queue
    /// messages and changes of their owners are entries too.
    pub fn deliver(&self, direction: Direction, entries: usize) {
        self.change(direction.source(), LinkChange::Deliver(entries));
        self.settle();
    }

    /// Publishers do not wait for the other server any more (HA-04).
    pub fn downgrade(&self, direction: Direction) {
        self.change(direction.source(), LinkChange::Mode(SyncMode::Async));
        self.settle();
    }

    /// Publishers wait for the other server again.
    pub fn upgrade(&self, direction: Direction) {
        self.change(direction.source(), LinkChange::Mode(SyncMode::Sync));
        self.settle();
    }

    /// Every entry takes so long from one server to the other, by the clock of its source.
    pub fn lag(&self, direction: Direction, lag: Duration) {
        self.change(direction.source(), LinkChange::Lag(lag));
        self.settle();
    }

    /// Whether what is logged crosses the links by itself (`true`, the default), or only while
    /// the clock is moved: [`advance`](Self::advance) by nothing will do (PAIR-08).
    pub fn auto(&self, on: bool) {
        self.a.auto_replication(on);
        self.b.auto_replication(on);
        self.settle();
    }

    /// A server dies: all its connections end at once, and nobody can connect. With `keep_log`
    /// its log is there when it is restarted; else that is empty.
    pub fn kill(&self, side: Side, keep_log: bool) {
        self.server(side).halt(false);
        if !keep_log {
            self.server(side).restart_empty();
        }
        self.settle();
    }

    /// A server stops in an orderly way: what it owes to its clients is sent before.
    pub fn stop(&self, side: Side) {
        self.server(side).halt(true);
        self.settle();
    }

    /// Starts a server again that was killed or stopped, on the same ports, with what its log
    /// holds. It lets clients in when the other server has sent all that it has: at once, if
    /// that is up and the links are.
    ///
    /// # Errors
    /// Another process has taken a port.
    pub fn restart(&self, side: Side) -> Result<(), StartError> {
        self.start_again(side, false)
    }

    /// As [`restart`](Self::restart), but clients are let in at once, whatever the other server
    /// has.
    ///
    /// # Errors
    /// Another process has taken a port.
    pub fn restart_early(&self, side: Side) -> Result<(), StartError> {
        self.start_again(side, true)
    }

    fn start_again(&self, side: Side, early: bool) -> Result<(), StartError> {
        self.server(side).end_halt(early)?;
        self.server(side.other()).connect_links();
        self.settle();
        Ok(())
    }

    /// Whether a server takes over queue messages of the other one when that is gone (Q-73);
    /// `false` if there is no such queue.
    pub fn proxied_transfer(&self, side: Side, queue: &str, on: bool) -> bool {
        let known = self.server(side).proxied_transfer(queue, on);
        self.settle();
        known
    }

    fn change(&self, source: Side, change: LinkChange) {
        self.server(source).change_link(source.other().name(), change);
    }
}

/// Whether the link from `side`, whose own view is `source`, has nothing left to do.
fn is_quiet(side: Side, source: &Exchanges, receiver: &Exchanges) -> bool {
    let Some(out) = source.out.first() else { return true };
    let is_from_here = |other: &&Exchange| other.peer.as_deref() == Some(side.name());
    let incoming = receiver.incoming.iter().find(is_from_here);
    if receiver.incoming.iter().any(|other| !other.settled) {
        return false;
    }
    if receiver.halted {
        return !out.settled;
    }
    if source.halted || out.off {
        return incoming.is_none();
    }
    let agreed = |other: &Exchange| out.sent == other.received && out.received == other.sent;
    out.settled && incoming.is_some_and(agreed)
}
