//! Connection strings made of what the command line says.
//!
//! Owns the short form, `[USER[:PASSWORD]@]HOST[:PORT]`, and what the options around it add. No error shows a
//! password.

use amps_protocol::{Endpoint, Scheme};

use crate::failure::Failure;
use crate::options::Connection;

/// What examples of AMPS configurations listen on.
const DEFAULT_PORT: u16 = 9007;
const DEFAULT_TYPE: &str = "json";

/// The connection string for one `--server`, or `--copy`. Which of them is wrong, the caller knows.
pub(crate) fn connection_string(server: &str, options: &Connection) -> Result<String, Failure> {
    let uri = if server.contains("://") { whole(server, options)? } else { short(server, options)? };
    // Read once more, so that what is wrong is a matter of the command line.
    uri.parse::<Endpoint>().map_err(|error| Failure::usage(error.to_string()))?;
    Ok(uri)
}

fn short(server: &str, options: &Connection) -> Result<String, Failure> {
    let (user, address) = server.rsplit_once('@').map_or(("", server), |(user, address)| (user, address));
    if address.is_empty() || address.contains(['/', '?']) {
        let text = "write [USER[:PASSWORD]@]HOST[:PORT], or tcp://HOST:PORT/amps/TYPE";
        return Err(Failure::usage(text));
    }
    // An IPv6 address without a port ends with its bracket.
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let port = if has_port { String::new() } else { format!(":{DEFAULT_PORT}") };
    let secure = if options.secure { Scheme::Tcps } else { Scheme::Tcp }.name();
    let scheme = options.urischeme.as_deref().unwrap_or(secure);
    let at = if user.is_empty() { "" } else { "@" };
    let message_type = options.message_type.as_deref().unwrap_or(DEFAULT_TYPE);
    let parameters = options.uriopts.as_deref().map(|text| format!("?{}", text.trim_start_matches('?')));
    let user = escaped(user);
    Ok(format!("{scheme}://{user}{at}{address}{port}/amps/{message_type}{}", parameters.unwrap_or_default()))
}

/// In the short form a password may hold what a connection string has to write as `%2F`.
fn escaped(user: &str) -> String {
    user.replace('/', "%2F").replace('?', "%3F")
}

fn whole(server: &str, options: &Connection) -> Result<String, Failure> {
    let endpoint = server.parse::<Endpoint>().map_err(|error| Failure::usage(error.to_string()))?;
    let (place, parameters) = server.split_once('?').unwrap_or((server, ""));
    let mut uri = place.to_owned();
    if options.urischeme.as_deref().is_some_and(|scheme| scheme != endpoint.scheme.name()) {
        return Err(Failure::usage("the connection string says its scheme; leave --urischeme out"));
    }
    if options.secure && options.urischeme.is_none() {
        uri = match endpoint.scheme {
            Scheme::Tcps | Scheme::Wss => uri,
            Scheme::Tcp => uri.replacen("tcp://", "tcps://", 1),
            Scheme::Ws => uri.replacen("ws://", "wss://", 1),
            Scheme::Unix => {
                return Err(Failure::usage("a unix socket is not encrypted; leave --secure out"));
            }
        };
    }
    match (&endpoint.message_type, &options.message_type) {
        (Some(said), Some(asked)) if said != asked => {
            return Err(Failure::usage(format!(
                "the connection string says \"{said}\", --type \"{asked}\"; leave one out"
            )));
        }
        (None, Some(asked)) => {
            let path = place.split_once("://").and_then(|(_, place)| place.split_once('/'));
            let amps = if path.is_some_and(|(_, path)| !path.is_empty()) { "" } else { "/amps" };
            uri = format!("{}{amps}/{asked}", uri.trim_end_matches('/'));
        }
        _ => {}
    }
    let more = options.uriopts.as_deref().map_or("", |text| text.trim_start_matches('?'));
    let all: Vec<&str> = [parameters, more].into_iter().filter(|text| !text.is_empty()).collect();
    if !all.is_empty() {
        uri = format!("{uri}?{}", all.join("&"));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::{Cli, Command};

    fn made(server: &str, more: &[&str]) -> Result<String, String> {
        let line = [&["amps", "ping", "--server", server], more].concat();
        let Command::Ping(ping) = Cli::try_parse_from(line).unwrap().command else { panic!("no ping") };
        connection_string(server, &ping.connection).map_err(|failure| failure.text().to_owned())
    }

    #[test]
    fn a_host_becomes_a_connection_string() {
        assert_eq!(made("localhost:9007", &[]).unwrap(), "tcp://localhost:9007/amps/json");
        assert_eq!(made("h", &["--type", "nvfix"]).unwrap(), "tcp://h:9007/amps/nvfix");
        assert_eq!(made("[::1]", &[]).unwrap(), "tcp://[::1]:9007/amps/json");
        assert_eq!(made("[::1]:8", &["--secure"]).unwrap(), "tcps://[::1]:8/amps/json");
        assert_eq!(made("h:8", &["--secure", "1"]).unwrap(), "tcps://h:8/amps/json");
        assert_eq!(made("h:8", &["--secure", "no"]).unwrap(), "tcp://h:8/amps/json");
        assert_eq!(made("h:8", &["--urischeme", "wss", "--secure", "0"]).unwrap(), "wss://h:8/amps/json");
        assert_eq!(made("ann:p/w@h:1", &[]).unwrap(), "tcp://ann:p%2Fw@h:1/amps/json");
        assert_eq!(
            made("h:1", &["--uriopts", "tcp_nodelay=true"]).unwrap(),
            "tcp://h:1/amps/json?tcp_nodelay=true"
        );
    }

    #[test]
    fn a_connection_string_gets_what_it_lacks() {
        assert_eq!(made("tcp://h:1/amps/json", &[]).unwrap(), "tcp://h:1/amps/json");
        assert_eq!(made("tcp://h:1/amps", &["--type", "fix"]).unwrap(), "tcp://h:1/amps/fix");
        assert_eq!(made("tcp://h:1/amps/", &["--type", "fix"]).unwrap(), "tcp://h:1/amps/fix");
        assert_eq!(made("ws://h:1/amps/json", &["--secure", "true"]).unwrap(), "wss://h:1/amps/json");
        assert_eq!(
            made("tcp://h:1/amps/json?tcp_linger=1", &["--uriopts", "?tcp_nodelay=no"]).unwrap(),
            "tcp://h:1/amps/json?tcp_linger=1&tcp_nodelay=no"
        );
    }

    #[test]
    fn what_cannot_be_is_told_without_the_password() {
        for (server, more) in [
            ("tcp://ann:secret@h/amps", &[][..]),
            ("ann:secret@h:port", &[]),
            ("ann:secret@h:1/amps", &[]),
            ("ann:secret@", &[]),
            ("tcp://ann:secret@h:1/amps/json", &["--type", "xml"]),
            ("unix://h/amps/json?path=/s", &["--secure"]),
            ("ann:secret@h:1", &["--uriopts", "colour=red"]),
            ("ann:secret@h:1", &["--urischeme", "protected"]),
            ("tcp://ann:secret@h:1/amps/json", &["--urischeme", "ws"]),
        ] {
            let error = made(server, more).unwrap_err();
            assert!(!error.contains("secret"), "{server}: {error}");
        }
    }
}
