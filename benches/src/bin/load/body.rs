//! The bodies that are published.
//!
//! Owns their shape: JSON with a number in it, so that a topic with the key `/id` makes a record of each.

const HEAD: &[u8] = br#"{"id":""#;
const DIGITS: usize = 8;
const FILL: &[u8] = br#"","fill":""#;
const TAIL: &[u8] = br#""}"#;

/// A body of a fixed size that is a little different each time.
///
/// From 17 bytes on it is an object with an `id`; what is smaller is a string, or a digit, and always the same.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    numbered: bool,
}

impl Body {
    /// With the id 0.
    pub(crate) fn new(size: usize) -> Self {
        let bare = HEAD.len() + DIGITS + TAIL.len();
        let filled = bare + FILL.len();
        if size < bare {
            let bytes = match size {
                0 | 1 => b"0"[..size].to_vec(),
                _ => [b"\"".as_slice(), &vec![b'x'; size - 2], b"\""].concat(),
            };
            return Self { bytes, numbered: false };
        }
        let mut bytes = [HEAD, &[b'0'; DIGITS]].concat();
        if size >= filled {
            bytes.extend_from_slice(FILL);
            bytes.resize(size - TAIL.len(), b'x');
        }
        bytes.extend_from_slice(TAIL);
        // What has no room for another field is filled with space, which means nothing.
        bytes.resize(size, b' ');
        Self { bytes, numbered: true }
    }

    /// As it is.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The next id; after 99999999 comes 0.
    #[inline]
    pub(crate) fn advance(&mut self) {
        if !self.numbered {
            return;
        }
        let digits = self.bytes.iter_mut().skip(HEAD.len()).take(DIGITS).rev();
        for digit in digits {
            if *digit != b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_size_and_is_json() {
        for size in 0..300 {
            let body = Body::new(size);
            assert_eq!(body.bytes().len(), size);
            let text = std::str::from_utf8(body.bytes()).unwrap();
            assert!(size == 0 || serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
            assert_eq!(text.contains("\"id\""), size >= 17, "{text}");
        }
    }

    #[test]
    fn ids_count_and_begin_again() {
        let mut body = Body::new(17);
        for _ in 0..1234 {
            body.advance();
        }
        assert_eq!(body.bytes(), br#"{"id":"00001234"}"#);
        body.bytes.splice(7..15, *b"99999999");
        body.advance();
        assert_eq!(body.bytes(), br#"{"id":"00000000"}"#);
        let mut small = Body::new(3);
        small.advance();
        assert_eq!(small.bytes(), br#""x""#);
    }
}
