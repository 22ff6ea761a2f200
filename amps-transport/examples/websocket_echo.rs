//! Both sides of an echo over WebSocket: `listen`, which says where, or `connect HOST:PORT`, which checks what comes
//! back. The programs of other people that it talks to are in `xtask/interop/websocket.sh`.

use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use amps_transport::{
    CloseMode, ConnId, Detect, EventLoop, Input, Machine, Sink, SocketOptions, Target, Time, WebSocket,
};

/// Longer than anything takes here.
const LIMIT: Duration = Duration::from_secs(30);

/// Sends back whatever it receives.
struct Echo;

impl Machine for Echo {
    type Note = ();

    fn handle<S: Sink>(&mut self, _now: Time, input: Input<'_, ()>, sink: &mut S) {
        match input {
            Input::Received { conn, bytes } => sink.send(conn, &bytes.split()),
            Input::Accepted { .. } => println!("accepted"),
            Input::Closed { reason, .. } => println!("closed: {reason}"),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}

/// Sends frames when it is told to connect, and reports when all have come back, or what went wrong.
struct Ask {
    frames: Vec<u8>,
    back: Vec<u8>,
    outcome: Sender<Result<(), String>>,
}

impl Ask {
    fn report(&self, outcome: Result<(), String>) {
        // Only the first one is waited for.
        let _ = self.outcome.send(outcome);
    }
}

impl Machine for Ask {
    type Note = Target;

    fn handle<S: Sink>(&mut self, _now: Time, input: Input<'_, Target>, sink: &mut S) {
        match input {
            Input::Note(target) => {
                let _conn: ConnId = sink.connect(target);
            }
            Input::Connected { conn, .. } => sink.send(conn, &self.frames),
            Input::Received { conn, bytes } => {
                self.back.extend_from_slice(&bytes.split());
                if self.back == self.frames {
                    sink.close(conn, CloseMode::Flush);
                    self.report(Ok(()));
                } else if !self.frames.starts_with(&self.back) {
                    self.report(Err("what came back is something else".into()));
                }
            }
            Input::ConnectFailed { error, .. } => self.report(Err(error.to_string())),
            Input::Closed { reason, .. } => self.report(Err(reason.to_string())),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["listen"] => listen(),
        ["connect", address] => connect(address),
        _ => Err("write listen, or connect HOST:PORT".into()),
    }
}

/// Listens until somebody ends the program.
fn listen() -> Result<(), Box<dyn Error>> {
    let event_loop = EventLoop::start("echo")?;
    let echo = event_loop.add(Echo);
    let layers = vec![Arc::new(Detect::new()) as _];
    let (_, address) = echo.listen_with("127.0.0.1:0".parse()?, SocketOptions::default(), layers)?;
    println!("listening on {address}");
    loop {
        std::thread::park();
    }
}

fn connect(address: &str) -> Result<(), Box<dyn Error>> {
    let (host, port) = address.rsplit_once(':').ok_or("write HOST:PORT")?;
    let event_loop = EventLoop::start("ask")?;
    let (outcome, asked) = channel();
    let lengths = [2u32, 125, 126, 65_535, 65_536, 1_000_000];
    let frame = |length: u32| {
        let body = (0..length).map(|i| if i == 0 { b'{' } else { (i.wrapping_mul(i) / 7) as u8 });
        length.to_be_bytes().into_iter().chain(body).collect::<Vec<u8>>()
    };
    let frames = lengths.into_iter().flat_map(frame).collect();
    let ask = event_loop.add(Ask { frames, back: Vec::new(), outcome });
    let ways = WebSocket::new(address, "/amps/json")?;
    let target = Target { layers: vec![Arc::new(ways)], ..Target::tcp(host, port.parse()?, LIMIT) };
    ask.post(target);
    asked.recv_timeout(LIMIT).map_err(|_| "nothing came back in time")??;
    // The connection ends in an orderly way before the program does.
    ask.remove_and_wait();
    println!("everything came back");
    Ok(())
}
