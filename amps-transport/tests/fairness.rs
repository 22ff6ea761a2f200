//! One connection that never pauses starves neither timers nor other connections.

mod common;

#[cfg(unix)]
use std::io;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

#[cfg(unix)]
use amps_transport::{Address, Connector, CustomStream, Target};
use amps_transport::{Clock, EventLoop, Layer, LayerError, LayerState, Layers, MakeLayer, SocketOptions};
use bytes::BytesMut;
use common::{Bench, Event, connect};
#[cfg(unix)]
use mio::{Interest, Registry, Token, event::Source};

#[test]
fn a_flood_leaves_time_for_others() {
    let clock = Clock::new();
    let event_loop = EventLoop::start_with("fair", clock).unwrap();
    let flooded = Bench::on(&event_loop, |_, bytes, _| bytes.clear());
    let echo = Bench::on(&event_loop, |conn, bytes, sink| sink.send(conn, &bytes.split()));
    let mut peer = connect(echo.listen());

    let stop = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..2)
        .map(|_| {
            let mut flood = connect(flooded.listen());
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let bytes = vec![1; 1 << 20];
                while !stop.load(Ordering::Relaxed) {
                    flood.write_all(&bytes).unwrap();
                }
                flood.shutdown(Shutdown::Both).unwrap();
            })
        })
        .collect();
    // Nobody looks at what the flood brings.
    drop(flooded.events);

    for _ in 0..50 {
        echo.order(move |probe, _| probe.deadline = Some(clock.now() + Duration::from_millis(1)));
        peer.write_all(b"ping").unwrap();
        let mut answer = [0; 4];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ping");
        while !matches!(echo.next(), Event::Timer) {}
    }
    stop.store(true, Ordering::Relaxed);
    for flood in floods {
        flood.join().unwrap();
    }
}

/// Has something to read at any time.
#[cfg(unix)]
#[derive(Debug)]
struct Endless {
    watched: mio::net::UnixStream,
    _other_end: mio::net::UnixStream,
}

#[cfg(unix)]
impl Read for Endless {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        Ok(out.len())
    }
}

#[cfg(unix)]
impl Write for Endless {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(unix)]
impl Source for Endless {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.watched.register(registry, token, interests)
    }
    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.watched.reregister(registry, token, interests)
    }
    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.watched.deregister(registry)
    }
}

#[cfg(unix)]
impl CustomStream for Endless {
    fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        self.watched.shutdown(how)
    }
}

#[cfg(unix)]
#[derive(Debug)]
struct ToEndless;

#[cfg(unix)]
impl Connector for ToEndless {
    fn connect(&self, _: &str, _: u16, _: Duration) -> io::Result<Box<dyn CustomStream>> {
        let (watched, _other_end) = mio::net::UnixStream::pair()?;
        Ok(Box::new(Endless { watched, _other_end }))
    }
}

/// Takes everything, and nothing comes of it: pings, empty blocks, a handshake without an end.
#[cfg(unix)]
#[derive(Clone, Copy, Debug)]
struct Swallow(LayerState);

#[cfg(unix)]
impl MakeLayer for Swallow {
    fn make(&self, _: &str) -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(*self))
    }
}

#[cfg(unix)]
impl Layer for Swallow {
    fn start(&mut self, _: &mut BytesMut) -> Result<LayerState, LayerError> {
        Ok(self.0)
    }
    fn receive(
        &mut self,
        below: &mut BytesMut,
        _: &mut BytesMut,
        _: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        below.clear();
        Ok(self.0)
    }
    fn send(&mut self, _: &[u8], _: &mut BytesMut) -> Result<(), LayerError> {
        Ok(())
    }
}

#[cfg(unix)]
#[test]
fn a_layer_from_which_nothing_comes_leaves_time_for_others() {
    let event_loop = EventLoop::start("swallows").unwrap();
    let swallows = Bench::on(&event_loop, |_, bytes, _| bytes.clear());
    let echo = Bench::on(&event_loop, |conn, bytes, sink| sink.send(conn, &bytes.split()));
    let mut peer = connect(echo.listen());
    for state in [LayerState::Ready, LayerState::Handshaking] {
        let address = Address::Custom { connector: Arc::new(ToEndless), host: "endless".into(), port: 1 };
        let target =
            Target { address, layers: vec![Arc::new(Swallow(state))], ..Target::tcp("", 1, common::LIMIT) };
        swallows.connect(target);
        if state == LayerState::Ready {
            assert!(matches!(swallows.next(), Event::Connected { .. }));
        }
        for _ in 0..10 {
            peer.write_all(b"ping").unwrap();
            let mut answer = [0; 4];
            peer.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"ping");
        }
    }
    swallows.handle.remove_and_wait();
}

/// Says everything back, and counts it.
#[derive(Clone, Debug)]
struct Answers(Arc<AtomicUsize>);

impl MakeLayer for Answers {
    fn make(&self, _: &str) -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(self.clone()))
    }
}

impl Layer for Answers {
    fn receive(
        &mut self,
        below: &mut BytesMut,
        _: &mut BytesMut,
        answer: &mut BytesMut,
    ) -> Result<LayerState, LayerError> {
        self.0.fetch_add(below.len(), Ordering::Relaxed);
        answer.extend_from_slice(&below.split());
        Ok(LayerState::Ready)
    }
    fn send(&mut self, _: &[u8], _: &mut BytesMut) -> Result<(), LayerError> {
        Ok(())
    }
}

#[test]
fn a_peer_that_reads_late_is_held_back_and_then_gets_every_answer() {
    const ALL: usize = 8 << 20;
    let bench = Bench::new("answers");
    let answered = Arc::new(AtomicUsize::new(0));
    let small =
        SocketOptions { send_buffer: Some(8192), recv_buffer: Some(8192), ..SocketOptions::default() };
    let layers: Layers = vec![Arc::new(Answers(Arc::clone(&answered)))];
    let (_, address) = bench.handle.listen_with(common::loopback(), small, layers).unwrap();
    let mut peer = connect(address);
    let mut writing = peer.try_clone().unwrap();
    let bytes = common::pattern(ALL);
    let sent = bytes.clone();
    let writer = thread::spawn(move || writing.write_all(&sent).unwrap());
    common::until(|| answered.load(Ordering::Relaxed) > 1 << 20);
    let mut back = vec![0; ALL];
    peer.read_exact(&mut back).unwrap();
    assert!(back == bytes);
    writer.join().unwrap();
}
