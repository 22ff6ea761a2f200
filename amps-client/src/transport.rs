//! How a server is reached: encryption, proxies, and ways of your own.
//!
//! Holds nothing itself: but for [`HttpProxy`] these are names of `amps-transport`. See
//! [`ClientBuilder::proxy`](crate::ClientBuilder::proxy),
//! [`ClientBuilder::http_headers`](crate::ClientBuilder::http_headers),
//! [`ClientBuilder::connector`](crate::ClientBuilder::connector), [`ClientBuilder::layer`](crate::ClientBuilder::layer),
//! and with the feature `tls` `ClientBuilder::tls`.

pub use crate::transports::HttpProxy;

pub use amps_transport::{
    Connector, CustomStream, HttpConfigError, HttpHeaders, Layer, LayerError, LayerState, LayerTrouble,
    Layers, MakeLayer,
};
#[cfg(feature = "tls")]
pub use amps_transport::{TlsClient, TlsClientBuilder, TlsSetupError, TlsVersion};
