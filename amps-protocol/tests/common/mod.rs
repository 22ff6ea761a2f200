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
