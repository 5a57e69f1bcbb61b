//! Who sees every message, both ways.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::support::{GREETING, Scratch, poll_once, scenario, serve};
use qemu_qmp::client::Direction;
use qemu_qmp::error::EventError;
use qemu_qmp::{Client, Tap, Transcript, Wait};
use serde_json::{Value, json};

/// What is there now, each with its sign.
fn shown(tap: &mut Tap) -> Vec<String> {
    tap.take_all().iter().map(ToString::to_string).collect()
}

// P22
scenario! {
    fn a_tap_sees_every_message_both_ways_in_the_order_of_the_wire() {
        let (socket, server) = serve(|server| {
            server.ready();
            let go = server.expect("go");
            server.event("STOP", "{}");
            server.answer(&go, "{}");
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let (mut tap, mut other) = (qmp.tap(), qmp.tap());
        assert!(tap.try_next().is_none());
        run!(qmp.execute_json("go", json!({"a": 1}))).unwrap();
        let sent = run!(tap.next()).unwrap();
        assert_eq!(sent.direction(), Direction::Sent);
        assert_eq!(sent.json().unwrap(), json!({"execute": "go", "arguments": {"a": 1}, "id": 2}));
        // Who has the reply finds it there.
        assert_eq!(
            shown(&mut tap),
            [
                r#"< {"timestamp": {"seconds": 1700000000, "microseconds": 5}, "event": "STOP", "data": {}}"#,
                r#"< {"return": {}, "id": 2}"#,
            ]
        );
        assert_eq!(shown(&mut other).len(), 3);
        let none = run!(tap.next().timeout(Duration::from_millis(1))).unwrap_err();
        assert!(none.to_string().contains("no message within 1ms"), "{none}");
        qmp.close();
        assert!(matches!(run!(tap.next()), Err(EventError::Ended { .. })));
        assert!(matches!(run!(qmp.tap().next()), Err(EventError::Ended { .. })));
        drop(qmp);
        server.end();
    }
}

// P22, D15
scenario! {
    fn a_tap_that_nobody_reads_holds_a_bound_and_is_told_what_it_missed() {
        let (socket, server) = serve(|server| {
            server.ready();
            let go = server.expect("go");
            let line = "x".repeat(1 << 20);
            for _ in 0..20 {
                server.event("BIG", format_args!(r#"{{"line": "{line}"}}"#));
            }
            server.answer(&go, "{}");
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let mut tap = qmp.tap();
        run!(qmp.execute_json("go", ())).unwrap();
        let Err(EventError::Lagged { missed, .. }) = run!(tap.next()) else {
            panic!("it holds all");
        };
        let kept = tap.take_all();
        assert_eq!(missed + kept.len() as u64, 22);
        assert!(kept.iter().map(|message| message.line().len()).sum::<usize>() <= 16 << 20);
        assert_eq!(kept.last().unwrap().json().unwrap()["id"], 2);
        drop(qmp);
        server.end();
    }
}

// P22
scenario! {
    fn a_transcript_has_the_whole_session_from_the_greeting_on() {
        let (socket, server) = serve(|server| {
            server.ready();
            let go = server.expect("go");
            server.answer(&go, r#"{"odd": "\u00e9"}"#);
            server.send("no JSON");
        });
        let scratch = Scratch::new();
        let path = scratch.file("transcript");
        let mut file = File::options().create_new(true).read(true).write(true).open(path).unwrap();
        let transcript = Transcript::to_file(file.try_clone().unwrap()).unwrap();
        let qmp = run!(Client::over(socket).transcript(transcript.clone())).unwrap();
        let mut events = qmp.events();
        run!(qmp.execute_json("go", ())).unwrap();
        // What broke the protocol is in it too.
        assert!(matches!(run!(events.next()), Err(EventError::Ended { .. })));
        server.end();
        assert_eq!(transcript.write_error(), None);
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let shown: Vec<String> = entries
            .iter()
            .map(|entry| format!("{} {}", entry["dir"].as_str().unwrap(), entry["bytes"].as_str().unwrap()))
            .collect();
        assert_eq!(
            shown,
            [
                format!("< {GREETING}\r\n"),
                "> {\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]},\"id\":1}\n".to_owned(),
                "< {\"return\": {}, \"id\": 1}\r\n".to_owned(),
                "> {\"execute\":\"go\",\"id\":2}\n".to_owned(),
                "< {\"return\": {\"odd\": \"\\u00e9\"}, \"id\": 2}\r\n".to_owned(),
                "< no JSON\r\n".to_owned(),
            ]
        );
        let times: Vec<f64> = entries.iter().map(|entry| entry["at"].as_f64().unwrap()).collect();
        assert!(times.is_sorted(), "{times:?}");
    }
}

// P22
scenario! {
    fn a_transcript_on_a_full_disk_says_so_and_stops_nobody() {
        let (socket, server) = serve(|server| {
            server.ready();
            server.echo();
        });
        let full = File::options().write(true).open("/dev/full").unwrap();
        let transcript = Transcript::to_file(full).unwrap();
        let qmp = run!(Client::over(socket).transcript(transcript.clone())).unwrap();
        run!(qmp.execute_json("go", json!({}))).unwrap();
        let trouble = transcript.write_error().unwrap();
        assert!(trouble.contains("No space left"), "{trouble}");
        drop(qmp);
        server.end();
    }
}

// P22
scenario! {
    fn a_transcript_on_a_pipe_that_nobody_reads_says_so_and_stops_nobody() {
        let (socket, server) = serve(|server| {
            server.ready();
            server.echo();
        });
        let (reader, writer) = std::io::pipe().unwrap();
        let file = File::from(OwnedFd::from(writer));
        let transcript = Transcript::to_file(file).unwrap();
        let qmp = run!(Client::over(socket).transcript(transcript.clone())).unwrap();
        // More than a pipe holds.
        let long = "x".repeat(100_000);
        run!(qmp.execute_json("go", json!({"long": long}))).unwrap();
        let trouble = transcript.write_error().unwrap();
        assert!(trouble.contains("incomplete"), "{trouble}");
        drop((qmp, reader));
        server.end();
        let (socket, _) = UnixStream::pair().unwrap();
        Transcript::to_file(File::from(OwnedFd::from(socket))).unwrap_err();
    }
}

// P22
#[test]
fn a_tap_wakes_who_waits_and_loses_nothing_to_who_gives_up() {
    let (socket, server) = serve(|server| {
        server.ready();
        server.echo();
    });
    let qmp = Client::over(socket).wait().unwrap();
    let mut tap = qmp.tap();
    let mut given_up = std::future::IntoFuture::into_future(tap.next());
    assert!(poll_once(&mut given_up).is_pending());
    std::thread::scope(|scope| {
        scope.spawn(|| qmp.execute_json("go", json!({})).wait().unwrap());
    });
    drop(given_up);
    assert_eq!(tap.next().wait().unwrap().direction(), Direction::Sent);
    assert_eq!(tap.next().wait().unwrap().direction(), Direction::Received);
    drop(qmp);
    server.end();
}
