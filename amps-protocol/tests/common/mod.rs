//! Reading the data files: escapes, and nothing that is under test.

/// Undoes `\xhh` and `\\`, as the data files write bytes that a reader could not see.
pub(crate) fn bytes_of(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = match (byte, tail) {
            (b'\\', [b'x', high, low, tail @ ..]) => {
                let digits = [*high, *low];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                tail
            }
            (b'\\', [b'\\', tail @ ..]) => {
                out.push(b'\\');
                tail
            }
            (b'\\', _) => panic!("a lone backslash in {text:?}"),
            _ => {
                out.push(*byte);
                tail
            }
        };
    }
    out
}

/// One golden vector.
pub(crate) struct Vector {
    pub(crate) id: String,
    pub(crate) prefix: u32,
    /// Whether a client sends it; else a server does.
    pub(crate) from_client: bool,
    /// Encoders never write it.
    pub(crate) decode_only: bool,
    pub(crate) frame: Vec<u8>,
}

/// The golden vectors of `data/vectors.txt`.
pub(crate) fn vectors() -> Vec<Vector> {
    let mut vectors: Vec<Vector> = Vec::new();
    for line in include_str!("../data/vectors.txt").lines() {
        if let Some(header) = line.strip_prefix("  H ") {
            vectors.last_mut().unwrap().frame.extend_from_slice(header.as_bytes());
        } else if let Some(body) = line.strip_prefix("  B ") {
            vectors.last_mut().unwrap().frame.extend_from_slice(&bytes_of(body));
        } else if line.starts_with('V') {
            let mut words = line.split(' ');
            vectors.push(Vector {
                id: words.next().unwrap().into(),
                prefix: u32::from_str_radix(words.next().unwrap(), 16).unwrap(),
                from_client: words.next().unwrap() == "C>S",
                decode_only: line.ends_with("(decode)"),
                frame: Vec::new(),
            });
        }
    }
    assert_eq!(vectors.len(), 63);
    vectors
}
