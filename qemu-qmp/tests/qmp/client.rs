//! Commands and their replies, each to its own caller.

use std::future::{Future, IntoFuture};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    GREETING_WITHOUT_OOB, Received, UNREADABLE, begin, note_warnings, poll_once, scenario, serve,
    warned,
};
use qemu_qmp::command::{Command, QueryStatus};
use qemu_qmp::error::{ErrorClass, EventError, ExecuteError, ExecuteFailure};
use qemu_qmp::{Client, Disconnected, Wait};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A command of the tests' own.
#[derive(Serialize)]
struct MigratePause {
    #[serde(rename = "job-id")]
    job: &'static str,
}

impl Command for MigratePause {
    const NAME: &'static str = "migrate-pause";
    const OOB: bool = true;
    type Return = Paused;
}

#[derive(Debug, Deserialize, PartialEq)]
struct Paused {
    at: u32,
}

// P15
scenario! {
    fn a_typed_command_returns_its_type() {
        let (socket, server) = serve(|server| {
            server.ready();
            let status = server.expect("query-status");
            assert_eq!(status.0, json!({"execute": "query-status", "id": 2}));
            server.answer(&status, r#"{"status": "running", "running": true, "x-new": 1}"#);
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let status = run!(qmp.execute(QueryStatus)).unwrap();
        assert_eq!((status.running, status.status.as_str()), (true, "running"));
        drop(qmp);
        server.end();
    }
}

// P15
scenario! {
    fn a_reply_is_had_as_it_was_received() {
        let raw = r#"{"b": 1.50,  "a": [12345678901234567890123, "\u00e9"]}"#;
        let (socket, server) = serve(move |server| {
            server.ready();
            let command = server.expect("x-raw");
            server.answer(&command, raw);
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let reply = qmp.execute_json("x-raw", ()).returning::<Box<RawValue>>();
        assert_eq!(run!(reply).unwrap().get(), raw);
        server.end();
    }
}

// P15
scenario! {
    fn a_refused_command_tells_class_words_command_and_arguments() {
        let (socket, server) = serve(|server| {
            server.ready();
            let command = server.expect("device_del");
            server.refuse(&command, "DeviceNotFound", "Device 'nope' not found");
            server.echo();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let error = run!(qmp.execute_json("device_del", json!({"id": "nope"}))).unwrap_err();
        let ExecuteFailure::Refused { arguments, reply } = &*error.failure else {
            panic!("{error:?}")
        };
        assert_eq!(error.command, "device_del");
        assert_eq!(arguments.as_ref().unwrap().get(), r#"{"id":"nope"}"#);
        assert_eq!(reply.class, ErrorClass::DeviceNotFound);
        assert_eq!(reply.desc, "Device 'nope' not found");
        assert_eq!(
            reply.raw.get(),
            r#"{"class": "DeviceNotFound", "desc": "Device 'nope' not found"}"#
        );
        assert_eq!(error.reply().unwrap().desc, reply.desc);
        assert_eq!(
            error.to_string(),
            "server: command 'device_del' failed: Device 'nope' not found (DeviceNotFound)"
        );
        run!(qmp.execute_json("after", json!({}))).unwrap();
        drop(qmp);
        server.end();
    }
}

// P15, D13, P16
scenario! {
    fn arguments_are_sent_as_they_are_and_none_if_there_are_none() {
        let arguments = json!({
            "self": 1, "command": 2, "arguments": {"a_b": [null, "\n", "é"]}, "timeout": 0, "id": "x",
        });
        let expected = arguments.clone();
        let (socket, server) = serve(move |server| {
            server.ready();
            let command = server.expect("some");
            assert_eq!(command.arguments(), &expected);
            server.answer(&command, "{}");
            let command = server.expect("none");
            assert_eq!(command.0, json!({"execute": "none", "id": 3}));
            server.answer(&command, "{}");
            let command = server.expect("a \"quoted\" name\n");
            server.answer(&command, "{}");
        });
        let qmp = run!(Client::over(socket)).unwrap();
        run!(qmp.execute_json("some", &arguments)).unwrap();
        run!(qmp.execute_json("none", ())).unwrap();
        run!(qmp.execute_json("a \"quoted\" name\n", json!({}))).unwrap();
        server.end();
    }
}

// P15
scenario! {
    fn arguments_that_are_no_object_are_refused_before_anything_is_sent() {
        let (socket, server) = serve(|server| {
            server.ready();
            server.echo()
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let no_text = std::collections::HashMap::from([(vec![1], 1)]);
        for bad in [
            qmp.execute_json("bad", [1, 2]),
            qmp.execute_json("bad", "{}"),
            qmp.execute_json("bad", 5),
            qmp.execute_json("bad", true),
            qmp.execute_json("bad", &no_text),
        ] {
            let error = run!(bad).unwrap_err();
            assert!(
                matches!(*error.failure, ExecuteFailure::Arguments { .. }) && error.command == "bad",
                "{error:?}"
            );
        }
        run!(qmp.execute_json("good", json!({}))).unwrap();
        drop(qmp);
        assert_eq!(server.end(), ["good"]);
    }
}

// P15
scenario! {
    fn a_reply_of_another_shape_shows_what_was_received() {
        let (socket, server) = serve(|server| {
            server.ready();
            let command = server.expect("query-status");
            server.answer(&command, r#"{"status": 7}"#);
            server.echo();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let error = run!(qmp.execute(QueryStatus)).unwrap_err();
        let ExecuteFailure::Shape { received, .. } = &*error.failure else {
            panic!("{error:?}")
        };
        assert_eq!((error.command.as_str(), received.get()), ("query-status", r#"{"status": 7}"#));
        run!(qmp.execute_json("after", json!({}))).unwrap();
        drop(qmp);
        server.end();
    }
}

// P18
scenario! {
    fn out_of_band_commands_are_on_the_wire_as_such() {
        let (socket, server) = serve(|server| {
            server.ready();
            let paused = server.expect("migrate-pause");
            assert_eq!(
                paused.0,
                json!({"exec-oob": "migrate-pause", "arguments": {"job-id": "j"}, "id": 2})
            );
            server.answer(&paused, r#"{"at": 9}"#);
            let json = server.expect("x-oob");
            assert_eq!(json.0, json!({"exec-oob": "x-oob", "id": 3}));
            server.answer(&json, "1");
            let plain = server.expect("x-oob");
            assert!(!plain.is_out_of_band());
            server.answer(&plain, "2");
        });
        let qmp = run!(Client::over(socket)).unwrap();
        assert!(qmp.oob());
        assert_eq!(run!(qmp.execute(MigratePause { job: "j" })).unwrap(), Paused { at: 9 });
        assert_eq!(run!(qmp.execute_json("x-oob", ()).out_of_band()).unwrap(), 1);
        assert_eq!(run!(qmp.execute_json("x-oob", ())).unwrap(), 2);
        server.end();
    }
}

// P18
scenario! {
    fn an_out_of_band_reply_overtakes_the_command_that_is_stuck() {
        let (socket, server) = serve(|server| {
            server.ready();
            let stuck = server.expect("stuck");
            let urgent = server.expect("urgent");
            server.answer(&urgent, r#""first""#);
            let went_on = server.expect("go-on");
            server.answer(&stuck, r#""second""#);
            server.answer(&went_on, "{}");
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let mut stuck = qmp.execute_json("stuck", ()).into_future();
        assert!(poll_once(&mut stuck).is_pending());
        assert_eq!(run!(qmp.execute_json("urgent", ()).out_of_band()).unwrap(), "first");
        run!(qmp.execute_json("go-on", ())).unwrap();
        assert_eq!(run!(stuck).unwrap(), "second");
        server.end();
    }
}

// P18
scenario! {
    fn out_of_band_is_refused_where_the_server_does_not_offer_it() {
        let (socket, server) = serve(|server| {
            server.send(GREETING_WITHOUT_OOB);
            let capabilities = server.expect("qmp_capabilities");
            assert_eq!(capabilities.0, json!({"execute": "qmp_capabilities", "id": 1}));
            server.answer(&capabilities, "{}");
            server.echo()
        });
        let qmp = run!(Client::over(socket)).unwrap();
        assert!(!qmp.oob());
        let error = run!(qmp.execute(MigratePause { job: "j" })).unwrap_err();
        assert!(
            matches!(*error.failure, ExecuteFailure::NoOutOfBand) && error.command == "migrate-pause",
            "{error:?}"
        );
        let error = run!(qmp.execute_json("x-oob", ()).out_of_band()).unwrap_err();
        assert!(matches!(*error.failure, ExecuteFailure::NoOutOfBand), "{error:?}");
        run!(qmp.execute_json("good", json!({}))).unwrap();
        drop(qmp);
        assert_eq!(server.end(), ["good"]);
    }
}

// P21
scenario! {
    fn a_reply_of_an_unknown_id_is_dropped_and_logged_and_the_session_goes_on() {
        note_warnings();
        let (socket, server) = serve(|server| {
            server.ready();
            let command = server.expect("first");
            server.send(r#"{"return": "stray", "id": 987654321}"#);
            server.send(r#"{"return": "stray", "id": "987654322"}"#);
            server.send(r#"{"return": "stray", "id": null}"#);
            server.send(r#"{"return": "stray"}"#);
            server.send(r#"{"id": -1, "error": {"class": "GenericError", "desc": "987654323"}}"#);
            server.answer(&command, "1");
            // The same once more.
            server.answer(&command, "2");
            server.echo();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        assert_eq!(run!(qmp.execute_json("first", ())).unwrap(), 1);
        let after = run!(qmp.execute_json("after", json!({"n": 3}))).unwrap();
        assert_eq!(after, json!({"n": 3}));
        for number in ["987654321", "987654322", "987654323"] {
            assert!(warned(number), "{number}");
        }
        drop(qmp);
        server.end();
    }
}

// P21
scenario! {
    fn the_loss_of_the_connection_is_told_to_everyone_who_waits() {
        let (socket, server) = serve(|server| {
            server.ready();
            for _ in 0..3 {
                server.command();
            }
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let mut events = qmp.events();
        let mut named = qmp.events_named(["SHUTDOWN"]);
        let pending = [(); 3].map(|()| begin(qmp.execute_json("never", ()).timeout(None)));
        for command in pending {
            let error = run!(command).unwrap_err();
            assert!(
                matches!(error.disconnected(), Some(Disconnected::ByServer)),
                "{error:?}"
            );
        }
        for listener in [&mut events, &mut named] {
            let error = run!(listener.next().timeout(None)).unwrap_err();
            assert!(
                matches!(error, EventError::Ended { cause: Disconnected::ByServer, .. }),
                "{error:?}"
            );
        }
        assert!(matches!(qmp.disconnected(), Some(Disconnected::ByServer)));
        server.end();
    }
}

// P20
scenario! {
    fn a_command_after_the_end_is_an_error_at_once() {
        let (socket, server) = serve(|server| {
            server.ready();
            server.expect("pending");
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let pending = begin(qmp.execute_json("pending", ()).timeout(None));
        qmp.clone().close();
        for command in [pending, qmp.execute_json("after", ()).timeout(None).into_future()] {
            let error = run!(command).unwrap_err();
            assert!(
                matches!(error.disconnected(), Some(Disconnected::ByClient)),
                "{error:?}"
            );
        }
        let error = run!(qmp.events().next().timeout(None)).unwrap_err();
        assert!(
            matches!(error, EventError::Ended { cause: Disconnected::ByClient, .. }),
            "{error:?}"
        );
        server.end();
    }
}

// D4, D5
scenario! {
    fn a_whole_number_of_seconds_times_out_as_a_fractional_one_does() {
        let (socket, server) = serve(|server| {
            server.ready();
            server.expect("never");
            server.expect("query-status");
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let began = Instant::now();
        let limit = Duration::from_secs(1);
        let error = run!(qmp.execute_json("never", ()).timeout(limit)).unwrap_err();
        assert!(
            matches!(*error.failure, ExecuteFailure::Timeout { limit: told } if told == limit) && error.command == "never",
            "{error:?}"
        );
        assert_took(began, limit);
        let (began, limit) = (Instant::now(), Duration::from_millis(50));
        let error = run!(qmp.execute(QueryStatus).timeout(limit)).unwrap_err();
        assert!(matches!(*error.failure, ExecuteFailure::Timeout { .. }), "{error:?}");
        assert_took(began, limit);
        drop(qmp);
        server.end();
    }
}

// D6
scenario! {
    fn the_late_reply_of_a_timed_out_command_reaches_nobody_else() {
        let (socket, server) = serve(|server| {
            server.ready();
            let late = server.expect("late");
            let next = server.expect("next");
            server.answer(&late, r#""late""#);
            server.answer(&next, r#""next""#);
            server.echo();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let late = qmp.execute_json("late", ()).timeout(Duration::from_millis(1));
        assert!(matches!(*run!(late).unwrap_err().failure, ExecuteFailure::Timeout { .. }));
        assert_eq!(run!(qmp.execute_json("next", ())).unwrap(), "next");
        assert_eq!(run!(qmp.execute_json("third", json!({"n": 3}))).unwrap(), json!({"n": 3}));
        drop(qmp);
        server.end();
    }
}

// D24
scenario! {
    fn a_command_cancelled_before_it_was_sent_is_never_sent() {
        let (socket, server) = serve(|server| {
            server.ready();
            server.echo()
        });
        let qmp = run!(Client::over(socket)).unwrap();
        drop(qmp.execute_json("cancelled", ()));
        drop(qmp.execute(QueryStatus).into_future());
        assert_eq!(run!(qmp.execute_json("own", json!({"n": 1}))).unwrap(), json!({"n": 1}));
        drop(qmp);
        assert_eq!(server.end(), ["own"]);
    }
}

// D24
scenario! {
    fn after_a_command_cancelled_in_flight_the_next_gets_its_own_reply() {
        let (socket, server) = serve(|server| {
            server.ready();
            let first = server.expect("cancelled");
            let second = server.expect("own");
            server.answer(&first, r#""of the cancelled""#);
            server.answer(&second, r#""own""#);
            let third = server.expect("cancelled");
            let fourth = server.expect("own");
            server.refuse(&third, "GenericError", "of the cancelled");
            server.answer(&fourth, r#""own""#);
        });
        let qmp = run!(Client::over(socket)).unwrap();
        for _ in 0..2 {
            let mut cancelled = qmp.execute_json("cancelled", ()).into_future();
            assert!(poll_once(&mut cancelled).is_pending());
            drop(cancelled);
            assert_eq!(run!(qmp.execute_json("own", ())).unwrap(), "own");
        }
        server.end();
    }
}

scenario! {
    fn an_error_without_id_reaches_the_one_command_in_flight() {
        let (socket, server) = serve(|server| {
            server.ready();
            let before = server.expect("before");
            server.answer(&before, "{}");
            // Nothing is in flight: nobody's, and no reason to end.
            server.send(UNREADABLE);
            server.event("MARK", "{}");
            server.expect("odd");
            server.send(UNREADABLE);
            server.echo();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let mut events = qmp.events();
        run!(qmp.execute_json("before", ())).unwrap();
        run!(events.next_named("MARK")).unwrap();
        let error = run!(qmp.execute_json("odd", json!({"a": 1}))).unwrap_err();
        assert!(
            matches!(*error.failure, ExecuteFailure::Refused { .. }) && error.command == "odd",
            "{error:?}"
        );
        assert!(error.reply().unwrap().desc.starts_with("JSON parse error"));
        assert_eq!(run!(qmp.execute_json("after", json!({"n": 1}))).unwrap(), json!({"n": 1}));
        drop(qmp);
        server.end();
    }
}

scenario! {
    fn an_error_without_id_for_one_of_several_ends_the_connection_with_it() {
        let (socket, server) = serve(|server| {
            server.ready();
            server.command();
            server.command();
            server.send(UNREADABLE);
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let pending = [(); 2].map(|()| begin(qmp.execute_json("odd", ()).timeout(None)));
        for command in pending {
            let error = run!(command).unwrap_err().to_string();
            assert!(error.contains("one of 2 commands in flight: JSON parse error"), "{error}");
        }
        server.end();
    }
}

/// Each of the threads executes `each` commands in sequence. `order` sorts the
/// commands in flight; the last is answered first.
fn exchange_at_once(threads: usize, each: usize, order: fn(&mut Vec<Received>)) {
    let (socket, server) = serve(move |server| {
        server.ready();
        // Every thread has one command in flight; half of them are held back
        // at any time.
        let mut waiting: Vec<Received> = (0..threads).map(|_| server.command()).collect();
        while !waiting.is_empty() {
            order(&mut waiting);
            let answered = waiting.split_off(waiting.len() / 2);
            for command in &answered {
                server.event("NOISE", "{}");
                server.answer(command, command.arguments());
            }
            let last = json!(each - 1);
            let go_on = answered
                .iter()
                .filter(|command| command.arguments()["number"] != last);
            waiting.extend(go_on.map(|_| server.command()));
        }
        server.ends();
    });
    let qmp = Client::over(socket).wait().unwrap();
    thread::scope(|scope| {
        for thread in 0..threads {
            let qmp = qmp.clone();
            scope.spawn(move || {
                for number in 0..each {
                    let arguments = json!({"thread": thread, "number": number});
                    let command = qmp.execute_json("echo", &arguments);
                    let reply = if thread % 2 == 0 {
                        command.wait()
                    } else {
                        smol::block_on(command.into_future())
                    };
                    assert_eq!(reply.unwrap(), arguments);
                }
            });
        }
    });
    drop(qmp);
    server.end();
}

// D24
#[test]
fn threads_that_execute_at_once_each_get_their_own_replies_whatever_their_order() {
    exchange_at_once(8, 100, |waiting| waiting.reverse());
    exchange_at_once(8, 100, |waiting| {
        waiting.sort_by_key(|c| (c.id() % 3, c.id()));
    });
}

// D16
#[test]
fn an_operation_is_waited_for_in_any_thread_and_under_any_executor() {
    let (socket, server) = serve(|server| {
        server.ready();
        server.echo()
    });
    let qmp = Client::over(socket).wait().unwrap();
    let execute = |place: &'static str| qmp.execute_json(place, json!({"at": place}));
    let is_own = |reply: Result<Value, ExecuteError>, place: &str| {
        assert_eq!(reply.unwrap(), json!({"at": place}));
    };
    thread::scope(|scope| {
        scope.spawn(|| is_own(execute("thread").wait(), "thread"));
    });
    smol::block_on(async {
        is_own(execute("smol wait").wait(), "smol wait");
        is_own(execute("smol await").await, "smol await");
    });
    // A runtime without I/O and timers: ours need none of the caller's.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        is_own(execute("tokio wait").wait(), "tokio wait");
        is_own(execute("tokio await").await, "tokio await");
        let limit = Duration::from_millis(1);
        let mut events = qmp.events();
        let error = events.next().timeout(limit).await.unwrap_err();
        assert!(matches!(error, EventError::Timeout { .. }));
    });
    drop(qmp);
    assert_eq!(server.end().len(), 5);
}

#[test]
fn clients_and_operations_may_go_to_another_thread() {
    fn sent<T: Send>() {}
    fn shared<T: Send + Sync + Clone>() {}
    fn future<T: Future + Send>(_: &T) {}
    shared::<Client>();
    sent::<qemu_qmp::Events>();
    let (socket, server) = serve(|server| {
        server.ready();
        server.ends();
    });
    let qmp = Client::over(socket).wait().unwrap();
    future(&qmp.execute(QueryStatus).into_future());
    future(
        &qmp.execute_json("x", ())
            .returning::<String>()
            .into_future(),
    );
    future(&qmp.events().next().into_future());
    drop(qmp);
    server.end();
}

/// That a deadline was kept: not ended before, and not long after. The slack
/// is for a busy machine; a deadline that is not kept ends after 30 s.
#[track_caller]
fn assert_took(began: Instant, limit: Duration) {
    let took = began.elapsed();
    assert!(
        took >= limit && took < limit + Duration::from_secs(15),
        "{took:?}"
    );
}
