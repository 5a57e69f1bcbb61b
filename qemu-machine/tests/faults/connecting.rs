//! Faults of a monitor whose socket another program made.

use std::os::unix::net::UnixListener;

use qemu_machine::Wait;
use qemu_machine::qmp::Client;
use qemu_machine::qmp::command::QueryStatus;
use qemu_machine::qmp::connect::ConnectStage;
use qemu_machine::qmp::error::ConnectError;
use socket2::{Domain, SockAddr, Socket, Type};

use super::Place::{Real, Scripted};
use super::{AT_ONCE, Fault, SHORT, Scene, fault};

pub fn rows() -> Vec<Fault> {
    let waits = SHORT + AT_ONCE;
    vec![
        fault(
            "a monitor's queue of connections is full",
            Scripted,
            "ConnectError::Timeout, QueueFull",
            waits,
            |scene| {
                let path = SockAddr::unix(scene.file("qmp.sock")).unwrap();
                let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
                listener.bind(&path).unwrap();
                listener.listen(1).unwrap();
                let connect = || {
                    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
                    socket.set_nonblocking(true).unwrap();
                    socket.connect(&path).is_ok().then_some(socket)
                };
                let _waiting: Vec<_> = std::iter::from_fn(connect).collect();
                times_out(scene, "full", ConnectStage::QueueFull);
            },
        ),
        fault(
            "a monitor's socket is not there",
            Scripted,
            "ConnectError::Timeout, NoSocket; at once if it must be listened on",
            waits,
            |scene| {
                times_out(scene, "does not exist", ConnectStage::NoSocket);
                must_listen(scene);
            },
        ),
        fault(
            "a monitor's socket is left from a server that has ended",
            Scripted,
            "ConnectError::Timeout, NothingListens; at once if it must be listened on",
            waits,
            |scene| {
                drop(UnixListener::bind(scene.file("qmp.sock")).unwrap());
                times_out(scene, "nothing listens", ConnectStage::NothingListens);
                must_listen(scene);
            },
        ),
        fault(
            "a monitor that serves another client",
            Real,
            "ConnectError::Timeout, Greeting: a QMP socket serves one client at a time",
            waits,
            |scene| {
                let path = scene.file("qmp.sock");
                let option = format!("unix:{},server=on,wait=off", path.display());
                let vm = scene
                    .tiny()
                    .args(["-qmp", &option])
                    .launch()
                    .wait()
                    .unwrap();
                let first = Client::connect_unix(&path).wait().unwrap();
                let greeting = ConnectStage::Greeting {
                    may_serve_another: true,
                };
                times_out(scene, "one client at a time", greeting);
                // The first client is still served.
                assert!(first.execute(QueryStatus).wait().unwrap().running);
                vm.shutdown().wait().unwrap();
            },
        ),
    ]
}

fn times_out(scene: &Scene, words: &str, expected: ConnectStage) {
    scene.fault();
    let connect = Client::connect_unix(scene.file("qmp.sock")).timeout(SHORT);
    let error = connect.wait().unwrap_err();
    scene.notified();
    let ConnectError::Timeout { stage, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*stage, expected);
    assert!(error.to_string().contains(words), "{error}");
}

fn must_listen(scene: &Scene) {
    let connect = Client::connect_unix(scene.file("qmp.sock")).already_listening();
    let error = connect.wait().unwrap_err();
    assert!(matches!(error, ConnectError::Address { .. }), "{error}");
}
