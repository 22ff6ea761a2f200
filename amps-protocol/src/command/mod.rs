//! Commands: what clients ask of a server.
//!
//! Owns [`Command`] and one type per family of commands, each with the fields that the family
//! has and no others, so that an illegal combination does not compile. It does not know who
//! sends a command, or what becomes of it.

mod kind;
pub use kind::CommandKind;
mod text;
pub use text::Text;

mod setters;

mod publish;
pub use publish::Publish;
mod subscribe;
pub use subscribe::{ReplayControl, Subscribe};
mod query;
pub use query::{Sow, SowAndDeltaSubscribe, SowAndSubscribe};
mod delete;
pub use delete::{Delete, QueueAction, SowDelete};
mod session;
pub use session::{Flush, Heartbeat, Logon, Timer, Unsubscribe};
mod read;
pub use read::CommandError;

use bytes::BytesMut;

use crate::ack::AckTypes;
use crate::bookmark::ReplayFrom;
use crate::error::EncodeError;
use crate::frame::DEFAULT_MAX_OUTBOUND;
use crate::header::{Field, FrameWriter};
use crate::ids::Id;
use crate::options::{HeartbeatRequest, Options};

/// What a client asks of a server: built, encoded, and read again by whoever receives it.
///
/// Each family of commands has a type of its own, with the fields that the server
/// understands in it; a `sow_delete` says in one of four ways what it deletes, an
/// acknowledgement is asked for together with the id that it will bear, and so on. Texts are
/// borrowed until [`into_owned`](Self::into_owned).
///
/// ```
/// use amps_protocol::{AckType, Command, FrameDecoder, Message};
/// use bytes::BytesMut;
///
/// let mut out = BytesMut::new();
/// Command::subscribe("orders", 1)
///     .filter("/region = 'EMEA'")
///     .ask(1, AckType::Processed)
///     .encode(&mut out)?;
///
/// // The other end:
/// let frame = FrameDecoder::default().decode(&mut out)?.expect("one whole frame");
/// let message = Message::decode(frame)?;
/// match Command::read(&message)? {
///     Command::Subscribe(subscribe) => assert_eq!(*subscribe.get_topic(), "orders"),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command<'a> {
    /// Identify and authenticate a connection.
    Logon(Logon<'a>),
    /// Publish a message or a partial update.
    Publish(Publish<'a>),
    /// Receive what is published from now on, or replay the transaction log.
    Subscribe(Subscribe<'a>),
    /// Pause or resume replays.
    ReplayControl(ReplayControl<'a>),
    /// Query the state of the world.
    Sow(Sow<'a>),
    /// Query, then subscribe, without a gap.
    SowAndSubscribe(SowAndSubscribe<'a>),
    /// Query, then subscribe to changes, without a gap.
    SowAndDeltaSubscribe(SowAndDeltaSubscribe<'a>),
    /// Delete records, or settle queue messages.
    SowDelete(SowDelete<'a>),
    /// End subscriptions or queries.
    Unsubscribe(Unsubscribe<'a>),
    /// Ask to be told when everything sent so far was processed.
    Flush(Flush<'a>),
    /// Start or stop heartbeats, or show a sign of life.
    Heartbeat(Heartbeat<'a>),
    /// Legacy.
    Timer(Timer<'a>),
}

impl<'a> Command<'a> {
    /// A logon under a client name, which has to be unique per server where there is a
    /// transaction log, and the same whenever a publisher starts. It asks for the `processed`
    /// acknowledgement: without it a logon is not answered.
    pub fn logon(command_id: impl Into<Id<'a>>, client_name: impl Into<Text<'a>>) -> Logon<'a> {
        Logon::new(command_id.into(), client_name.into())
    }

    /// A message to be published to a topic, which is taken literally.
    #[inline]
    pub fn publish(topic: impl Into<Text<'a>>) -> Publish<'a> {
        Publish::new(CommandKind::Publish, topic.into())
    }

    /// A partial update of a record.
    pub fn delta_publish(topic: impl Into<Text<'a>>) -> Publish<'a> {
        Publish::new(CommandKind::DeltaPublish, topic.into())
    }

    /// A subscription to a topic, or to all topics that match a regular expression.
    pub fn subscribe(topic: impl Into<Text<'a>>, sub_id: impl Into<Id<'a>>) -> Subscribe<'a> {
        Subscribe::new(CommandKind::Subscribe, topic.into(), sub_id.into())
    }

    /// As [`subscribe`](Self::subscribe), with changes only.
    pub fn delta_subscribe(topic: impl Into<Text<'a>>, sub_id: impl Into<Id<'a>>) -> Subscribe<'a> {
        Subscribe::new(CommandKind::DeltaSubscribe, topic.into(), sub_id.into())
    }

    /// Pauses bookmark subscriptions.
    pub fn pause<I: Into<Id<'a>>>(
        topic: impl Into<Text<'a>>,
        sub_ids: impl IntoIterator<Item = I>,
    ) -> ReplayControl<'a> {
        ReplayControl::new(topic.into(), sub_ids.into_iter().map(Into::into).collect(), false)
    }

    /// Resumes bookmark subscriptions. Those resumed by one command are replayed together.
    pub fn resume<I: Into<Id<'a>>>(
        topic: impl Into<Text<'a>>,
        sub_ids: impl IntoIterator<Item = I>,
    ) -> ReplayControl<'a> {
        ReplayControl::new(topic.into(), sub_ids.into_iter().map(Into::into).collect(), true)
    }

    /// A query of the state of the world.
    pub fn sow(topic: impl Into<Text<'a>>, query_id: impl Into<Id<'a>>) -> Sow<'a> {
        Sow::new(topic.into(), query_id.into())
    }

    /// A query, and a subscription that goes on from it. Both halves bear one id, so that one
    /// route serves both.
    pub fn sow_and_subscribe(topic: impl Into<Text<'a>>, id: impl Into<Id<'a>>) -> SowAndSubscribe<'a> {
        SowAndSubscribe::new(topic.into(), id.into())
    }

    /// As [`sow_and_subscribe`](Self::sow_and_subscribe), with changes only.
    pub fn sow_and_delta_subscribe(
        topic: impl Into<Text<'a>>,
        id: impl Into<Id<'a>>,
    ) -> SowAndDeltaSubscribe<'a> {
        SowAndDeltaSubscribe::new(topic.into(), id.into())
    }

    /// Deletes records, or settles queue messages: [`Delete`] says which, in one of four ways.
    pub fn sow_delete(topic: impl Into<Text<'a>>, what: Delete<'a>) -> SowDelete<'a> {
        SowDelete::new(topic.into(), what)
    }

    /// Ends subscriptions.
    pub fn unsubscribe<I: Into<Id<'a>>>(sub_ids: impl IntoIterator<Item = I>) -> Unsubscribe<'a> {
        Unsubscribe::ids(sub_ids.into_iter().map(Into::into).collect())
    }

    /// Ends every subscription of the connection.
    pub fn unsubscribe_all() -> Unsubscribe<'a> {
        Unsubscribe::all()
    }

    /// Cancels running queries.
    pub fn cancel_queries<I: Into<Id<'a>>>(query_ids: impl IntoIterator<Item = I>) -> Unsubscribe<'a> {
        Unsubscribe::queries(query_ids.into_iter().map(Into::into).collect())
    }

    /// Asks to be told when everything that this connection sent before was processed.
    pub fn flush(command_id: impl Into<Id<'a>>, ack: impl Into<AckTypes>) -> Flush<'a> {
        Flush::new(command_id.into(), ack.into())
    }

    /// Starts or stops heartbeats, or shows a sign of life.
    pub fn heartbeat(request: HeartbeatRequest) -> Heartbeat<'a> {
        Heartbeat::new(request)
    }

    /// Legacy: starts a timer.
    pub fn start_timer(command_id: impl Into<Id<'a>>) -> Timer<'a> {
        Timer::new(CommandKind::StartTimer, command_id.into())
    }

    /// Legacy: stops a timer.
    pub fn stop_timer(command_id: impl Into<Id<'a>>) -> Timer<'a> {
        Timer::new(CommandKind::StopTimer, command_id.into())
    }
}

/// What every family shares: its place in [`Command`], and encoding.
macro_rules! families {
    ($($name:ident),*) => {
        impl<'a> Command<'a> {
            /// Which command it is.
            pub fn kind(&self) -> CommandKind {
                match self {
                    $(Self::$name(command) => command.kind(),)*
                }
            }

            /// The id that its acknowledgements will bear, if it has one.
            pub fn command_id(&self) -> Option<&Id<'a>> {
                match self {
                    $(Self::$name(command) => command.ask.command_id.as_ref(),)*
                }
            }

            /// The acknowledgements that it asks for.
            pub fn acks(&self) -> AckTypes {
                match self {
                    $(Self::$name(command) => command.ask.acks,)*
                }
            }

            /// Appends the command's frame to `out` and returns the frame's length, prefix
            /// included.
            ///
            /// # Errors
            /// The command lacks what it needs, such as a topic, or header and body exceed
            /// 200 MiB ([`DEFAULT_MAX_OUTBOUND`]), about what a server accepts; nothing was
            /// written.
            pub fn encode(&self, out: &mut BytesMut) -> Result<usize, EncodeError> {
                self.encode_within(out, DEFAULT_MAX_OUTBOUND)
            }

            /// As [`encode`](Self::encode), with a limit of the caller's for header and body
            /// together.
            ///
            /// # Errors
            /// As [`encode`](Self::encode); nothing was written.
            pub fn encode_within(&self, out: &mut BytesMut, limit: usize) -> Result<usize, EncodeError> {
                match self {
                    $(Self::$name(command) => command.encode_within(out, limit),)*
                }
            }

            /// A copy that borrows nothing.
            pub fn into_owned(self) -> Command<'static> {
                match self {
                    $(Self::$name(command) => Command::$name(command.into_owned()),)*
                }
            }
        }

        $(
            impl<'a> From<$name<'a>> for Command<'a> {
                fn from(command: $name<'a>) -> Self {
                    Self::$name(command)
                }
            }

            impl<'a> $name<'a> {
                /// Appends the command's frame to `out` and returns the frame's length, prefix
                /// included.
                ///
                /// # Errors
                /// The command lacks what it needs, such as a topic, or header and body exceed
                /// 200 MiB ([`DEFAULT_MAX_OUTBOUND`]), about what a server accepts; nothing was
                /// written.
                #[inline]
                pub fn encode(&self, out: &mut BytesMut) -> Result<usize, EncodeError> {
                    self.encode_within(out, DEFAULT_MAX_OUTBOUND)
                }

                /// As [`encode`](Self::encode), with a limit of the caller's for header and
                /// body together.
                ///
                /// # Errors
                /// As [`encode`](Self::encode); nothing was written.
                #[inline]
                pub fn encode_within(&self, out: &mut BytesMut, limit: usize) -> Result<usize, EncodeError> {
                    if let Some(problem) = self.problem() {
                        return Err(EncodeError::Incomplete { kind: self.kind(), problem });
                    }
                    Ok(self.write(out, limit)?)
                }

                /// The id that its acknowledgements will bear, if it has one.
                pub fn get_command_id(&self) -> Option<&Id<'a>> {
                    self.ask.command_id.as_ref()
                }

                /// The acknowledgements that it asks for.
                pub fn get_acks(&self) -> AckTypes {
                    self.ask.acks
                }

                /// Asks for acknowledgements, which will bear `command_id`: unique on the
                /// connection, as the answers are told apart by it (protocol.md C-2). Those
                /// that were asked for before stay asked for.
                pub fn ask(mut self, command_id: impl Into<Id<'a>>, acks: impl Into<AckTypes>) -> Self {
                    self.ask.command_id = Some(command_id.into());
                    self.ask.acks = self.ask.acks.union(acks.into());
                    self
                }
            }
        )*
    };
}

families!(
    Logon,
    Publish,
    Subscribe,
    ReplayControl,
    Sow,
    SowAndSubscribe,
    SowAndDeltaSubscribe,
    SowDelete,
    Unsubscribe,
    Flush,
    Heartbeat,
    Timer
);

/// Acknowledgements asked for, and the id that they bear. The two belong together: without
/// an id the answers could not be told apart (protocol.md C-2), without a type there are none
/// (C-1). Conflated acknowledgements alone come without an id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ask<'a> {
    command_id: Option<Id<'a>>,
    acks: AckTypes,
}

impl Ask<'_> {
    fn into_owned(self) -> Ask<'static> {
        Ask { command_id: self.command_id.map(Id::into_owned), acks: self.acks }
    }
}

/// What the families write beside plain fields.
impl FrameWriter<'_> {
    #[inline]
    fn id(self, field: Field, id: &Id<'_>) -> Self {
        self.text(field, id.as_bytes())
    }

    #[inline]
    fn maybe_id(self, field: Field, id: Option<&Id<'_>>) -> Self {
        match id {
            Some(id) => self.id(field, id),
            None => self,
        }
    }

    /// A comma list, or nothing if there are none.
    fn ids(self, field: Field, ids: &[Id<'_>]) -> Self {
        if ids.is_empty() { self } else { self.list(field, ids) }
    }

    #[inline]
    fn replay(self, from: Option<&ReplayFrom>) -> Self {
        match from {
            Some(from) => self.pieces(Field::Bookmark, from.pieces()),
            None => self,
        }
    }

    #[inline]
    fn options(self, options: &Options) -> Self {
        if options.is_empty() { self } else { self.pieces(Field::Options, options.pieces()) }
    }
}

/// An optional text: none if it is empty, because no encoder writes an empty string to mean
/// that a field is absent (protocol.md E-7).
fn unless_empty<'a>(text: impl Into<Text<'a>>) -> Option<Text<'a>> {
    Some(text.into()).filter(|text| !text.is_empty())
}
