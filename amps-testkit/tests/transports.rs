//! The ways by which clients reach a server: what each listener is told to speak, speaks, and refuses.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use amps_testkit::{ConfigFile, Drop, FakeServer, Fault, Protocol, StartError, TransportConfig, Trigger};

use support::channel::{Channel, Socket, WAYS, Way};
#[cfg(unix)]
use support::data_dir::DataDir;
use support::raw_client::RawClient;

fn start(way: Way) -> FakeServer {
    FakeServer::builder().listen(way.address()).start().unwrap()
}

fn logged_on(way: Way, server: &FakeServer, name: &str) -> Channel {
    let mut client = Channel::open(way, server, usize::MAX).unwrap();
    let ack = client.log_on(name);
    assert!(ack.contains("\"success\""), "{way:?}: {ack}");
    client
}

/// Whether nobody listens where the server did.
fn refuses(server: &FakeServer) -> bool {
    let connected = Socket::connect(&server.listeners()[0]);
    connected.is_err_and(|error| matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound))
}

/// The next bytes that come, all until the end of the connection; a reset is an end, too.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn each_listener_says_how_it_is_reached() {
    for &way in WAYS {
        let server = start(way);
        let listening = &server.listeners()[0];
        let scheme = way.address().split_once("://").unwrap().0;
        assert_eq!(listening.name, format!("any-{scheme}"));
        let expected = match (&listening.addr, &listening.path) {
            (Some(addr), None) => format!("{scheme}://{addr}/amps"),
            (None, Some(path)) => format!("unix://localhost:0/amps?path={}", path.display()),
            _ => panic!("{listening:?}"),
        };
        assert_eq!(listening.uri, expected);
        let of_type = expected.replacen("/amps", "/amps/json", 1);
        assert_eq!(server.uri("json"), if listening.path.is_some() { of_type } else { expected + "/json" });
        let endpoint: amps_protocol::Endpoint = server.uri("json").parse().unwrap();
        assert_eq!(endpoint.message_type.as_deref(), Some("json"));
        assert_eq!(endpoint.options.path.map(Into::into), listening.path);
    }
}

#[test]
fn a_listener_stops_accepting_and_accepts_again_however_it_is_reached() {
    for &way in WAYS {
        let server = start(way);
        let mut before = logged_on(way, &server, "before");
        server.stop_accepting();
        assert!(refuses(&server), "{way:?}");
        let ack = before.ask(r#"{"c":"flush","cid":"f","a":"processed"}"#);
        assert!(ack.contains("success"), "{way:?}: connections stay: {ack}");
        server.resume_accepting().unwrap();
        logged_on(way, &server, "after");
    }
}

#[test]
fn a_transport_is_disabled_with_its_connections_and_enabled_however_it_is_reached() {
    for &way in WAYS {
        let server = start(way);
        let name = server.listeners()[0].name.clone();
        let mut client = logged_on(way, &server, "a");
        assert!(server.disable_transport(&name));
        assert!(refuses(&server), "{way:?}");
        assert_eq!(client.receive().unwrap(), None, "{way:?}");
        assert!(server.enable_transport(&name).unwrap());
        logged_on(way, &server, "a");
        let disabled = TransportConfig::new("later").disabled(true);
        let server = FakeServer::builder().transport(way.address(), disabled).start().unwrap();
        assert!(refuses(&server), "{way:?}");
        assert!(server.enable_transport("later").unwrap());
        logged_on(way, &server, "a");
    }
}

#[test]
fn a_connection_is_dropped_and_a_server_restarted_however_it_is_reached() {
    for &way in WAYS {
        let server = start(way);
        for how in [Drop::Fin, Drop::Reset] {
            let mut client = logged_on(way, &server, "a");
            assert!(server.drop_connection("a", how));
            // Over TLS, zlib and WebSocket a reset is an end that nobody has announced.
            assert!(matches!(client.receive(), Ok(None) | Err(_)), "{way:?}");
        }
        let mut client = logged_on(way, &server, "b");
        server.restart();
        assert_eq!(client.receive().unwrap(), None, "{way:?}");
        let ca = server.ca_pem().map(str::to_owned);
        let mut client = logged_on(way, &server, "b");
        server.reset().unwrap();
        assert_eq!(client.receive().unwrap(), None, "{way:?}");
        assert_eq!(server.ca_pem().map(str::to_owned), ca, "it stays as long as the server");
        let mut client = logged_on(way, &server, "b");
        drop(server);
        assert_eq!(client.receive().unwrap(), None, "{way:?}");
    }
}

#[test]
fn a_fault_means_the_bytes_of_frames_whatever_lies_below() {
    for &way in WAYS {
        let cut = Fault::when(Trigger::outbound(2)).then(amps_testkit::Action::drop_mid_frame(7));
        let server = FakeServer::builder().listen(way.address()).fault(cut).start().unwrap();
        let mut client = logged_on(way, &server, "a");
        client.send(&support::raw_client::framed(r#"{"c":"flush","cid":"f","a":"processed"}"#)).unwrap();
        // Over WebSocket the beginning of a frame is no message, and does not come.
        assert_eq!(client.receive().unwrap_or(None), None, "{way:?}");
        let whole_frames_only = way.address().starts_with("ws");
        assert_eq!(client.unread(), if whole_frames_only { 0 } else { 7 }, "{way:?}");
        let fired = server.faults()[0].fired;
        assert_eq!(fired, 1, "{way:?}");
    }
}

#[test]
fn an_address_that_cannot_be_is_refused_in_words_before_anything_listens() {
    let long = format!("unix:///{}", "x".repeat(200));
    let table = [
        ("udp://127.0.0.1:0", "no such scheme; write tcp, tcps, ws or wss://HOST:PORT/amps, or unix:///PATH"),
        ("tcps://nowhere", "expected HOST:PORT"),
        ("ws://127.0.0.1:0/soap", "the path has to be /amps or /amps/MESSAGE-TYPE"),
        #[cfg(unix)]
        (&long, "the path is too long for a socket file, or has a NUL in it; systems allow about 100 bytes"),
        #[cfg(unix)]
        (
            "unix://localhost:0/amps",
            "expected unix:///PATH, or unix://localhost:0/amps/MESSAGE-TYPE?path=/PATH",
        ),
        #[cfg(not(feature = "tls"))]
        ("tcps://127.0.0.1:0", "TLS needs the Cargo feature \"tls\" of amps-testkit"),
        #[cfg(not(feature = "websocket"))]
        ("ws://127.0.0.1:0", "WebSocket needs the Cargo feature \"websocket\" of amps-testkit"),
    ];
    for (address, fault) in table {
        #[cfg(unix)]
        let data = DataDir::new();
        #[cfg(unix)]
        std::fs::create_dir_all(data.path()).unwrap();
        let builder = FakeServer::builder();
        #[cfg(unix)]
        let builder = builder.listen(format!("unix://{}", data.path().join("s").display()));
        let error = builder.listen(address).start().unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on \"{address}\": {fault}"));
        #[cfg(unix)]
        assert!(!data.path().join("s").exists(), "nothing was opened");
    }
}

#[cfg(unix)]
#[test]
fn a_socket_file_is_there_as_long_as_its_listener() {
    let data = DataDir::new();
    std::fs::create_dir_all(data.path()).unwrap();
    let path = data.path().join("a b&c.sock");
    let address = format!("unix://{}", path.display());
    let server = FakeServer::builder().listen(&address).start().unwrap();
    assert_eq!(server.listeners()[0].path.as_deref(), Some(&*path));
    assert_eq!(server.addr().port(), 0, "there is none");
    logged_on(Way::Unix, &server, "a");

    let error = FakeServer::builder().listen(&address).start().unwrap_err();
    assert!(matches!(&error, StartError::BindFile { path: of, .. } if *of == path), "{error}");
    assert!(error.to_string().starts_with(&format!("cannot listen on {}: ", path.display())), "{error}");
    drop(server);
    assert!(!path.exists());

    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "somebody has left it");
    let uri = FakeServer::builder().listen(&address).start().unwrap().uri("json");
    let server = FakeServer::builder().listen(&uri).start().unwrap();
    assert_eq!((server.uri("json"), &*server.listeners()[0].name), (uri, "json-unix"));
    logged_on(Way::Unix, &server, "a");

    let file = data.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    let error = FakeServer::builder().listen(format!("unix://{}", file.display())).start().unwrap_err();
    assert!(matches!(error, StartError::BindFile { .. }), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), b"kept");
}

#[cfg(unix)]
#[test]
fn a_socket_file_has_no_other_protocol() {
    let other = TransportConfig::new("other").protocol(Protocol::Any);
    let error = FakeServer::builder().transport("unix://", other).start().unwrap_err();
    assert!(error.to_string().ends_with("on a Unix socket there is neither TLS nor WebSocket"), "{error}");
}

#[test]
fn web_socket_has_its_own_port() {
    let server = start(Way::Tcp);
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    let request = "GET /amps HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    assert!(rest(&mut stream).starts_with("HTTP/1.1 400 "));
    RawClient::named(&server, "a");
}

#[cfg(feature = "websocket")]
#[test]
fn nothing_else_has_the_port_of_web_socket() {
    let server = start(Way::Ws);
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream
        .write_all(b"GET /amps HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .unwrap();
    assert!(rest(&mut stream).starts_with("HTTP/1.1 426 "));
    let mut client = RawClient::connect(&server);
    client.send(r#"{"c":"logon","mt":"json","a":"processed"}"#);
    assert!(client.is_closed());
    logged_on(Way::Ws, &server, "a");

    let amps = TransportConfig::new("amps").protocol(Protocol::Amps);
    let error = FakeServer::builder().transport("ws://127.0.0.1:0", amps).start().unwrap_err();
    let fault = "the scheme is that of WebSocket, but the protocol is to be amps";
    assert!(error.to_string().ends_with(fault), "{error}");
}

#[cfg(feature = "websocket")]
#[test]
fn one_port_can_serve_all_where_it_is_told_to() {
    let any = TransportConfig::new("any").protocol(Protocol::Any);
    let server = FakeServer::builder().transport("tcp://127.0.0.1:0", any).start().unwrap();
    for way in [Way::Tcp, Way::Preflight, Way::Ws] {
        logged_on(way, &server, "a");
    }
    #[cfg(feature = "zlib")]
    logged_on(Way::Zlib, &server, "a");
}

#[cfg(not(feature = "zlib"))]
#[test]
fn compressed_bytes_are_no_frames_where_nobody_can_decompress_them() {
    let server = start(Way::Tcp);
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(b"\x78\x9c\x00\x00").unwrap();
    assert_eq!(rest(&mut stream), "");
}

#[cfg(unix)]
#[test]
fn the_socket_file_of_a_configuration_is_made_only_when_told_so() {
    let data = DataDir::new();
    std::fs::create_dir_all(data.path()).unwrap();
    let path = data.path().join("amps.sock");
    let text = |protocol: &str| {
        format!(
            "<AMPSConfig><Name>a</Name><Transports>\n<Transport><Name>t</Name><Type>amps-unix</Type>\n\
             <FileName>{}</FileName><Protocol>{protocol}</Protocol><MessageType>json</MessageType></Transport>\
             </Transports></AMPSConfig>",
            path.display()
        )
    };
    let file = || ConfigFile::parse("a.xml", &text("amps")).unwrap();
    let server = FakeServer::builder().config(file()).start().unwrap();
    assert!(!path.exists());
    logged_on(Way::Unix, &server, "a");
    let server = FakeServer::builder().config(file()).keep_ports().start().unwrap();
    assert_eq!(server.listeners()[0].path.as_deref(), Some(&*path));
    assert_eq!(server.listeners()[0].name, "t");
    assert!(server.listeners()[0].uri.starts_with("unix://localhost:0/amps/json?path=/"));
    logged_on(Way::Unix, &server, "a");
    let error = FakeServer::builder().config(file()).keep_ports().start().unwrap_err().to_string();
    assert!(error.starts_with("a.xml:3: FileName: cannot listen on /"), "{error}");

    let long = text("amps").replace(&path.display().to_string(), &"x".repeat(200));
    let error = ConfigFile::parse("a.xml", &long).unwrap_err().to_string();
    assert!(error.starts_with("a.xml:3: FileName: the path is too long"), "{error}");
    #[cfg(feature = "websocket")]
    {
        let error = ConfigFile::parse("a.xml", &text("websocket")).unwrap_err().to_string();
        assert!(error.starts_with("a.xml:3: Protocol: WebSocket is spoken over TCP only"), "{error}");
    }
}
