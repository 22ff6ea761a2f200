//! Shapes: what earlier headers looked like, so that the next of the same shape needs no parser.
//!
//! A server writes message after message with the same keys in the same order; what differs is within the quotes, and
//! nearly always as long as before. Owns the comparison: a header has a known shape if every byte outside of values is
//! the same, and no value ends earlier or is escaped. Then it has the index of the one that the shape was learned
//! from. Anything else is the parser's business (`decode.rs`), which also decides what a shape is: nothing is accepted
//! here that it would not accept with the same result.

use alloc::vec::Vec;

use super::decode::Header;
use super::field::Field;
use super::grammar;

/// Longer headers are parsed each time.
const LONGEST: usize = 256;

const WORDS: usize = LONGEST / 8;

/// So many shapes are known at a time.
const MOST: usize = 8;

/// Bare numbers in one header.
const NUMBERS: usize = 4;

/// Each shape that is recognised pays this much towards learning others, up to the price of all.
const PRICE: u32 = 8;

/// After so many headers in a row that had no known shape, what is known is of no use.
const PATIENCE: u32 = 256;

/// So many headers are then not looked at.
const REST: u32 = 4096;

/// A header that may come again with other values.
struct Shape {
    len: usize,
    /// The header, eight bytes at a time, and last its last eight bytes.
    text: [u64; WORDS],
    /// All bits of each byte that must be the same.
    fixed: [u64; WORDS],
    tail: (u64, u64),
    /// Where bare numbers stand: only digits may take the place of their digits.
    numbers: [(u8, u8); NUMBERS],
    index: Header,
}

/// The shapes of the headers that came last.
pub(crate) struct Shapes {
    known: Vec<Shape>,
    /// The one that was recognised last.
    last: usize,
    /// The next one to be forgotten.
    next: usize,
    credit: u32,
    /// Headers in a row without a known shape.
    misses: u32,
    resting: u32,
}

/// A copy learns anew.
impl Clone for Shapes {
    fn clone(&self) -> Self {
        if self.resting == u32::MAX { Self::none() } else { Self::new() }
    }
}

impl Shapes {
    /// Learns nothing.
    pub(crate) const fn none() -> Self {
        Self { known: Vec::new(), last: 0, next: 0, credit: 0, misses: 0, resting: u32::MAX }
    }

    pub(crate) const fn new() -> Self {
        // Two headers are too few to tell that more will come.
        Self { known: Vec::new(), last: 0, next: 0, credit: 0, misses: 0, resting: 2 }
    }

    /// The index of the header at the front of `text`, if its shape is known.
    #[inline]
    pub(crate) fn recall(&mut self, text: &[u8]) -> Option<&Header> {
        if self.known.get(self.last).is_some_and(|shape| shape.fits(text)) {
            self.credit = (self.credit + 1).min(PRICE * MOST as u32);
            self.misses = 0;
            return self.known.get(self.last).map(|shape| &shape.index);
        }
        self.recall_other(text)
    }

    #[inline(never)]
    fn recall_other(&mut self, text: &[u8]) -> Option<&Header> {
        let last = self.last;
        let found = self.known.iter().enumerate().position(|(i, shape)| i != last && shape.fits(text))?;
        self.last = found;
        self.credit = (self.credit + 1).min(PRICE * MOST as u32);
        self.misses = 0;
        self.known.get(found).map(|shape| &shape.index)
    }

    /// Whether a header without a known shape should be learned.
    #[inline]
    pub(crate) fn is_curious(&mut self) -> bool {
        if self.resting > 0 {
            if self.resting != u32::MAX {
                self.resting -= 1;
                self.credit = PRICE * MOST as u32;
            }
            return false;
        }
        self.misses += 1;
        if self.misses > PATIENCE {
            self.known.clear();
            (self.last, self.next) = (0, 0);
            (self.misses, self.resting) = (0, REST);
            return false;
        }
        if self.credit < PRICE {
            return false;
        }
        self.credit -= PRICE;
        true
    }

    /// Learns the shape of the header at the front of `text`, which `index` was decoded from.
    #[cold]
    pub(crate) fn learn(&mut self, text: &[u8], index: &Header, of_record: bool) {
        let Some(shape) = Shape::of(text, index, of_record) else { return };
        match self.known.get_mut(self.next) {
            Some(place) => *place = shape,
            None => {
                // Most connections see one or two, and there may be thousands of those.
                self.known.reserve_exact(1);
                self.known.push(shape);
            }
        }
        self.next = (self.next + 1) % MOST;
    }
}

impl Shape {
    /// The shape of a header, unless values alone do not tell its index.
    fn of(text: &[u8], index: &Header, of_record: bool) -> Option<Self> {
        let (mut rest, ()) = grammar::open(text).ok()?;
        let mut fixed = [0xff_u8; LONGEST];
        let (mut numbers, mut count) = ([(0, 0); NUMBERS], 0);
        while let Ok((after, Some(member))) = grammar::next_member_aside(rest) {
            rest = after;
            let value = member.value;
            let end = text.len() - rest.len() - usize::from(value.quoted);
            let start = end - value.text.len();
            // What is interpreted, and not only found, is a part of the shape.
            let interpreted = matches!(member.field, Some(Field::Command | Field::AckType | Field::Status));
            let absent = member.field.is_some_and(|field| super::decode::is_absent(field, &value));
            if end > LONGEST || value.escaped || of_record && (absent || interpreted) {
                return None;
            }
            let number = !value.quoted && value.text.iter().all(u8::is_ascii_digit);
            if number {
                *numbers.get_mut(count)? = (u8::try_from(start).ok()?, u8::try_from(end).ok()?);
                count += 1;
            }
            if !interpreted && (value.quoted || number) {
                fixed.get_mut(start..end)?.fill(0);
            }
        }
        let Ok((rest, None)) = grammar::next_member_aside(rest) else { return None };
        let len = text.len() - rest.len();
        let header = text.get(..len).filter(|_| (8..=LONGEST).contains(&len))?;
        let mut shape = Self {
            len,
            text: [0; WORDS],
            fixed: [0; WORDS],
            tail: (word(header.last_chunk::<8>()?), word(fixed.get(..len)?.last_chunk::<8>()?)),
            numbers,
            index: index.clone(),
        };
        for ((place, fixed_place), (bytes, fixed)) in
            shape.text.iter_mut().zip(&mut shape.fixed).zip(header.chunks_exact(8).zip(fixed.chunks_exact(8)))
        {
            (*place, *fixed_place) = (word(bytes), word(fixed));
        }
        Some(shape)
    }

    #[inline]
    fn fits(&self, text: &[u8]) -> bool {
        let Some(header) = text.get(..self.len) else { return false };
        // Where the header ends tells most of those apart that differ at all.
        let Some(tail) = header.last_chunk::<8>() else { return false };
        let mut wrong = differs(word(tail), self.tail.0, self.tail.1);
        if wrong != 0 {
            return false;
        }
        for ((bytes, old), fixed) in header.chunks_exact(8).zip(&self.text).zip(&self.fixed) {
            wrong |= differs(word(bytes), *old, *fixed);
        }
        wrong == 0
            && self.numbers.iter().all(|&(start, end)| {
                let digits = header.get(usize::from(start)..usize::from(end)).unwrap_or_default();
                digits.iter().all(u8::is_ascii_digit)
            })
    }
}

#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

/// Not 0 if a byte differs that must not, or one that may ends a string.
#[inline(always)]
const fn differs(new: u64, old: u64, fixed: u64) -> u64 {
    ((new ^ old) & fixed) | ((zeros(new ^ QUOTES) | zeros(new ^ BACKSLASHES)) & HIGH & !fixed)
}

const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);
const HIGH: u64 = u64::from_le_bytes([0x80; 8]);

/// Marks with its high bit each byte that is 0, and perhaps one that is 1 if the byte before it is marked. What other
/// bits say means nothing. To mark exactly the zeros takes half as long again, and a mark too many only sends a
/// header to the parser.
#[inline(always)]
const fn zeros(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    word.wrapping_sub(ONES) & !word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_that_is_zero_is_marked_and_others_only_behind_it() {
        for byte in 0..=u8::MAX {
            for other in [0, 1, 0x7f, 0x80, 0xff] {
                let bytes = [byte, other, byte, 0, other, byte, 1, byte];
                let marks = (zeros(u64::from_le_bytes(bytes)) & HIGH).to_le_bytes();
                for (at, mark) in marks.into_iter().enumerate() {
                    let behind_one = at > 0 && bytes[at] == 1 && marks[at - 1] != 0;
                    assert!((mark != 0) == (bytes[at] == 0 || behind_one), "{bytes:?} {marks:?}");
                }
            }
        }
    }

    fn learned(text: &[u8]) -> Shapes {
        let mut index = Header::default();
        index.decode(text).unwrap();
        let mut shapes = Shapes::new();
        shapes.learn(text, &index, false);
        shapes
    }

    #[test]
    fn values_may_differ_and_nothing_else() {
        let mut shapes = learned(br#"{"c":"p","t":"orders","s":17,"sids":"1"}{"id":1}"#);
        for same in [
            &br#"{"c":"p","t":"trades","s":99,"sids":"7"}"#[..],
            br#"{"c":"p","t":"}{,:  ","s":00,"sids":"1"}x"#,
        ] {
            assert!(shapes.recall(same).is_some(), "{}", same.escape_ascii());
        }
        for other in [
            &br#"{"c":"q","t":"orders","s":17,"sids":"1"}"#[..],
            br#"{"c":"p","x":"orders","s":17,"sids":"1"}"#,
            br#"{"c":"p","t":"orde","x":7,"s":17,"sids":"1"}"#,
            br#"{"c":"p","t":"ord\"rs","s":17,"sids":"1"}"#,
            br#"{"c":"p","t":"order","s":17,"sids":"11"}"#,
            br#"{"c":"p","t":"orders","s":1e,"sids":"1"}"#,
            br#"{"c":"p","t":"orders","s":,7,"sids":"1"}"#,
            br#"{"c":"p","t":"orders","s":17,"sids":"1","#,
            br#"{"c":"p","t":"orders","s":17,"sids":""#,
        ] {
            assert!(shapes.recall(other).is_none(), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn whoever_sees_nothing_but_new_shapes_stops_looking_for_a_while() {
        let mut shapes = Shapes::new();
        let learned = (0..10 * REST).filter(|_| shapes.is_curious()).count();
        assert!((MOST..=10 * MOST).contains(&learned), "{learned}");
    }
}
