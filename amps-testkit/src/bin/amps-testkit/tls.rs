//! The options of encrypted listeners.
//!
//! Owns what the command line says of certificates; it holds for every `--listen` with TLS.

use std::path::{Path, PathBuf};

use amps_testkit::{FakeServer, FakeServerBuilder};
use clap::Args;

use super::{CONFIG_ERROR, FAILED, Failure};

#[derive(Args)]
pub(super) struct Options {
    /// The certificate of tcps and wss listeners, and those that lead to its root, as PEM
    /// [default: one of the server's own making]
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with = "tls_self_signed")]
    tls_certificate: Option<PathBuf>,
    /// The private key of --tls-certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Certificates are of the server's own making, for localhost, loopback, and the hosts of
    /// --listen; as they are by default
    #[arg(long)]
    tls_self_signed: bool,
    /// Write the authority of certificates of the server's own making to this file, as PEM, before
    /// anything is announced
    #[arg(long = "tls-ca-out", visible_alias = "ca-out", value_name = "FILE")]
    pub(super) ca_out: Option<PathBuf>,
    /// Clients of tcps and wss listeners need a certificate that leads to a root in this file
    #[arg(long, value_name = "FILE")]
    tls_require_client: Option<PathBuf>,
    /// They may have one, which then has to lead to a root in this file
    #[arg(long, value_name = "FILE", conflicts_with = "tls_require_client")]
    tls_allow_client: Option<PathBuf>,
    /// Transports of the file show the certificates that it names [default: certificates of the
    /// server's own making]
    #[arg(long, requires = "config")]
    keep_certificates: bool,
}

impl Options {
    #[cfg(not(feature = "tls"))]
    fn is_any_given(&self) -> bool {
        let files = [&self.tls_certificate, &self.ca_out, &self.tls_require_client, &self.tls_allow_client];
        files.into_iter().any(Option::is_some) || self.tls_self_signed || self.keep_certificates
    }

    /// Listens on these addresses.
    ///
    /// # Errors
    /// Something of TLS is wanted, and this program has none.
    #[cfg(feature = "tls")]
    pub(super) fn listen(
        self,
        mut builder: FakeServerBuilder,
        uris: Vec<String>,
    ) -> Result<FakeServerBuilder, Failure> {
        use amps_testkit::TransportConfig;

        let encrypted = |uri: &str| uri.starts_with("tcps://") || uri.starts_with("wss://");
        let only_files = self.tls_certificate.is_some()
            || self.tls_require_client.is_some()
            || self.tls_allow_client.is_some()
            || self.tls_self_signed;
        if only_files && !uris.iter().any(|uri| encrypted(uri)) {
            return Err(refused(
                "the --tls options are about --listen tcps://... and wss://..., and there is none",
            ));
        }
        let mut rules = TransportConfig::default();
        if let (Some(certificate), Some(key)) = (self.tls_certificate, self.tls_key) {
            rules = rules.tls_files(certificate, key);
        }
        if let Some(roots) = self.tls_require_client {
            rules = rules.require_client_certificates(roots);
        }
        if let Some(roots) = self.tls_allow_client {
            rules = rules.allow_client_certificates(roots);
        }
        if self.keep_certificates {
            builder = builder.keep_certificates();
        }
        for uri in uris {
            let rules = if encrypted(&uri) { rules.clone() } else { TransportConfig::default() };
            builder = builder.transport(uri, rules);
        }
        Ok(builder)
    }

    /// Listens on these addresses.
    ///
    /// # Errors
    /// Something of TLS is wanted, and this program has none.
    #[cfg(not(feature = "tls"))]
    pub(super) fn listen(
        self,
        builder: FakeServerBuilder,
        uris: Vec<String>,
    ) -> Result<FakeServerBuilder, Failure> {
        if self.is_any_given() {
            let text = "certificates need the Cargo feature \"tls\"; install the program with --all-features";
            return Err(refused(text));
        }
        Ok(uris.into_iter().fold(builder, FakeServerBuilder::listen))
    }
}

/// Writes the authority of the server's certificates where it is wanted.
///
/// # Errors
/// The server has made no certificates, or the file cannot be written.
pub(super) fn export(server: &FakeServer, to: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = to else { return Ok(()) };
    let pem = server.ca_pem();
    let pem = pem.ok_or_else(|| refused("--tls-ca-out: no certificate is of the server's own making"))?;
    std::fs::write(path, pem).map_err(|error| Failure {
        code: FAILED,
        messages: vec![format!("--tls-ca-out: cannot write {}: {error}", path.display())],
    })
}

fn refused(text: &str) -> Failure {
    Failure { code: CONFIG_ERROR, messages: vec![text.to_owned()] }
}
