//! Pausing and resuming replays, one or several together (client.md BK-9 to BK-11).
//!
//! A server forgets what is paused when its connection ends. What was resumed by one command is
//! replayed together, in the order of the log, so after a reconnect it is placed paused, from a
//! place before anything that one of them still needs, and resumed by one command again.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use amps_protocol::AckType;
use amps_transport::Time;

use super::commands::{Purpose, Wait};
use super::outbound::{Effect, Outbound};
use super::recovery::RECOVERED;
use super::replay::common_point;
use super::subscription::{Pausing, SubKey, Subscription};
use crate::command::{Command, WireIds};

/// Replays that were resumed together.
pub(super) struct Groups(BTreeMap<u64, Group>);

pub(super) struct Group {
    ids: Vec<String>,
    topic: Option<String>,
    /// Where all of them begin again, if there is such a place.
    pub(super) begins: Option<String>,
}

impl Groups {
    pub(super) fn of(&self, subscription: &Subscription) -> Option<&Group> {
        match subscription.pausing {
            Pausing::Resumed(group) => self.0.get(&group),
            Pausing::No | Pausing::Paused => None,
        }
    }
}

impl Outbound {
    /// Replays are paused from now on, or resumed together.
    pub(super) fn replays_controlled(&mut self, serial: u64, command: &Command) {
        let pauses = command.get_options().pause();
        for id in command.get_sub_id().unwrap_or_default().split(',') {
            let Some(key) = self.key_of(id.trim()) else { continue };
            let Some(subscription) = self.subscriptions.get_mut(&key) else { continue };
            subscription.pausing = if pauses { Pausing::Paused } else { Pausing::Resumed(serial) };
            self.effects.push(Effect::Paused { key });
        }
    }

    /// What was resumed together, and is still there: two or more.
    pub(super) fn resumed_groups(&self) -> Groups {
        let mut members: BTreeMap<u64, Vec<&Subscription>> = BTreeMap::new();
        for subscription in self.subscriptions.values() {
            if let Pausing::Resumed(group) = subscription.pausing {
                members.entry(group).or_default().push(subscription);
            }
        }
        members.retain(|_, members| members.len() > 1);
        let group = |members: Vec<&Subscription>| {
            let replays: Option<Vec<_>> = members.iter().map(|member| member.replay.as_deref()).collect();
            Group {
                ids: members.iter().map(|member| member.id().to_string()).collect(),
                topic: members.first().and_then(|member| member.spec.command.get_topic().map(str::to_owned)),
                begins: replays.and_then(|replays| common_point(replays.into_iter())),
            }
        };
        Groups(members.into_iter().map(|(number, members)| (number, group(members))).collect())
    }

    /// Resumes every group by one command, in the order in which that was done first.
    pub(super) fn resume_again(&mut self, now: Time, groups: &Groups) {
        for (number, group) in &groups.0 {
            let serial = self.reserve().0;
            let topic = group.topic.clone().unwrap_or_default();
            let command = Command::subscribe(topic).sub_ids(&group.ids).resume();
            let ids = WireIds { command: amps_protocol::Id::number(serial), sub: None, query: None };
            if self.write_command(now, &command, &ids, Some(AckType::Processed)).is_err() {
                // As long as it was when the application sent it, so it cannot be too long.
                continue;
            }
            let wait = Wait { timeout: Some(self.resubscription_timeout), ..RECOVERED };
            self.await_ack(now, serial, Purpose::ResumeAgain, format!("resume group {number} again"), wait);
            for id in &group.ids {
                if let Some(key) = self.key_of(id) {
                    self.effects.push(Effect::Paused { key: SubKey(key.0) });
                }
            }
        }
    }
}
