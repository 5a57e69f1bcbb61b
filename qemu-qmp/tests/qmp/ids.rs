//! What commands and replies are known by on the wire.

use crate::support::{begin, poll_once, scenario, serve};
use qemu_qmp::Client;
use qemu_qmp::error::ExecuteFailure;
use serde_json::json;

// P18
scenario! {
    fn an_id_of_the_user_s_is_on_the_wire_and_stands_for_one_command() {
        let (socket, server) = serve(|server| {
            server.ready();
            let late = server.command();
            assert_eq!(late.0, json!({"execute": "late", "id": "job \u{e9} \"1\""}));
            let other = server.expect("other");
            server.answer(&other, "1");
            // As QEMU writes it.
            server.send(r#"{"return": {}, "id": "job \u00e9 \"1\""}"#);
            let again = server.expect("again");
            server.send(format_args!(r#"{{"return": 2, "id": {}}}"#, again.0["id"]));
            server.ends();
        });
        let qmp = run!(Client::over(socket)).unwrap();
        let id = "job \u{e9} \"1\"";
        let mut late = begin(qmp.execute_json("late", ()).id(id));
        assert!(poll_once(&mut late).is_pending());
        // Given up, it is in flight still: its reply may come.
        drop(late);
        let error = run!(qmp.execute_json("again", ()).id(id)).unwrap_err();
        assert!(matches!(*error.failure, ExecuteFailure::IdInFlight { .. }), "{error}");
        let mut tap = qmp.tap();
        assert_eq!(run!(qmp.execute_json("other", ())).unwrap(), 1);
        while run!(tap.next()).unwrap().json().unwrap()["id"] != id {}
        assert_eq!(run!(qmp.execute_json("again", ()).id(id)).unwrap(), 2);
        drop(qmp);
        server.end();
    }
}
