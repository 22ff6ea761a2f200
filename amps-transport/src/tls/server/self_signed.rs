//! A certificate for a server that has none, and an authority for nothing else, made at run time.
//!
//! Owns no key beyond the call: the authority's is forgotten as soon as it has signed.

use core::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::{TlsServer, TlsServerBuilder};
use crate::tls::TlsSetupError;

/// The certificate of an authority, as PEM. Whoever trusts it trusts the server it was made with.
///
/// ```
/// use amps_transport::{TlsClient, TlsServer};
///
/// let (_server, ca) = TlsServer::self_signed(["localhost"])?;
/// assert!(TlsClient::builder().roots_pem(ca.as_str()).build().is_ok());
/// # Ok::<(), amps_transport::TlsSetupError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaPem(String);

impl CaPem {
    /// The text, for example to be written into a file.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CaPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TlsServer {
    /// A server with a new certificate for these host names and IP addresses, and the certificate of the
    /// new authority that has signed it.
    ///
    /// # Errors
    /// A name cannot be in a certificate.
    pub fn self_signed<N: Into<String>>(
        names: impl IntoIterator<Item = N>,
    ) -> Result<(Self, CaPem), TlsSetupError> {
        let (builder, ca) = Self::builder().self_signed(names)?;
        Ok((builder.build()?, ca))
    }
}

impl TlsServerBuilder {
    /// The same where there is more to set. It takes the place of a certificate given before.
    ///
    /// # Errors
    /// A name cannot be in a certificate.
    pub fn self_signed<N: Into<String>>(
        self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<(Self, CaPem), TlsSetupError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let (chain, key, ca) = make(names).map_err(TlsSetupError::library)?;
        Ok((self.certificate_pem(chain, key), CaPem(ca)))
    }
}

/// Certificate, its key, and the authority's certificate. They are valid for longer than anything lasts:
/// a clock that is wrong shall not get in the way of a test.
fn make(names: Vec<String>) -> Result<(String, String, String), rcgen::Error> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "an authority for one server");
    // One that only signs: some libraries refuse a server that shows the certificate of an authority.
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut server = CertificateParams::new(names)?;
    server.distinguished_name.push(DnType::CommonName, "a server with a certificate of its own making");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &authority)?;
    Ok((certificate.pem(), key.serialize_pem(), authority.pem()))
}
