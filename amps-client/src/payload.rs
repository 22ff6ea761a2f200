//! Building and reading bodies: composite messages, FIX and NVFIX.
//!
//! The client never looks into a body; these are for applications that do.
//!
//! ```
//! use amps_client::payload::{CompositeBuilder, CompositeReader, FixBuilder, FixReader};
//!
//! let mut order = FixBuilder::new();
//! order.append(35, "D")?.append(55, "AMPS")?;
//! assert_eq!(FixReader::new(order.as_bytes()).get(55), Some(&b"AMPS"[..]));
//!
//! let mut both = CompositeBuilder::new();
//! both.append(br#"{"id":1}"#)?.append(order.as_bytes())?;
//! let parts = CompositeReader::new(both.as_bytes()).collect::<Result<Vec<_>, _>>()?;
//! assert_eq!(parts, [br#"{"id":1}"#, order.as_bytes()]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use amps_protocol::{
    CompositeBuildError, CompositeBuilder, CompositeError, CompositeFault, CompositeReader, FIX_SEPARATOR,
    FixBuilder, FixError, FixReader, NvfixBuilder, NvfixReader,
};
