//! Events: each to every listener, in order, and none lost unsaid.

use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::support::{GREETING, Play, begin, poll_once, scenario, serve};
use futures_util::StreamExt;
use qemu_qmp::command::QueryStatus;
use qemu_qmp::error::{ErrorClass, EventError};
use qemu_qmp::{Client, Disconnected, Event, Events, Wait};
use serde_json::{Value, json};

/// An event with a number, to distinguish it from others.
#[derive(serde::Deserialize)]
struct Numbered {
    n: u64,
}

fn number(event: &Event) -> u64 {
    event.data::<Numbered>().unwrap().n
}

/// A server that sends the next of these ranges of numbers at each `go`, in events
/// of 1 MiB.
fn serve_large(
    ranges: impl IntoIterator<Item = Range<u64>> + Send + 'static,
) -> (UnixStream, Play<()>) {
    serve(|server| {
        server.ready();
        let filler = "x".repeat(1 << 20);
        for numbers in ranges {
            let go = server.expect("go");
            for n in numbers {
                server.event("BIG", format_args!(r#"{{"n": {n}, "filler": "{filler}"}}"#));
            }
            server.answer(&go, "{}");
        }
        server.ends();
    })
}

/// The names of what is there now.
fn names(events: &mut Events) -> Vec<String> {
    std::iter::from_fn(|| events.try_next())
        .map(|event| event.name().to_owned())
        .collect()
}

// P24, D12, D30
scenario! {
    fn a_pattern_means_its_events_and_leaves_the_others() {
        let (socket, server) = serve(|server| {
            server.ready();
            let go = server.expect("go");
            server.event("JOB", r#"{"id": "a", "status": "running"}"#);
            server.event("JOB", r#"{"id": "b", "status": "done", "list": [1, 2]}"#);
            server.event("OTHER", r#"{"id": "a"}"#);
            server.event("JOB", r#"{"id": "a", "status": "done"}"#);
            server.answer(&go, "{}");
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let mut events = qmp.events();
        let mut of_b = qmp.events_matching([("JOB", json!({"id": "b"}))]);
        run!(qmp.execute_json("go", ())).unwrap();
        let wanted = [("NEVER", json!(null)), ("JOB", json!({"id": "a", "status": "done"}))];
        let done = run!(events.next_matching(wanted)).unwrap();
        assert_eq!(done.data::<Value>().unwrap(), json!({"id": "a", "status": "done"}));
        let part = events.next_matching([("JOB", json!({"list": [1]}))]);
        let error = run!(part.timeout(Duration::from_millis(1))).unwrap_err().to_string();
        assert!(error.contains(r#"event 'JOB' with {"list":[1]}"#), "{error}");
        assert_eq!(run!(events.next_matching(["OTHER"])).unwrap().name(), "OTHER");
        let rest: Vec<_> = events.take_all().iter().map(|it| it.data::<Value>().unwrap()["id"].clone()).collect();
        assert_eq!(rest, ["a", "b"]);
        assert_eq!(run!(of_b.next()).unwrap().data::<Value>().unwrap()["list"], json!([1, 2]));
        assert!(of_b.try_next().is_none());
        drop(qmp);
        server.end();
    }
}

// P25
scenario! {
    fn a_history_has_what_was_taken_too_from_when_it_is_kept() {
        let (socket, server) = serve(|server| {
            server.ready();
            for events in [["A", "B"], ["C", "D"]] {
                let go = server.expect("go");
                for event in events {
                    server.event(event, "{}");
                }
                server.answer(&go, "{}");
            }
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let events = qmp.events_named(["A", "C", "D"]);
        run!(qmp.execute_json("go", ())).unwrap();
        assert!(events.history().is_empty());
        let mut events = events.with_history();
        run!(qmp.execute_json("go", ())).unwrap();
        assert_eq!(run!(events.next_named("C")).unwrap().name(), "C");
        let history: Vec<_> = events.history().iter().map(|it| it.name().to_owned()).collect();
        assert_eq!(history, ["C", "D"]);
        assert_eq!(names(&mut events), ["A", "D"]);
        drop(qmp);
        server.end();
    }
}

// D28
#[test]
fn events_are_a_stream_that_tells_its_end_and_then_ends() {
    let (socket, server) = serve(|server| {
        server.ready();
        let go = server.expect("go");
        for id in 0..5 {
            server.event("JOB", format_args!(r#"{{"id": {id}}}"#));
        }
        server.answer(&go, "{}");
    });
    let qmp = Client::over(socket).wait().unwrap();
    let events = qmp.events();
    qmp.execute_json("go", ()).wait().unwrap();
    server.end();
    let ids = events
        .map(|event| Ok(event?.data::<Value>().unwrap()["id"].as_u64().unwrap()))
        .filter(|id| std::future::ready(!matches!(id, Ok(1 | 3))));
    let heard: Vec<Result<u64, EventError>> = ids.collect().wait();
    let (end, heard) = heard.split_last().unwrap();
    assert_eq!(heard.iter().flatten().collect::<Vec<_>>(), [&0, &2, &4]);
    assert!(matches!(end, Err(EventError::Ended { .. })));
}

// W8
scenario! {
    fn a_listener_made_before_the_command_misses_none_of_its_events() {
        let (socket, server) = serve(|server| {
            server.ready();
            let stop = server.expect("stop");
            server.event("STOP", "{}");
            server.event("RESET", r#"{"guest": false}"#);
            server.answer(&stop, "{}");
            server.event("RESUME", "{}");
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let (mut one, mut other) = (qmp.events(), qmp.events());
        run!(qmp.execute_json("stop", ())).unwrap();
        for events in [&mut one, &mut other] {
            for name in ["STOP", "RESET", "RESUME"] {
                assert_eq!(run!(events.next()).unwrap().name(), name);
            }
        }
        drop(qmp);
        server.end();
    }
}

// D26
scenario! {
    fn events_before_the_greeting_and_before_the_session_is_ready_do_no_harm() {
        let (socket, server) = serve(|server| {
            server.event("EARLY", "{}");
            server.send(GREETING);
            server.event("EARLY", "{}");
            let capabilities = server.expect("qmp_capabilities");
            server.event("EARLY", "{}");
            server.answer(&capabilities, "{}");
            let status = server.expect("query-status");
            server.event("BETWEEN", r#"{"n": 1}"#);
            server.answer(&status, r#"{"running": true, "status": "running"}"#);
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        assert_eq!(qmp.greeting().unwrap().version.as_ref().unwrap().major, 10);
        let mut events = qmp.events();
        assert!(run!(qmp.execute(QueryStatus)).unwrap().running);
        let event = run!(events.next()).unwrap();
        assert_eq!((event.name(), event.data::<Value>().unwrap()), ("BETWEEN", json!({"n": 1})));
        drop(qmp);
        server.end();
    }
}

// D25
scenario! {
    fn what_is_unknown_changes_nothing_for_the_rest_of_the_session() {
        let (socket, server) = serve(|server| {
            server.ready();
            let first = server.expect("first");
            server.send(r#"{"timestamp": {"seconds": -1, "microseconds": -1}, "event": "X_NEW", "data": {"kind": "unheard-of"}, "x-more": [{}]}"#);
            server.send(r#"{"event": "X_BARE"}"#);
            server.send(r#"{"event": "X_TIME", "timestamp": "noon"}"#);
            server.send(r#"{"event": "X_TIME", "timestamp": {"seconds": 18446744073709551615, "microseconds": 999999}}"#);
            server.send(format_args!(
                r#"{{"x-more": 1, "id": {}, "error": {{"class": "XNewClass", "desc": "d", "x": 2}}}}"#,
                first.id()
            ));
            let second = server.expect("second");
            server.send(format_args!(r#"{{"x-more": {{"id": 0}}, "return": 2, "id": {}}}"#, second.id()));
            let third = server.expect("query-status");
            server.answer(&third, r#"{"running": false, "status": "x-new-state", "x": 1}"#);
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let mut events = qmp.events();
        let error = run!(qmp.execute_json("first", ())).unwrap_err();
        assert_eq!(error.reply().unwrap().class, ErrorClass::Other("XNewClass".to_owned()));
        assert_eq!(run!(qmp.execute_json("second", ())).unwrap(), 2);
        assert_eq!(run!(qmp.execute(QueryStatus)).unwrap().status, "x-new-state");
        let new = run!(events.next()).unwrap();
        assert_eq!((new.name(), new.timestamp()), ("X_NEW", None));
        assert_eq!(new.data::<Value>().unwrap(), json!({"kind": "unheard-of"}));
        let bare = run!(events.next()).unwrap();
        assert_eq!((bare.name(), bare.raw_data().is_none()), ("X_BARE", true));
        assert_eq!(bare.data::<Value>().unwrap(), json!({}));
        assert_eq!(names(&mut events), ["X_TIME", "X_TIME"]);
        drop(qmp);
        server.end();
    }
}

scenario! {
    fn an_event_tells_its_time_and_its_data_as_received() {
        let (socket, server) = serve(|server| {
            server.ready();
            server.expect("go");
            server.event("SHUTDOWN", r#"{"guest":  true}"#);
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let mut events = qmp.events();
        let _go = begin(qmp.execute_json("go", ()));
        let event = run!(events.next()).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_005);
        assert_eq!(event.timestamp(), Some(time));
        assert_eq!(event.raw_data().unwrap().get(), r#"{"guest":  true}"#);
        assert_eq!(event.to_string(), r#"SHUTDOWN {"guest":  true}"#);
        server.end();
    }
}

// D30, P24
scenario! {
    fn waiting_for_one_event_leaves_the_others_in_their_order() {
        let (socket, server) = serve(|server| {
            server.ready();
            let go = server.expect("go");
            for n in 0..4 {
                server.event(["A", "B"][n % 2], json!({"n": n}));
            }
            server.event("WANTED", "{}");
            server.event("C", "{}");
            server.answer(&go, "{}");
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let mut events = qmp.events();
        run!(qmp.execute_json("go", ())).unwrap();
        assert_eq!(run!(events.next_named("WANTED")).unwrap().name(), "WANTED");
        let third = events.next_where("event with n of 2", |event| {
            event.data::<Value>().is_ok_and(|data| data["n"] == 2)
        });
        assert_eq!(run!(third).unwrap().name(), "A");
        let limit = Duration::from_millis(1);
        let error = run!(events.next_named("NEVER").timeout(limit)).unwrap_err();
        assert_eq!(error.to_string(), "server: no event 'NEVER' within 1ms");
        assert_eq!(names(&mut events), ["A", "B", "B", "C"]);
        drop(qmp);
        server.end();
    }
}

// P23, D5
scenario! {
    fn an_event_is_had_without_waiting_with_a_deadline_or_without_end() {
        let (socket, server) = serve(|server| {
            server.ready();
            let go = server.expect("go");
            server.event("ONE", "{}");
            server.answer(&go, "{}");
            server.expect("end");
            server.event("TWO", "{}");
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let mut events = qmp.events();
        assert!(events.try_next().is_none());
        let (began, limit) = (Instant::now(), Duration::from_secs(1));
        let error = run!(events.next().timeout(limit)).unwrap_err();
        assert!(
            matches!(&error, EventError::Timeout { limit: told, .. } if *told == limit),
            "{error:?}"
        );
        let took = began.elapsed();
        assert!(took >= limit && took < limit + Duration::from_secs(15), "{took:?}");
        run!(qmp.execute_json("go", ())).unwrap();
        assert_eq!(events.try_next().unwrap().name(), "ONE");
        let _end = begin(qmp.execute_json("end", ()));
        assert_eq!(run!(events.next().timeout(None)).unwrap().name(), "TWO");
        server.end();
    }
}

// P25, P26
scenario! {
    fn a_listener_hears_its_names_from_when_it_is_made_until_it_is_dropped() {
        let (socket, server) = serve(|server| {
            server.ready();
            for _ in 0..2 {
                let go = server.expect("go");
                for name in ["A", "B", "C"] {
                    server.event(name, "{}");
                }
                server.answer(&go, "{}");
            }
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let (mut some, dropped) = (qmp.events_named(["A", "C"]), qmp.events());
        let mut cleared = qmp.events();
        run!(qmp.execute_json("go", ())).unwrap();
        drop(dropped);
        cleared.clear();
        let mut late = qmp.events_named([String::from("B")]);
        run!(qmp.execute_json("go", ())).unwrap();
        assert_eq!(names(&mut some), ["A", "C", "A", "C"]);
        assert_eq!(names(&mut cleared), ["A", "B", "C"]);
        assert_eq!(names(&mut late), ["B"]);
        drop(qmp);
        server.end();
    }
}

scenario! {
    fn giving_up_the_wait_for_an_event_loses_none() {
        let (socket, server) = serve(|server| {
            server.ready();
            let go = server.expect("go");
            server.event("ONE", "{}");
            server.event("TWO", "{}");
            server.answer(&go, "{}");
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let mut events = qmp.events();
        let mut given_up = events.next_named("ONE");
        assert!(poll_once(&mut given_up).is_pending());
        run!(qmp.execute_json("go", ())).unwrap();
        drop(given_up);
        assert_eq!(names(&mut events), ["ONE", "TWO"]);
        drop(qmp);
        server.end();
    }
}

// D28
scenario! {
    fn a_stream_of_events_ends_with_the_connection_after_what_came_before() {
        let (socket, server) = serve(|server| {
            server.ready();
            server.expect("go");
            server.event("A", "{}");
            server.event("SHUTDOWN", "{}");
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let (mut all, mut one) = (qmp.events(), qmp.events());
        let go = begin(qmp.execute_json("go", ()).timeout(None));
        let ended = |error: &EventError| {
            matches!(error, EventError::Ended { cause: Disconnected::ByServer, .. })
        };
        assert!(ended(&run!(all.next_named("NEVER").timeout(None)).unwrap_err()));
        assert_eq!(run!(all.next().timeout(None)).unwrap().name(), "A");
        assert_eq!(run!(all.next().timeout(None)).unwrap().name(), "SHUTDOWN");
        // For ever, not once.
        for _ in 0..2 {
            assert!(ended(&run!(all.next().timeout(None)).unwrap_err()));
        }
        assert_eq!(run!(one.next_named("SHUTDOWN").timeout(None)).unwrap().name(), "SHUTDOWN");
        assert!(ended(&run!(qmp.events().next().timeout(None)).unwrap_err()));
        assert!(run!(go).is_err());
        server.end();
    }
}

// D15
scenario! {
    fn a_listener_nobody_reads_holds_a_bound_of_bytes_and_is_told_what_it_missed() {
        let (socket, server) = serve_large((0..20).map(|n| n..n + 1));
        let qmp = run!(Client::over(socket)).unwrap();
        let (mut unread, mut read) = (qmp.events(), qmp.events_named(["BIG"]));
        for n in 0..20 {
            run!(qmp.execute_json("go", ())).unwrap();
            assert_eq!(number(&run!(read.next()).unwrap()), n);
        }
        assert!(read.try_next().is_none());
        let error = run!(unread.next()).unwrap_err();
        let EventError::Lagged { missed, .. } = error else {
            panic!("{error:?}")
        };
        // 16 MiB hold 15 of them with what is around each.
        assert_eq!(missed, 5);
        for n in missed..20 {
            assert_eq!(number(&run!(unread.next()).unwrap()), n);
        }
        assert!(unread.try_next().is_none());
        drop(qmp);
        server.end();
    }
}

// D15
#[test]
fn a_listener_nobody_reads_holds_a_bound_of_small_events() {
    let (sent, more) = (100_000, 25);
    let (socket, server) = serve(move |server| {
        server.ready();
        let flood = server.expect("flood");
        for count in [sent, more] {
            server.send_bytes("{\"event\": \"E\"}\r\n".repeat(count).as_bytes());
        }
        server.answer(&flood, "{}");
        server.ends();
    });
    let qmp = Client::over(socket).wait().unwrap();
    let mut unread = qmp.events();
    qmp.execute_json("flood", ()).wait().unwrap();
    let told = unread.next().wait().unwrap_err();
    assert!(
        matches!(told, EventError::Lagged { missed, .. } if missed > 0),
        "{told:?}"
    );
    let EventError::Lagged { missed, .. } = told else {
        unreachable!()
    };
    let held = names(&mut unread).len();
    assert!(held <= sent, "{held}");
    assert_eq!(missed + held as u64, (sent + more) as u64);
    drop(qmp);
    server.end();
}

// D15
scenario! {
    fn a_listener_hears_what_it_missed_where_it_missed_it() {
        let (socket, server) = serve_large([0..10, 10..30, 30..50]);
        let qmp = run!(Client::over(socket)).unwrap();
        let mut events = qmp.events();
        run!(qmp.execute_json("go", ())).unwrap();
        assert_eq!(number(&run!(events.next()).unwrap()), 0);
        run!(qmp.execute_json("go", ())).unwrap();
        let mut heard = Vec::new();
        let missed = loop {
            match run!(events.next()) {
                Ok(event) => heard.push(number(&event)),
                Err(EventError::Lagged { missed, .. }) => break missed,
                Err(error) => panic!("{error:?}"),
            }
        };
        // 16 MiB hold 15 of them with what is around each.
        assert_eq!(heard, (1..10).collect::<Vec<u64>>());
        assert_eq!(missed, 5);
        for n in 15..30 {
            assert_eq!(number(&run!(events.next()).unwrap()), n);
        }
        // After `try_next`, the next wait reports everything that was lost before.
        run!(qmp.execute_json("go", ())).unwrap();
        assert_eq!(events.try_next().map(|event| number(&event)), Some(35));
        let told = run!(events.next());
        assert!(matches!(told, Err(EventError::Lagged { missed: 5, .. })), "{told:?}");
        assert_eq!(number(&run!(events.next()).unwrap()), 36);
        drop(qmp);
        server.end();
    }
}

scenario! {
    fn a_wait_looks_at_each_event_once_however_many_come_one_by_one() {
        let (socket, server) = serve(|server| {
            server.ready();
            for n in 0..100 {
                let go = server.expect("go");
                server.event("E", format_args!(r#"{{"n": {n}}}"#));
                server.answer(&go, "{}");
            }
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let mut events = qmp.events();
        let looks = Arc::new(AtomicUsize::new(0));
        let (counted, other) = (Arc::clone(&looks), qmp.clone());
        run!(qmp.execute_json("go", ())).unwrap();
        let last = run!(events.next_where("the last", move |event| {
            counted.fetch_add(1, Ordering::Relaxed);
            let is_last = number(event) == 99;
            if !is_last {
                other.execute_json("go", ()).wait().unwrap();
            }
            is_last
        }));
        assert_eq!(number(&last.unwrap()), 99);
        assert_eq!(looks.load(Ordering::Relaxed), 100);
        assert_eq!(names(&mut events).len(), 99);
        drop(qmp);
        server.end();
    }
}

// D15
scenario! {
    fn a_listener_that_lags_while_it_matches_loses_the_oldest_too() {
        let (socket, server) = serve_large([0..15, 15..18]);
        let qmp = run!(Client::over(socket)).unwrap();
        let mut events = qmp.events();
        run!(qmp.execute_json("go", ())).unwrap();
        let (other, once) = (qmp.clone(), std::sync::Once::new());
        let told = run!(events.next_where("event", move |_| {
            once.call_once(|| drop(other.execute_json("go", ()).wait().unwrap()));
            false
        }));
        assert!(matches!(told, Err(EventError::Lagged { missed: 3, .. })), "{told:?}");
        for n in 3..18 {
            assert_eq!(number(&run!(events.next()).unwrap()), n);
        }
        drop(qmp);
        server.end();
    }
}

#[test]
fn a_matcher_that_panics_loses_no_event() {
    let (socket, server) = serve(|server| {
        server.ready();
        let go = server.expect("go");
        server.event("A", "{}");
        server.event("B", "{}");
        server.answer(&go, "{}");
        server.ends();
    });
    let qmp = Client::over(socket).wait().unwrap();
    let mut events = qmp.events();
    qmp.execute_json("go", ()).wait().unwrap();
    let next = std::panic::AssertUnwindSafe(|| {
        events.next_where("event", |_| panic!("on purpose")).wait()
    });
    assert!(std::panic::catch_unwind(next).is_err());
    assert_eq!(names(&mut events), ["A", "B"]);
    drop(qmp);
    server.end();
}

// D16
#[test]
fn a_waker_and_a_matcher_may_use_the_client() {
    struct UsesClient(Client, std::sync::mpsc::SyncSender<bool>);

    impl std::task::Wake for UsesClient {
        fn wake(self: std::sync::Arc<Self>) {
            // As where the last handle goes with the task that is woken.
            self.0.close();
            self.1.send(self.0.oob()).unwrap();
        }
    }

    let (socket, server) = serve(|server| {
        server.ready();
        let go = server.expect("go");
        server.event("A", "{}");
        server.answer(&go, "{}");
        server.expect("go");
        // The client closes on it, so nothing can follow.
        server.event("A", "{}");
        server.ends();
    });
    let qmp = Client::over(socket).wait().unwrap();
    let mut events = qmp.events();
    qmp.execute_json("go", ()).wait().unwrap();
    let other = qmp.clone();
    let next = events.next_where("event", move |_| other.oob());
    assert_eq!(next.wait().unwrap().name(), "A");

    let (told, woken) = std::sync::mpsc::sync_channel(2);
    let waker = std::task::Waker::from(std::sync::Arc::new(UsesClient(qmp.clone(), told)));
    let mut next = events.next();
    let polled = std::pin::Pin::new(&mut next).poll(&mut std::task::Context::from_waker(&waker));
    assert!(polled.is_pending());
    let _go = begin(qmp.execute_json("go", ()));
    assert!(woken.recv().unwrap());
    assert_eq!(next.wait().unwrap().name(), "A");
    server.end();
}
