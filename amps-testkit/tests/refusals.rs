//! Configurations that cannot be: the server does not start, and says in a sentence what is wrong
//! and what to write instead.

use amps_testkit::{
    ConfigReader, ConflatedTopicConfig, FakeServer, FakeServerBuilder, Join, JoinField, PublishOptions,
    QueueConfig, Reason, SowConfig, ViewConfig, ViewSource,
};

fn fault(builder: FakeServerBuilder) -> String {
    builder.start().expect_err("it started").to_string()
}

fn server() -> FakeServerBuilder {
    FakeServer::builder().sow(SowConfig::new("orders").key("/id"))
}

/// server.md SUB-10: what follows the state of the world cannot follow the clock.
#[test]
fn filters_of_the_configuration_do_not_follow_the_clock() {
    let by_the_clock = "UNIX_TIMESTAMP() > /at";
    let view = || ViewConfig::new("v", ViewSource::Topic("orders".into())).group_by("/id").field("/id");
    for builder in [
        server().view(view().filter(by_the_clock)),
        server().conflated_topic(ConflatedTopicConfig::new("c", "orders").filter(by_the_clock)),
        server().queue(QueueConfig::new("q").filter(by_the_clock)),
        server().queue(QueueConfig::new("q").barrier(by_the_clock)),
    ] {
        let fault = fault(builder);
        assert!(fault.contains("its result may change without an update"), "{fault}");
        assert!(fault.contains("compare fields of the message instead (SUB-10)"), "{fault}");
    }
    let fault = fault(server().view(view().field("MAX(UNIX_TIMESTAMP() - /at) AS /age")));
    assert!(fault.contains("'UNIX_TIMESTAMP' at offset 4 changes without an update"), "{fault}");
}

#[test]
fn a_topic_is_not_joined_with_itself() {
    let join = Join { left: JoinField::new("orders", "/parent"), right: JoinField::new("orders", "/id") };
    let view = ViewConfig::new("v", ViewSource::Joins(vec![join]));
    let fault = fault(server().view(view.group_by("[orders]./id").field("[orders]./id AS /id")));
    assert!(fault.contains("\"orders\" is joined with itself"), "{fault}");
    assert!(fault.contains("write a view of \"orders\""), "{fault}");
}

/// What the message of a self join advises to do works.
#[test]
fn a_topic_is_joined_with_a_view_of_itself() {
    let parents = ViewConfig::new("parents", ViewSource::Topic("orders".into()));
    let parents = parents.group_by("/id").field("/id").field("/name");
    let join = Join { left: JoinField::new("orders", "/parent"), right: JoinField::new("parents", "/id") };
    let named = ViewConfig::new("named", ViewSource::Joins(vec![join]));
    let named =
        named.group_by("[orders]./id").field("[orders]./id AS /id").field("[parents]./name AS /parent");
    let server = server().view(parents).view(named).start().unwrap();
    server.publish("orders", r#"{"id":1,"name":"x"}"#).unwrap();
    server.publish("orders", r#"{"id":2,"name":"y","parent":1}"#).unwrap();
    let bodies: Vec<String> =
        server.sow("named").into_iter().map(|r| String::from_utf8(r.body).unwrap()).collect();
    assert_eq!(bodies, [r#"{"id":1,"parent":null}"#, r#"{"id":2,"parent":"x"}"#]);
}

/// The documentation of `EarlyTerminationOptimization`: without it the last of equal keys counts.
#[test]
fn without_early_termination_the_last_of_equal_keys_counts() {
    let file = |module: &str, early: &str| {
        format!(
            "<AMPSConfig><Name>a</Name><MessageTypes><MessageType><Name>mine</Name><Module>{module}</Module>\
             <EarlyTerminationOptimization>{early}</EarlyTerminationOptimization></MessageType></MessageTypes>\
             <SOW><Topic><Name>T</Name><MessageType>mine</MessageType><Key>/id</Key></Topic>\
             <View><Name>v</Name><MessageType>mine</MessageType><UnderlyingTopic>T</UnderlyingTopic>\
             <Projection><Field>/code AS /code</Field></Projection><Grouping><Field>/id</Field></Grouping></View>\
             </SOW></AMPSConfig>"
        )
    };
    let read = |text: &str| ConfigReader::new().environment(false).parse("a.xml", text).unwrap();
    for (early, codes) in [("true", [1, 7]), ("false", [2, 8])] {
        let server = FakeServer::builder().config(read(&file("json", early))).start().unwrap();
        let options = PublishOptions { message_type: Some("mine".into()), ..Default::default() };
        server.publish_as("T", r#"{"id":1,"code":1,"code":2}"#, &options).unwrap();
        let shown = |code: i32| vec![format!("{{\"code\":{code}}}").into_bytes()];
        let bodies = || server.sow("v").into_iter().map(|record| record.body).collect::<Vec<_>>();
        assert_eq!(bodies(), shown(codes[0]), "{early}");
        let delta = PublishOptions { delta: true, ..options };
        server.publish_as("T", r#"{"id":1,"code":7,"code":8}"#, &delta).unwrap();
        assert_eq!(bodies(), shown(codes[1]), "{early}");
    }
    let findings: Vec<String> =
        read(&file("xml", "false")).findings().iter().map(ToString::to_string).collect();
    assert!(
        findings.iter().any(|finding| finding.contains("only messages of the module json")),
        "{findings:?}"
    );
}

/// server.md CONN-31, CONN-33: nobody but the configuration brings message types along.
#[test]
fn a_message_of_an_unknown_type_is_not_published() {
    let server = FakeServer::builder().start().unwrap();
    let of_type = |name: &str| PublishOptions { message_type: Some(name.into()), ..Default::default() };
    let refused = server.publish_as("T", "x", &of_type("nope")).unwrap_err();
    assert_eq!(refused.reason, Reason::InvalidMessageType);
    assert_eq!(
        refused.to_string(),
        "not published: invalid message type: \"nope\" is neither built in nor configured"
    );
    assert_eq!(server.logged_messages().len(), 0);
    server.publish_as("T", "x", &of_type("bson")).unwrap();
    assert_eq!(server.logged_messages().len(), 1);
}
