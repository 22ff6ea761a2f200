//! The sample that shows how a configuration begins.

/// A commented AMPS configuration with a state of the world, a queue and a log, which the
/// server reads without a warning; `amps-testkit sample-config` prints it.
///
/// ```
/// use amps_testkit::{ConfigFile, SAMPLE_CONFIG};
///
/// let file = ConfigFile::parse("sample.xml", SAMPLE_CONFIG)?;
/// file.verify()?;
/// # Ok::<(), amps_testkit::ConfigFileError>(())
/// ```
pub const SAMPLE_CONFIG: &str = include_str!("sample.xml");
