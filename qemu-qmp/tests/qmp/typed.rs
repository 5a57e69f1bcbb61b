//! Types and options: the same for typed and JSON commands, events as types, and
//! waits that a check ends.

use std::time::{Duration, Instant};

use crate::support::{scenario, serve};
use qemu_qmp::command::{Command, QueryStatus};
use qemu_qmp::error::{ErrorKind, EventError};
use qemu_qmp::{Client, Disconnected, TypedEvent, Wait};
use serde_json::json;

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Shutdown {
    guest: bool,
    reason: String,
}

impl TypedEvent for Shutdown {
    const NAME: &'static str = "SHUTDOWN";
}

#[derive(serde::Serialize)]
struct AddFd {}

impl Command for AddFd {
    const NAME: &'static str = "add-fd";
    type Return = u64;
}

const SHORT: Duration = Duration::from_millis(50);

scenario! {
    fn an_event_is_read_as_its_type_and_others_are_kept() {
        let (socket, server) = serve(|server| {
            server.ready();
            let quit = server.expect("quit");
            server.event("STOP", "{}");
            server.event("SHUTDOWN", r#"{"guest": true, "reason": "guest-shutdown"}"#);
            server.event("SHUTDOWN", r#"{"guest": 1}"#);
            server.answer(&quit, "{}");
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let mut events = qmp.events();
        run!(qmp.execute_json("quit", ())).unwrap();
        let shutdown = run!(events.next_typed::<Shutdown>().timeout(None)).unwrap();
        assert_eq!(shutdown, Shutdown { guest: true, reason: "guest-shutdown".into() });

        let error = run!(events.next_typed::<Shutdown>()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        let text = error.to_string();
        let start = "server: event 'SHUTDOWN' has an unexpected form: ";
        assert!(text.starts_with(start), "{text}");
        let EventError::Shape { event, .. } = error else { panic!("{error}") };
        assert!(event.parse::<Shutdown>().unwrap().is_err());

        let stop = run!(events.next()).unwrap();
        assert_eq!(stop.name(), "STOP");
        assert!(stop.parse::<Shutdown>().is_none());
        let error = run!(events.next_typed::<Shutdown>().timeout(SHORT)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        drop(qmp);
        server.end();
    }
}

scenario! {
    fn a_subscription_that_waits_by_value_comes_back_with_each_result() {
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
        run!(qmp.execute_json("go", ())).unwrap();
        for name in ["ONE", "TWO"] {
            let (rest, next) = run!(events.into_next());
            assert_eq!(next.unwrap().name(), name);
            events = rest;
        }
        let (events, next) = run!(events.into_next().timeout(SHORT));
        assert_eq!(next.unwrap_err().kind(), ErrorKind::Timeout);
        qmp.close();
        let (_, next) = run!(events.into_next());
        assert_eq!(next.unwrap_err().kind(), ErrorKind::Ended);
        server.end();
    }
}

scenario! {
    fn typed_and_json_commands_have_the_same_options_in_any_order() {
        let (socket, server) = serve(|server| {
            server.ready();
            for id in ["typed", "first", "last"] {
                let command = server.expect("add-fd");
                assert_eq!(command.0["id"], id);
                assert!(command.is_out_of_band());
                server.send(format_args!(r#"{{"return": 7, "id": "{id}"}}"#));
            }
            for _ in 0..3 {
                server.expect("add-fd");
            }
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let fd = || std::fs::File::open("/dev/null").unwrap();
        let typed = qmp.execute(AddFd {}).id("typed").out_of_band().pass(fd());
        assert_eq!(run!(typed).unwrap(), 7);
        let first = qmp.execute_json("add-fd", ()).returning::<u8>();
        assert_eq!(run!(first.id("first").out_of_band().pass(fd())).unwrap(), 7);
        let last = qmp.execute_json("add-fd", json!({})).id("last").out_of_band().pass(fd());
        assert_eq!(run!(last.returning::<u16>()).unwrap(), 7);

        let kinds = [
            run!(qmp.execute(AddFd {}).timeout(SHORT)).unwrap_err().kind(),
            run!(qmp.execute_json("add-fd", ()).timeout(SHORT)).unwrap_err().kind(),
            run!(qmp.execute_json("add-fd", ()).returning::<u8>().timeout(SHORT)).unwrap_err().kind(),
        ];
        assert_eq!(kinds, [ErrorKind::Timeout; 3]);
        drop(qmp);
        server.end();
    }
}

scenario! {
    fn an_error_is_cloned_with_its_kind_and_its_cause() {
        let (socket, server) = serve(|server| {
            server.ready();
            let missing = server.expect("missing");
            server.refuse(&missing, "CommandNotFound", "not here");
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let refused = run!(qmp.execute_json("missing", ())).unwrap_err();
        assert_eq!(refused.clone().kind(), ErrorKind::Refused);
        assert!(refused.io_error().is_none());
        server.end();
        let ended = run!(qmp.execute(QueryStatus)).unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::Ended);
        assert_eq!(ended.clone().to_string(), ended.to_string());

        let error = run!(qmp.getfd("x", std::path::Path::new("/nonesuch"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.io_error().is_some());
        let list = run!(qmp.execute_json("x", [1])).unwrap_err();
        assert_eq!(list.kind(), ErrorKind::InvalidInput);
        assert_eq!(
            list.to_string(),
            "server: command 'x' was not sent: invalid arguments: they must be an object, but are [1]"
        );
        let error = run!(Client::connect_unix("/nonesuch/qmp.sock")).unwrap_err();
        assert!(error.clone().io_error().is_some());
        assert_eq!(Disconnected::ByClient.kind(), ErrorKind::Ended);
    }
}

#[test]
fn a_check_ends_a_wait_for_a_reply_in_time_and_the_connection_is_kept() {
    let (socket, server) = serve(|server| {
        server.ready();
        server.expect("slow");
        let status = server.expect("query-status");
        server.answer(&status, r#"{"running": true, "status": "running"}"#);
        server.ends();
    });
    let qmp = Client::over(socket).wait().unwrap();
    let start = Instant::now();
    let slow = qmp.execute_json("slow", ()).timeout(None);
    let outcome = slow.wait_with(|| Err("interrupted"));
    assert_eq!(outcome.unwrap_err(), "interrupted");
    let mut events = qmp.events();
    let outcome = events.next().wait_with(|| Err("interrupted"));
    assert!(outcome.is_err());
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    let status = qmp.execute(QueryStatus).wait_with(|| Ok::<_, ()>(()));
    assert!(status.unwrap().unwrap().running);
    drop((events, qmp));
    server.end();
}
