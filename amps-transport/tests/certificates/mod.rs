//! Certificates for the tests of TLS, made when they are needed. Their dates are fixed: long
//! ago, far ahead, or both.
#![allow(dead_code, reason = "every test file uses a part of it")]

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// A certificate and its key, as PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// When a certificate is valid.
#[derive(Clone, Copy)]
pub(crate) enum When {
    Now,
    Past,
    Future,
}

impl When {
    fn years(self) -> (i32, i32) {
        match self {
            Self::Now => (2000, 3000),
            Self::Past => (2000, 2001),
            Self::Future => (3000, 3001),
        }
    }
}

/// What a certificate is for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Server,
    Client,
}

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// One whose certificates servers show together with its own, of which only that of the issuer is known.
    pub(crate) fn below_another(name: &str) -> (Self, String) {
        let mut root = CertificateParams::default();
        root.distinguished_name.push(DnType::CommonName, format!("root of {name}"));
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.use_authority_key_identifier_extension = true;
        let issuer = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap();
        (Self { issuer }, root.pem())
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(crate) fn issue(&self, names: &[&str], when: When, purpose: Purpose) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = params(names, when, purpose).signed_by(&key, &self.issuer).unwrap();
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A certificate for a server that is valid.
    pub(crate) fn server(&self, names: &[&str]) -> Issued {
        self.issue(names, When::Now, Purpose::Server)
    }

    /// One for a client that is valid.
    pub(crate) fn client(&self) -> Issued {
        self.issue(&["client"], When::Now, Purpose::Client)
    }
}

/// A certificate for a server that has signed itself.
pub(crate) fn self_signed(names: &[&str]) -> Issued {
    let key = KeyPair::generate().unwrap();
    let certificate = params(names, When::Now, Purpose::Server).self_signed(&key).unwrap();
    Issued { certificate: certificate.pem(), key: key.serialize_pem() }
}

fn params(names: &[&str], when: When, purpose: Purpose) -> CertificateParams {
    let names: Vec<String> = names.iter().copied().map(Into::into).collect();
    let mut params = CertificateParams::new(names).unwrap();
    let (from, until) = when.years();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = vec![match purpose {
        Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
        Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    params
}
