//! The AMPS wire protocol: frames, headers, commands and acknowledgements.
//!
//! This crate turns bytes into values and values into bytes, and does nothing else: no
//! sockets, no clock, no threads, no logging. It is `no_std` (with `alloc`) and contains no
//! `unsafe` code, so the compiler proves that it does no I/O. Clients, fake servers, capture
//! readers and proxies share it.
//!
//! The three main types:
//!
//! * [`FrameDecoder`] cuts a byte stream into frames, however the stream was split;
//! * [`Message`] decodes one frame's header in place and gives access to every field;
//! * [`FrameWriter`] encodes one command straight into a connection's write buffer.
//!
//! Bodies are opaque bytes, but for two formats that can be read and built here:
//! [`CompositeReader`] and [`CompositeBuilder`] for composite messages, [`FixReader`],
//! [`NvfixReader`] and their builders for FIX and NVFIX.
//!
//! ```
//! use amps_protocol::{CommandKind, Field, FrameDecoder, FrameWriter, Message};
//! use bytes::BytesMut;
//!
//! let mut stream = BytesMut::new();
//! FrameWriter::new(&mut stream, CommandKind::Publish)
//!     .text(Field::Topic, "orders")
//!     .finish(b"{\"id\":1}");
//!
//! let frame = FrameDecoder::default().decode(&mut stream)?.expect("one whole frame");
//! let message = Message::decode(frame)?;
//! assert_eq!(message.command(), CommandKind::Publish);
//! assert_eq!(message.topic().unwrap(), "orders");
//! assert_eq!(message.data(), b"{\"id\":1}");
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

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
mod endpoint;
pub use endpoint::{Endpoint, EndpointError, IpPreference, Password, Scheme, TransportOptions};
mod error;
pub use error::{FrameError, FrameFault, FrameTooLong, HeaderError, HeaderFault, SowError, SowFault};
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
pub use sow_batch::{BatchWriter, RecordWriter, Records, SharedRecords};
mod timestamp;
pub use timestamp::{format_timestamp, parse_timestamp};
mod version;
pub use version::{ServerVersion, ServerVersionError};

pub use bstr::BStr;
