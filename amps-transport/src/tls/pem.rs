//! Certificates and private keys as they are handed over: PEM, in files or in memory.
//!
//! Owns the reading of it and the words for what was found instead. Reads files; trusts nothing.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsSetupError;

/// Where PEM comes from. Files are read when it is needed, which is once.
#[derive(Clone)]
pub(super) enum Pem {
    File(PathBuf),
    /// The bytes themselves, and what they are for people.
    Given(&'static str, Vec<u8>),
}

/// A certificate with those that lead to its root, and its private key.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) chain: Pem,
    pub(super) key: Pem,
}

impl Pem {
    fn read(&self) -> Result<Vec<u8>, TlsSetupError> {
        match self {
            Self::File(path) => std::fs::read(path)
                .map_err(|error| TlsSetupError::Read { place: self.to_string(), source: Arc::new(error) }),
            Self::Given(_, bytes) => Ok(bytes.clone()),
        }
    }

    /// All certificates, at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
        let bytes = self.read()?;
        let none = |found: String| TlsSetupError::NoCertificate { place: self.to_string(), found };
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        match certificates {
            Ok(certificates) if certificates.is_empty() => Err(none(what_is(&bytes, "CERTIFICATE"))),
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(none(format!("its PEM is damaged ({error})"))),
        }
    }

    /// The first private key: PKCS#8, PKCS#1 or SEC1.
    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsSetupError> {
        let bytes = self.read()?;
        let none = |found: String| TlsSetupError::NoKey { place: self.to_string(), found };
        // The headers of this old form of encryption would be taken for damaged base64.
        if bytes.windows(LEGACY_ENCRYPTION.len()).any(|window| window == LEGACY_ENCRYPTION) {
            return Err(none(ENCRYPTED.into()));
        }
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes) {
            let (kind, der) = section.map_err(|error| none(format!("its PEM is damaged ({error})")))?;
            if let Some(key) = PrivateKeyDer::from_pem(kind, der) {
                return Ok(key);
            }
        }
        Err(none(what_is(&bytes, "PRIVATE KEY")))
    }

    /// Adds all certificates to those that are trusted.
    pub(super) fn add_to(&self, roots: &mut RootCertStore) -> Result<(), TlsSetupError> {
        for (i, certificate) in self.certificates()?.into_iter().enumerate() {
            roots.add(certificate).map_err(|error| TlsSetupError::Certificate {
                place: self.to_string(),
                number: i + 1,
                source: Arc::new(error),
            })?;
        }
        Ok(())
    }
}

/// Names the place in errors.
impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Given(what, _) => f.write_str(what),
        }
    }
}

/// The same: a key is never shown.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The certificates with the key.
pub(super) type Credentials = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Identity {
    pub(super) fn read(&self) -> Result<Credentials, TlsSetupError> {
        Ok((self.chain.certificates()?, self.key.key()?))
    }

    /// What the library has against the pair.
    pub(super) fn refused(&self, error: rustls::Error) -> TlsSetupError {
        let (certificate, key) = (self.chain.to_string(), self.key.to_string());
        match error {
            rustls::Error::InconsistentKeys(_) => TlsSetupError::KeyMismatch { certificate, key },
            rustls::Error::InvalidCertificate(_) => {
                TlsSetupError::Certificate { place: certificate, number: 1, source: Arc::new(error) }
            }
            _ => TlsSetupError::Key { place: key, source: Arc::new(error) },
        }
    }
}

const LEGACY_ENCRYPTION: &[u8] = b"Proc-Type: 4,ENCRYPTED";

const ENCRYPTED: &str = "its key is encrypted with a password; decrypt it first (openssl pkey)";

/// The first octet of every certificate and key in DER: a SEQUENCE.
const DER_SEQUENCE: u8 = 0x30;

/// What a file is in which `wanted` was not found.
fn what_is(bytes: &[u8], wanted: &str) -> String {
    let text = String::from_utf8_lossy(bytes);
    let labels =
        text.lines().filter_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    let labels: Vec<_> = labels.collect();
    if labels.contains(&"ENCRYPTED PRIVATE KEY") && wanted == "PRIVATE KEY" {
        return ENCRYPTED.into();
    }
    if let Some(label) = labels.first() {
        return format!("it holds a {label}");
    }
    match bytes.first() {
        None => "it is empty".into(),
        Some(&DER_SEQUENCE) => {
            "it looks like DER, and PEM is wanted; convert it (openssl x509, openssl pkey)".into()
        }
        Some(_) => "it is not PEM".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_named() {
        let begin = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        for (bytes, wanted, expected) in [
            (String::new(), "CERTIFICATE", "it is empty"),
            ("0\u{1}".into(), "CERTIFICATE", "it looks like DER"),
            ("hello".into(), "CERTIFICATE", "it is not PEM"),
            (begin("EC PRIVATE KEY"), "CERTIFICATE", "it holds a EC PRIVATE KEY"),
            (begin("CERTIFICATE"), "PRIVATE KEY", "it holds a CERTIFICATE"),
            (begin("ENCRYPTED PRIVATE KEY"), "PRIVATE KEY", "encrypted with a password"),
        ] {
            let found = what_is(bytes.as_bytes(), wanted);
            assert!(found.contains(expected), "{bytes:?}: {found}");
        }
    }

    #[test]
    fn an_encrypted_key_of_the_old_form_and_a_damaged_one_are_told_apart() {
        let text = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        let error = Pem::Given("it", text.into()).key().unwrap_err();
        assert!(error.to_string().contains("password"), "{error}");
        let text = "-----BEGIN PRIVATE KEY-----\nA!!A\n-----END PRIVATE KEY-----\n";
        let error = Pem::Given("it", text.into()).key().unwrap_err();
        assert!(error.to_string().contains("no private key in it: its PEM is damaged"), "{error}");
    }
}
