//! Whole conversations, at every split of the client's bytes.

use super::*;

fn session() -> Session {
    Session::new(&json!({"qemu": {"major": 10}}), true)
}

/// A session after negotiation.
fn ready(enable: &str) -> Session {
    let mut session = session();
    session.receive(enable.as_bytes());
    while session.poll_output().is_some() {}
    session
}

/// The lines that it sends, and the commands that it forwards.
fn outputs(session: &mut Session) -> Vec<String> {
    let show = |output| match output {
        Output::Send(line) => {
            let line = String::from_utf8(line).unwrap();
            line.strip_suffix("\r\n").unwrap().to_owned()
        }
        Output::Listen => "listen".to_owned(),
        Output::Forward(request) => format!("forward {}", request.command),
        Output::Own(_, own) => format!("own {own:?}"),
    };
    std::iter::from_fn(|| session.poll_output())
        .map(show)
        .collect()
}

#[test]
fn the_conversation_is_the_same_in_whatever_pieces_it_comes() {
    let text = "{\"execute\":\"stop\",\"id\":1}\n\
                foo\n\
                {\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"x\"]}}\n\
                {\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":3},\"id\":2}\n\
                {\"execute\":\"qmp_capabilities\",\"arguments\":{\"y\":3}}\r\n\
                {\"execute\":\n\"qmp_capabilities\"} {\"execute\":\"qmp_capabilities\",\"id\":\"z\"}\
                {\"exec-oob\":\"stop\"}\n\
                {\"execute\":\"stop\",\"id\":{\"a\":[]}}\n\
                {\"execute\":\"getfd\"}\n\
                {\"execute\":\"__org.qemu-machine_kill\"}\n\
                {\"execute\":\"__org.qemu-machine_kill\",\"arguments\":{\"now\":true}}\n";
    let error = |class: &str, desc: &str, id: &str| {
        format!("{{\"error\": {{\"class\":\"{class}\",\"desc\":\"{desc}\"}}{id}}}")
    };
    let generic = |desc: &str, id: &str| error("GenericError", desc, id);
    let mut whole = session();
    whole.receive(text.as_bytes());
    let whole = outputs(&mut whole);
    let expected = [
        r#"{"QMP":{"capabilities":["oob"],"version":{"qemu":{"major":10}}}}"#.to_owned(),
        error(
            "CommandNotFound",
            "Expecting capabilities negotiation with 'qmp_capabilities'",
            ", \"id\": 1",
        ),
        whole[2].clone(),
        generic("Parameter 'enable' does not accept value 'x'", ""),
        generic(
            "Invalid parameter type for 'enable', expected: array",
            ", \"id\": 2",
        ),
        generic("Parameter 'y' is unexpected", ""),
        "listen".to_owned(),
        "{\"return\": {}}".to_owned(),
        error(
            "CommandNotFound",
            "Capabilities negotiation is already complete, command ignored",
            ", \"id\": \"z\"",
        ),
        generic("QMP input member 'exec-oob' is unexpected", ""),
        generic(
            "No file descriptor supplied via SCM_RIGHTS: it cannot be passed to a published machine",
            "",
        ),
        "own Kill".to_owned(),
        generic("Parameter 'now' is unexpected", ""),
        "forward stop".to_owned(),
    ];
    assert_eq!(whole, expected);
    assert!(whole[2].contains("JSON parse error, "), "{}", whole[2]);
    for size in 1..text.len() {
        let mut session = session();
        for piece in text.as_bytes().chunks(size) {
            session.receive(piece);
        }
        let mut pieces = outputs(&mut session);
        let mut whole = whole.clone();
        // A forwarded command may come before later answers.
        pieces.sort();
        whole.sort();
        assert_eq!(pieces, whole, "by {size}");
    }
}

#[test]
fn a_reply_goes_to_its_command_as_it_was_received() {
    let mut session = ready(r#"{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}"#);
    session.receive(br#"{"execute":"a","id":"one"}{"exec-oob":"b","id":2}"#);
    let mut forwarded: Vec<Request> = std::iter::from_fn(|| session.poll_output())
        .map(|output| match output {
            Output::Forward(request) => request,
            other => panic!("{other:?}"),
        })
        .collect();
    // Out of band, it does not wait for its turn.
    let (a, b) = (forwarded.pop().unwrap(), forwarded.pop().unwrap());
    assert_eq!((a.command.as_str(), b.command.as_str()), ("a", "b"));
    assert!(b.out_of_band && !session.is_idle());
    let value: Box<RawValue> = serde_json::from_str(r#"{"n": 1e400}"#).unwrap();
    let error: Box<RawValue> = serde_json::from_str(r#"{"class": "X", "desc": "d"}"#).unwrap();
    session.replied(&a, Ok(&value));
    session.replied(&b, Err(&error));
    let expected = [
        r#"{"return": {"n": 1e400}, "id": "one"}"#,
        r#"{"error": {"class": "X", "desc": "d"}, "id": 2}"#,
    ];
    assert_eq!(outputs(&mut session), expected);
    assert!(session.is_idle());
}

#[test]
fn of_many_commands_at_once_few_are_forwarded_and_the_client_waits() {
    let mut session = ready(r#"{"execute":"qmp_capabilities"}"#);
    session.receive(&b"{\"execute\":\"c\"}\n".repeat(WAITING_LIMIT + FORWARDED_LIMIT));
    assert!(!session.wants_input());
    let mut forwarded: VecDeque<Request> = VecDeque::new();
    let mut total = 0;
    loop {
        while let Some(output) = session.poll_output() {
            if let Output::Forward(request) = output {
                forwarded.push_back(request);
                total += 1;
            }
        }
        assert!(forwarded.len() <= FORWARDED_LIMIT);
        let Some(request) = forwarded.pop_front() else {
            break;
        };
        session.failed(&request, "why");
        assert!(session.wants_input());
    }
    assert_eq!(total, WAITING_LIMIT + FORWARDED_LIMIT);
    assert!(session.is_idle());
}

#[test]
fn a_message_without_an_end_ends_the_conversation_with_its_reason() {
    let mut session = ready(r#"{"execute":"qmp_capabilities"}"#);
    session.receive(b"{\"execute\":\"");
    let piece = vec![b'x'; 1 << 16];
    for _ in 0..=LIMIT_BYTES >> 16 {
        session.receive(&piece);
    }
    assert!(session.is_over() && !session.wants_input());
    let sent = outputs(&mut session);
    assert!(
        sent.len() == 1 && sent[0].contains("16777216 bytes at most"),
        "{sent:?}"
    );
    session.receive(b"\"}{\"execute\":\"x\"}");
    assert_eq!(outputs(&mut session), [] as [&str; 0]);
}

#[test]
fn an_event_is_sent_as_qemu_sends_it() {
    let data: Box<RawValue> = serde_json::from_str(r#"{"a": 1.0}"#).unwrap();
    let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_micros(1_000_002);
    let line = event_line("X", Some(&data), Some(at));
    assert_eq!(
        String::from_utf8(line).unwrap(),
        "{\"timestamp\": {\"microseconds\":2,\"seconds\":1}, \"event\": \"X\", \"data\": {\"a\": 1.0}}\r\n"
    );
    let line = event_line("Y", None, None);
    let expected = "{\"timestamp\": {\"microseconds\":-1,\"seconds\":-1}, \"event\": \"Y\"}\r\n";
    assert_eq!(String::from_utf8(line).unwrap(), expected);
}
