//! The developer guide: one page for each task, in the order of the guides of the official
//! clients.
//!
//! Owns the pages, which are text beside this file, their order, and the links between
//! neighbours. It holds no code that runs, apart from the examples, which are tests.
#![doc = ""]
#![doc = include_str!("contents.md")]

#[allow(unused_imports, reason = "the links of the pages are resolved here")]
use crate::*;

/// One module for each page: its text, then links to its neighbours.
macro_rules! pages {
    ($($name:ident $title:literal;)*) => {
        pages!(@page ["contents", "crate::guide"] $($name $title;)*);

        /// The name, the title and the text of each page, in order.
        #[cfg(test)]
        const PAGES: &[(&str, &str, &str)] =
            &[$((stringify!($name), $title, include_str!(concat!(stringify!($name), ".md"))),)*];
    };
    (@page [$before:expr, $before_at:expr]
        $name:ident $title:literal; $next:ident $next_title:literal; $($rest:tt)*) => {
        #[doc = include_str!(concat!(stringify!($name), ".md"))]
        #[doc = ""]
        #[doc = "***"]
        #[doc = ""]
        #[doc = concat!("Before: [", $before, "](", $before_at, "). ")]
        #[doc = concat!("Next: [", $next_title, "](", stringify!($next), "). ")]
        #[doc = "All pages: [contents](crate::guide)."]
        pub mod $name {}
        pages!(@page [$title, stringify!($name)] $next $next_title; $($rest)*);
    };
    (@page [$before:expr, $before_at:expr] $name:ident $title:literal;) => {
        #[doc = include_str!(concat!(stringify!($name), ".md"))]
        #[doc = ""]
        #[doc = "***"]
        #[doc = ""]
        #[doc = concat!("Before: [", $before, "](", $before_at, "). ")]
        #[doc = "All pages: [contents](crate::guide)."]
        pub mod $name {}
    };
}

pages! {
    before_you_start "Before You Start";
    obtaining_and_installing "Obtaining and Installing";
    your_first_program "Your First AMPS Program";
    client_identification "Client Identification";
    connection_strings "Connection Strings";
    connection_parameters "Connection Parameters";
    transports "Transports";
    providing_credentials "Providing Credentials";
    subscriptions "Subscriptions";
    content_filtering "Content Filtering";
    changing_the_filter "Changing the Filter on a Subscription";
    synchronous_processing "Synchronous Message Processing";
    asynchronous_processing "Asynchronous Message Processing";
    understanding_threading "Understanding Threading";
    understanding_messages "Understanding Message Objects";
    regular_expressions "Regular Expression Subscriptions";
    ending_subscriptions "Ending Subscriptions";
    error_handling "Error Handling";
    exceptions "Exceptions";
    exception_types "Exception Types";
    exceptions_in_handlers "Exception Handling and Asynchronous Message Processing";
    command_timeout "Controlling Blocking with Command Timeout";
    disconnect_handling "Disconnect Handling";
    heartbeats "Using a Heartbeat to Detect Disconnection";
    managing_disconnection "Managing Disconnection";
    replacing_disconnect_handling "Replacing Disconnect Handling";
    unexpected_messages "Unexpected Messages";
    unhandled_exceptions "Unhandled Exceptions";
    write_failures "Detecting Write Failures";
    connection_state "Monitoring Connection State";
    state_of_the_world "State of the World";
    sow_and_subscribe "SOW and Subscribe";
    setting_batch_size "Setting Batch Size";
    managing_sow_contents "Managing SOW Contents";
    client_side_conflation "Client Side Conflation";
    using_queues "Using Queues";
    backlog_and_pipelining "Backlog and Smart Pipelining";
    acknowledging_messages "Acknowledging Messages";
    returning_a_message "Returning a Message to the Queue";
    manual_acknowledgment "Manual Acknowledgment";
    delta_publish_and_subscribe "Delta Publish and Subscribe";
    delta_subscribe "Delta Subscribe";
    delta_publish "Delta Publish";
    high_availability "High Availability";
    choosing_servers "Choosing Servers";
    publish_stores "Publish Stores";
    bookmark_stores "Bookmark Stores";
    working_with_commands "Working with Commands";
    utility_classes "Utility Classes";
    async_code "Async Code";
    typed_messages "Typed Messages and Live Tables";
    tracing_and_metrics "Tracing and Metrics";
    advanced_topics "Advanced Topics";
    command_line "The Command Line";
    exceptions_reference "Exceptions Reference";
    migrating "Migrating from the Official Clients";
    other_queues "Coming from Other Queues";
    names "Names in Other Clients";
}

#[cfg(test)]
mod tests {
    use super::PAGES;

    const CONTENTS: &str = include_str!("contents.md");

    /// The rows of the table of names: number, official name, ours.
    fn rows() -> Vec<Vec<&'static str>> {
        let (_, _, text) = PAGES.last().unwrap();
        let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect();
        let rows = text.lines().filter(|line| line.starts_with("| ")).map(cells);
        rows.filter(|row: &Vec<&str>| row[0].parse::<u32>().is_ok()).collect()
    }

    #[test]
    fn the_contents_list_every_page_in_order() {
        let mut from = 0;
        for (name, title, _) in PAGES {
            let entry = format!("[{title}]({name})");
            let at = CONTENTS[from..].find(&entry);
            from += at.unwrap_or_else(|| panic!("{entry} is not in its place")) + entry.len();
        }
        let entries = CONTENTS.lines().filter(|line| line.trim_start().starts_with("* ["));
        assert_eq!(entries.count(), PAGES.len());
    }

    #[test]
    fn each_page_begins_with_its_title() {
        for (name, title, text) in PAGES {
            assert!(text.starts_with(&format!("# {title}\n")), "{name}");
        }
    }

    #[test]
    fn every_page_shows_code_that_runs_and_asserts() {
        // A table, and a page about a program, whose own tests run it.
        let without = ["names", "command_line"];
        for (name, _, text) in PAGES.iter().filter(|(name, ..)| !without.contains(name)) {
            assert!(text.contains("\n```\n") && text.contains("assert"), "{name} has no example");
        }
    }

    #[test]
    fn every_name_of_the_official_clients_has_an_answer() {
        let rows = rows();
        assert_eq!(rows.len(), 261);
        for (at, row) in rows.iter().enumerate() {
            assert_eq!(row.len(), 3, "{row:?}");
            assert_eq!(row[0], (at + 1).to_string());
            assert!(row[1].len() > 2 && row[2].len() > 2, "{row:?}");
        }
    }
}
