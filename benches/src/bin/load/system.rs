//! What this program alone asks of the system: how often memory was asked for, and room for many sockets.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use stats_alloc::INSTRUMENTED_SYSTEM;

use crate::failure::Failure;

/// What a process has open besides the sockets of its clients: files, the loop, and room to spare.
const OTHER_DESCRIPTORS: u64 = 64;

/// How often memory was asked for since the start, by any thread, what grew included.
pub(crate) fn allocations() -> u64 {
    let stats = INSTRUMENTED_SYSTEM.stats();
    (stats.allocations + stats.reallocations) as u64
}

/// Makes room for the sockets of so many clients, up to what the system allows.
///
/// # Errors
/// It does not allow as many.
pub(crate) fn allow_clients(clients: u64) -> Result<(), Failure> {
    let needed = clients.saturating_add(OTHER_DESCRIPTORS);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(Failure::Descriptors { clients, needed, limit: hard });
    }
    setrlimit(Resource::RLIMIT_NOFILE, needed, hard)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use benches::system::{max_rss_kb, rss_kb};

    use super::*;

    #[test]
    fn this_process_has_used_something() {
        assert!(max_rss_kb() > 100 && rss_kb() > 100);
        let before = allocations();
        let made = std::hint::black_box(vec![0_u8; 100]);
        assert!(allocations() > before, "{}", made.len());
    }

    #[test]
    fn more_clients_than_the_system_allows_are_refused_with_the_limit() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        if hard < u64::MAX - OTHER_DESCRIPTORS {
            let refused = allow_clients(hard).unwrap_err().to_string();
            assert!(refused.contains(&hard.to_string()), "{refused}");
        }
        allow_clients(1).unwrap();
    }
}
