//! What may move between threads, and what several may use at once: checked by the compiler.

use amps_client::bookmarks::{Bookmark, BookmarkRange};
use amps_client::payload::{CompositeBuilder, FixBuilder, NvfixBuilder};
use amps_client::{
    AckGuard, AckOption, Answer, Client, ClientBuilder, Closer, Command, ConflatingRecoveryPointAdapter,
    Connecting, ConnectionState, Counters, DeleteStats, Error, ErrorKind, EventLoop, FileBookmarkStore,
    HandlerSubscription, ListenerId, MemoryBookmarkStore, Message, Peer, PublishOptions, Receipt, Reconnect,
    RingBookmarkStore, SlowConsumer, Sow, SowDelete, SowRecoveryPointAdapter, Starting, StoreError,
    Subscribe, Subscription,
};

const fn sent<T: Send + 'static>() {}
const fn shared<T: Send + Sync + 'static>() {}
const fn sent_for_now<T: Send>() {}

/// Everything that an application holds may be shared, or at least handed on.
const _: () = {
    shared::<Client>();
    shared::<EventLoop>();
    shared::<HandlerSubscription>();
    shared::<Closer>();
    shared::<Receipt>();
    shared::<Peer>();
    shared::<Message>();
    shared::<AckGuard>();
    shared::<Command>();
    shared::<Subscribe>();
    shared::<Sow>();
    shared::<SowDelete>();
    shared::<PublishOptions>();
    shared::<AckOption>();
    shared::<Reconnect>();
    shared::<ConnectionState>();
    shared::<ListenerId>();
    shared::<SlowConsumer>();
    shared::<Counters>();
    shared::<DeleteStats>();
    shared::<Error>();
    shared::<ErrorKind>();
    shared::<Bookmark>();
    shared::<BookmarkRange>();
    shared::<CompositeBuilder>();
    shared::<FixBuilder>();
    shared::<MemoryBookmarkStore>();
    shared::<FileBookmarkStore>();
    shared::<RingBookmarkStore>();
    shared::<ConflatingRecoveryPointAdapter>();
    shared::<SowRecoveryPointAdapter>();
    shared::<StoreError>();
    shared::<NvfixBuilder>();
    // Read by one thread at a time, whichever it is.
    sent::<Subscription>();
    sent::<Starting>();
    sent::<Starting<HandlerSubscription>>();
    sent::<Connecting>();
    sent::<Answer<()>>();
    sent::<Answer<DeleteStats>>();
    sent::<ClientBuilder>();
    // As long as the call lasts.
    sent_for_now::<Message<&[u8]>>();
};

#[cfg(feature = "async")]
const _: () = sent::<amps_client::MessageStream>();

#[cfg(feature = "json")]
const _: () = {
    use amps_client::{Change, MapState, SowMap, SowMapBuilder, Typed, TypedError, TypedSubscription};
    shared::<SowMap<String, String>>();
    shared::<Change<String, String>>();
    shared::<MapState>();
    shared::<Typed<String>>();
    shared::<TypedError>();
    sent::<SowMapBuilder<String, String>>();
    sent::<TypedSubscription<String>>();
};

#[cfg(all(feature = "async", feature = "json"))]
const _: () = sent::<amps_client::TypedStream<String>>();

/// Futures may be spawned: checked by the compiler as well.
#[test]
fn futures_travel() {
    const fn travels<T: Send>(_: &T) {}
    let client = Client::builder("c").server("tcp://localhost:1/amps/json").build().unwrap();
    travels(&client.publish_future("t", "1"));
    travels(&client.subscribe("t").on_message_aside_future(|_| Ok(())));
    travels(&client.publish("t", "1").map(|receipt| receipt.stored_future()));
}

#[test]
fn errors_are_errors_that_travel() {
    let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(Error::Resumed);
    assert_eq!(boxed.downcast_ref::<Error>().map(Error::kind), Some(ErrorKind::Resumed));
}
