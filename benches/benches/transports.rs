//! What the ways to a server cost, each against its floor in the same run.
//! `cargo bench -p benches --bench transports`.

#[cfg(unix)]
fn main() {
    use benches::ratio::compare;
    use benches::transports::{BareTls, BareZlib, Inflating, Receiving, Way};

    const ROUNDS: usize = 15;
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    println!("median of {ROUNDS} rounds, minimum and maximum in brackets");
    for (size, messages) in [(128, 200_000), (4096, 40_000), (16 * 1024, 10_000)] {
        let at = |way| Receiving::new(way, directory, size);
        let (mut tcp, mut unix) = (at(Way::Tcp), at(Way::Unix));
        let (mut tls, mut web, mut zlib) = (at(Way::Tls), at(Way::WebSocket), at(Way::Zlib));
        compare(
            &format!("receive with a handler, bodies of {size} bytes"),
            messages,
            ROUNDS,
            &mut [
                ("TCP", &mut || tcp.run(messages)),
                ("Unix socket", &mut || unix.run(messages)),
                ("TLS", &mut || tls.run(messages)),
                ("WebSocket", &mut || web.run(messages)),
                ("zlib", &mut || zlib.run(messages)),
            ],
        );
        let mut bare = BareTls::new(directory, size);
        compare(
            "the same against rustls and a socket, which only read",
            messages,
            ROUNDS,
            &mut [("rustls alone", &mut || bare.run(messages)), ("TLS", &mut || tls.run(messages))],
        );
        let (mut bare, mut decoding) = (BareZlib::new(size), BareZlib::new(size));
        let mut transport = Inflating::new(directory, size);
        compare(
            "the same against flate2 in memory, which only decompresses",
            messages,
            ROUNDS,
            &mut [
                ("flate2 alone", &mut || bare.run(messages)),
                ("flate2, cut, decode, call", &mut || decoding.decode(messages)),
                ("the transport alone", &mut || transport.run(messages)),
                ("zlib", &mut || zlib.run(messages)),
            ],
        );
    }
}

#[cfg(not(unix))]
fn main() {}
