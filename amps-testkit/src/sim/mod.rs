//! A network and a clock that exist only in memory.
//!
//! A [`World`] joins [`Machine`](amps_transport::Machine)s, the very ones that the event loop
//! drives in production, by links that cut bytes into arbitrary chunks, delay, stall, lose and
//! break them. Time is a number that jumps from event to event. Everything random is drawn
//! from one [`Rng`], so that a seed replays exactly, to the byte.
//!
//! Invariants:
//! * no clock, no thread, no socket, no hash map: two runs of one seed cannot differ;
//! * events happen in the order of (time, when they were planned);
//! * on one connection bytes arrive in order, and nothing arrives after its end.
//!
//! The world knows nothing of the machines' types. It says *what happens to whom*
//! ([`World::next_step`]), and whoever owns the machines hands the step to the right one
//! ([`World::deliver`]); no `dyn` stands between.
//!
//! ```
//! use amps_testkit::sim::{Step, World};
//! use amps_transport::{Input, Machine, Sink, SocketOptions, Target, Time};
//! use std::time::Duration;
//!
//! /// Connects when told to, says hello, and remembers the answer.
//! #[derive(Default)]
//! struct Caller(Vec<u8>);
//! /// Sends back whatever it receives.
//! struct Echo;
//!
//! impl Machine for Caller {
//!     type Note = ();
//!     fn handle<S: Sink>(&mut self, _: Time, input: Input<'_, ()>, sink: &mut S) {
//!         match input {
//!             Input::Note(()) => {
//!                 let timeout = Duration::from_secs(1);
//!                 let socket = SocketOptions::default();
//!                 sink.connect(Target { socket, ..Target::tcp("echo", 7, timeout) });
//!             }
//!             Input::Connected { conn, .. } => sink.send(conn, b"hello"),
//!             Input::Received { bytes, .. } => self.0.extend_from_slice(&bytes.split()),
//!             _ => {}
//!         }
//!     }
//!     fn deadline(&self) -> Option<Time> {
//!         None
//!     }
//! }
//! impl Machine for Echo {
//!     type Note = ();
//!     fn handle<S: Sink>(&mut self, _: Time, input: Input<'_, ()>, sink: &mut S) {
//!         if let Input::Received { conn, bytes } = input {
//!             sink.send(conn, &bytes.split());
//!         }
//!     }
//!     fn deadline(&self) -> Option<Time> {
//!         None
//!     }
//! }
//!
//! let mut world = World::new(42, Time::from_unix_nanos(0));
//! let (caller, echo) = (world.add_endpoint(), world.add_endpoint());
//! world.listen(echo, "echo", 7);
//!
//! let (mut a, mut b) = (Caller::default(), Echo);
//! world.tell(caller, (), &mut a);
//! while let Some((who, step)) = world.next_step() {
//!     if who == caller { world.deliver(who, step, &mut a) } else { world.deliver(who, step, &mut b) }
//! }
//! assert_eq!(a.0, b"hello");
//! ```
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod link;
mod pipe;
mod plan;
mod world;

pub use link::{Chunking, Link, LinkSettings};
pub use plan::{Plan, Planned, Rng};
pub use world::{Door, EndpointId, Sent, Step, World};
