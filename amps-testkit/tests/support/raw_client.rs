//! A client that knows frames and nothing more.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use amps_testkit::FakeServer;

/// How long anything may take. A test that fails takes this long; no other does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct RawClient(pub(crate) TcpStream);

impl RawClient {
    pub(crate) fn connect(server: &FakeServer) -> Self {
        Self::connect_to(server.addr())
    }

    pub(crate) fn connect_to(addr: SocketAddr) -> Self {
        let client = TcpStream::connect(addr).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.set_nodelay(true).unwrap();
        Self(client)
    }

    /// Connected, and logged on.
    pub(crate) fn named(server: &FakeServer, name: &str) -> Self {
        let mut client = Self::connect(server);
        let ack = client.log_on(name);
        assert!(ack.contains("\"success\""), "{ack}");
        client
    }

    pub(crate) fn log_on(&mut self, name: &str) -> String {
        let logon = r#"{"c":"logon","cid":"logon","client_name":"NAME","mt":"json","a":"processed"}"#;
        self.ask(&logon.replace("NAME", name))
    }

    pub(crate) fn send(&mut self, frame: &str) {
        self.0.write_all(&framed(frame)).unwrap();
    }

    pub(crate) fn ask(&mut self, frame: &str) -> String {
        self.send(frame);
        self.receive()
    }

    pub(crate) fn receive(&mut self) -> String {
        let prefix = self.take(4);
        let length = u32::from_be_bytes(prefix.try_into().unwrap());
        String::from_utf8(self.take(length as usize)).unwrap()
    }

    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// The next frame, unless the connection ends before it is whole.
    pub(crate) fn try_receive(&mut self) -> Option<String> {
        let mut prefix = [0; 4];
        self.0.read_exact(&mut prefix).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        self.0.read_exact(&mut frame).ok()?;
        String::from_utf8(frame).ok()
    }

    pub(crate) fn send_if_open(&mut self, frame: &str) {
        let _closed = self.0.write_all(&framed(frame));
    }

    /// Everything up to the end of the stream, and whether that is a reset.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => (bytes, false),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (bytes, true),
            Err(error) => panic!("the connection did not end: {error}"),
        }
    }

    /// Everything that was sent before now, by a flush that answers behind it.
    pub(crate) fn quiet(&mut self) {
        let ack = self.ask(r#"{"c":"flush","cid":"quiet?","a":"processed"}"#);
        assert!(ack.contains("quiet?"), "{ack}");
    }

    /// Whether the connection ended, in whatever way, with nothing sent before.
    pub(crate) fn is_closed(&mut self) -> bool {
        !matches!(self.0.read(&mut [0; 16]), Ok(1..))
    }

    pub(crate) fn ends(&mut self) {
        assert_eq!(self.rest(), (Vec::new(), false));
    }
}

pub(crate) fn framed(frame: &str) -> Vec<u8> {
    let mut bytes = (frame.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(frame.as_bytes());
    bytes
}
