//! How a connection comes about: which addresses are tried, in which order, for how long.
//!
//! Owns [`Plan`], the pure part, and the few calls that resolve names and set up sockets.
//! Invariants: the loop's thread never resolves a name, and never waits for a handshake; all
//! attempts of a plan together end by the plan's deadline, and no attempt but the last may
//! use up the time of those after it.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, Type};

use crate::error::ConnectError;
use crate::layer::LayerError;
use crate::machine::{Address, AddressFamily, ConnId, CustomStream, SocketOptions, Target};
use crate::mailbox::{Signal, Signals};
use crate::stream::Socket;
use crate::time::Time;

/// When the kernel begins to probe a silent peer, how often, and how many times in vain.
#[cfg(target_os = "linux")]
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
#[cfg(target_os = "linux")]
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
#[cfg(target_os = "linux")]
const KEEPALIVE_RETRIES: u32 = 3;

/// The attempts to reach one target.
pub(crate) struct Plan {
    target: Target,
    deadline: Time,
    addresses: VecDeque<SocketAddr>,
    last_error: Option<ConnectError>,
}

impl Plan {
    pub(crate) fn new(target: Target, now: Time) -> Self {
        let deadline = now + target.timeout;
        Self { target, deadline, addresses: VecDeque::new(), last_error: None }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// When the last attempt has to be over.
    pub(crate) fn deadline(&self) -> Time {
        self.deadline
    }

    /// The address, where the host is one and needs no resolver.
    pub(crate) fn literal(&self) -> Option<SocketAddr> {
        let Address::Tcp { host, port } = &self.target.address else { return None };
        let ip: IpAddr = host.parse().ok()?;
        Some(SocketAddr::new(ip, *port))
    }

    /// Takes in what the resolver found.
    pub(crate) fn resolved(&mut self, found: io::Result<Vec<SocketAddr>>) {
        let host = || self.target.address.host().to_owned();
        match found {
            Ok(found) => {
                let (options, some) = (&self.target.socket, !found.is_empty());
                self.addresses = order_addresses(found, options.prefer, options.bind);
                if self.addresses.is_empty() {
                    self.last_error = Some(match options.bind.filter(|_| some) {
                        Some(bind) => ConnectError::BindFamily { host: host(), bind },
                        None => ConnectError::NoAddress { host: host() },
                    });
                }
            }
            Err(source) => {
                self.last_error = Some(ConnectError::Resolve { host: host(), source: Arc::new(source) });
            }
        }
    }

    /// The next address to try, and until when. An equal share of the time that is left goes
    /// to every address that is left, so that a dead one does not use up all of it.
    pub(crate) fn next_attempt(&mut self, now: Time) -> Option<(SocketAddr, Time)> {
        if now >= self.deadline {
            return None;
        }
        let left = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX);
        let address = self.addresses.pop_front()?;
        Some((address, now + (self.deadline - now) / left))
    }

    /// An attempt failed.
    pub(crate) fn failed(&mut self, error: io::Error) {
        let address = self.address();
        if let Some(source) = LayerError::within(&error) {
            self.last_error = Some(ConnectError::Layer { address, source: source.clone() });
            return;
        }
        if let Some(BindFailed { bind, source }) = error.get_ref().and_then(|error| error.downcast_ref()) {
            self.last_error = Some(ConnectError::Bind { bind: *bind, address, source: Arc::clone(source) });
            return;
        }
        self.last_error = Some(match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectError::Refused { address },
            io::ErrorKind::TimedOut => ConnectError::TimedOut { address, timeout: self.target.timeout },
            _ => ConnectError::Io { address, source: Arc::new(error) },
        });
    }

    /// An attempt, or the resolver, took too long.
    pub(crate) fn timed_out(&mut self) {
        self.last_error =
            Some(ConnectError::TimedOut { address: self.address(), timeout: self.target.timeout });
    }

    /// The handshake of a layer took too long.
    pub(crate) fn stalled(&mut self, layer: &'static str) {
        let (address, timeout) = (self.address(), self.target.timeout);
        self.last_error = Some(ConnectError::HandshakeTimedOut { address, layer, timeout });
    }

    /// Why the last attempt failed; a plan that had no time for a single one has timed out.
    pub(crate) fn into_error(mut self) -> ConnectError {
        match self.last_error.take() {
            Some(error) => error,
            None => ConnectError::TimedOut { address: self.address(), timeout: self.target.timeout },
        }
    }

    fn address(&self) -> String {
        self.target.address.to_string()
    }
}

/// Tells [`Plan::failed`] that it was the bind address.
#[derive(Debug, thiserror::Error)]
#[error("cannot bind to {bind}: {source}")]
struct BindFailed {
    bind: IpAddr,
    source: Arc<io::Error>,
}

/// The preferred family first; within a family the resolver's order; no address twice; none
/// that a socket bound to `bind` could not reach for being of the other family.
fn order_addresses(
    found: Vec<SocketAddr>,
    prefer: AddressFamily,
    bind: Option<IpAddr>,
) -> VecDeque<SocketAddr> {
    let mut ordered = Vec::with_capacity(found.len());
    for address in found {
        let reachable = bind.is_none_or(|bind| bind.is_ipv4() == address.is_ipv4());
        if reachable && !ordered.contains(&address) {
            ordered.push(address);
        }
    }
    // The sort is stable, which keeps the resolver's order.
    ordered.sort_by_key(|address| address.is_ipv4() != (prefer == AddressFamily::V4));
    ordered.into()
}

/// Resolves a name on a thread of its own; the result comes as a signal.
pub(crate) fn resolve(conn: ConnId, target: &Target, signals: Arc<Signals>) -> io::Result<()> {
    let Address::Tcp { host, port } = target.address.clone() else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let work = move || {
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        signals.raise(Signal::Resolved(conn, found));
    };
    thread::Builder::new().name("amps-resolve".into()).spawn(work).map(drop)
}

/// Has a connector of the application make a stream, on a thread of its own.
pub(crate) fn make(
    conn: ConnId,
    make: impl FnOnce() -> io::Result<Box<dyn CustomStream>> + Send + 'static,
    signals: Arc<Signals>,
) -> io::Result<()> {
    let work = move || {
        let made = catch_unwind(AssertUnwindSafe(make));
        let made = made.unwrap_or_else(|_| Err(io::Error::other("the connector panicked")));
        signals.raise(Signal::Made(conn, made));
    };
    thread::Builder::new().name("amps-connect".into()).spawn(work).map(drop)
}

/// Connects to a socket file.
#[cfg(unix)]
pub(crate) fn begin_unix(path: &Path) -> io::Result<Socket> {
    mio::net::UnixStream::connect(path).map(Socket::Unix)
}

#[cfg(not(unix))]
pub(crate) fn begin_unix(_path: &Path) -> io::Result<Socket> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no Unix sockets"))
}

/// Begins a handshake. The socket becomes writable when it is over, one way or the other.
pub(crate) fn begin(address: SocketAddr, options: &SocketOptions) -> io::Result<Socket> {
    check_options(options)?;
    let socket = new_socket(Domain::for_address(address))?;
    apply_options(&SockRef::from(&socket), options)?;
    if let Some(ip) = options.bind {
        socket.bind(&SocketAddr::new(ip, 0).into()).map_err(|source| {
            io::Error::new(source.kind(), BindFailed { bind: ip, source: Arc::new(source) })
        })?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if is_in_progress(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(Socket::Tcp(TcpStream::from_std(socket.into())))
}

/// A socket that does not block; where the system can, by one call.
fn new_socket(domain: Domain) -> io::Result<socket2::Socket> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return socket2::Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

/// Whether the handshake is over: `None` if not yet.
pub(crate) fn outcome(socket: &Socket) -> Option<io::Result<()>> {
    let (error, peer) = match socket {
        Socket::Tcp(stream) => (stream.take_error(), stream.peer_addr().map(drop)),
        #[cfg(unix)]
        Socket::Unix(stream) => (stream.take_error(), stream.peer_addr().map(drop)),
        Socket::Custom(_) => return Some(Ok(())),
    };
    match error {
        Ok(Some(error)) | Err(error) => return Some(Err(error)),
        Ok(None) => {}
    }
    match peer {
        Ok(()) => Some(Ok(())),
        Err(error) if error.kind() == io::ErrorKind::NotConnected || is_in_progress(&error) => None,
        Err(error) => Some(Err(error)),
    }
}

/// Sets up a socket, new or accepted.
pub(crate) fn apply_options(socket: &SockRef<'_>, options: &SocketOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(options.nodelay)?;
    if !cfg!(target_os = "linux") || !options.keepalive {
        socket.set_keepalive(options.keepalive)?;
    }
    #[cfg(target_os = "linux")]
    {
        if options.keepalive {
            // This switches it on as well.
            let probes = socket2::TcpKeepalive::new().with_time(KEEPALIVE_AFTER);
            socket
                .set_tcp_keepalive(&probes.with_interval(KEEPALIVE_EVERY).with_retries(KEEPALIVE_RETRIES))?;
        }
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    apply_buffer_sizes(socket, options)?;
    if let Some(linger) = options.linger {
        socket.set_linger(Some(Duration::from_secs(linger_seconds(linger))))?;
    }
    Ok(())
}

/// In whole seconds, as the system has it: a part of one must not become none, which means a reset.
fn linger_seconds(linger: Duration) -> u64 {
    linger.as_secs().saturating_add(u64::from(linger.subsec_nanos() > 0))
}

/// Refuses what the system could store only cut off.
pub(crate) fn check_options(options: &SocketOptions) -> io::Result<()> {
    let refuse = |name: &str, value: u64, most: u64| {
        let text =
            format!("{name} cannot be {value}: the system takes at most {most}; choose a smaller value");
        if value > most { Err(io::Error::new(io::ErrorKind::InvalidInput, text)) } else { Ok(()) }
    };
    for (name, size) in [("SO_SNDBUF", options.send_buffer), ("SO_RCVBUF", options.recv_buffer)] {
        refuse(name, size.unwrap_or_default() as u64, i32::MAX as u64)?;
    }
    let longest = if cfg!(windows) { u64::from(u16::MAX) } else { i32::MAX as u64 };
    refuse("SO_LINGER", options.linger.map_or(0, linger_seconds), longest)
}

/// The sizes have to be known before the handshake, which fixes the window scale; accepted
/// sockets inherit them from their listener.
pub(crate) fn apply_buffer_sizes(socket: &SockRef<'_>, options: &SocketOptions) -> io::Result<()> {
    if let Some(size) = options.send_buffer {
        socket.set_send_buffer_size(size)?;
    }
    if let Some(size) = options.recv_buffer {
        socket.set_recv_buffer_size(size)?;
    }
    Ok(())
}

fn is_in_progress(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::EINPROGRESS) {
        return true;
    }
    error.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn plan(host: &str, seconds: u64) -> Plan {
        let timeout = Duration::from_secs(seconds);
        Plan::new(Target::tcp(host, 9007, timeout), Time::EPOCH)
    }

    fn second(seconds: u64) -> Time {
        Time::EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_preferred_family_comes_first_and_the_order_within_stays() {
        let found = addresses(&["[::1]:1", "10.0.0.2:1", "[::2]:1", "10.0.0.1:1", "10.0.0.2:1"]);
        let v4_first = order_addresses(found.clone(), AddressFamily::V4, None);
        assert_eq!(v4_first, addresses(&["10.0.0.2:1", "10.0.0.1:1", "[::1]:1", "[::2]:1"]));
        let v6_first = order_addresses(found, AddressFamily::V6, None);
        assert_eq!(v6_first, addresses(&["[::1]:1", "[::2]:1", "10.0.0.2:1", "10.0.0.1:1"]));
    }

    #[test]
    fn a_bound_socket_tries_only_its_own_family() {
        let found = addresses(&["[::1]:1", "10.0.0.2:1"]);
        let ordered = order_addresses(found, AddressFamily::V4, Some("::1".parse().unwrap()));
        assert_eq!(ordered, addresses(&["[::1]:1"]));
    }

    #[test]
    fn every_address_gets_its_share_of_what_is_left() {
        let mut plan = plan("host", 12);
        plan.resolved(Ok(addresses(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"])));
        assert_eq!(plan.next_attempt(second(0)).unwrap().1, second(4));
        // The first one fails at once, and leaves its time to the others.
        assert_eq!(plan.next_attempt(second(0)).unwrap().1, second(6));
        assert_eq!(plan.next_attempt(second(6)).unwrap().1, second(12));
        assert_eq!(plan.next_attempt(second(6)), None);
    }

    #[test]
    fn no_attempt_begins_after_the_deadline() {
        let mut plan = plan("host", 5);
        plan.resolved(Ok(addresses(&["10.0.0.1:1"])));
        assert_eq!(plan.next_attempt(second(5)), None);
    }

    #[test]
    fn errors_name_host_and_port() {
        let mut refused = plan("::1", 5);
        refused.failed(io::ErrorKind::ConnectionRefused.into());
        assert!(matches!(refused.into_error(), ConnectError::Refused { address } if address == "[::1]:9007"));
        let mut late = plan("host", 5);
        late.timed_out();
        assert!(
            matches!(late.into_error(), ConnectError::TimedOut { address, .. } if address == "host:9007")
        );
        let mut other = Target::tcp("host", 9007, Duration::from_secs(5));
        other.socket.bind = Some("::1".parse().unwrap());
        let mut other = Plan::new(other, Time::EPOCH);
        other.resolved(Ok(addresses(&["10.0.0.1:1"])));
        let error = other.into_error();
        assert!(matches!(&error, ConnectError::BindFamily { host, .. } if host == "host"));
        assert!(error.to_string().contains("bind address ::1"), "{error}");
        let mut empty = plan("host", 5);
        empty.resolved(Ok(Vec::new()));
        assert!(matches!(empty.into_error(), ConnectError::NoAddress { host } if host == "host"));
    }

    #[test]
    fn values_that_the_system_cannot_store_are_refused_by_name() {
        let fine = SocketOptions {
            send_buffer: Some(i32::MAX as usize),
            recv_buffer: Some(0),
            linger: Some(Duration::from_secs(65_535)),
            ..SocketOptions::default()
        };
        check_options(&fine).unwrap();
        let too_large = Some(i32::MAX as usize + 1);
        for (name, options) in [
            ("SO_SNDBUF", SocketOptions { send_buffer: too_large, ..fine.clone() }),
            ("SO_RCVBUF", SocketOptions { recv_buffer: too_large, ..fine.clone() }),
            ("SO_LINGER", SocketOptions { linger: Some(Duration::MAX), ..fine.clone() }),
            ("SO_LINGER", SocketOptions { linger: Some(Duration::from_secs(1 << 31)), ..fine.clone() }),
        ] {
            let error = begin("127.0.0.1:9".parse().unwrap(), &options).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }

    #[test]
    fn a_part_of_a_second_of_lingering_does_not_become_a_reset() {
        assert_eq!(linger_seconds(Duration::ZERO), 0);
        assert_eq!(linger_seconds(Duration::from_millis(1)), 1);
        assert_eq!(linger_seconds(Duration::from_secs(7)), 7);
    }
}
