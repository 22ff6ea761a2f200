//! Why a TLS side cannot be set up: what was wanted from which file, and what was found.

use std::error::Error;
use std::io;
use std::sync::Arc;

use super::TlsVersion;

/// Why a [`TlsClient`](super::TlsClient) or a [`TlsServer`](super::TlsServer) cannot be built.
///
/// Where something was given as bytes, its place says so instead of naming a file.
///
/// ```
/// use amps_transport::{TlsClient, TlsSetupError};
///
/// let error = TlsClient::builder().roots_pem("hello").build().unwrap_err();
/// assert!(matches!(error, TlsSetupError::NoCertificate { .. }));
/// assert_eq!(error.to_string(), "no certificate in the root certificates given: it is not PEM");
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsSetupError {
    /// A file cannot be read.
    #[error("cannot read {place}: {source}")]
    Read {
        /// The file.
        place: String,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// A certificate was expected.
    #[error("no certificate in {place}: {found}")]
    NoCertificate {
        /// The file.
        place: String,
        /// What is there instead.
        found: String,
    },
    /// A private key was expected.
    #[error("no private key in {place}: {found}")]
    NoKey {
        /// The file.
        place: String,
        /// What is there instead.
        found: String,
    },
    /// A certificate makes no sense.
    #[error("certificate {number} in {place} cannot be used: {source}")]
    Certificate {
        /// The file.
        place: String,
        /// Which of those in the file, from 1.
        number: usize,
        /// What the library says.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// A private key is of a kind that is not supported, or damaged.
    #[error(
        "the private key in {place} cannot be used: {source}; RSA, ECDSA (P-256, P-384) and Ed25519 are known"
    )]
    Key {
        /// The file.
        place: String,
        /// What the library says.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The key belongs to another certificate.
    #[error("the private key in {key} does not belong to the first certificate in {certificate}")]
    KeyMismatch {
        /// The file of the certificate.
        certificate: String,
        /// The file of the key.
        key: String,
    },
    /// A server has no certificate.
    #[error("a TLS server needs a certificate and a private key, and has none")]
    NoIdentity,
    /// The platform trusts nobody.
    #[error(
        "the platform has no root certificates ({detail}); install its package of them (ca-certificates), or name a file"
    )]
    NoPlatformRoots {
        /// What went wrong in looking for them.
        detail: String,
    },
    /// Nothing that a certificate can be for.
    #[error("\"{name}\" is neither a host name nor an IP address; a certificate cannot be for it")]
    ServerName {
        /// What was given.
        name: String,
    },
    /// No version is left.
    #[error("no version of TLS lies between the minimum ({minimum}) and the maximum ({maximum})")]
    Versions {
        /// The lowest version that is allowed.
        minimum: TlsVersion,
        /// The highest version that is allowed.
        maximum: TlsVersion,
    },
    /// The library refuses the rest of the settings.
    #[error("TLS cannot be set up: {source}")]
    Library {
        /// What it says.
        source: Arc<dyn Error + Send + Sync>,
    },
}

impl TlsSetupError {
    pub(super) fn library(source: impl Error + Send + Sync + 'static) -> Self {
        Self::Library { source: Arc::new(source) }
    }
}
