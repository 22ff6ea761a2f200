//! Who hears of a message, and what each hears of it (server.md 2.3, 4.4, 4.10).
//!
//! Owns the rule of one frame per connection: all its subscriptions that a message is for are
//! listed in `sids`, and the frame has what each of them asked for (DEL-01, DEL-09). Queue
//! deliveries and replays are streams of their own and not of this module.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;
use std::sync::Arc;

use amps_protocol::{CommandKind, Field, FrameWriter, OofReason, format_timestamp};
use amps_transport::{ConnId, Sink, Time};

use super::Engine;
use super::filter::Memo;
use super::format::{Format, Select};
use super::selector::Facts;
use super::sow::{Layout, Record};
use super::subscription::{SubKey, Subscription};
use super::topic::Route;

/// Something that happened to a topic: a message, or the end of a record.
#[derive(Clone, Copy)]
pub(crate) struct News<'a> {
    /// The key of the record, where there is one.
    pub(crate) key: Option<&'a str>,
    /// How the records of the topic are read, where it keeps any.
    pub(crate) layout: Option<&'a Arc<Layout>>,
    /// The record as it was.
    pub(crate) old: Option<Facts<'a>>,
    /// The message, which is the record from now on; `None` if it is gone.
    pub(crate) new: Option<Facts<'a>>,
    /// Why it is gone.
    pub(crate) left: Option<OofReason>,
}

/// What a message is for one subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// All of it.
    Whole,
    /// What changed.
    Delta,
    /// It leaves its focus.
    Leaves,
    /// It may not be seen any more.
    Lost,
}

impl Engine {
    pub(super) fn fan_out<S: Sink>(&mut self, now: Time, route: &Route, news: &News<'_>, sink: &mut S) {
        if route.audience.is_large() {
            // Many filters look at the same fields.
            let old = news.old.map(|facts| Memo::new(facts.document));
            let new = news.new.map(|facts| Memo::new(facts.document));
            let news = News {
                old: remembering(news.old, old.as_ref()),
                new: remembering(news.new, new.as_ref()),
                ..*news
            };
            return self.tell_all(now, route, &news, sink);
        }
        self.tell_all(now, route, news, sink);
    }

    fn tell_all<S: Sink>(&mut self, now: Time, route: &Route, news: &News<'_>, sink: &mut S) {
        for &key in &route.conflated {
            let role = self.subscriptions.get(&key).and_then(|subscription| role(subscription, news, now));
            if let Some(role) = role {
                self.hold(now, key, role, news, sink);
            }
        }
        for (conn, keys) in &*route.audience.concerned(news.old, news.new, now) {
            let (mut whole, mut deltas) = (Vec::new(), Vec::new());
            let (mut leaving, mut lost) = (Vec::new(), Vec::new());
            for &key in keys {
                let Some(subscription) = self.subscriptions.get(&key) else { continue };
                match role(subscription, news, now) {
                    Some(Role::Whole) => whole.push(key),
                    Some(Role::Delta) => deltas.push(key),
                    Some(Role::Leaves) => leaving.push(key),
                    Some(Role::Lost) => lost.push(key),
                    None => {}
                }
            }
            if !leaving.is_empty() {
                self.send_oof(now, *conn, &leaving, news, sink);
            }
            if !lost.is_empty() {
                let gone = News { new: None, left: Some(OofReason::Entitlement), ..*news };
                self.send_oof(now, *conn, &lost, &gone, sink);
            }
            if whole.is_empty() {
                self.send_deltas(now, *conn, &deltas, news, sink);
            } else {
                // The order of creation, which the keys have (DEL-01).
                whole.append(&mut deltas);
                whole.sort_unstable();
                self.send_whole(now, *conn, &whole, news, sink);
            }
        }
    }

    fn send_whole<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        keys: &[SubKey],
        news: &News<'_>,
        sink: &mut S,
    ) {
        let Some(facts) = news.new else { return };
        let body = self.shown(conn, facts.resource, facts.format, facts.body, self.selected(keys).as_ref());
        self.send_message(now, conn, keys, news, facts, &body, sink);
    }

    /// What changed, to subscriptions that all want no more than that.
    fn send_deltas<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        keys: &[SubKey],
        news: &News<'_>,
        sink: &mut S,
    ) {
        let (Some(facts), Some(old), Some(layout)) = (news.new, news.old, news.layout) else { return };
        let select = self.selected(keys);
        let cut = |body| self.shown(conn, facts.resource, &layout.format, body, select.as_ref());
        let delta = |key: &SubKey| self.subscriptions.get(key).and_then(Subscription::delta);
        let with_keys = keys.iter().filter_map(delta).any(|delta| delta.keys);
        let difference = layout.format.difference(&cut(old.body), &cut(facts.body), &layout.keys, with_keys);
        let wanted: Vec<SubKey> = keys
            .iter()
            .filter(|key| {
                !delta(key).is_some_and(|delta| delta.no_empties)
                    || self.sees_change(conn, **key, old, facts, layout)
            })
            .copied()
            .collect();
        if !wanted.is_empty() {
            self.send_message(now, conn, &wanted, news, facts, &difference.body, sink);
        }
    }

    /// Whether anything changed that this subscription asked for (SEL-07).
    fn sees_change(
        &self,
        conn: ConnId,
        key: SubKey,
        old: Facts<'_>,
        new: Facts<'_>,
        layout: &Layout,
    ) -> bool {
        let select = self.selected(&[key]);
        let cut = |body| self.shown(conn, new.resource, &layout.format, body, select.as_ref());
        layout.format.difference(&cut(old.body), &cut(new.body), &layout.keys, false).changed
    }

    #[expect(clippy::too_many_arguments, reason = "who, what and where are all different things")]
    fn send_message<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        keys: &[SubKey],
        news: &News<'_>,
        facts: Facts<'_>,
        body: &[u8],
        sink: &mut S,
    ) {
        self.send_body(now, now, conn, keys, news, facts, body, sink);
    }

    /// `at` is when the server took the message.
    #[expect(clippy::too_many_arguments, reason = "who, what, when and where are all different things")]
    pub(super) fn send_body<S: Sink>(
        &mut self,
        now: Time,
        at: Time,
        conn: ConnId,
        keys: &[SubKey],
        news: &News<'_>,
        facts: Facts<'_>,
        body: &[u8],
        sink: &mut S,
    ) {
        self.delivered += 1;
        let subscriptions = || keys.iter().filter_map(|key| self.subscriptions.get(key));
        let any = |wants: fn(&Subscription) -> bool| subscriptions().any(wants);
        let bookmark = facts.bookmark.filter(|_| any(|s| s.shape.bookmark)).map(|b| b.to_string());
        let timestamp = any(|s| s.shape.timestamp).then(|| format_timestamp(at.as_unix_nanos()).to_string());
        let key = news.key.filter(|_| any(|s| !s.shape.no_sowkey));
        FrameWriter::new(&mut self.out, CommandKind::Publish)
            .maybe_text(Field::Bookmark, bookmark)
            .text(Field::Topic, facts.topic)
            .list(Field::SubIds, subscriptions().map(|s| s.id.as_bytes()))
            .maybe_text(Field::SowKey, key)
            .maybe_text(Field::CorrelationId, facts.correlation)
            .maybe_text(Field::Timestamp, timestamp)
            .maybe_number(Field::Length, self.config.switches.publish_length.then_some(body.len() as u64))
            .finish(body);
        self.transmit(now, conn, sink);
    }

    fn send_oof<S: Sink>(&mut self, now: Time, conn: ConnId, keys: &[SubKey], news: &News<'_>, sink: &mut S) {
        // A record that is still there no longer matches; then its new state is told (OOF-01).
        let (facts, reason) = match (news.new, news.left) {
            (Some(facts), _) => (facts, OofReason::Match),
            (None, Some(reason)) => match news.old {
                Some(facts) => (facts, reason),
                None => return,
            },
            (None, None) => return,
        };
        self.delivered += 1;
        let body = self.shown(conn, facts.resource, facts.format, facts.body, self.selected(keys).as_ref());
        let subscriptions = || keys.iter().filter_map(|key| self.subscriptions.get(key));
        let timestamp = subscriptions().any(|s| s.shape.timestamp);
        let timestamp = timestamp.then(|| format_timestamp(now.as_unix_nanos()).to_string());
        let key = news.key.filter(|_| subscriptions().any(|s| !s.shape.no_sowkey));
        FrameWriter::new(&mut self.out, CommandKind::Oof)
            .text(Field::Topic, facts.topic)
            .list(Field::SubIds, subscriptions().map(|s| s.id.as_bytes()))
            .maybe_text(Field::SowKey, key)
            .maybe_text(Field::CorrelationId, facts.correlation)
            .maybe_text(Field::Timestamp, timestamp)
            .text(Field::Reason, reason.token())
            .maybe_number(Field::Length, self.config.switches.publish_length.then_some(body.len() as u64))
            .finish(&body);
        self.transmit(now, conn, sink);
    }

    /// Tells one subscription that a record left its focus.
    #[expect(clippy::too_many_arguments, reason = "whom, of what, and why")]
    pub(super) fn send_out_of_focus<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        key: SubKey,
        layout: &Arc<Layout>,
        record: &Record,
        reason: OofReason,
        sink: &mut S,
    ) {
        let document = layout.format.read(&record.body);
        let facts = Facts::of_record(record, layout, &document);
        let news = News { key: Some(&record.key), layout: Some(layout), old: None, new: None, left: None };
        let news = match reason {
            OofReason::Match => News { new: Some(facts), ..news },
            reason => News { old: Some(facts), left: Some(reason), ..news },
        };
        self.send_oof(now, conn, &[key], &news, sink);
    }

    /// Tells one subscription, whatever its filter says, in a frame of its own (DEL-02).
    pub(super) fn tell<S: Sink>(
        &mut self,
        now: Time,
        conn: ConnId,
        key: SubKey,
        news: &News<'_>,
        sink: &mut S,
    ) {
        let delta = self.subscriptions.get(&key).is_some_and(|subscription| subscription.delta().is_some());
        let comparable = news.layout.is_some_and(|layout| layout.format.supports_delta());
        if delta && comparable && news.old.is_some() {
            self.send_deltas(now, conn, &[key], news, sink);
        } else {
            self.send_whole(now, conn, &[key], news, sink);
        }
    }

    /// What a connection gets to see of a body: what it may see, and of that what it asked for
    /// (SEL-04). Every body that leaves the engine passes here.
    pub(super) fn shown<'b>(
        &self,
        conn: ConnId,
        resource: Option<&str>,
        format: &Format,
        body: &'b [u8],
        select: Option<&Select>,
    ) -> Cow<'b, [u8]> {
        let rights = self.connections.get(&conn).and_then(|connection| connection.rights.as_ref());
        let visible = match rights.zip(resource) {
            Some((rights, resource)) => rights.visible(resource, format, body),
            None => Cow::Borrowed(body),
        };
        match select {
            Some(select) => Cow::Owned(format.select(&visible, select)),
            None => visible,
        }
    }

    /// The fields that any of the subscriptions wants; `None` if one wants all (DEL-09).
    pub(super) fn selected(&self, keys: &[SubKey]) -> Option<Select> {
        let subscriptions = keys.iter().filter_map(|key| self.subscriptions.get(key));
        let lists: Option<Vec<_>> = subscriptions.map(|s| s.shape.select.as_deref()).collect();
        lists.map(Select::union)
    }
}

/// The same facts, with the document as it is remembered.
fn remembering<'m, 'd: 'm>(facts: Option<Facts<'d>>, memo: Option<&'m Memo<'d>>) -> Option<Facts<'m>> {
    Some(Facts { document: memo?, ..facts? })
}

/// What the news are for a subscription; `None` if they are not for it.
fn role(subscription: &Subscription, news: &News<'_>, now: Time) -> Option<Role> {
    let wants =
        |facts: Facts<'_>| subscription.selector.as_ref().is_none_or(|selector| selector.matches(facts, now));
    let allowed = |facts| subscription.selector.as_ref().is_none_or(|selector| selector.allows(facts, now));
    let shape = &subscription.shape;
    if !news.new.is_some_and(wants) {
        if !shape.oof || !news.old.is_some_and(wants) {
            return None;
        }
        return Some(if news.new.is_none_or(allowed) { Role::Leaves } else { Role::Lost });
    }
    let comparable = news.layout.is_some_and(|layout| layout.format.supports_delta());
    match news.old {
        // A record that comes into focus, or could not be seen before, comes whole (DS-01, OOF-04).
        Some(old) if shape.delta.is_some() && comparable && allowed(old) && (!shape.oof || wants(old)) => {
            Some(Role::Delta)
        }
        _ => Some(Role::Whole),
    }
}
