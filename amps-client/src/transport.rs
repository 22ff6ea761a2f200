//! What a way of your own to reach a server consists of; see
//! [`ClientBuilder::connector`](crate::ClientBuilder::connector) and
//! [`ClientBuilder::layer`](crate::ClientBuilder::layer).
//!
//! Holds nothing itself: these are names of `amps-transport`.

pub use amps_transport::{
    Connector, CustomStream, Layer, LayerError, LayerState, LayerTrouble, Layers, MakeLayer,
};
