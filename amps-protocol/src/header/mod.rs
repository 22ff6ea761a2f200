//! Headers: the flat, JSON-like object at the front of every frame.

mod field;
pub use field::Field;
mod decode;
pub use decode::{Header, Member, Members};
mod encode;
pub use encode::FrameWriter;
mod escape;
mod grammar;
pub(crate) use grammar::is_white;
mod shape;
pub(crate) use shape::Shapes;
