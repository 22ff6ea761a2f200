//! Certificates of listeners: somebody's, those in files, or of the server's own making (server.md CI-08).

use std::path::PathBuf;
use std::sync::Arc;

use amps_transport::{CaPem, TlsServer, TlsServerBuilder};

use crate::builder::Listen;
use crate::engine::TransportConfig;
use crate::server::StartError;

/// Those who connect from the same machine know it by these.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The certificate of a transport, and whether it asks for its clients'.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    identity: Identity,
    clients: Option<Clients>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Identity {
    /// None, or one of its own making if the scheme says that there is one.
    #[default]
    Unsaid,
    SelfSigned,
    Files {
        certificate: PathBuf,
        key: PathBuf,
    },
    Given(Given),
}

/// With everything that there is to say.
#[derive(Clone, Debug)]
struct Given(Arc<TlsServer>);

/// The same one.
impl PartialEq for Given {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Given {}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Clients {
    roots: PathBuf,
    required: bool,
}

impl Tls {
    pub(super) fn is_wanted(&self) -> bool {
        self.identity != Identity::Unsaid
    }

    /// In the place of files that somebody else's configuration names, a certificate of its own.
    pub(crate) fn forget_files(&mut self) {
        if matches!(self.identity, Identity::Files { .. }) {
            self.identity = Identity::SelfSigned;
        }
    }
}

impl TransportConfig {
    /// Connections are encrypted, as this says (CONN-07).
    ///
    /// ```
    /// use amps_testkit::{FakeServer, TlsServer, TransportConfig};
    ///
    /// let (tls, ca) = TlsServer::self_signed(["127.0.0.1", "amps.example"]).unwrap();
    /// let encrypted = TransportConfig::new("encrypted").tls(tls);
    /// let server = FakeServer::builder().transport("tcps://127.0.0.1:0", encrypted).start()?;
    /// assert!(server.uri("json").starts_with("tcps://127.0.0.1:"));
    /// assert_eq!(server.ca_pem(), None, "whoever has made the certificate has its authority");
    /// # assert!(ca.as_str().contains("CERTIFICATE"));
    /// # Ok::<(), amps_testkit::StartError>(())
    /// ```
    #[must_use]
    pub fn tls(mut self, server: TlsServer) -> Self {
        self.wire.tls.identity = Identity::Given(Given(Arc::new(server)));
        self
    }

    /// Connections are encrypted, with a certificate, then those that lead to its root, and its
    /// private key, all as PEM.
    #[must_use]
    pub fn tls_files(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.wire.tls.identity = Identity::Files { certificate: certificate.into(), key: key.into() };
        self
    }

    /// Connections are encrypted, with a certificate of the server's own making, by the authority of
    /// [`FakeServer::ca_pem`](crate::FakeServer::ca_pem). The default where the address begins
    /// with `tcps://` or `wss://`.
    #[must_use]
    pub fn tls_self_signed(mut self) -> Self {
        self.wire.tls.identity = Identity::SelfSigned;
        self
    }

    /// Accepts only clients with a certificate that leads to one of the roots in this PEM file. With
    /// [`tls`](Self::tls) it is the business of the [`TlsServer`].
    #[must_use]
    pub fn require_client_certificates(self, roots: impl Into<PathBuf>) -> Self {
        self.clients(roots.into(), true)
    }

    /// As [`require_client_certificates`](Self::require_client_certificates), but clients need not
    /// have a certificate at all.
    #[must_use]
    pub fn allow_client_certificates(self, roots: impl Into<PathBuf>) -> Self {
        self.clients(roots.into(), false)
    }

    fn clients(mut self, roots: PathBuf, required: bool) -> Self {
        self.wire.tls.clients = Some(Clients { roots, required });
        self
    }
}

/// The certificates that a server makes, which all have one authority.
pub(super) struct OwnAuthority {
    names: Vec<String>,
    made: Option<(TlsServerBuilder, CaPem)>,
}

impl OwnAuthority {
    /// One that can speak for these listeners, should it have to.
    pub(super) fn new(listen: &[Listen]) -> Self {
        let mut names = LOOPBACK.map(str::to_owned).to_vec();
        for listen in listen {
            let addr = listen.at.addr().map(|addr| addr.ip()).filter(|ip| !ip.is_unspecified());
            let host = listen.host().filter(|host| *host != "0.0.0.0" && *host != "::");
            for name in addr.map(|ip| ip.to_string()).into_iter().chain(host.map(str::to_owned)) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        Self { names, made: None }
    }

    /// The layer of a listener.
    pub(super) fn server(&mut self, listen: &Listen) -> Result<TlsServer, StartError> {
        let failed = |source| StartError::Tls { text: listen.text.clone(), source, place: listen.place() };
        let tls = &listen.transport.wire.tls;
        let builder = match &tls.identity {
            Identity::Given(_) if tls.clients.is_some() => {
                return Err(StartError::Address {
                    text: listen.text.clone(),
                    fault: "it is the TlsServer that asks for the certificates of clients; say it there",
                });
            }
            Identity::Given(Given(server)) => return Ok(TlsServer::clone(server)),
            Identity::Files { certificate, key } => TlsServer::builder().certificate_files(certificate, key),
            Identity::Unsaid | Identity::SelfSigned => self.own().map_err(failed)?,
        };
        let builder = match &tls.clients {
            None => builder,
            Some(Clients { roots, required: true }) => builder.require_client_certificates_file(roots),
            Some(Clients { roots, required: false }) => builder.allow_client_certificates_file(roots),
        };
        builder.build().map_err(failed)
    }

    fn own(&mut self) -> Result<TlsServerBuilder, amps_transport::TlsSetupError> {
        if let Some((builder, _)) = &self.made {
            return Ok(builder.clone());
        }
        let made = TlsServer::builder().self_signed(self.names.iter().cloned())?;
        Ok(self.made.insert(made).0.clone())
    }

    pub(super) fn ca(self) -> Option<Arc<str>> {
        self.made.map(|(_, ca)| ca.as_str().into())
    }
}
