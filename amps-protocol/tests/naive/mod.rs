//! A second header decoder, written straight from the grammar (protocol.md 2 and D-1 to D-17).
//!
//! It goes byte by byte, copies everything and knows no shortcut, so that it can be checked
//! against the specification by reading. It shares nothing with the decoder under test but
//! the list of field names.

pub(crate) mod compare;
pub(crate) mod records;

use amps_protocol::Field;

/// The fields that are present, each once, under the key that is written.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

/// The last that a header says about each field, be it that the field is absent; and where
/// the header ends.
type Said = (Vec<(String, Option<Vec<u8>>)>, usize);

/// Decodes the header of `frame`: its fields, and where the body begins; or at which byte it
/// stops being a header.
pub(crate) fn decode(frame: &[u8]) -> Result<(Fields, usize), usize> {
    let (said, body) = header(frame, 0)?;
    Ok((overlaid(Vec::new(), said), body))
}

/// What a header says, laid over what was said before.
fn overlaid(mut fields: Fields, said: Vec<(String, Option<Vec<u8>>)>) -> Fields {
    for (key, value) in said {
        fields.retain(|(known, _)| *known != key);
        fields.extend(value.map(|value| (key, value)));
    }
    fields
}

/// The header that begins at `at`.
fn header(frame: &[u8], at: usize) -> Result<Said, usize> {
    let mut cursor = Cursor { frame, at };
    let mut said: Vec<(String, Option<Vec<u8>>)> = Vec::new();

    cursor.skip(b" \t\r\n");
    cursor.expect(b'{')?;
    loop {
        // sep: white space and any number of commas (D-1).
        cursor.skip(b" \t\r\n,");
        match cursor.peek() {
            Some(b'}') => return Ok((said, cursor.at + 1)),
            Some(b'"') => {}
            _ => return Err(cursor.at),
        }
        let key = cursor.string()?;
        cursor.colon()?;
        let value = cursor.value()?;

        // An unknown key is ignored (M-5), after its value was checked like any other.
        let Some(field) = Field::from_key(&key) else { continue };
        // The last one wins, under whichever name (D-11): absence wins too.
        said.retain(|(known, _)| known != field.key());
        said.push((field.key().to_owned(), present(field.key(), value)));
    }
}

enum Value {
    Quoted(Vec<u8>),
    Bare(Vec<u8>),
}

/// The value, unless it means that the field is absent.
fn present(key: &str, value: Value) -> Option<Vec<u8>> {
    match value {
        // D-5
        Value::Bare(word) => (word != b"null").then_some(word),
        // D-14
        Value::Quoted(text) => {
            let identifier = ["cid", "sub_id", "sids", "query_id", "bm"].contains(&key);
            (!identifier || !text.is_empty()).then_some(text)
        }
    }
}

struct Cursor<'a> {
    frame: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.frame.get(self.at).copied()
    }

    fn skip(&mut self, any_of: &[u8]) {
        while self.peek().is_some_and(|byte| any_of.contains(&byte)) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), usize> {
        if self.peek() != Some(byte) {
            return Err(self.at);
        }
        self.at += 1;
        Ok(())
    }

    /// A missing colon is reported right behind the key, before any white space.
    fn colon(&mut self) -> Result<(), usize> {
        let behind_key = self.at;
        self.skip(b" \t\r\n");
        self.expect(b':').map_err(|_| behind_key)?;
        self.skip(b" \t\r\n");
        Ok(())
    }

    fn value(&mut self) -> Result<Value, usize> {
        if self.peek() == Some(b'"') {
            return Ok(Value::Quoted(self.string()?));
        }
        let mut word = Vec::new();
        while let Some(byte) = self.peek() {
            if b"\",{}[] \t\r\n".contains(&byte) {
                break;
            }
            word.push(byte);
            self.at += 1;
        }
        // Nothing at all, or a nested object or list (D-15).
        if word.is_empty() { Err(self.at) } else { Ok(Value::Bare(word)) }
    }

    /// A string that is never closed is reported where it opens.
    fn string(&mut self) -> Result<Vec<u8>, usize> {
        let opened = self.at;
        self.at += 1;
        let mut units = Vec::new();
        loop {
            let byte = self.peek().ok_or(opened)?;
            self.at += 1;
            match byte {
                b'"' => return Ok(join(&units)),
                b'\\' => {
                    let kind = self.peek().ok_or(opened)?;
                    self.at += 1;
                    self.escape(kind, &mut units);
                }
                // Control bytes and broken UTF-8 included (D-9, D-10).
                byte => units.push(Unit::Byte(byte)),
            }
        }
    }

    /// D-6 to D-8.
    fn escape(&mut self, kind: u8, units: &mut Vec<Unit>) {
        match kind {
            b'"' => units.push(Unit::Byte(0x22)),
            b'\\' => units.push(Unit::Byte(0x5c)),
            b'/' => units.push(Unit::Byte(0x2f)),
            b'b' => units.push(Unit::Byte(0x08)),
            b'f' => units.push(Unit::Byte(0x0c)),
            b'n' => units.push(Unit::Byte(0x0a)),
            b'r' => units.push(Unit::Byte(0x0d)),
            b't' => units.push(Unit::Byte(0x09)),
            b'u' => match self.four_hex_digits() {
                Some(code) => units.push(Unit::Code(code)),
                None => units.extend([Unit::Byte(b'\\'), Unit::Byte(b'u')]),
            },
            other => units.extend([Unit::Byte(b'\\'), Unit::Byte(other)]),
        }
    }

    fn four_hex_digits(&mut self) -> Option<u16> {
        let mut code = 0;
        for i in 0..4 {
            let digit = match self.frame.get(self.at + i)? {
                byte @ b'0'..=b'9' => byte - b'0',
                byte @ b'a'..=b'f' => byte - b'a' + 10,
                byte @ b'A'..=b'F' => byte - b'A' + 10,
                _ => return None,
            };
            code = code * 16 + u16::from(digit);
        }
        self.at += 4;
        Some(code)
    }
}

/// What a string is made of before surrogates are joined.
enum Unit {
    Byte(u8),
    /// Of a `\uXXXX`: a UTF-16 code unit.
    Code(u16),
}

/// D-7: a high surrogate directly followed by a low one is one code point, any other
/// surrogate is U+FFFD.
fn join(units: &[Unit]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut i = 0;
    while i < units.len() {
        match (&units[i], units.get(i + 1)) {
            (Unit::Byte(byte), _) => out.push(*byte),
            (Unit::Code(high @ 0xd800..=0xdbff), Some(Unit::Code(low @ 0xdc00..=0xdfff))) => {
                let code = 0x10000 + (u32::from(*high) - 0xd800) * 0x400 + (u32::from(*low) - 0xdc00);
                push_utf8(&mut out, code);
                i += 1;
            }
            (Unit::Code(0xd800..=0xdfff), _) => push_utf8(&mut out, 0xfffd),
            (Unit::Code(code), _) => push_utf8(&mut out, u32::from(*code)),
        }
        i += 1;
    }
    out
}

fn push_utf8(out: &mut Vec<u8>, code: u32) {
    let low_six = |shift: u32| 0x80 | (code >> shift & 0x3f) as u8;
    match code {
        0..=0x7f => out.push(code as u8),
        0x80..=0x7ff => out.extend([0xc0 | (code >> 6) as u8, low_six(0)]),
        0x800..=0xffff => out.extend([0xe0 | (code >> 12) as u8, low_six(6), low_six(0)]),
        _ => out.extend([0xf0 | (code >> 18) as u8, low_six(12), low_six(6), low_six(0)]),
    }
}

/// D-13: digits alone, and no more than 64 bits of them.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}
