//! The sans-IO core by its public API: what a message means, without sockets.

use qemu_qmp::error::ErrorClass;
use qemu_qmp::error::ProtocolError;
use qemu_qmp::wire::{Connection, Id, Line, Output, Settings};

const GREETING: &[u8] = b"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 2, \"minor\": 0, \"major\": 10}, \"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n";

fn settings(greeting: bool, negotiate: bool) -> Settings {
    let mut settings = Settings::default();
    (settings.greeting, settings.negotiate) = (greeting, negotiate);
    settings
}

/// A line, and what must be said of it.
type Breach<'a> = (&'a [u8], fn(&ProtocolError) -> bool);

/// A connection on which commands may be sent.
fn ready() -> Connection<&'static str> {
    let mut connection = Connection::new(settings(false, false));
    assert!(matches!(
        connection.poll_output(),
        Some(Output::Ready(None))
    ));
    connection
}

fn submit(connection: &mut Connection<&'static str>, name: &'static str) -> Id {
    connection.submit(Line::new(name, None, false), name).0
}

/// Who was given which return value, in order; nothing else may come out.
fn replies(connection: &mut Connection<&'static str>) -> Vec<(&'static str, String)> {
    std::iter::from_fn(|| connection.poll_output())
        .filter_map(|output| match output {
            Output::Reply { waiter, reply } => Some((waiter, reply.unwrap().get().to_owned())),
            Output::Unexpected(_) => None,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn events_that_came_together_are_had_together_up_to_what_is_none() {
    let mut connection = ready();
    submit(&mut connection, "a");
    connection
        .receive(b"{\"event\": \"A\"}\n{\"event\": \"B\"}\n{\"return\": 1, \"id\": 1}\n{\"event\": \"C\"}\n")
        .unwrap();
    let events = |connection: &mut Connection<_>| -> Vec<String> {
        let events = std::iter::from_fn(|| connection.poll_event());
        events.map(|event| event.name().to_owned()).collect()
    };
    assert_eq!(events(&mut connection), ["A", "B"]);
    let Some(Output::Reply { waiter, .. }) = connection.poll_output() else {
        panic!("no reply")
    };
    assert_eq!(waiter, "a");
    assert_eq!(events(&mut connection), ["C"]);
    assert!(connection.poll_output().is_none());
}

#[test]
fn a_connection_greets_negotiates_and_is_ready_in_this_order() {
    let mut connection: Connection<()> = Connection::new(Settings::default());
    assert!(connection.poll_output().is_none());
    connection.receive(GREETING).unwrap();
    let Some(Output::Transmit(bytes)) = connection.poll_output() else {
        panic!("nothing to send")
    };
    let expected =
        "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]},\"id\":1}\n";
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    assert!(connection.poll_output().is_none());
    connection
        .receive(b"{\"return\": {}, \"id\": 1}\r\n")
        .unwrap();
    let Some(Output::Ready(Some(greeting))) = connection.poll_output() else {
        panic!("not ready")
    };
    assert_eq!(greeting.version.unwrap().to_string(), "10.0.2");
    assert!(connection.oob());
}

// P19
#[test]
fn greeting_and_negotiation_can_each_be_turned_off() {
    ready();
    let mut connection: Connection<()> = Connection::new(settings(true, false));
    connection.receive(GREETING).unwrap();
    assert!(matches!(
        connection.poll_output(),
        Some(Output::Ready(Some(_)))
    ));
    let mut connection: Connection<()> = Connection::new(settings(false, true));
    let Some(Output::Transmit(bytes)) = connection.poll_output() else {
        panic!("nothing to send")
    };
    assert_eq!(bytes, b"{\"execute\":\"qmp_capabilities\",\"id\":1}\n");
}

#[test]
fn a_line_has_its_arguments_as_given_and_its_id_at_the_end() {
    let mut connection = ready();
    let line = Line::new("a \"b\"", Some(b"{\"x\":  1}"), true);
    let (id, bytes) = connection.submit(line, "w");
    let expected =
        format!("{{\"exec-oob\":\"a \\\"b\\\"\",\"arguments\":{{\"x\":  1}},\"id\":{id}}}\n");
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

#[test]
fn empty_arguments_are_not_sent_for_qemu_reads_a_byte_at_a_time() {
    let mut connection = ready();
    let (_, bytes) = connection.submit(Line::new("quit", Some(b"{}"), false), "w");
    assert_eq!(bytes, b"{\"execute\":\"quit\",\"id\":1}\n");
}

// P18
#[test]
fn ids_are_never_used_twice() {
    let mut connection = ready();
    let first = submit(&mut connection, "a");
    connection.abandon(&first);
    let second = submit(&mut connection, "b");
    connection
        .receive(format!("{{\"return\": 0, \"id\": {second}}}\n").as_bytes())
        .unwrap();
    let third = submit(&mut connection, "c");
    assert!(first < second && second < third);
}

#[test]
fn replies_find_their_waiters_in_any_order() {
    let mut connection = ready();
    let [a, b, c] = ["a", "b", "c"].map(|name| submit(&mut connection, name));
    assert_eq!(connection.in_flight(), 3);
    for (id, value) in [(c, 30), (a, 10), (b, 20)] {
        connection
            .receive(format!("{{\"return\": {value}, \"id\": {id}}}\r\n").as_bytes())
            .unwrap();
    }
    let expected = [("c", "30"), ("a", "10"), ("b", "20")];
    assert_eq!(
        replies(&mut connection),
        expected.map(|(who, what)| (who, what.to_owned()))
    );
    assert_eq!(connection.in_flight(), 0);
}

// D6, D24
#[test]
fn an_abandoned_command_counts_until_its_reply_is_dropped() {
    let mut connection = ready();
    let [a, b] = ["a", "b"].map(|name| submit(&mut connection, name));
    connection.abandon(&a);
    assert_eq!(connection.in_flight(), 2);
    connection
        .receive(
            format!("{{\"return\": 1, \"id\": {a}}}\n{{\"return\": 2, \"id\": {b}}}\n").as_bytes(),
        )
        .unwrap();
    assert_eq!(replies(&mut connection), [("b", "2".to_owned())]);
    assert_eq!(connection.in_flight(), 0);
    // What is not there any more may be abandoned.
    connection.abandon(&a);
    connection.abandon(&Id::Counted(99));
}

// D6
#[test]
fn a_late_abandon_does_not_touch_the_next_command_with_the_same_id() {
    let mut connection = ready();
    let line = || Line::new("query-name", None, false);
    connection.submit_as("x", line(), "first").unwrap();
    connection
        .receive(b"{\"return\": 1, \"id\": \"x\"}\n")
        .unwrap();
    assert_eq!(replies(&mut connection), [("first", "1".to_owned())]);
    // The id is free, and another caller takes it, before the first one is dropped.
    connection.submit_as("x", line(), "second").unwrap();
    let id = Id::Chosen("x".to_owned());
    connection.abandon_if(&id, |waiter| *waiter == "first");
    connection
        .receive(b"{\"return\": 2, \"id\": \"x\"}\n")
        .unwrap();
    assert_eq!(replies(&mut connection), [("second", "2".to_owned())]);
}

#[test]
fn an_error_without_id_is_of_the_one_command_in_flight_even_if_abandoned() {
    let unreadable =
        b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\r\n";
    let mut connection = ready();
    submit(&mut connection, "a");
    connection.receive(unreadable).unwrap();
    let Some(Output::Reply {
        waiter: "a",
        reply: Err(error),
    }) = connection.poll_output()
    else {
        panic!("no error")
    };
    assert_eq!(error.class, ErrorClass::GenericError);

    let given_up = submit(&mut connection, "b");
    connection.abandon(&given_up);
    connection.receive(unreadable).unwrap();
    assert!(connection.poll_output().is_none());
    assert_eq!(connection.in_flight(), 0);

    submit(&mut connection, "c");
    submit(&mut connection, "d");
    let error = connection.receive(unreadable).unwrap_err();
    assert!(
        matches!(&error, ProtocolError::UnattributedError { in_flight: 2, reply } if reply.desc == "JSON parse error"),
        "{error:?}"
    );
    let mut waiters = connection.take_waiters();
    waiters.sort_unstable();
    assert_eq!(waiters, ["c", "d"]);
}

// P21
#[test]
fn what_came_before_a_fault_still_comes_out() {
    let mut connection = ready();
    let [a, b] = ["a", "b"].map(|name| submit(&mut connection, name));
    connection.abandon(&b);
    submit(&mut connection, "c");
    let bytes = format!("{{\"return\": 1, \"id\": {a}}}\r\nno JSON\r\n");
    let error = connection.receive(bytes.as_bytes()).unwrap_err();
    assert!(
        matches!(&error, ProtocolError::NotJson { line, .. } if line == "no JSON"),
        "{error:?}"
    );
    assert_eq!(replies(&mut connection), [("a", "1".to_owned())]);
    assert_eq!(connection.take_waiters(), ["c"]);
    assert!(connection.take_waiters().is_empty());
}

// D26
#[test]
fn events_come_out_in_their_place_in_every_phase() {
    let event = |n: u32| format!("{{\"event\": \"E{n}\"}}\r\n").into_bytes();
    let mut connection: Connection<()> = Connection::new(Settings::default());
    let session = [
        event(0),
        GREETING.to_vec(),
        event(1),
        b"{\"return\": {}, \"id\": 1}\r\n".to_vec(),
        event(2),
    ];
    connection.receive(&session.concat()).unwrap();
    let outputs: Vec<String> = std::iter::from_fn(|| connection.poll_output())
        .map(|output| match output {
            Output::Event(event) => event.name().to_owned(),
            Output::Transmit(_) => "send".to_owned(),
            Output::Ready(_) => "ready".to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(outputs, ["E0", "send", "E1", "ready", "E2"]);
}

// D14
#[test]
fn a_line_is_bounded_by_its_bytes_and_not_by_its_pieces() {
    let line = format!("{{\"return\": \"{}\", \"id\": 1}}", "x".repeat(100));
    for piece in [1, 7, 1000] {
        for (limit, fits) in [(line.len(), true), (line.len() - 1, false)] {
            let mut settings = settings(false, false);
            settings.line_limit_bytes = limit;
            let mut connection = Connection::new(settings);
            submit(&mut connection, "a");
            let bytes = format!("{line}\n");
            let received = bytes
                .as_bytes()
                .chunks(piece)
                .try_for_each(|piece| connection.receive(piece));
            match received {
                Ok(()) => assert!(fits, "{piece} {limit}"),
                Err(ProtocolError::LineTooLong { limit_bytes }) => {
                    assert!(!fits && limit_bytes == limit, "{piece} {limit}");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}

// P21
#[test]
fn each_breach_of_the_protocol_has_its_own_error_and_shows_the_line() {
    let breach = |bytes: &[u8]| ready().receive(bytes).unwrap_err();
    let long = format!("{{\"x\": \"{}\"}}\n", "é".repeat(1000));
    let cases: [Breach<'_>; 6] = [
        (b"HTTP/1.1 400\r\n", |e| {
            matches!(e, ProtocolError::NotJson { .. })
        }),
        (b"{\"return\": \xff}\n", |e| {
            matches!(e, ProtocolError::NotJson { .. })
        }),
        (b"[{\"return\": 1}]\n", |e| {
            matches!(e, ProtocolError::NotAnObject { .. })
        }),
        (b"{\"id\": 1}\n", |e| {
            matches!(e, ProtocolError::Malformed { .. })
        }),
        (b"{\"error\": {}}\n", |e| {
            matches!(e, ProtocolError::Malformed { .. })
        }),
        (
            long.as_bytes(),
            |e| matches!(e, ProtocolError::Malformed { line, .. } if line.len() < 300),
        ),
    ];
    for (bytes, is_due) in cases {
        let error = breach(bytes);
        assert!(is_due(&error), "{error:?}");
    }
    let mut connection: Connection<()> = Connection::new(Settings::default());
    let error = connection.receive(b"{\"return\": {}}\n").unwrap_err();
    assert!(
        matches!(&error, ProtocolError::NoGreeting { line } if line == "{\"return\": {}}"),
        "{error:?}"
    );
}
