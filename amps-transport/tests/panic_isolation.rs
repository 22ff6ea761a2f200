//! A machine that panics takes nobody with it.

mod common;

use std::io::{Read, Write};

use amps_transport::EventLoop;
use common::{Bench, connect, read_to_end};

#[test]
fn only_the_machine_that_panics_is_removed() {
    let event_loop = EventLoop::start("panics").unwrap();
    let broken = Bench::on(&event_loop, |_, _, _| panic!("as the test wants it"));
    let sound = Bench::on(&event_loop, |conn, bytes, sink| sink.send(conn, &bytes.split()));
    let bystander = connect(broken.listen());
    let mut trigger = connect(broken.listen());
    let mut peer = connect(sound.listen());
    broken.accepted();
    broken.accepted();

    trigger.write_all(b"boom").unwrap();
    assert_eq!(read_to_end(&trigger), b"");
    assert_eq!(read_to_end(&bystander), b"");
    broken.handle.remove_and_wait();
    assert!(!broken.handle.post(Box::new(|_, _| ())));

    peer.write_all(b"still here").unwrap();
    let mut answer = [0; 10];
    peer.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"still here");
}
