//! TLS with a program that we did not write: `openssl s_server` and `s_client`. Where there is no
//! `openssl`, each test says so in one line and does nothing.
#![cfg(feature = "tls")]

mod certificates;
mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use amps_transport::{
    CloseMode, CloseReason, ConnectError, LayerError, Target, TlsClient, TlsClientBuilder, TlsServer,
    TlsVersion,
};
use certificates::{Authority, Issued, Purpose, When, self_signed};
use common::{Bench, Event, target};
use tempfile::TempDir;

const HOST: &str = "127.0.0.1";

/// Whether the program is there.
fn installed() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: there is no openssl on this machine");
    }
    found
}

/// Ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn issued(&self, issued: &Issued) -> (PathBuf, PathBuf) {
        (self.write("certificate.pem", &issued.certificate), self.write("key.pem", &issued.key))
    }
}

/// A server that sends back every line the other way round.
fn s_server(certificate: &Path, key: &Path, options: &[&str]) -> (Process, SocketAddr) {
    let mut child = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-rev", "-cert"])
        .arg(certificate)
        .arg("-key")
        .arg(key)
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = loop {
        let line = lines.next().expect("it says where it listens").unwrap();
        if let Some(address) = line.strip_prefix("ACCEPT ") {
            break address.parse().unwrap();
        }
    };
    // It must be able to write on.
    std::thread::spawn(move || lines.for_each(drop));
    (Process(child), address)
}

fn connect(client: TlsClientBuilder, address: SocketAddr) -> (Bench, Event) {
    let bench = Bench::new("client");
    bench.connect(Target { layers: vec![Arc::new(client.build().unwrap())], ..target(address) });
    let event = bench.next();
    (bench, event)
}

fn talk(client: TlsClientBuilder, address: SocketAddr) {
    let (bench, event) = connect(client, address);
    let Event::Connected { conn, .. } = event else { panic!("{event:?}") };
    bench.ask(move |_, sink| sink.send(conn, b"stressed\n"));
    assert_eq!(bench.received(9), b"desserts\n");
    bench.ask(move |_, sink| sink.close(conn, CloseMode::Flush));
}

fn refused(client: TlsClientBuilder, address: SocketAddr) -> LayerError {
    match connect(client, address).1 {
        Event::ConnectFailed { error: ConnectError::Layer { source, .. }, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn s_server_is_believed_if_its_certificate_is_good() {
    if !installed() {
        return;
    }
    let (files, authority) = (Files::new(), Authority::new("root"));
    let (certificate, key) = files.issued(&authority.server(&[HOST]));
    for version in ["-tls1_2", "-tls1_3"] {
        let (_server, address) = s_server(&certificate, &key, &[version]);
        talk(TlsClient::builder().roots_pem(authority.pem()), address);
    }
    let (_server, address) = s_server(&certificate, &key, &["-tls1_2"]);
    let error = refused(TlsClient::builder().roots_pem(authority.pem()).minimum(TlsVersion::V1_3), address);
    assert!(error.to_string().contains("speaks no version of TLS"), "{error}");
}

#[test]
fn s_server_is_refused_with_the_reason() {
    if !installed() {
        return;
    }
    let authority = Authority::new("root");
    for (issued, expected) in [
        (authority.issue(&[HOST], When::Past, Purpose::Server), "expired on 2001-01-01"),
        (authority.server(&["amps.example"]), "for amps.example, and not for 127.0.0.1"),
        (self_signed(&[HOST]), "not trusted: it is self-signed"),
    ] {
        let files = Files::new();
        let (certificate, key) = files.issued(&issued);
        let (_server, address) = s_server(&certificate, &key, &[]);
        let error = refused(TlsClient::builder().roots_pem(authority.pem()), address);
        assert!(error.to_string().contains(expected), "{error}");
        talk(TlsClient::builder().danger_accept_invalid_certificates(), address);
    }
}

/// What `s_server` shows besides its certificate decides whether the way to a root that is known can be seen.
#[test]
fn s_server_has_to_show_what_lies_between_its_certificate_and_the_root() {
    if !installed() {
        return;
    }
    let (files, (between, root)) = (Files::new(), Authority::below_another("department"));
    let (certificate, key) = files.issued(&between.server(&[HOST]));
    let chain = files.write("chain.pem", &between.pem()).display().to_string();
    let (_whole, address) = s_server(&certificate, &key, &["-cert_chain", &chain]);
    talk(TlsClient::builder().roots_pem(&*root), address);
    let (_alone, address) = s_server(&certificate, &key, &[]);
    let error = refused(TlsClient::builder().roots_pem(&*root), address);
    assert!(error.to_string().contains("certificates between"), "{error}");
}

/// What is not among the roots any more is revoked.
#[test]
fn an_authority_that_was_taken_off_the_roots_is_believed_no_more() {
    if !installed() {
        return;
    }
    let (files, old, new) = (Files::new(), Authority::new("2025"), Authority::new("2026"));
    let (certificate, key) = files.issued(&old.server(&[HOST]));
    let (_server, address) = s_server(&certificate, &key, &[]);
    talk(TlsClient::builder().roots_pem(old.pem() + &new.pem()), address);
    let error = refused(TlsClient::builder().roots_pem(new.pem()), address);
    assert!(error.to_string().contains("its issuer is not among the roots"), "{error}");
}

/// `openssl req -x509` makes certificates of authorities; many servers show one.
#[test]
fn the_self_signed_certificate_that_openssl_makes_gets_words_of_its_own() {
    if !installed() {
        return;
    }
    let files = Files::new();
    let (certificate, key) = (files.0.path().join("certificate.pem"), files.0.path().join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=localhost", "-days", "2"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-out"])
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (_server, address) = s_server(&certificate, &key, &[]);
    let error = refused(TlsClient::builder().roots_file(&certificate), address);
    assert!(error.to_string().contains("CA:TRUE"), "{error}");
    talk(TlsClient::builder().danger_accept_invalid_certificates(), address);
}

#[test]
fn s_server_wants_the_clients_certificate_and_gets_it_in_every_form_of_key() {
    if !installed() {
        return;
    }
    let (files, authority) = (Files::new(), Authority::new("root"));
    let (certificate, key) = files.issued(&authority.server(&[HOST]));
    let ca = files.write("ca.pem", &authority.pem());
    let client = authority.client();
    let pkcs8 = files.write("client.key", &client.key);
    let shown = files.write("client.pem", &client.certificate);
    let sec1 = files.0.path().join("client.sec1");
    let converted =
        Command::new("openssl").args(["ec", "-in"]).arg(&pkcs8).arg("-out").arg(&sec1).output().unwrap();
    assert!(converted.status.success());
    assert!(std::fs::read_to_string(&sec1).unwrap().contains("BEGIN EC PRIVATE KEY"));
    let ca = ca.display().to_string();
    let options = ["-Verify", "1", "-verify_return_error", "-CAfile", &ca];
    for version in ["-tls1_2", "-tls1_3"] {
        let (_server, address) = s_server(&certificate, &key, &[&options[..], &[version]].concat());
        for key in [&pkcs8, &sec1] {
            let trusting = TlsClient::builder().roots_pem(authority.pem());
            talk(trusting.certificate_files(&shown, key), address);
        }
        let (bench, event) = connect(TlsClient::builder().roots_pem(authority.pem()), address);
        let error = match event {
            Event::ConnectFailed { error: ConnectError::Layer { source, .. }, .. } => source,
            Event::Connected { conn, .. } => match bench.until_closed(conn).1 {
                CloseReason::Layer(error) => error,
                reason => panic!("{reason}"),
            },
            other => panic!("{other:?}"),
        };
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}

/// What `s_client` says of a server, and whether it had a connection.
fn s_client(server: TlsServer, ca: &Path, options: &[&str]) -> (String, bool) {
    let bench = Bench::with("echo", |conn, bytes, sink| {
        sink.send(conn, &bytes.split());
        sink.close(conn, CloseMode::Flush);
    });
    let address = bench.listen_with(vec![Arc::new(server)]);
    let child = Command::new("openssl")
        .args(["s_client", "-verify_return_error", "-brief", "-connect", &address.to_string(), "-CAfile"])
        .arg(ca)
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Process(child);
    // It may be gone already.
    let _ = child.0.stdin.as_mut().unwrap().write_all(b"hello from afar\n");
    let (mut said, mut answer) = (String::new(), String::new());
    child.0.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    child.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (said, answer.contains("hello from afar"))
}

#[test]
fn s_client_believes_what_is_good_and_says_what_is_not() {
    if !installed() {
        return;
    }
    let (files, authority) = (Files::new(), Authority::new("root"));
    let ca = files.write("ca.pem", &authority.pem());
    let server = |issued: &Issued| {
        TlsServer::builder()
            .certificate_pem(issued.certificate.as_str(), issued.key.as_str())
            .build()
            .unwrap()
    };
    let good = server(&authority.server(&["amps.example"]));
    let named = ["-servername", "amps.example", "-verify_hostname", "amps.example"];
    for version in ["-tls1_2", "-tls1_3"] {
        let (said, echoed) = s_client(good.clone(), &ca, &[&named[..], &[version]].concat());
        assert!(echoed && said.contains("Verification: OK"), "{said}");
        assert!(!said.contains("unexpected eof"), "it ends in order: {said}");
    }
    for (server, expected) in [
        (server(&authority.issue(&["amps.example"], When::Past, Purpose::Server)), "certificate has expired"),
        (server(&authority.server(&["other.example"])), "hostname mismatch"),
        (server(&self_signed(&["amps.example"])), "self-signed certificate"),
        (server(&Authority::new("another").server(&["amps.example"])), "unable to get local issuer"),
    ] {
        let (said, echoed) = s_client(server, &ca, &named);
        assert!(!echoed && said.contains(expected), "{said}");
    }
}

#[test]
fn s_client_is_shown_the_whole_chain() {
    if !installed() {
        return;
    }
    let (files, (between, root)) = (Files::new(), Authority::below_another("department"));
    let ca = files.write("ca.pem", &root);
    let Issued { certificate, key } = between.server(&["amps.example"]);
    let server = |chain: String| TlsServer::builder().certificate_pem(chain, &*key).build().unwrap();
    let (said, echoed) = s_client(server(certificate.clone() + &between.pem()), &ca, &[]);
    assert!(echoed && said.contains("Verification: OK"), "{said}");
    let (said, echoed) = s_client(server(certificate), &ca, &[]);
    assert!(!echoed && said.contains("unable to"), "{said}");
}

#[test]
fn s_client_has_to_show_a_certificate_where_one_is_required() {
    if !installed() {
        return;
    }
    let (files, authority) = (Files::new(), Authority::new("root"));
    let ca = files.write("ca.pem", &authority.pem());
    let issued = authority.server(&["amps.example"]);
    let server = TlsServer::builder()
        .certificate_pem(issued.certificate, issued.key)
        .require_client_certificates_file(&ca)
        .build()
        .unwrap();
    let (certificate, key) = files.issued(&authority.client());
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let (said, echoed) = s_client(server.clone(), &ca, &["-cert", &certificate, "-key", &key]);
    assert!(echoed, "{said}");
    let (said, echoed) = s_client(server, &ca, &[]);
    assert!(!echoed && said.contains("certificate required"), "{said}");
}

/// It is answered with a warning, which is the end for this program.
#[test]
fn s_client_gets_no_renegotiation() {
    if !installed() {
        return;
    }
    let (files, authority) = (Files::new(), Authority::new("root"));
    let ca = files.write("ca.pem", &authority.pem());
    let issued = authority.server(&["amps.example"]);
    let server = TlsServer::builder().certificate_pem(issued.certificate, issued.key).build().unwrap();
    let bench = Bench::new("server");
    let address = bench.listen_with(vec![Arc::new(server)]).to_string();
    let child = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-legacy_renegotiation", "-connect", &address, "-CAfile"])
        .arg(ca)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Process(child);
    // "R" in a line of its own asks for it.
    child.0.stdin.as_mut().unwrap().write_all(b"R\n").unwrap();
    let conn = bench.accepted();
    let (received, reason) = bench.until_closed(conn);
    assert!(received.is_empty());
    let mut said = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("no renegotiation"), "{reason}: {said}");
}

/// The other way round: the client says that it does not, and talks on if the server lets it.
#[test]
fn s_server_gets_no_renegotiation() {
    if !installed() {
        return;
    }
    let (files, authority) = (Files::new(), Authority::new("root"));
    let (certificate, key) = files.issued(&authority.server(&[HOST]));
    let child = Command::new("openssl")
        .args([
            "s_server",
            "-accept",
            "127.0.0.1:0",
            "-naccept",
            "1",
            "-tls1_2",
            "-legacy_renegotiation",
            "-cert",
        ])
        .arg(certificate)
        .arg("-key")
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut server = Process(child);
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let mut line = |begin: &str| {
        let found = lines.by_ref().find(|line| line.as_ref().unwrap().starts_with(begin));
        found.expect("it says so").unwrap()
    };
    let address = line("ACCEPT ").trim_start_matches("ACCEPT ").parse().unwrap();
    let (bench, event) = connect(TlsClient::builder().roots_pem(authority.pem()), address);
    let Event::Connected { conn, .. } = event else { panic!("{event:?}") };
    bench.ask(move |_, sink| sink.send(conn, b"begin\n"));
    line("begin");
    // "r" in a line of its own asks for it.
    server.0.stdin.as_mut().unwrap().write_all(b"r\n").unwrap();
    let (received, reason) = bench.until_closed(conn);
    assert!(received.is_empty(), "{reason}");
    drop(server.0.stdin.take());
    let mut said = String::new();
    server.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("no renegotiation"), "{reason}: {said}");
}
