//! The listeners of a server: where clients find them, and whether they accept.
//!
//! Owns the port of each while it is closed. A socket file cannot be kept: it goes with its listener.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};

#[cfg(unix)]
use amps_protocol::{Endpoint, Scheme};
use amps_transport::{ListenerId, SocketOptions};

use super::{FakeServer, StartError};
use crate::builder::{Listen, Place};
use crate::port::Reservation;
use crate::shell::{Note, Script};

/// How many turns of the loop a listener may take to close.
const MOST_TURNS: usize = 1_000;

#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listen: Listen,
    pub(super) at: Place,
    /// `None` while the server does not accept.
    pub(super) id: Option<ListenerId>,
    /// Keeps the port meanwhile, if the system lets it.
    pub(super) reserved: Option<Reservation>,
}

impl Bound {
    /// For one message type, or for that of the listener.
    fn uri(&self, message_type: Option<&str>) -> String {
        let path = match message_type.or(self.listen.message_type.as_deref()) {
            _ if self.listen.replication => String::new(),
            None => "/amps".to_owned(),
            Some(name) => format!("/amps/{name}"),
        };
        match &self.at {
            Place::Tcp(addr) => format!("{}://{addr}{path}", self.listen.scheme),
            #[cfg(unix)]
            Place::Unix(file) => {
                let mut endpoint = Endpoint::new(Scheme::Unix, "localhost", 0);
                endpoint.message_type =
                    message_type.or(self.listen.message_type.as_deref()).map(str::to_owned);
                endpoint.options.path = Some(file.to_string_lossy().into_owned());
                endpoint.to_string()
            }
        }
    }
}

/// A listener: its name, and where clients find it.
///
/// ```
/// use amps_testkit::FakeServer;
///
/// let server = FakeServer::builder().listen("tcp://127.0.0.1:0/amps/json").start()?;
/// let listening = &server.listeners()[0];
/// assert_eq!(listening.name, "json-tcp");
/// assert_eq!(listening.uri, format!("tcp://{}/amps/json", listening.addr.unwrap()));
/// # Ok::<(), amps_testkit::StartError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The name of the transport in a configuration file; else made of the message type that it is
    /// bound to, or `any`, and the scheme, as `any-tcp`; or `replication`.
    pub name: String,
    /// The address bound; `None` for a socket file.
    pub addr: Option<SocketAddr>,
    /// The socket file, if it is one.
    pub path: Option<PathBuf>,
    /// The connection string: `tcp://ADDRESS/amps`, with the message type that it is bound to, and
    /// with the scheme that clients have to use; `unix://localhost:0/amps?path=FILE`; without a path
    /// where other instances connect.
    pub uri: String,
    /// Whether nobody listens there before
    /// [`enable_transport`](FakeServer::enable_transport) is called.
    pub disabled: bool,
}

impl FakeServer {
    /// The connection string of the first listener, for one message type:
    /// `tcp://127.0.0.1:PORT/amps/json`.
    pub fn uri(&self, message_type: &str) -> String {
        let listeners = self.lock_listeners();
        let nowhere = || format!("tcp://127.0.0.1:0/amps/{message_type}");
        first(&listeners, |_| true).map_or_else(nowhere, |bound| bound.uri(Some(message_type)))
    }

    /// The address of the first listener that is no socket file; 127.0.0.1 with port 0 if there is
    /// none.
    pub fn addr(&self) -> SocketAddr {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let listeners = self.lock_listeners();
        first(&listeners, |bound| !bound.at.is_unix()).and_then(|bound| bound.at.addr()).unwrap_or(nowhere)
    }

    /// All listeners, in the order in which they were asked for.
    pub fn listeners(&self) -> Vec<Listening> {
        let describe = |bound: &Bound| Listening {
            name: bound.listen.name(),
            addr: bound.at.addr(),
            path: match &bound.at {
                Place::Tcp(_) => None,
                #[cfg(unix)]
                Place::Unix(path) => Some(path.clone()),
            },
            uri: bound.uri(None),
            disabled: bound.listen.transport.disabled,
        };
        self.lock_listeners().iter().map(describe).collect()
    }

    /// All listeners, each with whether it accepts now.
    pub(crate) fn listeners_now(&self) -> Vec<(Listening, bool)> {
        let open: Vec<bool> = self.lock_listeners().iter().map(|bound| bound.id.is_some()).collect();
        self.listeners().into_iter().zip(open).collect()
    }

    /// The certificate, as PEM, of the authority that has signed the certificates which the server has
    /// made for itself: whoever trusts it trusts the server. `None` if it has made none, which it
    /// does only for listeners with TLS (Cargo feature `tls`) that were given no other. It is made
    /// anew with every start, and stays the same when the server is reset or restarted.
    ///
    /// ```
    /// # #[cfg(feature = "tls")] {
    /// let server = amps_testkit::FakeServer::builder().listen("tcps://127.0.0.1:0").start()?;
    /// assert!(server.ca_pem().is_some_and(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----")));
    /// # }
    /// # Ok::<(), amps_testkit::StartError>(())
    /// ```
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca.as_deref()
    }

    /// Opens a listener for the first time, or keeps its port if it begins disabled.
    pub(super) fn add_listener(&self, listen: &Listen) -> Result<(), StartError> {
        let bound = if listen.transport.disabled { reserve(listen)? } else { self.open(&listen.at, listen)? };
        self.lock_listeners().push(bound);
        Ok(())
    }

    pub(super) fn open(&self, at: &Place, listen: &Listen) -> Result<Bound, StartError> {
        let layers = listen.layers.clone();
        let (id, at) = match at {
            Place::Tcp(addr) => {
                let bind = |source| StartError::Bind { addr: *addr, source, place: listen.place() };
                let opened = self.machine.listen_with(*addr, SocketOptions::default(), layers);
                let (id, bound) = opened.map_err(bind)?;
                (id, Place::Tcp(bound))
            }
            #[cfg(unix)]
            Place::Unix(path) => {
                let bind =
                    |source| StartError::BindFile { path: path.clone(), source, place: listen.place() };
                (self.machine.listen_unix(path, layers).map_err(bind)?, at.clone())
            }
        };
        self.machine.post(Note::Transport(id, Box::new(listen.rules())));
        if listen.replication {
            self.machine.post(Note::ReplicationListener(id));
        }
        self.machine.post(Note::Script(Script::Name(id, listen.name())));
        Ok(Bound { listen: listen.clone(), at, id: Some(id), reserved: None })
    }

    /// Closes the listeners: who connects now is refused. Connections stay.
    pub fn stop_accepting(&self) {
        for bound in self.lock_listeners().iter_mut() {
            if let Some(id) = bound.id.take() {
                self.machine.stop_listening(id);
            }
        }
        for bound in self.lock_listeners().iter_mut().filter(|bound| bound.reserved.is_none()) {
            self.keep_port(bound);
        }
    }

    /// Keeps the port of a listener that was told to close, or waits until its socket file is gone.
    pub(super) fn keep_port(&self, bound: &mut Bound) {
        // The loop may be some turns away from closing the socket. That somebody else has the port shows when it
        // is opened again.
        for _ in 0..MOST_TURNS {
            let closed = match &bound.at {
                // It can be kept as soon as nobody listens on it.
                Place::Tcp(addr) => {
                    bound.reserved = Reservation::of(*addr);
                    bound.reserved.is_some()
                }
                #[cfg(unix)]
                Place::Unix(path) => !path.exists(),
            };
            if closed {
                break;
            }
            self.handed_over();
        }
    }

    /// Opens the listeners again, on the same ports; not those that were disabled from the start.
    ///
    /// # Errors
    /// Another process has taken a port.
    pub fn resume_accepting(&self) -> Result<(), StartError> {
        let closed = |bound: &&mut Bound| bound.id.is_none() && !bound.listen.transport.disabled;
        for bound in self.lock_listeners().iter_mut().filter(closed) {
            bound.reserved = None;
            *bound = self.open(&bound.at, &bound.listen)?;
        }
        Ok(())
    }

    pub(super) fn lock_listeners(&self) -> MutexGuard<'_, Vec<Bound>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first listener for clients; one that is disabled only if there is no other.
fn first(listeners: &[Bound], wanted: impl Fn(&Bound) -> bool) -> Option<&Bound> {
    let mut of_clients = listeners.iter().filter(|bound| !bound.listen.replication && wanted(bound));
    of_clients.clone().find(|bound| !bound.listen.transport.disabled).or_else(|| of_clients.next())
}

/// The port of a listener that is disabled at the start.
fn reserve(listen: &Listen) -> Result<Bound, StartError> {
    let (listen, id) = (listen.clone(), None);
    match listen.at.clone() {
        Place::Tcp(addr) => {
            let bind = |source| StartError::Bind { addr, source, place: listen.place() };
            let (reserved, addr) = Reservation::made(addr).map_err(bind)?;
            Ok(Bound { listen, at: Place::Tcp(addr), id, reserved: Some(reserved) })
        }
        #[cfg(unix)]
        at @ Place::Unix(_) => Ok(Bound { listen, at, id, reserved: None }),
    }
}
