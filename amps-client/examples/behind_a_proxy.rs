//! Behind a company's proxy, with certificates on both sides: `cargo run -p amps-client --features tls --example
//! behind_a_proxy`.
//!
//! The client trusts one authority, shows a certificate of its own, and reaches a server that it could not
//! reach directly through a proxy that wants to know who it is. Everything runs here: the authority, the
//! proxy, the server.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use amps_client::Client;
use amps_client::transport::{HttpProxy, TlsClient};
use amps_testkit::{FakeServer, TransportConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let files = directory.path();
    make_certificates(files)?;
    let transport = TransportConfig::new("outside")
        .tls_files(files.join("server.pem"), files.join("server.key"))
        .require_client_certificates(files.join("roots.pem"));
    let server = FakeServer::builder().transport("tcps://127.0.0.1:0/amps", transport).start()?;
    let proxy = start_proxy(server.addr().port())?;

    // This is what an application writes.
    let tls = TlsClient::builder()
        .roots_file(files.join("roots.pem"))
        .certificate_files(files.join("desk-7.pem"), files.join("desk-7.key"))
        .build()?;
    let client = Client::builder("desk-7")
        .server("tcps://amps.example:9008/amps/json")
        .tls(tls)
        .proxy(HttpProxy::new("127.0.0.1", proxy).credentials("ann", "s3cret")?)
        .connect()?;
    let mut orders = client.subscribe("orders").start()?;
    client.publish("orders", r#"{"id":1}"#)?;
    let order = orders.next().ok_or("the stream has ended")??;
    println!(
        "received {} from {}",
        order.data_str()?,
        client.connection_info().ok_or("not connected")?.uri()
    );
    client.close()?;
    Ok(())
}

/// An authority, and what it issues to the server and to the client.
fn make_certificates(files: &Path) -> Result<(), Box<dyn Error>> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    std::fs::write(files.join("roots.pem"), authority.pem())?;
    for (file, name) in [("server", "amps.example"), ("desk-7", "desk-7.example")] {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([name.to_owned()])?.signed_by(&key, &authority)?;
        std::fs::write(files.join(file).with_extension("pem"), certificate.pem())?;
        std::fs::write(files.join(file).with_extension("key"), key.serialize_pem())?;
    }
    Ok(())
}

/// A proxy that knows where `amps.example` is, and lets nobody through without credentials.
fn start_proxy(server: u16) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || pass(client, server));
        }
    });
    Ok(port)
}

fn pass(mut client: TcpStream, server: u16) -> io::Result<()> {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request);
    if !request.contains("Proxy-Authorization: Basic YW5uOnMzY3JldA==") {
        return client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    }
    println!("the proxy was asked: {}", request.lines().next().unwrap_or_default());
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let server = TcpStream::connect(("127.0.0.1", server))?;
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || copy(&from, &to));
    copy(&server, &client);
    Ok(())
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    // Either end may go first.
    let _ended = io::copy(&mut from, &mut to);
    let _ended = to.shutdown(Shutdown::Write);
}
