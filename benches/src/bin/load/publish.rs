//! `load pub`: publishes on one thread, as fast as they go.

use std::time::Duration;

use serde_json::Value;

use crate::body::Body;
use crate::cli::Pub;
use crate::failure::Failure;
use crate::meter::{Measured, Reading};

/// How long a server may take to process what is on its way when the last publish was made.
const FLUSH_WITHIN: Duration = Duration::from_secs(300);

pub(crate) fn run(options: &Pub) -> Result<Value, Failure> {
    let client = options.server.connect("pub")?;
    let (topic, count) = (options.server.topic.as_str(), options.n);
    let mut body = Body::new(options.size);
    options.server.ready();
    let first = Reading::first();
    for _ in 0..count {
        client.publish(topic, body.bytes())?;
        body.advance();
    }
    client.flush(FLUSH_WITHIN)?;
    let measured = Measured::new(first, Reading::last(), count, count.saturating_mul(options.size as u64));
    Ok(measured.report(None))
}
