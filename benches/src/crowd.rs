//! Many clients on one loop thread, alone in a process: what they take.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use amps_client::{Client, EventLoop};

use crate::content;
use crate::peer::answer;
use crate::system::{cpu, open_many, rss_kb};

/// Accepts so many clients, one after the other, and sends each a message when told to.
///
/// # Panics
/// When loopback does not work.
pub fn serve(clients: usize) {
    open_many();
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    println!("tcp://{}/amps/json", listener.local_addr().expect("an address"));
    let mut streams: Vec<TcpStream> = Vec::new();
    for _ in 0..clients {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        answer(&mut stream, 2);
        streams.push(stream);
    }
    let message = content::of_size(128, 1);
    for order in std::io::stdin().lines() {
        let Some(seconds) = order.ok().and_then(|order| order.parse::<usize>().ok()) else { return };
        let began = Instant::now();
        let pace = Duration::from_secs(1).div_f64(clients as f64);
        for (number, stream) in (0..seconds).flat_map(|_| &streams).enumerate() {
            if stream.try_clone().and_then(|mut stream| stream.write_all(&message)).is_err() {
                return;
            }
            let due = pace.mul_f64((number + 1) as f64);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        println!("done");
    }
}

/// What so many clients take: memory in KiB, of that per client, and the share of a processor with one message a
/// second for each.
///
/// # Panics
/// When loopback does not work.
pub fn measure(uri: &str, clients: usize, order: impl FnOnce(usize)) -> (u64, f64, f64) {
    const SECONDS: usize = 5;
    open_many();
    let event_loop = EventLoop::new().expect("a thread");
    let bare = rss_kb();
    let seen = Arc::new(AtomicUsize::new(0));
    let place = |number| {
        let client = Client::builder(format!("crowd-{number}")).server(uri).event_loop(&event_loop).connect();
        let client = client.expect("a connection");
        let seen = Arc::clone(&seen);
        let handler = move |_: &amps_client::Message<&[u8]>| {
            seen.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        client.subscribe("orders").sub_id("1").on_message(handler).expect("a subscription");
        client
    };
    let crowd: Vec<Client> = (0..clients).map(place).collect();
    let (began, used) = (Instant::now(), cpu());
    order(SECONDS);
    // Of the time that so many messages should take: a peer that cannot keep the pace must not make it look less.
    let share = (cpu() - used).as_secs_f64() / began.elapsed().as_secs_f64().min(SECONDS as f64);
    assert!(seen.load(Ordering::Relaxed) > clients * (SECONDS - 1), "the messages came");
    let memory = rss_kb();
    drop(crowd);
    (memory, memory.saturating_sub(bare) as f64 / clients as f64, share * 100.0)
}
