//! Messages that are well formed, and wrong otherwise.

use qemu_qmp::{Client, Wait};
use serde_json::json;
use serde_json::value::RawValue;
use testbed::trials;

use crate::support::{GREETING, Received, Server, serve};
use crate::{costs, told};

pub(crate) fn trials() -> Vec<testbed::Named> {
    trials![
        a_member_that_stands_twice_is_told_at_the_top_and_the_last_counts_below,
        a_number_of_any_size_is_passed_over_or_told,
        a_text_that_is_half_a_character_costs_its_command_alone,
        a_greeting_that_comes_twice_changes_nothing,
        a_reply_before_the_greeting_is_told,
    ]
}

/// Answers a command with this line, then others properly.
fn answered_by(line: &str, check: impl FnOnce(&Client)) {
    let line = line.to_owned();
    let (socket, server) = serve(move |server| {
        server.ready();
        let command = server.expect("x");
        server.send(line.replace("$id", &command.id().to_string()));
        proper(server, &command);
    });
    let qmp = Client::over(socket).wait().unwrap();
    check(&qmp);
    drop(qmp);
    server.end();
}

/// Answers this command and all later ones, until the client leaves.
fn proper(server: &mut Server, command: &Received) {
    let answer = format!("{{\"return\": 7, \"id\": {}}}\r\n", command.id());
    if server.try_send_bytes(answer.as_bytes()) {
        server.echo();
    }
}

fn a_member_that_stands_twice_is_told_at_the_top_and_the_last_counts_below() {
    costs(0, || {
        for (line, words) in [
            (
                r#"{"return": 1, "return": 2, "id": $id}"#,
                "(Return occurs twice",
            ),
            (r#"{"return": 1, "id": $id, "id": $id}"#, "(Id occurs twice"),
            (r#"{"event": "A", "event": "B"}"#, "(Event occurs twice"),
        ] {
            answered_by(line, |qmp| {
                let error = qmp.execute_json("x", ()).wait().unwrap_err();
                let words = format!("the server sent an object that is not a QMP message {words}");
                told(&error, &words);
            });
        }
        let twice = r#"{"x": 1, "x": 2, "return": {"a": 1, "a": 2}, "id": $id}"#;
        answered_by(twice, |qmp| {
            assert_eq!(qmp.execute_json("x", ()).wait().unwrap(), json!({"a": 2}));
        });
        let twice =
            r#"{"error": {"class": "A", "desc": "", "class": "B", "desc": "d"}, "id": $id}"#;
        answered_by(twice, |qmp| {
            let error = qmp.execute_json("x", ()).wait().unwrap_err();
            told(&error, "server: command 'x' failed: d (B)");
        });
    });
}

fn a_number_of_any_size_is_passed_over_or_told() {
    costs(0, || {
        // No id of ours, though the last is one to a reader of less care.
        for id in [
            "1e999",
            "18446744073709551616",
            "-1",
            "2.0",
            "2e0",
            "null",
            "[2]",
            r#"{"a": 2}"#,
            r#""2""#,
        ] {
            answered_by(&format!(r#"{{"return": "stray", "id": {id}}}"#), |qmp| {
                assert_eq!(qmp.execute_json("x", ()).wait().unwrap(), 7);
            });
        }
        answered_by(r#"{"return": 1e999, "id": $id}"#, |qmp| {
            let error = qmp.execute_json("x", ()).wait().unwrap_err();
            told(
                &error,
                "command 'x' failed: its reply has an unexpected form: number out of range",
            );
        });
        answered_by(r#"{"return": 1e999, "id": $id}"#, |qmp| {
            let raw = qmp.execute_json("x", ()).returning::<Box<RawValue>>();
            assert_eq!(raw.wait().unwrap().get(), "1e999");
        });
        for time in [
            "1e999",
            "18446744073709551615",
            "-18446744073709551616",
            "{}",
        ] {
            let line = format!(
                r#"{{"event": "A", "timestamp": {{"seconds": {time}, "microseconds": 999999}}}}"#
            );
            answered_by(&line, |qmp| {
                let mut events = qmp.events();
                assert_eq!(qmp.execute_json("x", ()).wait().unwrap(), 7);
                assert_eq!(events.next().wait().unwrap().timestamp(), None);
            });
        }
        for version in ["1e999", "18446744073709551616", "-1", "0.5", "[]"] {
            let greeting = GREETING.replace(r#""micro": 2"#, &format!(r#""micro": {version}"#));
            let (socket, server) = serve(move |server| {
                server.send(greeting);
                server.negotiate();
                server.echo();
            });
            let qmp = Client::over(socket).wait().unwrap();
            assert_eq!(qmp.greeting().unwrap().version, None);
            drop(qmp);
            server.end();
        }
    });
}

fn a_text_that_is_half_a_character_costs_its_command_alone() {
    costs(0, || {
        answered_by(r#"{"return": "\ud800", "id": $id}"#, |qmp| {
            let error = qmp.execute_json("x", ()).wait().unwrap_err();
            told(
                &error,
                "command 'x' failed: its reply has an unexpected form: ",
            );
        });
        answered_by(r#"{"return": "stray", "id": "\ud800"}"#, |qmp| {
            assert_eq!(qmp.execute_json("x", ()).wait().unwrap(), 7);
        });
        // Brackets and ends of lines in a text are none.
        let deep = r#"\"[[[{\\\u0000\r\n\ud83d\ude00"#.repeat(1000);
        answered_by(&format!(r#"{{"return": "{deep}", "id": $id}}"#), |qmp| {
            let value = qmp.execute_json("x", ()).wait().unwrap();
            let text = "\"[[[{\\\0\r\n\u{1f600}".repeat(1000);
            assert_eq!(value, text);
        });
        answered_by(r#"{"event": "\udc00"}"#, |qmp| {
            let error = qmp.execute_json("x", ()).wait().unwrap_err();
            told(
                &error,
                "the server sent an object that is not a QMP message (an event's name: ",
            );
        });
    });
}

fn a_greeting_that_comes_twice_changes_nothing() {
    costs(0, || {
        let (socket, server) = serve(|server| {
            server.send(GREETING);
            server.send(GREETING.replace("\"major\": 10", "\"major\": 9"));
            server.negotiate();
            server.send(GREETING);
            server.echo()
        });
        let qmp = Client::over(socket).wait().unwrap();
        assert_eq!(qmp.greeting().unwrap().version.as_ref().unwrap().major, 10);
        qmp.execute_json("x", ()).wait().unwrap();
        drop(qmp);
        assert_eq!(server.end(), ["x"]);
    });
}

fn a_reply_before_the_greeting_is_told() {
    costs(0, || {
        let (socket, server) = serve(|server| {
            server.send(r#"{"return": {}, "id": 1}"#);
            server.ends();
        });
        let error = Client::over(socket).wait().unwrap_err();
        told(
            &error,
            r#"the connection ended before the handshake finished: the server sent no greeting first, but: {"return": {}, "id": 1}"#,
        );
        server.end();
    });
}
