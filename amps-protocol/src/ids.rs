//! temporary
use crate::command::Text;
/// Id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id<'a>(Inner<'a>);
#[derive(Clone, Debug, PartialEq, Eq)]
enum Inner<'a> { Number(u64), Text(Text<'a>) }
impl<'a> Id<'a> {
    /// x
    pub const MAX_DIGITS: usize = 20;
    /// x
    pub fn new(text: impl Into<Text<'a>>) -> Result<Self, InvalidId> {
        let text = text.into();
        let bytes = text.as_bytes();
        if bytes.is_empty() || bytes == b"all" || bytes.contains(&b',') { return Err(InvalidId) }
        if bytes.len() <= 20 && (bytes == b"0" || bytes[0] != b'0') {
            if let Some(n) = crate::message::parse_u64(bytes) { return Ok(Self(Inner::Number(n))) }
        }
        Ok(Self(Inner::Text(text)))
    }
    /// x
    pub fn encode<'b>(&'b self, buffer: &'b mut [u8; 20]) -> &'b [u8] {
        match &self.0 {
            Inner::Text(t) => t.as_bytes(),
            Inner::Number(n) => { let mut b = itoa::Buffer::new(); let d = b.format(*n).as_bytes(); buffer[..d.len()].copy_from_slice(d); &buffer[..d.len()] }
        }
    }
    /// x
    pub fn into_owned(self) -> Id<'static> {
        Id(match self.0 { Inner::Number(n) => Inner::Number(n), Inner::Text(t) => Inner::Text(t.into_owned()) })
    }
}
impl From<u64> for Id<'_> { fn from(n: u64) -> Self { Self(Inner::Number(n)) } }
/// x
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidId;
