//! The golden vectors as data.

use crate::common::bytes_of;

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
