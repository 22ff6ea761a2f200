//! To be filled.

mod engine;
#[doc(hidden)]
pub use engine::filter;
