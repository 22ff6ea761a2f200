//! Crashes at every record.
