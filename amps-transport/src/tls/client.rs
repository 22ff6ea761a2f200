//! The side that connects: whom it trusts, and who it is.

use core::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{IpAddr, Ipv4Addr, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::layer::TlsLayer;
use super::pem::{Identity, Pem};
use super::unverified::Unverified;
use super::{NAME, TlsSetupError, TlsVersion, explain, provider, versions};
use crate::layer::{Layer, LayerError, LayerTrouble, MakeLayer};

/// TLS for connections that this side makes. A clone is another handle to the same settings,
/// and to the same sessions that can be resumed.
///
/// By default the server has to show a certificate for the name of the host, which leads to one
/// of the platform's roots (client.md TL-2).
///
/// ```
/// # #[cfg(feature = "tls-self-signed")] {
/// use amps_transport::{Target, TlsClient, TlsServer};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// let (_server, ca) = TlsServer::self_signed(["amps.example"])?;
/// let tls = TlsClient::builder().roots_pem(ca.as_str()).build()?;
/// let mut target = Target::tcp("amps.example", 9007, Duration::from_secs(5));
/// target.layers.push(Arc::new(tls));
/// # assert_eq!(target.layers.len(), 1);
/// # }
/// # Ok::<(), amps_transport::TlsSetupError>(())
/// ```
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
    verifies: bool,
}

impl TlsClient {
    /// Begins with the platform's roots, no certificate, and TLS 1.2 or 1.3.
    pub fn builder() -> TlsClientBuilder {
        TlsClientBuilder {
            platform_roots: true,
            roots: Vec::new(),
            identity: None,
            name: None,
            minimum: TlsVersion::default(),
            verifies: true,
        }
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("name", &self.name).field("verifies", &self.verifies).finish()
    }
}

impl MakeLayer for TlsClient {
    fn make(&self, host: &str) -> Result<Box<dyn Layer>, LayerError> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => match ServerName::try_from(host) {
                Ok(name) => name.to_owned(),
                // An address is not sent to the server, and nobody compares it.
                Err(_) if !self.verifies => ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0; 4]))),
                Err(_) => {
                    let text =
                        format!("\"{host}\" is no name that a certificate could be for; set the server name");
                    return Err(LayerError::new(NAME, LayerTrouble::Handshake, text));
                }
            },
        };
        let session = UnbufferedClientConnection::new(Arc::clone(&self.config), name)
            .map_err(|error| explain::explain(error, explain::Side::Client))?;
        Ok(Box::new(TlsLayer::new(session)))
    }
}

/// Settings for a [`TlsClient`]. Files are read, and mistakes reported, by [`Self::build`].
///
/// ```
/// use amps_transport::{TlsClient, TlsSetupError};
///
/// let error = TlsClient::builder().roots_file("/no/such/file.pem").build().unwrap_err();
/// assert!(matches!(&error, TlsSetupError::Read { place, .. } if place == "/no/such/file.pem"));
/// ```
#[derive(Clone, Debug)]
#[must_use = "it has to be built"]
pub struct TlsClientBuilder {
    platform_roots: bool,
    roots: Vec<Pem>,
    identity: Option<Identity>,
    name: Option<String>,
    minimum: TlsVersion,
    verifies: bool,
}

impl TlsClientBuilder {
    /// Trusts these certificates, and not the platform's; further calls trust further ones.
    pub fn roots_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.platform_roots = false;
        self.add_roots(pem)
    }

    /// The same with those in a file.
    pub fn roots_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.platform_roots = false;
        self.roots.push(Pem::File(path.into()));
        self
    }

    /// Trusts these certificates besides the others, which are the platform's by default.
    pub fn add_roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots.push(Pem::Given("the root certificates given", pem.into()));
        self
    }

    /// Shows the server this certificate if it asks (mutual TLS): the certificate first, then those
    /// that lead to its root; and its private key, as PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub fn certificate_pem(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        let chain = Pem::Given("the client certificate given", chain.into());
        self.identity = Some(Identity { chain, key: Pem::Given("the client key given", key.into()) });
        self
    }

    /// The same with those in files, which may be one file.
    pub fn certificate_files(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity = Some(Identity { chain: Pem::File(chain.into()), key: Pem::File(key.into()) });
        self
    }

    /// The name, or IP address, that the server's certificate has to be for, and that the server is told (SNI;
    /// not for an address). By default the host that the connection asked for.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The oldest version to speak; by default TLS 1.2.
    pub fn minimum(mut self, version: TlsVersion) -> Self {
        self.minimum = version;
        self
    }

    /// Believes every certificate: one that is expired, for another name, or made by anybody.
    ///
    /// **Dangerous.** The connection is still encrypted, but to whom is unknown: whoever is between
    /// this side and the server can read and change everything, passwords included, and nothing will
    /// show it. For tests. What is nearly always wanted instead is [`Self::roots_file`] with the
    /// certificate of the server's own authority, or [`Self::server_name`].
    pub fn danger_accept_invalid_certificates(mut self) -> Self {
        self.verifies = false;
        self
    }

    /// Reads the files and checks everything that can be checked without a connection. The
    /// platform's roots are loaded here, once for all connections; a program that runs on sees
    /// a change of them only with a new [`TlsClient`].
    ///
    /// # Errors
    /// Names what cannot be used, and where it came from.
    pub fn build(self) -> Result<TlsClient, TlsSetupError> {
        let provider = provider();
        let versions = versions(self.minimum, TlsVersion::V1_3)?;
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(TlsSetupError::library)?;
        let config = if self.verifies {
            config.with_root_certificates(self.trusted()?)
        } else {
            config.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        };
        let config = match &self.identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = identity.read()?;
                config.with_client_auth_cert(chain, key).map_err(|error| identity.refused(error))?
            }
        };
        let name = match self.name {
            None => None,
            Some(name) => match ServerName::try_from(name.as_str()) {
                Ok(parsed) => Some(parsed.to_owned()),
                Err(_) => return Err(TlsSetupError::ServerName { name }),
            },
        };
        Ok(TlsClient { config: Arc::new(config), name, verifies: self.verifies })
    }

    fn trusted(&self) -> Result<RootCertStore, TlsSetupError> {
        let mut roots = RootCertStore::empty();
        for pem in &self.roots {
            pem.add_to(&mut roots)?;
        }
        if self.platform_roots {
            let found = rustls_native_certs::load_native_certs();
            // A platform may have some that nobody understands any more.
            let (usable, _) = roots.add_parsable_certificates(found.certs);
            if usable == 0 && self.roots.is_empty() {
                let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
                let detail = if errors.is_empty() { "none found".into() } else { errors.join("; ") };
                return Err(TlsSetupError::NoPlatformRoots { detail });
            }
        }
        Ok(roots)
    }
}
