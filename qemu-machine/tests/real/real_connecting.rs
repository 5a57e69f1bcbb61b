//! A client of a real QEMU's own sockets, which come some time after its start and
//! serve one client at a time.
use std::future::IntoFuture;
use std::task::{Context, Waker};

use crate::support::{Scratch, scenario};
use qemu_machine::GuestAgent;
use qemu_machine::Wait;
use qemu_machine::qmp::Client;
use qemu_machine::qmp::command::QueryStatus;

// R6
scenario! {
    fn a_client_waits_for_the_socket_of_a_qemu_that_starts_and_for_its_turn(qemu) {
        let scratch = Scratch::new("connecting");
        let (monitor, agent) = (scratch.join("qmp.sock"), scratch.join("qga.sock"));
        let begun = |mut connect: <qemu_machine::qmp::connect::Connect as IntoFuture>::IntoFuture| {
            let mut context = Context::from_waker(Waker::noop());
            assert!(connect.as_mut().poll(&mut context).is_pending());
            connect
        };
        // Before QEMU has even been started.
        let first = begun(Client::connect_unix(&monitor).into_future());
        let listen = |path: &std::path::Path| format!("unix:{},server=on,wait=off", path.display());
        let builder = qemu
            .tiny()
            .args(["-qmp", &listen(&monitor)])
            .args(["-chardev", &format!("socket,id=qga,path={},server=on,wait=off", agent.display())])
            .args(["-device", "virtio-serial", "-device", "virtserialport,chardev=qga,name=x"]);
        let vm = run!(builder.launch()).unwrap();
        let first = run!(first).unwrap();
        assert!(run!(first.execute(QueryStatus)).unwrap().running);
        drop(run!(GuestAgent::connect_unix(&agent)).unwrap());

        // One has its turn when the one before leaves; the others' queue is full.
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let client = Client::connect_unix(&monitor).wait().unwrap();
                    assert!(client.execute(QueryStatus).wait().unwrap().running);
                });
            }
            drop(first);
        });
        run!(vm.shutdown()).unwrap();
    }
}
