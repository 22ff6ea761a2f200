//! The side that accepts: its certificate, and whether it asks for the client's.

use core::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::server::{UnbufferedServerConnection, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use super::layer::TlsLayer;
use super::pem::{Identity, Pem};
use super::{TlsSetupError, TlsVersion, explain, provider, versions};
use crate::layer::{Layer, LayerError, MakeLayer};

#[cfg(feature = "tls-self-signed")]
mod self_signed;
#[cfg(feature = "tls-self-signed")]
pub use self_signed::CaPem;

/// TLS for connections that this side accepts (server.md CONN-07). A clone is another handle to
/// the same settings.
///
/// ```
/// # #[cfg(feature = "tls-self-signed")] {
/// use amps_transport::{MakeLayer, TlsServer};
///
/// let (server, ca) = TlsServer::self_signed(["localhost", "127.0.0.1"])?;
/// assert!(ca.as_str().starts_with("-----BEGIN CERTIFICATE-----"));
/// assert!(server.make("").is_ok());
/// # }
/// # Ok::<(), amps_transport::TlsSetupError>(())
/// ```
#[derive(Clone)]
pub struct TlsServer {
    config: Arc<ServerConfig>,
}

impl TlsServer {
    /// Begins without a certificate, which has to be given; clients are not asked for theirs.
    pub fn builder() -> TlsServerBuilder {
        TlsServerBuilder {
            identity: None,
            clients: Vec::new(),
            asks: Asks::Nobody,
            minimum: TlsVersion::V1_2,
            maximum: TlsVersion::V1_3,
        }
    }
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsServer")
    }
}

impl MakeLayer for TlsServer {
    fn make(&self, _host: &str) -> Result<Box<dyn Layer>, LayerError> {
        let session = UnbufferedServerConnection::new(Arc::clone(&self.config))
            .map_err(|error| explain::explain(error, explain::Side::Server))?;
        Ok(Box::new(TlsLayer::new(session)))
    }
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Nobody,
    /// Whoever has none is welcome; one that is not trusted is refused.
    Everybody,
    /// Whoever has none is refused, too.
    Insists,
}

/// Settings for a [`TlsServer`]. Files are read, and mistakes reported, by [`Self::build`].
///
/// ```
/// use amps_transport::{TlsServer, TlsSetupError};
///
/// let error = TlsServer::builder().build().unwrap_err();
/// assert!(matches!(error, TlsSetupError::NoIdentity));
/// ```
#[derive(Clone, Debug)]
#[must_use = "it has to be built"]
pub struct TlsServerBuilder {
    identity: Option<Identity>,
    clients: Vec<Pem>,
    asks: Asks,
    minimum: TlsVersion,
    maximum: TlsVersion,
}

impl TlsServerBuilder {
    /// The server's certificate, then those that lead to its root; and its private key, as PKCS#8,
    /// PKCS#1 or SEC1, not encrypted.
    pub fn certificate_pem(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        let chain = Pem::Given("the server certificate given", chain.into());
        self.identity = Some(Identity { chain, key: Pem::Given("the server key given", key.into()) });
        self
    }

    /// The same with those in files, which may be one file.
    pub fn certificate_files(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity = Some(Identity { chain: Pem::File(chain.into()), key: Pem::File(key.into()) });
        self
    }

    /// Accepts only clients with a certificate that leads to one of these roots.
    pub fn require_client_certificates_pem(self, roots: impl Into<Vec<u8>>) -> Self {
        self.asking(Asks::Insists, Pem::Given(CLIENT_ROOTS, roots.into()))
    }

    /// The same with roots in a file.
    pub fn require_client_certificates_file(self, roots: impl Into<PathBuf>) -> Self {
        self.asking(Asks::Insists, Pem::File(roots.into()))
    }

    /// Asks clients for a certificate that leads to one of these roots, and accepts those that have
    /// none at all.
    pub fn allow_client_certificates_pem(self, roots: impl Into<Vec<u8>>) -> Self {
        self.asking(Asks::Everybody, Pem::Given(CLIENT_ROOTS, roots.into()))
    }

    /// The same with roots in a file.
    pub fn allow_client_certificates_file(self, roots: impl Into<PathBuf>) -> Self {
        self.asking(Asks::Everybody, Pem::File(roots.into()))
    }

    fn asking(mut self, asks: Asks, roots: Pem) -> Self {
        self.asks = asks;
        self.clients.push(roots);
        self
    }

    /// The oldest version to speak; by default TLS 1.2.
    pub fn minimum(mut self, version: TlsVersion) -> Self {
        self.minimum = version;
        self
    }

    /// The newest version to speak; by default TLS 1.3.
    pub fn maximum(mut self, version: TlsVersion) -> Self {
        self.maximum = version;
        self
    }

    /// Reads the files and checks everything that can be checked without a connection.
    ///
    /// # Errors
    /// Names what cannot be used, and where it came from.
    pub fn build(self) -> Result<TlsServer, TlsSetupError> {
        let provider = provider();
        let identity = self.identity.ok_or(TlsSetupError::NoIdentity)?;
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(self.minimum, self.maximum)?)
            .map_err(TlsSetupError::library)?;
        let config = if self.asks == Asks::Nobody {
            config.with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            for pem in &self.clients {
                pem.add_to(&mut roots)?;
            }
            let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            if self.asks == Asks::Everybody {
                verifier = verifier.allow_unauthenticated();
            }
            config.with_client_cert_verifier(verifier.build().map_err(TlsSetupError::library)?)
        };
        let (chain, key) = identity.read()?;
        let config = config.with_single_cert(chain, key).map_err(|error| identity.refused(error))?;
        Ok(TlsServer { config: Arc::new(config) })
    }
}

const CLIENT_ROOTS: &str = "the root certificates given for clients";
