//! The AMPS wire protocol: frames, headers, commands and acknowledgements.
//!
//! This crate turns bytes into values and values into bytes, and does nothing else: no
//! sockets, no clock, no threads, no logging. It is `no_std` (with `alloc`) and contains no
//! `unsafe` code, so the compiler proves that it does no I/O. Clients, fake servers, capture
//! readers and proxies share it.
//!
//! A whole decoder for the capture of one direction of a connection:
//!
//! ```
//! use amps_protocol::{Frames, Message};
//!
//! fn show(capture: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//!     for frame in Frames::new(capture) {
//!         let frame = frame?;
//!         let message = Message::decode(frame.bytes)?;
//!         println!("{:>8} {message:?}", frame.offset);
//!     }
//!     Ok(())
//! }
//!
//! show(b"\x00\x00\x00\x11{\"c\":\"heartbeat\"}").unwrap();
//! assert!(show(b"\x00\x00\x00\x11{\"c\"").is_err());
//! ```
//!
//! And there and back again, as between a client and a server:
//!
//! ```
//! use amps_protocol::{AckType, Command, FrameDecoder, Message};
//! use bytes::BytesMut;
//!
//! let mut stream = BytesMut::new();
//! Command::subscribe("orders", 1).ask(1, AckType::Processed).encode(&mut stream)?;
//!
//! let frame = FrameDecoder::default().decode(&mut stream)?.expect("one whole frame");
//! let message = Message::decode(frame)?;
//! assert_eq!(message.topic().unwrap(), "orders");
//! assert!(matches!(Command::read(&message)?, Command::Subscribe(_)));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # What is here
//!
//! * **Frames**, the pieces of a byte stream: [`FrameDecoder`] cuts them off a buffer that
//!   grows, [`Frames`] goes over bytes that are all there, [`next_frame`] is what both build
//!   on.
//! * **Messages**, what a frame says: [`Message`] decodes a header in place and gives access
//!   to every [`Field`]; [`Records`] and [`SharedRecords`] are the records of a `sow` frame,
//!   [`Members`] the header as it stands. [`Header`] is the index alone, for messages that
//!   are kept by the thousand.
//! * **Commands**, what a client asks: [`Command`] has one type per family ([`Logon`],
//!   [`Publish`], [`Subscribe`], [`Sow`], [`SowDelete`], …), is encoded, and read again by
//!   whoever receives it.
//! * **Encoding** of any frame, field by field: [`FrameWriter`]; and of the batches that
//!   servers send: [`BatchWriter`].
//! * **Values** of fields: [`Bookmark`], [`MessageId`] and [`ReplayFrom`]; [`Options`] with
//!   [`Interval`], [`Rate`], [`Conflation`], [`SelectList`] and their like; [`Id`], [`Ids`]
//!   and [`SowKeys`]; [`AckTypes`] and [`Status`]; [`ReasonClass`] and [`OofReason`];
//!   [`LeaseEnd`], [`ServerVersion`], [`parse_timestamp`] and [`format_timestamp`].
//! * **Bodies** are opaque bytes, but for two formats that can be read and built here:
//!   [`CompositeReader`] and [`CompositeBuilder`] for composite messages, [`FixReader`],
//!   [`NvfixReader`], [`FixBuilder`] and [`NvfixBuilder`] for FIX and NVFIX.
//! * **Connection strings**: [`Endpoint`], with its [`Scheme`], [`TransportOptions`] and
//!   [`Password`].
//!
//! # What holds everywhere
//!
//! Text on the wire is bytes, UTF-8 by convention ([`BStr`]). Offsets in errors count bytes
//! from 0, in a frame without its length prefix. No input makes anything here panic; errors
//! say what is wrong, where, and what was expected. No `Debug` and no error shows a
//! password. References such as "protocol.md D-11" name a rule of the protocol's description
//! that this crate is built from; "inferred" marks what no public document settles.
//!
//! # Features
//!
//! `std` (default) lets dependencies detect vector units at run time; nothing else depends
//! on it.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

/// The example of the README runs with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod ack;
pub use ack::{AckType, AckTypes, Status};
mod bookmark;
pub use bookmark::{
    Bookmark, BookmarkError, BookmarkFault, BookmarkList, BookmarkRange, MessageId, Position, RangeEdge,
    ReplayFrom,
};
mod command;
pub use command::{
    Command, CommandError, CommandKind, Delete, Flush, Heartbeat, Logon, Publish, QueueAction, ReplayControl,
    Sow, SowAndDeltaSubscribe, SowAndSubscribe, SowDelete, Subscribe, Text, Timer, Unsubscribe,
};
mod composite;
pub use composite::{CompositeBuildError, CompositeBuilder, CompositeError, CompositeFault, CompositeReader};
mod decoder;
pub use decoder::MessageDecoder;
mod endpoint;
pub use endpoint::{Endpoint, EndpointError, IpPreference, Password, Scheme, TransportOptions};
mod error;
pub use error::{
    EncodeError, FrameError, FrameFault, FrameTooLong, HeaderError, HeaderFault, SowError, SowFault,
};
mod fix;
pub use fix::{FIX_SEPARATOR, FixBuilder, FixError, FixReader, NvfixBuilder, NvfixReader};
mod frame;
pub use frame::{
    DEFAULT_MAX_INBOUND, DEFAULT_MAX_OUTBOUND, Frame, FrameDecoder, Frames, LENGTH_PREFIX, next_frame,
};
mod header;
pub use header::{Field, FrameWriter, Header, Member, Members};
mod ids;
pub use ids::{Id, IdError, Ids, SowKeys};
mod lease;
pub use lease::{LeaseEnd, LeaseError};
mod message;
pub use message::Message;
mod offset;
mod options;
pub use options::{
    BookmarkNotFound, Conflation, FieldList, HeartbeatRequest, Interval, ListItems, MAX_PROJECTION,
    OptionKind, OptionName, OptionProblem, OptionValueError, Options, OptionsError, OptionsFault, Pace,
    Projection, Rate, SelectList, Selection, SizeUnit, ValueFault,
};
mod reason;
pub use reason::{OofReason, ReasonClass};
mod sow_batch;
pub use sow_batch::{BatchWriter, RecordPosition, RecordWriter, Records, SharedRecords};
mod timestamp;
pub use timestamp::{format_timestamp, parse_timestamp};
mod version;
pub use version::{ServerVersion, ServerVersionError};

pub use bstr::BStr;
