//! What may move between threads, and what several may use at once: checked by the compiler.

use amps_client::bookmarks::{Bookmark, BookmarkRange};
use amps_client::payload::{CompositeBuilder, FixBuilder, NvfixBuilder};
use amps_client::{
    AckGuard, AckOption, Answer, Client, ClientBuilder, Closer, Command, ConflatingRecoveryPointAdapter,
    ConnectionState, Counters, DeleteStats, Error, ErrorKind, EventLoop, FileBookmarkStore,
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
    sent::<Answer<()>>();
    sent::<Answer<DeleteStats>>();
    sent::<ClientBuilder>();
    // As long as the call lasts.
    sent_for_now::<Message<&[u8]>>();
};

#[cfg(feature = "async")]
const _: () = sent::<amps_client::MessageStream>();

#[test]
fn errors_are_errors_that_travel() {
    let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(Error::Resumed);
    assert_eq!(boxed.downcast_ref::<Error>().map(Error::kind), Some(ErrorKind::Resumed));
}
