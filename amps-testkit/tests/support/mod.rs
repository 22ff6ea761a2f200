//! Running readable transcripts against a server.

#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod channel;
pub(crate) mod data_dir;
pub(crate) mod faulty;
pub(crate) mod http;
pub(crate) mod in_process;
pub(crate) mod over_sockets;
pub(crate) mod own_rules;
pub(crate) mod pair_in_process;
pub(crate) mod pair_over_sockets;
pub(crate) mod raw_client;
pub(crate) mod script;
pub(crate) mod stage;
pub(crate) mod target;
pub(crate) mod transcripts;
