//! Connection strings: a test per rule of protocol.md 15.1, the parameters of 15.2, and
//! what is printed parses back.

use amps_protocol::{Endpoint, EndpointError, IpPreference, Password, Scheme, TransportOptions};
use proptest::prelude::*;

fn parse(text: &str) -> Endpoint {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn error(text: &str) -> EndpointError {
    text.parse::<Endpoint>().unwrap_err()
}

fn offset(text: &str) -> usize {
    match error(text) {
        EndpointError::Syntax { offset, .. } => offset,
        other => panic!("{text}: {other}"),
    }
}

#[test]
fn u1_every_part_is_read() {
    let endpoint = parse("tcp://user:pw@host:9007/amps/json?tcp_nodelay=true");
    let mut expected = Endpoint::new(Scheme::Tcp, "host", 9007);
    expected.user = Some("user".into());
    expected.password = Some(Password::new("pw"));
    expected.message_type = Some("json".into());
    expected.options.nodelay = Some(true);
    assert_eq!(endpoint, expected);
    for scheme in ["tcp", "tcps", "ws", "wss"] {
        assert_eq!(parse(&format!("{scheme}://h:1/amps")).scheme.name(), scheme);
    }
    assert!(matches!(error("foo://h:1/amps"), EndpointError::UnknownScheme { scheme } if scheme == "foo"));
    assert_eq!(offset("h:1"), 0);
    assert_eq!(offset("tcp://h:1"), 9);
    assert_eq!(offset("tcp://h:1/amps/json/x"), 20);
    assert_eq!(offset("tcp://h:1//amps"), 10);
}

#[test]
fn u2_legacy_protocols_are_refused_by_name() {
    for name in ["fix", "nvfix", "xml", "soap"] {
        let error = error(&format!("tcp://h:1/{name}"));
        assert!(matches!(&error, EndpointError::UnsupportedProtocol { protocol } if protocol == name));
        assert!(error.to_string().contains("only \"amps\""), "{error}");
    }
}

#[test]
fn u3_the_message_type_may_be_missing() {
    assert_eq!(parse("tcp://h:1/amps").message_type, None);
    assert_eq!(parse("tcp://h:1/amps/").message_type, None);
    assert_eq!(parse("tcp://h:1/amps/bson").message_type.as_deref(), Some("bson"));
}

#[test]
fn u4_json_is_no_protocol() {
    let error = error("tcp://h:1/json");
    assert!(matches!(error, EndpointError::UnsupportedProtocol { protocol } if protocol == "json"));
}

#[test]
fn u5_the_last_amps_segment_counts() {
    let endpoint = parse("wss://h:1/proxy/amps/amps/json");
    assert_eq!(endpoint.prefix, ["proxy", "amps"]);
    assert_eq!(endpoint.message_type.as_deref(), Some("json"));
    assert_eq!(parse("tcp://h:1/p/amps/json?http_preflight=true").prefix, ["p"]);
}

#[test]
fn u6_escapes_are_undone_and_a_plus_is_no_blank() {
    let endpoint = parse("tcp://u%40c+p:p%3Aw%20+@h:1/amps");
    assert_eq!(endpoint.user.as_deref(), Some("u@c+p"));
    assert_eq!(endpoint.password.unwrap().reveal(), "p:w +");
    let endpoint = parse("unix://h:0/amps?path=%2Frun%2fa+b%20c");
    assert_eq!(endpoint.options.path.as_deref(), Some("/run/a+b c"));
    for text in ["tcp://u%4@h:1/amps", "tcp://u%zz@h:1/amps", "tcp://u:%ff@h:1/amps"] {
        assert_eq!(offset(text), 6, "{text}");
    }
    assert_eq!(offset("tcp://h:1/amps?&tcp_nodelay=%"), 16);
}

#[test]
fn u7_ipv6_addresses_stand_in_brackets() {
    assert_eq!(parse("tcp://[::1]:9007/amps").host, "::1");
    for text in ["tcp://::1:9007/amps", "tcp://[::1/amps", "tcp://[nonsense]:1/amps", "tcp://[]:1/amps"] {
        assert!(matches!(error(text), EndpointError::Syntax { .. }), "{text}");
    }
}

#[test]
fn u8_only_unix_does_without_a_port() {
    assert_eq!(offset("tcp://h/amps"), 7);
    for (text, at) in
        [("tcp://h:/amps", 8), ("tcp://h:x/amps", 8), ("tcp://h:+1/amps", 8), ("tcp://h:65536/amps", 8)]
    {
        assert_eq!(offset(text), at, "{text}");
    }
    assert!(matches!(error("tcp://h:0/amps"), EndpointError::Syntax { .. }));
    assert_eq!(parse("unix://localhost/amps/json?path=/run/a").port, 0);
    assert_eq!(parse("unix://localhost:0/amps/json?path=/run/a").port, 0);
}

#[test]
fn u9_empty_parameters_are_skipped() {
    assert!(parse("tcp://h:1/amps?&http_preflight=true&&").options.http_preflight);
    assert_eq!(parse("tcp://h:1/amps?").options, TransportOptions::default());
}

#[test]
fn u10_unknown_parameters_and_bad_values_are_errors() {
    for name in ["tcp_nodleay", "mt", "TCP_NODELAY"] {
        let error = error(&format!("tcp://h:1/amps?{name}=true"));
        assert!(matches!(error, EndpointError::UnknownParameter { name: n } if n == name));
    }
    for parameter in [
        "bind=localhost",
        "tcp_rcvbuf=-1",
        "tcp_rcvbuf=+1",
        "tcp_sndbuf=abc",
        "tcp_sndbuf=",
        "tcp_nodelay=maybe",
        "tcp_nodelay",
        "tcp_linger=1.5",
        "tcp_linger=4294967296",
        "ip_protocol_prefer=ipv5",
        "compression=gzip",
        "pretty=2",
    ] {
        let error = error(&format!("tcp://h:1/amps?{parameter}"));
        assert!(matches!(error, EndpointError::BadValue { .. }), "{parameter}: {error}");
    }
    assert_eq!(offset("tcp://h:1/amps?=5"), 15);
}

#[test]
fn u11_a_parameter_given_twice_is_an_error() {
    let error = error("tcp://h:1/amps?tcp_linger=1&tcp_linger=1");
    assert!(matches!(error, EndpointError::RepeatedParameter { name } if name == "tcp_linger"));
}

#[test]
fn u12_no_text_shows_any_part_of_a_password() {
    let endpoint = parse("tcp://u:s3cret@h:1/amps?pretty=true");
    assert!(!format!("{endpoint} {endpoint:?} {endpoint:#?}").contains("s3cret"));
    assert_eq!(parse("tcp://:s3cret@h:1/amps").to_string(), "tcp://:***@h:1/amps");
    for careless in [
        "tcp://u:s3cret%@h:1/amps",
        "tcp://u:12/s3cret@h:1/fix/json",
        "tcp://u:12/s3cret?x@h:9007/amps",
        "tcp://u:1/amps/a?s3cret@h:9/amps",
        "tcp://u:1/amps?s3cret=x@h:9/amps",
        "unix://u:1/amps?path=/a&s3cret@h:9/amps",
        "unix://u:1/amps?path=/a&pretty=s3cret@h:9/amps",
        "tcp://u:s3cret@h/amps",
        "tcp://u:s3cret@h:1/amps?compression=x",
    ] {
        let error = error(careless);
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{careless}: {error}");
    }
}

#[test]
fn every_parameter_is_read_where_it_applies_and_refused_elsewhere() {
    let over_tcp = &["tcp", "tcps", "ws", "wss"][..];
    let all = &["tcp", "tcps", "ws", "wss", "unix"][..];
    for (parameter, schemes) in [
        ("bind=::1", over_tcp),
        ("tcp_rcvbuf=0", over_tcp),
        ("tcp_sndbuf=9", over_tcp),
        ("tcp_nodelay=Yes", over_tcp),
        ("tcp_keepalive=F", over_tcp),
        ("tcp_linger=3", over_tcp),
        ("ip_protocol_prefer=IPv6", over_tcp),
        ("compression=zlib", &["tcp", "tcps"]),
        ("http_preflight=1", &["tcp", "tcps"]),
        ("path=/other", &["unix"]),
        ("pretty=y", all),
    ] {
        for scheme in all {
            let needed =
                if *scheme == "unix" && !parameter.starts_with("path") { "&path=/run/a" } else { "" };
            let text = format!("{scheme}://h:1/amps?{parameter}{needed}");
            match text.parse::<Endpoint>() {
                Ok(endpoint) => {
                    assert!(schemes.contains(scheme), "{text}");
                    assert_ne!(endpoint.options, TransportOptions::default(), "{text}");
                }
                Err(EndpointError::NotApplicable { .. }) => assert!(!schemes.contains(scheme), "{text}"),
                Err(error) => panic!("{text}: {error}"),
            }
        }
    }
    assert!(matches!(error("unix://h:0/amps?path="), EndpointError::BadValue { .. }));
    assert_eq!(offset("unix://h:0/amps"), 15, "path is required");
}

#[test]
fn what_is_printed_has_every_parameter() {
    let text = "tcps://u%40corp:***@[::1]:9007/west/amps/json?bind=::1&tcp_rcvbuf=1&tcp_sndbuf=2\
                &tcp_nodelay=false&ip_protocol_prefer=ipv6&compression=zlib&http_preflight=true\
                &tcp_keepalive=true&tcp_linger=0&pretty=true";
    assert_eq!(parse(text).to_string(), text);
    let text = "unix://localhost:0/amps/json?path=/run/a%26b%20%40c";
    assert_eq!(parse(text).to_string(), text);
}

prop_compose! {
    fn options(unix: bool)(
        bind in proptest::option::of(any::<std::net::IpAddr>()),
        buffers in proptest::option::of((any::<usize>(), any::<usize>())),
        flags in (any::<Option<bool>>(), any::<Option<bool>>(), any::<bool>(), any::<bool>(), any::<bool>()),
        linger in any::<Option<u32>>(),
        prefer in proptest::option::of(prop_oneof![Just(IpPreference::Ipv4), Just(IpPreference::Ipv6)]),
        path in any::<String>().prop_filter("a name", |path| !path.is_empty()),
    ) -> TransportOptions {
        let (nodelay, keepalive, zlib, http_preflight, pretty) = flags;
        if unix {
            return TransportOptions { path: Some(path), pretty, ..TransportOptions::default() };
        }
        TransportOptions {
            bind,
            recv_buffer: buffers.map(|(recv, _)| recv),
            send_buffer: buffers.map(|(_, send)| send),
            nodelay,
            keepalive,
            linger,
            prefer,
            zlib,
            http_preflight,
            path: None,
            pretty,
        }
    }
}

prop_compose! {
    fn endpoint(scheme: Scheme)(
        user in proptest::option::of(any::<String>().prop_filter("a name", |user| !user.is_empty())),
        password in proptest::option::of(any::<String>().prop_filter("a secret", |text| !text.is_empty())),
        host in prop_oneof!["[a-z0-9.-]{1,12}", any::<std::net::IpAddr>().prop_map(|ip| ip.to_string())],
        port in 1u16..,
        prefix in proptest::collection::vec("[a-z0-9%._~-]{1,6}", 0..3),
        message_type in proptest::option::of("[b-z-]{1,8}"),
        options in options(scheme == Scheme::Unix),
    ) -> Endpoint {
        let password = password.map(Password::new);
        // Only connections through a proxy have prefixes.
        let prefix = if options.http_preflight { prefix } else { Vec::new() };
        Endpoint { scheme, user, password, host, port, prefix, message_type, options }
    }
}

proptest! {
    #[test]
    fn what_is_printed_parses_back_but_for_the_password(
        endpoint in prop_oneof![endpoint(Scheme::Tcp), endpoint(Scheme::Tcps), endpoint(Scheme::Unix)],
    ) {
        let printed = endpoint.to_string();
        let mut again: Endpoint = printed.parse().map_err(|error| TestCaseError::fail(format!("{printed}: {error}")))?;
        prop_assert_eq!(again.password.is_some(), endpoint.password.is_some());
        prop_assert_eq!(again.to_string(), printed);
        again.password = endpoint.password.clone();
        prop_assert_eq!(again, endpoint);
    }

    #[test]
    fn an_error_shows_no_password_wherever_it_strikes(
        before in "[a-z:/?&=@%0-9.-]{0,12}",
        after in "[a-z:/?&=@%0-9.-]{0,16}",
    ) {
        let text = format!("tcp://u:{before}S3CRET{after}@h:1/amps");
        match text.parse::<Endpoint>() {
            Ok(endpoint) => prop_assert!(!endpoint.to_string().contains("S3CRET"), "{}", endpoint),
            Err(error) => prop_assert!(!format!("{error} {error:?}").contains("S3CRET"), "{}", error),
        }
    }
}
