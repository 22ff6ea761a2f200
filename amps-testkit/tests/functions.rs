//! Functions that a test registers, wherever an expression can call them.

mod support;

use amps_testkit::{
    ConfigFile, ConfigReader, Entitlement, FakeServer, FakeServerBuilder, QueueConfig, SowConfig, StartError,
    Value, ViewConfig, ViewSource,
};
use support::http;
use support::raw_client::RawClient;

fn twice(arguments: &[Value<'_>]) -> Value<'static> {
    match arguments {
        [Value::Int(number)] => Value::Int(number * 2),
        _ => Value::Null,
    }
}

/// How many arguments are not NULL.
fn count(arguments: &[Value<'_>]) -> Value<'static> {
    Value::Int(arguments.iter().filter(|value| !value.is_null()).count() as i64)
}

fn builder() -> FakeServerBuilder {
    FakeServer::builder().function("TWICE", Some(1), twice).function("How_Many", None, count)
}

fn publish(client: &mut RawClient, topic: &str, body: &str) -> String {
    client.ask(&format!(r#"{{"c":"publish","cid":"p","t":"{topic}","a":"processed"}}{body}"#))
}

#[test]
fn a_filter_calls_them_in_any_case_with_the_first_of_many_values() {
    let server = builder().start().unwrap();
    let mut client = RawClient::named(&server, "a");
    let filter = "twice(/n) = 14 AND HOW_MANY(/n, /missing, 'x', /m) = 3 AND How_Many() = 0";
    let ack = client.ask(&format!(
        r#"{{"c":"subscribe","cid":"1","sub_id":"s","t":"T","f":"{filter}","a":"processed"}}"#
    ));
    assert!(ack.contains("success"), "{ack}");
    server.publish("T", r#"{"n":8,"m":1}"#).unwrap();
    server.publish("T", r#"{"n":[7,8],"m":1}"#).unwrap();
    assert!(client.receive().ends_with(r#"{"n":[7,8],"m":1}"#));
    for wrong in ["TWICE()", "TWICE(/a, /b)", "THRICE(/n)", "LAST_READ('x') = 1", "VALUE_LOOKUP('l', /n)"] {
        let ack = client.ask(&format!(
            r#"{{"c":"subscribe","cid":"2","sub_id":"t","t":"T","f":"{wrong}","a":"processed"}}"#
        ));
        assert!(ack.contains("bad filter"), "{wrong}: {ack}");
    }
}

#[test]
fn they_are_pure_so_that_a_subscription_with_oof_may_call_them() {
    let server = builder().sow(SowConfig::new("T").key("/id")).start().unwrap();
    let mut client = RawClient::named(&server, "a");
    let command =
        r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"T","f":"TWICE(/n) > 1","o":"oof","a":"processed"}"#;
    assert!(client.ask(command).contains("success"));
}

#[test]
fn enrichment_views_queues_and_entitlements_call_them() {
    let view = ViewConfig::new("sums", ViewSource::Topic("T".to_owned()))
        .group_by("/kind")
        .field("/kind")
        .field("SUM(TWICE(/n)) + TWICE(COUNT(/n)) AS /total");
    let server = builder()
        .sow(SowConfig::new("T").key("/id").preprocess("TWICE(/n) AS /key").enrich("TWICE(/key) AS /m"))
        .view(view)
        .queue(QueueConfig::new("even").underlying("jobs").filter("TWICE(/n) = 4"))
        .entitle(Entitlement::write("*", "jobs").filter("TWICE(/n) < 10"))
        .entitle(Entitlement::write("*", "T"))
        .entitle(Entitlement::read("*", ".*"))
        .start()
        .unwrap();
    server.publish("T", r#"{"id":1,"kind":"a","n":1}"#).unwrap();
    server.publish("T", r#"{"id":2,"kind":"a","n":2}"#).unwrap();
    let body = server.logged_messages()[0].body.clone();
    assert_eq!(String::from_utf8(body).unwrap(), r#"{"id":1,"kind":"a","n":1,"key":2,"m":4}"#);
    let mut client = RawClient::named(&server, "a");
    client.send(r#"{"c":"sow","cid":"1","t":"sums"}"#);
    client.receive();
    assert!(client.receive().ends_with(r#"{"kind":"a","total":10}"#));
    client.receive();
    let projected = "projection=[/kind AS /kind,MAX(TWICE(/n)) AS /most],grouping=[/kind]";
    client.send(&format!(r#"{{"c":"sow","cid":"2","t":"T","o":"{projected}"}}"#));
    client.receive();
    assert!(client.receive().ends_with(r#"{"kind":"a","most":4}"#));
    client.receive();
    assert!(publish(&mut client, "jobs", r#"{"n":2}"#).contains("success"));
    assert!(publish(&mut client, "jobs", r#"{"n":3}"#).contains("success"));
    assert!(publish(&mut client, "jobs", r#"{"n":5}"#).contains("not entitled"));
    assert_eq!(server.queue("even").unwrap().available.len(), 1);
}

#[test]
fn a_function_that_could_not_be_called_is_an_error_of_the_start() {
    for (name, fault) in [
        ("UPPER", "there is a built-in function of this name"),
        ("sum", "there is a built-in function of this name"),
        ("Like", "its name is a word of the language"),
        ("null", "its name is a word of the language"),
        ("2ND", "its name has to be letters, digits and _, and not begin with a digit"),
        ("A B", "its name has to be letters, digits and _, and not begin with a digit"),
    ] {
        let error = FakeServer::builder().function(name, None, count).start().unwrap_err();
        assert!(matches!(error, StartError::Config(_)));
        assert_eq!(error.to_string(), format!("the function \"{name}\" cannot be: {fault}"));
    }
}

const DECLARED: &str = "<AMPSConfig><Name>a</Name><Group>north</Group>
<Modules><Module><Name>pricing</Name><Library>libpricing.so</Library></Module></Modules>
<UserDefinedFunctions>
<Function><Name>TWICE</Name><Module>pricing</Module><Symbol>twice</Symbol><ParameterCount>1</ParameterCount></Function>
<Function><Name>HOW_MANY</Name><Module>pricing</Module><Symbol>how_many</Symbol><ParameterCount/></Function>
</UserDefinedFunctions>
<SOW><Topic><Name>T</Name><MessageType>json</MessageType><Key>/id</Key>
<Enrichment><Field>COALESCE(TWICE(/n), HOW_MANY(/n, /n), 'none') AS /m</Field></Enrichment></Topic></SOW>
<TransactionLog><Topic><Name>T</Name><MessageType>json</MessageType></Topic></TransactionLog>
</AMPSConfig>";

#[test]
fn what_a_file_declares_gives_null_until_the_test_says_what_it_computes() {
    let file = ConfigFile::parse("a.xml", DECLARED).unwrap();
    file.verify().unwrap();
    let gaps: Vec<String> = file.findings().iter().map(ToString::to_string).collect();
    let gap = "Function: not supported yet: it gives NULL, unless the test registers a function of this name";
    assert_eq!(gaps[1..], [format!("a.xml:4: {gap}"), format!("a.xml:5: {gap}")]);
    for (builder, expected) in [(FakeServer::builder(), "\"none\""), (builder(), "4")] {
        let server = builder.config(file.clone()).start().unwrap();
        server.publish("T", r#"{"id":1,"n":2}"#).unwrap();
        let body = server.logged_messages()[0].body.clone();
        assert_eq!(String::from_utf8(body).unwrap(), format!(r#"{{"id":1,"n":2,"m":{expected}}}"#));
    }
}

#[test]
fn a_declaration_is_checked() {
    let reader = || ConfigReader::new().environment(false);
    let fault =
        |from: &str, to: &str| reader().parse("a.xml", &DECLARED.replace(from, to)).unwrap_err().to_string();
    assert_eq!(
        fault("<ParameterCount>1</ParameterCount>", "<ParameterCount>2</ParameterCount>"),
        "a.xml:8: Field: \"COALESCE(TWICE(/n), HOW_MANY(/n, /n), 'none') AS /m\" does not parse: function TWICE at \
         offset 9 takes 2 arguments, not 1; correct it"
    );
    assert_eq!(
        fault("<Name>TWICE</Name><Module>pricing", "<Name>TWICE</Name><Module>other"),
        "a.xml:4: Module: the module \"other\" is not defined; define it in Modules, or correct its name"
    );
    assert!(fault("<Name>TWICE</Name>", "<Name>ABS</Name>").starts_with(
        "a.xml:4: Name: cannot be: there is a built-in function of this name; choose another name"
    ));
    assert!(fault("<Symbol>twice</Symbol>", "").starts_with("a.xml:4: Function: Symbol is missing; add"));
}

#[test]
fn an_expression_knows_the_instance_and_its_group() {
    let server = FakeServer::builder().instance("london-1").group("london").start().unwrap();
    let mut client = RawClient::named(&server, "a");
    for (filter, count) in [
        ("AMPS_INSTANCE_NAME() = 'london-1' AND AMPS_GROUP_NAME() = 'london'", 1),
        ("AMPS_INSTANCE_NAME() IS NULL", 0),
    ] {
        let ack = client.ask(&format!(
            r#"{{"c":"subscribe","cid":"1","sub_id":"{count}","t":"T","f":"{filter}","a":"processed"}}"#
        ));
        assert!(ack.contains("success"), "{ack}");
    }
    server.publish("T", "{}").unwrap();
    assert!(client.receive().contains(r#""sids":"1""#));
    client.quiet();
}

#[test]
fn one_that_panics_ends_the_server_and_nobody_takes_it_for_an_empty_one() {
    let builder = FakeServer::builder().function("BOOM", None, |_| panic!("a test wants this"));
    let server = builder.control("127.0.0.1:0").start().unwrap();
    let control = server.control_addr().unwrap();
    let mut client = RawClient::named(&server, "a");
    let ack =
        client.ask(r#"{"c":"subscribe","cid":"1","sub_id":"s","t":"T","f":"BOOM() = 1","a":"processed"}"#);
    assert!(ack.contains("success"), "{ack}");
    assert!(server.is_running());
    assert_eq!(http::request(control, "GET", "/state", None).status, 200);

    client.send(r#"{"c":"publish","t":"T"}{}"#);
    client.ends();
    assert!(!server.is_running());
    let reply = http::request(control, "GET", "/state", None);
    assert_eq!(reply.status, 500);
    assert!(reply.error().contains("its engine has panicked"), "{reply:?}");
    assert_eq!(http::request(control, "POST", "/stop", None).status, 200, "it can still be ended");
}
