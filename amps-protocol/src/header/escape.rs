//! Escapes inside header strings: the cold path, in both directions.

use alloc::vec::Vec;

use bytes::{BufMut, BytesMut};

/// Whether `text` holds a byte that [`escape_into`] would escape. Looks at eight bytes at a
/// time.
#[inline]
pub(super) fn must_be_escaped(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let mut words = text.chunks_exact(8);
    let mut found = 0;
    for word in words.by_ref() {
        let word = word.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk));
        let quote = (word ^ u64::from_le_bytes([b'"'; 8])).wrapping_sub(ONES);
        let backslash = (word ^ u64::from_le_bytes([b'\\'; 8])).wrapping_sub(ONES);
        let control = word.wrapping_sub(u64::from_le_bytes([b' '; 8]));
        // A borrow can mark a byte above one that is marked rightly, never the first.
        found |= (quote | backslash | control) & !word & HIGH;
    }
    found != 0 || words.remainder().iter().any(|&byte| is_escaped(byte))
}

const fn is_escaped(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// Appends `text` with `"`, `\` and control bytes escaped (protocol.md E-5). Everything
/// else, `/` and bytes above 0x7f included, is written as it is.
pub(super) fn escape_into(out: &mut BytesMut, text: &[u8]) {
    let mut plain = 0;
    for (at, &byte) in text.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            0..=0x1f => 0,
            _ => continue,
        };
        out.put_slice(&text[plain..at]);
        plain = at + 1;
        if short == 0 {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.put_slice(b"\\u00");
            out.put_u8(HEX[usize::from(byte >> 4)]);
            out.put_u8(HEX[usize::from(byte & 0xf)]);
        } else {
            out.put_slice(&[b'\\', short]);
        }
    }
    out.put_slice(&text[plain..]);
}

/// Undoes the escapes of a received string (D-6 to D-8): `\uXXXX` becomes UTF-8, a
/// surrogate pair one code point, a lone surrogate U+FFFD, an unknown escape stays as it is.
pub(super) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let Some(&kind) = rest.get(at + 1) else {
            rest = &rest[at..];
            break;
        };
        rest = &rest[at + 2..];
        let plain = match kind {
            b'"' | b'\\' | b'/' => kind,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                rest = unescape_unicode(rest, &mut out);
                continue;
            }
            _ => {
                out.push(b'\\');
                kind
            }
        };
        out.push(plain);
    }
    out.extend_from_slice(rest);
    out
}

/// `rest` begins behind `\u`. Returns what follows the code point.
fn unescape_unicode<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let Some(first) = hex4(rest) else {
        out.extend_from_slice(b"\\u");
        return rest;
    };
    let mut after = &rest[4..];
    let mut code = u32::from(first);
    if (0xd800..0xdc00).contains(&first) {
        if let Some(low) = after.strip_prefix(b"\\u").and_then(hex4).filter(|l| (0xdc00..0xe000).contains(l))
        {
            code = 0x10000 + ((u32::from(first) - 0xd800) << 10) + (u32::from(low) - 0xdc00);
            after = &after[6..];
        }
    }
    let symbol = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(symbol.encode_utf8(&mut [0; 4]).as_bytes());
    after
}

fn hex4(text: &[u8]) -> Option<u16> {
    text.get(..4)?.iter().try_fold(0u16, |code, &digit| {
        let value = char::from(digit).to_digit(16)?;
        Some(code << 4 | u16::try_from(value).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        escape_into(&mut out, text);
        out.to_vec()
    }

    #[test]
    fn control_bytes_quotes_and_backslashes_are_escaped_and_nothing_else() {
        assert_eq!(escaped(b"a\\b"), b"a\\\\b");
        assert_eq!(escaped(b"\"x\t\x01/\xff\""), b"\\\"x\\t\\u0001/\xff\\\"");
    }

    #[test]
    fn every_byte_that_must_be_escaped_is_noticed_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for (length, at) in (1..20).flat_map(|length| (0..length).map(move |at| (length, at))) {
                for filler in [b'a', b'#', 0xff, b']'] {
                    let mut text = alloc::vec![filler; length];
                    text[at] = byte;
                    assert_eq!(must_be_escaped(&text), is_escaped(byte), "{text:?}");
                    assert_eq!(must_be_escaped(&text), escaped(&text) != text, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn surrogates_and_unknown_escapes_follow_the_rules() {
        assert_eq!(unescape(br"\ud83d\ude00\q"), "😀\\q".as_bytes());
        assert_eq!(unescape(br"\ud83dx"), "\u{fffd}x".as_bytes());
        assert_eq!(unescape(br"\u12"), br"\u12");
        assert_eq!(unescape(br"a\"), br"a\");
    }
}
