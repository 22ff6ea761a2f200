//! TLS between a socket and a machine: what both sides share, and a table of contents.
//!
//! `client` and `server` own what is agreed on once, for all connections; `layer` the bytes of
//! one connection; `explain` the words for what goes wrong; `pem` what is read from files.
//!
//! The library is `rustls`, with the cryptography of `ring`, which is passed explicitly: nothing
//! is installed for the process. TLS 1.2 and 1.3, no ALPN. There is no renegotiation: rustls has
//! none, answers a request for it with the alert `no_renegotiation` and goes on, and ends a
//! connection that asks again and again. Keys are changed when the peer, or their use, asks for it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use core::fmt;
use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

mod client;
pub use client::{TlsClient, TlsClientBuilder};

mod server;
#[cfg(feature = "tls-self-signed")]
pub use server::CaPem;
pub use server::{TlsServer, TlsServerBuilder};

mod setup_error;
pub use setup_error::TlsSetupError;

mod explain;
mod layer;
mod pem;
mod unverified;

/// The layer's name in errors.
const NAME: &str = "TLS";

/// A version of the protocol. Older ones than these are broken, and not spoken.
///
/// ```
/// use amps_transport::TlsVersion;
///
/// assert!(TlsVersion::V1_2 < TlsVersion::V1_3);
/// assert_eq!(TlsVersion::default().to_string(), "TLS 1.2");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// RFC 5246. The default minimum.
    #[default]
    V1_2,
    /// RFC 8446.
    V1_3,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_2 => "TLS 1.2",
            Self::V1_3 => "TLS 1.3",
        })
    }
}

/// The versions from one to the other.
fn versions(
    minimum: TlsVersion,
    maximum: TlsVersion,
) -> Result<Vec<&'static SupportedProtocolVersion>, TlsSetupError> {
    let known = [(TlsVersion::V1_2, &rustls::version::TLS12), (TlsVersion::V1_3, &rustls::version::TLS13)];
    let wanted = known.into_iter().filter(|(version, _)| (minimum..=maximum).contains(version));
    let wanted: Vec<_> = wanted.map(|(_, supported)| supported).collect();
    if wanted.is_empty() {
        return Err(TlsSetupError::Versions { minimum, maximum });
    }
    Ok(wanted)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
