//! Which elements AMPS knows, and what becomes of each (server.md 8.7).
//!
//! Tables only. An element that has no table of its own is either text or is not looked into.

/// What is done with an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Read; there can be one.
    One,
    /// Read; there can be several.
    Many,
    /// It has no effect that a client of this server could see.
    Ignored,
    /// It has one, which the server does not have yet.
    NotYet,
}

use Use::{Ignored, Many, NotYet, One};

/// The elements inside of another.
pub(super) type Table = &'static [(&'static str, Use)];

pub(super) const ROOT: Table = &[
    ("Name", One),
    ("Group", One),
    ("ProcessName", Ignored),
    ("Description", Ignored),
    ("Environment", Ignored),
    ("SuggestedMinimumVersion", Ignored),
    ("RequiredMinimumVersion", Ignored),
    ("ConfigIncludeCommentDefault", Ignored),
    ("ConfigCycleDetectionThreshold", Ignored),
    ("ConfigValidation", Ignored),
    ("Transports", Many),
    ("Protocols", One),
    ("MessageTypes", One),
    ("Modules", One),
    ("Authentication", One),
    ("Entitlement", One),
    ("TransactionLog", One),
    ("SOW", Many),
    ("TopicMetaData", Many),
    ("Actions", Many),
    ("SOWStatsInterval", One),
    ("SOWStatisticsInterval", One),
    ("RegexTopicSupport", One),
    ("MessageMemoryLimit", One),
    ("MessageDiskLimit", One),
    ("MessageDiskPath", Ignored),
    ("ClientMessageAgeLimit", One),
    ("ClientMaxCapacity", One),
    ("ClientOffline", Ignored),
    ("ClientOfflineThreshold", Ignored),
    // Of old versions: what is over the limits above is disconnected in any case.
    ("SlowClientDisconnect", Ignored),
    ("UserDefinedFunctions", One),
    ("Replication", Many),
    ("Admin", Ignored),
    ("Logging", Ignored),
    ("MiniDumpDirectory", Ignored),
    ("MiniDumpFileMask", Ignored),
    ("Tuning", Ignored),
    ("Externals", Ignored),
];

pub(super) const TRANSPORTS: Table = &[("Transport", Many)];

pub(super) const TRANSPORT: Table = &[
    ("Name", One),
    ("Type", One),
    ("InetAddr", One),
    ("Protocol", One),
    ("MessageType", One),
    ("InitialState", One),
    ("Authentication", One),
    ("Entitlement", One),
    ("Certificate", One),
    ("PrivateKey", One),
    ("FileName", One),
    ("FileMask", Ignored),
    ("Ciphers", Ignored),
    ("SecureSocketProtocols", Ignored),
    ("VerifyClient", Ignored),
    ("CAFile", Ignored),
    ("CAPath", Ignored),
    ("PerMessageDeflate", Ignored),
    ("HTTPHeader", Ignored),
    ("MessageMemoryLimit", One),
    ("MessageDiskLimit", One),
    ("MessageDiskPath", Ignored),
    ("ClientMessageAgeLimit", One),
    ("ClientMaxCapacity", One),
    ("TransportFilter", NotYet),
    ("Compression", Ignored),
    ("ReuseAddr", Ignored),
    ("Description", Ignored),
];

pub(super) const PROTOCOLS: Table = &[("Protocol", Many)];

pub(super) const PROTOCOL: Table = &[
    ("Name", One),
    ("Module", One),
    ("WWWAuthenticate", Ignored),
    ("TrustedAdmin", Ignored),
    ("HTTPHeader", Ignored),
    ("Options", Ignored),
];

pub(super) const MESSAGE_TYPES: Table = &[("MessageType", Many)];

pub(super) const MESSAGE_TYPE: Table = &[
    ("Name", One),
    ("Module", One),
    ("MessageType", Many),
    ("FieldSeparator", One),
    ("HeaderSeparator", Ignored),
    ("MessageSeparator", Ignored),
    ("AMPSVersionCompliance", One),
    ("EarlyTerminationOptimization", One),
    ("Options", Ignored),
    ("Type", Ignored),
    ("ProtoPath", Ignored),
    ("ProtoFile", Ignored),
    ("Field", Ignored),
];

pub(super) const MODULES: Table = &[("Module", Many)];

pub(super) const MODULE: Table = &[("Name", One), ("Library", One), ("Options", Ignored)];

pub(super) const FUNCTIONS: Table = &[("Function", Many)];

/// A `Function` of `UserDefinedFunctions`.
pub(super) const FUNCTION: Table =
    &[("Name", One), ("Module", One), ("Symbol", One), ("ParameterCount", One)];

/// `Authentication`, `Entitlement`.
pub(super) const SECURITY: Table = &[("Module", One), ("Options", One)];

/// The options of the authentication module that lets everybody in.
pub(super) const CONDITIONS: Table =
    &[("AllowSpoofing", One), ("RequireLogon", One), ("RequireUsername", One)];

pub(super) const TRANSACTION_LOG: Table = &[
    ("Topic", Many),
    ("JournalDirectory", Ignored),
    ("JournalArchiveDirectory", Ignored),
    ("PreallocatedJournalFiles", Ignored),
    ("JournalSize", Ignored),
    ("MinJournalSize", Ignored),
    ("BatchSize", Ignored),
    ("FlushInterval", Ignored),
    ("O_DIRECT", Ignored),
];

pub(super) const REPLICATION: Table = &[("Destination", Many)];

pub(super) const DESTINATION: Table = &[
    ("Name", One),
    ("Group", One),
    ("SyncType", One),
    ("Topic", Many),
    ("Transport", Many),
    ("Description", Ignored),
    ("Compression", Ignored),
    ("CompressionType", Ignored),
    ("ReplicationProtocol", Ignored),
    ("Tuning", Ignored),
];

/// A `Topic` of a `Destination`.
pub(super) const REPLICATED_TOPIC: Table = &[
    ("Name", One),
    ("Topic", One),
    ("MessageType", One),
    ("PassThrough", One),
    ("Filter", NotYet),
    ("IncludeValidation", Ignored),
    ("ExcludeValidation", Ignored),
];

/// A `Transport` of a `Destination`.
pub(super) const DESTINATION_TRANSPORT: Table = &[
    ("Name", Ignored),
    ("Type", One),
    ("InetAddr", Many),
    ("Authenticator", Ignored),
    ("Certificate", Ignored),
    ("PrivateKey", Ignored),
    ("CAFile", Ignored),
    ("CAPath", Ignored),
    ("Ciphers", Ignored),
    ("Compression", Ignored),
];

pub(super) const LOGGED_TOPIC: Table = &[("Name", One), ("Topic", One), ("MessageType", One)];

pub(super) const SOW: Table = &[
    ("Topic", Many),
    ("TopicDefinition", Many),
    ("View", Many),
    ("ViewDefinition", Many),
    ("ConflatedTopic", Many),
    ("ReplicaDefinition", Many),
    ("Queue", Many),
    ("QueueDefinition", Many),
    ("LocalQueue", Many),
    ("GroupLocalQueue", Many),
];

pub(super) const SOW_TOPIC: Table = &[
    ("Name", One),
    ("Topic", One),
    ("MessageType", One),
    ("Key", Many),
    ("KeyDomain", One),
    ("KeyGenerator", One),
    ("Pattern", One),
    ("Expiration", One),
    ("History", One),
    ("Preprocessing", One),
    ("Enrichment", One),
    ("Durability", One),
    ("Duration", One),
    ("RecoveryPoint", One),
    ("FileName", Ignored),
    ("SlabSize", Ignored),
    ("InitialSlabCount", Ignored),
    ("RecordSize", Ignored),
    ("InitialSize", Ignored),
    ("IncrementSize", Ignored),
    ("HashIndex", Ignored),
    ("Index", Ignored),
    ("ExpectedKeyCountHint", Ignored),
];

pub(super) const HISTORY: Table = &[("Window", One), ("Granularity", One)];

/// `Preprocessing`, `Enrichment`, `Projection`, `Grouping`.
pub(super) const FIELDS: Table = &[("Field", Many)];

pub(super) const VIEW: Table = &[
    ("Name", One),
    ("Topic", One),
    ("MessageType", One),
    ("UnderlyingTopic", One),
    ("Projection", One),
    ("Grouping", One),
    ("Filter", One),
    ("Conflation", One),
    ("KeyDomain", One),
    ("JoinNullEquivalency", One),
    ("FileName", Ignored),
    ("HashIndex", Ignored),
    ("Index", Ignored),
];

pub(super) const JOINS: Table = &[("Join", Many)];

pub(super) const CONFLATED_TOPIC: Table = &[
    ("Name", One),
    ("Topic", One),
    ("MessageType", One),
    ("UnderlyingTopic", One),
    ("Interval", One),
    ("Filter", One),
    ("Enrichment", One),
    ("TopicFormat", One),
    ("HashIndex", Ignored),
    ("Index", Ignored),
];

pub(super) const QUEUE: Table = &[
    ("Name", One),
    ("Topic", One),
    ("MessageType", One),
    ("UnderlyingTopic", One),
    ("DefaultPublishTarget", One),
    ("Semantics", One),
    ("LeasePeriod", One),
    ("MaxBacklog", One),
    ("MaxPerSubscriptionBacklog", One),
    ("Expiration", One),
    ("ExpirationModel", One),
    ("Filter", One),
    ("FairnessModel", One),
    ("Leasing", One),
    ("MaxDeliveries", One),
    ("MaxCancels", One),
    ("Priority", One),
    ("BarrierExpression", One),
    ("TargetQueueDepth", One),
    ("RecoveryPoint", One),
    ("DeferredAckExpiration", One),
    ("InitialOwner", One),
    ("GroupLocalQueueDomain", One),
    ("FileName", Ignored),
    ("HashIndex", Ignored),
    ("Index", Ignored),
];

pub(super) const ACTIONS: Table = &[("Action", Many)];

pub(super) const ACTION: Table =
    &[("On", Many), ("If", Many), ("Do", Many), ("Name", Ignored), ("Description", Ignored)];

/// `On`, `If`, `Do`.
pub(super) const STEP: Table = &[("Module", One), ("Options", One)];
