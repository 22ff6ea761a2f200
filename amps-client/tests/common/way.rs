//! How the tests reach their servers: by plain TCP, or as `AMPS_TEST_TRANSPORT` says, so that the same tests show
//! that the client is the same over every transport. `cargo xtask transports` runs them all.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use amps_client::transport::{Connector, CustomStream};
use amps_client::{Client, ClientBuilder};
use amps_testkit::{FakeServer, FakeServerBuilder, TransportConfig};
use amps_transport::{Detect, Layers, MakeLayer, TlsServer, WebSocketServer, Zlib};
use mio::event::Source;
use mio::{Interest, Registry, Token};

use super::certificates::Authority;

/// The certificates of another process of a test, as PEM, for one that it starts.
pub const ROOTS: &str = "AMPS_TEST_ROOTS";

/// The variable of the environment that chooses: the name of a [`Carrier`], and `-pieces` behind it for sockets that
/// give and take one byte at a time.
const VARIABLE: &str = "AMPS_TEST_TRANSPORT";

/// What lies below the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Tcp,
    Tcps,
    Unix,
    Ws,
    Wss,
    Zlib,
    Preflight,
    /// All that may lie below frames: TLS, preflight and compression.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub carrier: Carrier,
    /// The client's sockets give and take one byte at a time.
    pub pieces: bool,
}

impl Way {
    pub const PLAIN: Self = Self { carrier: Carrier::Tcp, pieces: false };

    /// What this run is about.
    pub fn of_this_run() -> Self {
        let Ok(asked) = std::env::var(VARIABLE) else { return Self::PLAIN };
        let (name, pieces) = match asked.strip_suffix("-pieces") {
            Some(name) => (name, true),
            None => (asked.as_str(), false),
        };
        use Carrier as C;
        let all = [C::Tcp, C::Tcps, C::Unix, C::Ws, C::Wss, C::Zlib, C::Preflight, C::All];
        let carrier = all.into_iter().find(|carrier| format!("{carrier:?}").to_lowercase() == name);
        let carrier = carrier.unwrap_or_else(|| panic!("{VARIABLE}={asked}: one of {all:?}, in lower case"));
        assert!(!pieces || carrier != C::Unix, "{VARIABLE}={asked}: no connector knows a path");
        Self { carrier, pieces }
    }

    pub const fn scheme(self) -> &'static str {
        match self.carrier {
            Carrier::Tcp | Carrier::Zlib | Carrier::Preflight => "tcp",
            Carrier::Tcps | Carrier::All => "tcps",
            Carrier::Unix => "unix",
            Carrier::Ws => "ws",
            Carrier::Wss => "wss",
        }
    }

    pub const fn encrypted(self) -> bool {
        matches!(self.carrier, Carrier::Tcps | Carrier::Wss | Carrier::All)
    }

    pub const fn compressed(self) -> bool {
        matches!(self.carrier, Carrier::Zlib | Carrier::All)
    }

    pub const fn web_socket(self) -> bool {
        matches!(self.carrier, Carrier::Ws | Carrier::Wss)
    }

    /// Adds to a connection string what this way needs.
    pub fn complete(self, uri: String) -> String {
        match self.carrier {
            Carrier::Zlib => format!("{uri}?compression=zlib"),
            Carrier::Preflight => format!("{uri}?http_preflight=true"),
            Carrier::All => format!("{uri}?compression=zlib&http_preflight=true"),
            Carrier::Tcp | Carrier::Tcps | Carrier::Unix | Carrier::Ws | Carrier::Wss => uri,
        }
    }

    /// The side that accepts.
    pub fn layers(self) -> Layers {
        let mut layers = Layers::new();
        if self.encrypted() {
            layers.push(Arc::new(certified()));
        }
        match self.carrier {
            Carrier::Tcp | Carrier::Tcps | Carrier::Unix => {}
            Carrier::Ws | Carrier::Wss => {
                let websocket = Detect::new().with_plain(false).with_preflight(false).with_zlib(None);
                layers.push(Arc::new(websocket.with_websocket(Some(WebSocketServer::new()))));
            }
            Carrier::Zlib => layers.push(Arc::new(Zlib::new())),
            Carrier::Preflight => layers.push(preflight()),
            Carrier::All => layers.extend([preflight(), Arc::new(Zlib::new())]),
        }
        layers
    }
}

fn preflight() -> Arc<dyn MakeLayer> {
    Arc::new(Detect::new().with_plain(false).with_zlib(None).with_websocket(None))
}

struct Trust {
    roots: String,
    server: TlsServer,
}

/// One authority for all servers of a process.
fn trust() -> &'static Trust {
    static TRUST: OnceLock<Trust> = OnceLock::new();
    TRUST.get_or_init(|| {
        let authority = Authority::new("the tests");
        let issued = authority.server(&["127.0.0.1", "localhost"]);
        let server = TlsServer::builder().certificate_pem(issued.certificate, issued.key).build().unwrap();
        Trust { roots: authority.pem(), server }
    })
}

/// Whom clients have to trust.
pub fn roots() -> String {
    std::env::var(ROOTS).unwrap_or_else(|_| trust().roots.clone())
}

fn certified() -> TlsServer {
    trust().server.clone()
}

/// A client's builder with what this run's transport needs, whatever servers it is given.
pub fn client(name: impl Into<String>) -> ClientBuilder {
    let (way, builder) = (Way::of_this_run(), Client::builder(name));
    let builder = if way.pieces { builder.connector(InPieces) } else { builder };
    if way.encrypted() { trusting(builder) } else { builder }
}

#[cfg(feature = "tls")]
fn trusting(builder: ClientBuilder) -> ClientBuilder {
    static TLS: OnceLock<amps_client::transport::TlsClient> = OnceLock::new();
    let make = || amps_client::transport::TlsClient::builder().roots_pem(roots()).build().unwrap();
    builder.tls(TLS.get_or_init(make).clone())
}

#[cfg(not(feature = "tls"))]
fn trusting(_: ClientBuilder) -> ClientBuilder {
    panic!("{VARIABLE} asks for the feature tls")
}

/// A fake server's builder that listens as this run says.
pub fn fake_server() -> FakeServerBuilder {
    listening(Way::of_this_run())
}

/// One that is reached by plain TCP in every run, and why.
pub fn plain_fake_server(why: &str) -> FakeServerBuilder {
    stays_plain(why);
    listening(Way::PLAIN)
}

fn listening(way: Way) -> FakeServerBuilder {
    let builder = FakeServer::builder();
    let transport = TransportConfig::default();
    match way.carrier {
        Carrier::Tcp | Carrier::Zlib | Carrier::Preflight => builder,
        Carrier::Unix => builder.transport("unix://", transport),
        Carrier::Ws => builder.transport("ws://127.0.0.1:0/amps", transport),
        Carrier::Tcps | Carrier::Wss | Carrier::All => {
            builder.transport(format!("{}://127.0.0.1:0/amps", way.scheme()), transport.tls(certified()))
        }
    }
}

/// The connection string of a server, as this run says.
pub fn uri(server: &FakeServer) -> String {
    Way::of_this_run().complete(server.uri("json"))
}

/// A connection string with a user, or a user and a password.
pub fn with_user(uri: &str, user: &str) -> String {
    uri.replacen("://", &format!("://{user}@"), 1)
}

/// The chore collects these lines.
pub fn stays_plain(why: &str) {
    if Way::of_this_run() != Way::PLAIN {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        println!("stays plain: {name}: {why}");
    }
}

/// Connects sockets that give and take one byte at a time.
#[derive(Debug)]
struct InPieces;

impl Connector for InPieces {
    fn connect(&self, host: &str, port: u16, timeout: Duration) -> io::Result<Box<dyn CustomStream>> {
        let mut addresses = (host, port).to_socket_addrs()?;
        let address = addresses.next().ok_or(io::ErrorKind::NotFound)?;
        let socket = TcpStream::connect_timeout(&address, timeout)?;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Box::new(Pieces(mio::net::TcpStream::from_std(socket))))
    }
}

struct Pieces(mio::net::TcpStream);

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let end = out.len().min(1);
        self.0.read(&mut out[..end])
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Pieces {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.0.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.0.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.0.deregister(registry)
    }
}

impl CustomStream for Pieces {
    fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        self.0.shutdown(how)
    }
}
