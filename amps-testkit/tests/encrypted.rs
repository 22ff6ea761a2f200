//! Listeners with TLS: whose certificate they show, and whom they let in.
#![cfg(feature = "tls")]

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use amps_testkit::{ConfigFile, FakeServer, FakeServerBuilder, StartError, TlsServer, TransportConfig};
use amps_transport::{TlsClient, TlsClientBuilder};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use support::channel::Channel;
use support::data_dir::DataDir;

/// An authority, and files with what it has signed.
struct Authority {
    dir: DataDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = DataDir::new();
        std::fs::create_dir_all(dir.path()).unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The files of a certificate for a name, and of its key.
    fn sign(&self, name: &str) -> [PathBuf; 2] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = [self.file(&format!("{name}.pem")), self.file(&format!("{name}.key"))];
        std::fs::write(&files[0], certificate.pem()).unwrap();
        std::fs::write(&files[1], key.serialize_pem()).unwrap();
        files
    }
}

fn trusting(roots: &str) -> TlsClientBuilder {
    TlsClient::builder().roots_pem(roots)
}

/// The answer to a logon, or why there is none.
fn log_on(server: &FakeServer, tls: TlsClientBuilder) -> Result<String, String> {
    let tls = tls.build().unwrap();
    let opened = Channel::with(&server.listeners()[0], &vec![Arc::new(tls)], usize::MAX);
    let mut client = opened.map_err(|error| error.to_string())?;
    // With TLS 1.3 a server may refuse a client that thinks that all is well.
    let logon = r#"{"c":"logon","cid":"1","client_name":"a","mt":"json","a":"processed"}"#;
    client.send(&support::raw_client::framed(logon)).map_err(|error| error.to_string())?;
    let frame = client.receive().map_err(|error| error.to_string())?.ok_or("closed")?;
    Ok(String::from_utf8(frame).unwrap())
}

fn is_let_in(server: &FakeServer, tls: TlsClientBuilder) -> bool {
    log_on(server, tls).is_ok_and(|ack| ack.contains("success"))
}

fn one(transport: TransportConfig) -> FakeServerBuilder {
    FakeServer::builder().transport("tcps://127.0.0.1:0", transport)
}

#[test]
fn ac_ci_12_who_trusts_the_exported_authority_connects_and_nobody_else() {
    let server =
        FakeServer::builder().listen("tcps://127.0.0.1:0").listen("tcps://localhost:0").start().unwrap();
    let ca = server.ca_pem().unwrap();
    assert!(is_let_in(&server, trusting(ca)));
    for name in ["localhost", "127.0.0.1", "::1"] {
        assert!(is_let_in(&server, trusting(ca).server_name(name)), "{name}");
    }
    let error = log_on(&server, trusting(ca).server_name("amps.example")).unwrap_err();
    assert!(error.starts_with("TLS: "), "{error}");
    let other = FakeServer::builder().listen("tcps://127.0.0.1:0").start().unwrap();
    let error = log_on(&server, trusting(other.ca_pem().unwrap())).unwrap_err();
    assert!(error.starts_with("TLS: "), "{error}");
    // All of its listeners have one authority.
    let second =
        Channel::with(&server.listeners()[1], &vec![Arc::new(trusting(ca).build().unwrap())], usize::MAX);
    assert!(second.unwrap().log_on("b").contains("success"));
}

#[test]
fn the_host_of_an_address_is_in_the_certificate() {
    let server = FakeServer::builder().listen("tcps://127.0.0.7:0").start().unwrap();
    assert!(is_let_in(&server, trusting(server.ca_pem().unwrap()).server_name("127.0.0.7")));
}

#[test]
fn a_listener_shows_the_certificate_it_is_given() {
    let authority = Authority::new();
    let [certificate, key] = authority.sign("amps.example");
    let given = TlsServer::builder().certificate_files(&certificate, &key).build().unwrap();
    for rules in
        [TransportConfig::default().tls_files(&certificate, &key), TransportConfig::default().tls(given)]
    {
        let server = one(rules.clone()).start().unwrap();
        assert!(is_let_in(&server, trusting(&authority.pem()).server_name("amps.example")));
        assert_eq!(server.ca_pem(), None);
        // CONN-07
        let server = FakeServer::builder().transport("tcp://127.0.0.1:0/amps", rules).start().unwrap();
        assert!(server.uri("json").starts_with("tcps://"), "{}", server.uri("json"));
        assert!(is_let_in(&server, trusting(&authority.pem()).server_name("amps.example")));
    }
}

#[test]
fn clients_are_asked_for_certificates_where_that_is_wanted() {
    let authority = Authority::new();
    let [certificate, key] = authority.sign("client");
    let roots = authority.file("ca.pem");
    for (rules, without) in [
        (TransportConfig::default().require_client_certificates(&roots), false),
        (TransportConfig::default().allow_client_certificates(&roots), true),
    ] {
        let server = one(rules).start().unwrap();
        let ca = server.ca_pem().unwrap();
        assert!(is_let_in(&server, trusting(ca).certificate_files(&certificate, &key)));
        assert_eq!(is_let_in(&server, trusting(ca)), without);
        let stranger = Authority::new();
        let [certificate, key] = stranger.sign("client");
        assert!(!is_let_in(&server, trusting(ca).certificate_files(&certificate, &key)));
    }
}

#[test]
fn what_is_wrong_with_a_certificate_is_told_with_the_address() {
    let authority = Authority::new();
    let [certificate, key] = authority.sign("localhost");
    let nothing = authority.file("nothing.pem");
    for (rules, wrong) in [
        (TransportConfig::default().tls_files(&nothing, &key), "nothing.pem"),
        (TransportConfig::default().tls_files(&key, &key), "no certificate in "),
        (TransportConfig::default().tls_files(&certificate, &certificate), "no private key in "),
        (TransportConfig::default().require_client_certificates(&nothing), "nothing.pem"),
    ] {
        let error = one(rules).start().unwrap_err();
        assert!(matches!(error, StartError::Tls { .. }), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("cannot listen on \"tcps://127.0.0.1:0\": "), "{text}");
        assert!(text.contains(wrong), "{text}");
    }
    let (given, _) = TlsServer::self_signed(["localhost"]).unwrap();
    let both = TransportConfig::default().tls(given).require_client_certificates(authority.file("ca.pem"));
    let error = one(both).start().unwrap_err();
    assert!(error.to_string().contains("it is the TlsServer that asks"), "{error}");
}

#[test]
fn a_files_certificates_are_read_only_when_told_so() {
    let authority = Authority::new();
    let [certificate, key] = authority.sign("amps.example");
    let text = |certificate: PathBuf| {
        format!(
            "<AMPSConfig><Name>a</Name><Transports>\n<Transport><Name>t</Name><Type>tcp</Type>\
             <InetAddr>127.0.0.1:9007</InetAddr><Protocol>amps</Protocol>\n\
             <Certificate>{}</Certificate><PrivateKey>{}</PrivateKey></Transport></Transports></AMPSConfig>",
            certificate.display(),
            key.display()
        )
    };
    let build =
        |certificate| FakeServer::builder().config(ConfigFile::parse("a.xml", &text(certificate)).unwrap());
    let server = build(authority.file("nowhere.pem")).start().unwrap();
    assert!(is_let_in(&server, trusting(server.ca_pem().unwrap())));
    let server = build(certificate).keep_certificates().start().unwrap();
    assert_eq!(server.ca_pem(), None);
    assert!(is_let_in(&server, trusting(&authority.pem()).server_name("amps.example")));
    let error = build(authority.file("nowhere.pem")).keep_certificates().start().unwrap_err();
    assert!(
        error.to_string().starts_with("a.xml:2: InetAddr: cannot listen on \"127.0.0.1:9007\": "),
        "{error}"
    );
    assert!(error.to_string().contains("nowhere.pem"), "{error}");

    let half = text(authority.file("x")).replace("PrivateKey", "FileMask");
    let error = ConfigFile::parse("a.xml", &half).unwrap_err();
    assert!(error.to_string().contains("PrivateKey is missing"), "{error}");
}
