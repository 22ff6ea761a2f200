//! What the library reports, in words that say what happened and what to do.

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use super::NAME;
use crate::layer::{LayerError, LayerTrouble};

/// Which side this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    const fn peer(self) -> &'static str {
        match self {
            Self::Client => "server",
            Self::Server => "client",
        }
    }
}

/// An error of a connection that is shaking hands, or has done so.
pub(super) fn explain(error: Error, side: Side) -> LayerError {
    let (trouble, text) = words(&error, side);
    LayerError::new(NAME, trouble, text).with_source(error)
}

/// The peer's first bytes are no TLS.
pub(super) fn no_tls(error: Error, opening: &[u8], side: Side) -> LayerError {
    let peer = side.peer();
    let text = if opening.starts_with(b"HTTP/") || (side == Side::Server && looks_like_a_request(opening)) {
        format!("the {peer} does not speak TLS: it speaks HTTP ({})", shown(opening))
    } else {
        format!("the {peer} does not speak TLS: it begins with {}", shown(opening))
    };
    let advice = match side {
        Side::Client => "; check the port, or connect without TLS (tcp in place of tcps)",
        Side::Server => "; it has to connect with TLS (tcps in place of tcp)",
    };
    LayerError::new(NAME, LayerTrouble::Handshake, text + advice).with_source(error)
}

/// The end came before the handshake was over.
pub(super) fn ended_in_handshake(side: Side) -> LayerError {
    let text = match side {
        Side::Client => {
            "the server closed the connection in the middle of the handshake; check that the port speaks TLS"
        }
        Side::Server => "the client closed the connection in the middle of the handshake",
    };
    LayerError::new(NAME, LayerTrouble::Handshake, text)
}

/// The end came without a `close_notify`.
pub(super) fn truncated(side: Side) -> LayerError {
    let text = format!(
        "the connection was cut off: the {} did not say that it ends (close_notify), so bytes may be missing",
        side.peer()
    );
    LayerError::new(NAME, LayerTrouble::Truncated, text)
}

fn looks_like_a_request(opening: &[u8]) -> bool {
    [b"GET ".as_slice(), b"POST", b"PUT ", b"HEAD", b"OPTI", b"CONN"]
        .iter()
        .any(|verb| opening.starts_with(verb))
}

/// How much of what the peer says instead of TLS is shown.
const SHOWN: usize = 24;

fn shown(opening: &[u8]) -> String {
    let part = opening.get(..SHOWN).unwrap_or(opening);
    format!("\"{}\"", part.escape_ascii())
}

fn words(error: &Error, side: Side) -> (LayerTrouble, String) {
    use LayerTrouble::{Handshake, Limit, Protocol};
    let peer = side.peer();
    match error {
        Error::InvalidCertificate(error) => (Handshake, certificate(error, side)),
        Error::NoCertificatesPresented => {
            let text = match side {
                Side::Client => "the server has shown no certificate".into(),
                Side::Server => "the client has shown no certificate, and this server requires one".into(),
            };
            (Handshake, text)
        }
        Error::AlertReceived(alert) => (Handshake, alert_words(*alert, side)),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => (Handshake, format!("the {peer} speaks no version of TLS that is allowed here ({error})")),
        Error::PeerIncompatible(_) => {
            (Handshake, format!("the {peer} and this side have no way in common to talk ({error})"))
        }
        Error::PeerSentOversizedRecord => {
            (Limit, format!("the {peer} has sent a record that is larger than TLS allows"))
        }
        Error::DecryptError => (
            Protocol,
            format!("what the {peer} sent cannot be decrypted; it was changed on the way, or damaged"),
        ),
        Error::EncryptError => (Limit, "no more can be sent with the keys of this connection".into()),
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_) => (Protocol, format!("the {peer} breaks the rules of TLS ({error})")),
        _ => (Handshake, error.to_string()),
    }
}

fn certificate(error: &CertificateError, side: Side) -> String {
    let whose = format!("the {}'s certificate", side.peer());
    match error {
        CertificateError::UnknownIssuer => match side {
            Side::Client => format!(
                "{whose} is not trusted: it is self-signed, or its issuer is not among the roots, or the server does \
                 not show the certificates between its own and a root; if it is the right one, add the root \
                 certificate of its issuer, or have the server show the whole chain"
            ),
            Side::Server => {
                format!("{whose} is not trusted: its issuer is not among those of which clients are accepted")
            }
        },
        CertificateError::Expired => format!("{whose} has expired"),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("{whose} expired on {}; renew it, or check this machine's clock", date(*not_after))
        }
        CertificateError::NotValidYet => format!("{whose} is not valid yet"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("{whose} is not valid before {}; check this machine's clock", date(*not_before))
        }
        CertificateError::NotValidForName => format!("{whose} is for another name"),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<_> = presented.iter().map(|name| plain_name(name)).collect();
            let names = if names.is_empty() { "no name at all".into() } else { names.join(", ") };
            let expected = expected.to_str();
            format!(
                "{whose} is for {names}, and not for {expected}; connect by its name, or set the server name"
            )
        }
        CertificateError::Revoked => format!("{whose} was revoked"),
        CertificateError::BadEncoding => format!("{whose} is damaged"),
        CertificateError::BadSignature => format!(
            "{whose} is not trusted: its signature does not fit the root certificate of its issuer; if that \
             authority was made anew, take its new root certificate"
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("{whose} is for another purpose ({error})")
        }
        CertificateError::Other(other) if format!("{other:?}").contains(CA_AS_END_ENTITY) => format!(
            "{whose} is that of an authority (it says CA:TRUE), as self-signed ones often are; it needs one of its \
             own, with CA:FALSE"
        ),
        _ => format!("{whose} cannot be accepted ({error})"),
    }
}

/// How rustls-webpki, of which rustls shows no more than the text, calls it.
const CA_AS_END_ENTITY: &str = "CaUsedAsEndEntity";

/// `DnsName("a.example")` as `a.example`: the library hands over the text of its own types.
fn plain_name(name: &str) -> String {
    name.split('"')
        .nth(1)
        .map_or_else(|| name.trim_start_matches("IpAddress(").trim_end_matches(')').to_owned(), str::to_owned)
}

fn alert_words(alert: AlertDescription, side: Side) -> String {
    let peer = side.peer();
    let ours = match side {
        Side::Client => "the client certificate",
        Side::Server => "the server's certificate",
    };
    match alert {
        AlertDescription::CertificateRequired => {
            format!(
                "the {peer} requires a certificate, and this side has shown none; set a client certificate"
            )
        }
        AlertDescription::UnknownCA => {
            format!("the {peer} does not trust {ours}: it does not know its issuer (alert unknown_ca)")
        }
        AlertDescription::CertificateExpired => {
            format!(
                "the {peer} refuses {ours}: it has expired, or is not valid yet (alert certificate_expired)"
            )
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => format!("the {peer} refuses {ours} (alert {alert:?})"),
        AlertDescription::ProtocolVersion => {
            format!("the {peer} speaks no version of TLS that this side speaks (alert protocol_version)")
        }
        AlertDescription::HandshakeFailure => format!(
            "the {peer} found no way in common to talk, or wants a certificate of this side (alert handshake_failure)"
        ),
        AlertDescription::UnrecognisedName => {
            format!(
                "the {peer} does not know the server name that it was asked for (alert unrecognized_name)"
            )
        }
        _ => format!("the {peer} ended the connection with the alert {alert:?}"),
    }
}

const SECONDS_OF_A_DAY: u64 = 24 * 60 * 60;

/// A day of the Gregorian calendar, UTC.
fn date(time: UnixTime) -> String {
    let mut days = time.as_secs() / SECONDS_OF_A_DAY;
    let mut year = 1970;
    let is_leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (86_399, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_709_164_800, "2024-02-29"),
            (1_735_603_200, "2024-12-31"),
            (4_107_542_400, "2100-03-01"),
        ] {
            let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            assert_eq!(date(time), expected);
        }
    }

    #[test]
    fn names_of_certificates_are_plain() {
        assert_eq!(plain_name("DnsName(\"a.example\")"), "a.example");
        assert_eq!(plain_name("IpAddress(127.0.0.1)"), "127.0.0.1");
        assert_eq!(plain_name("a.example"), "a.example");
    }

    #[test]
    fn whoever_speaks_no_tls_is_quoted() {
        let error = |opening: &[u8], side| no_tls(Error::DecryptError, opening, side).to_string();
        let text = error(b"HTTP/1.1 400 Bad Request\r\n", Side::Client);
        assert!(text.contains("it speaks HTTP (\"HTTP/1.1 400 Bad Request\")"), "{text}");
        let text = error(b"\0\0\0\x1f{\"c\":\"logon\"", Side::Server);
        assert!(text.contains("begins with \"\\x00\\x00\\x00\\x1f{\\\"c\\\":\\\"logon\\\"\""), "{text}");
        assert!(text.contains("tcps in place of tcp"), "{text}");
    }
}
