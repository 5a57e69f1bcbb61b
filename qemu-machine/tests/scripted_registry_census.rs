//! Nothing of a published machine is left, however it ends, and whichever clients are
//! connected. Alone in its process, whose resources are counted.
#![allow(missing_docs)]

mod support;

use qemu_machine::error::ErrorKind;
use qemu_machine::registry::{self, PublishedMachine};
use qemu_machine::{Console, Machine, Wait};
use support::raw_client::{RawClient, unique_name};
use support::{fake, signal};
use testbed::Census;

const SCRIPT: &str = "greet\nnegotiate\nconsole-fill 4194304 x\nserve";

fn launch() -> (Machine, PublishedMachine) {
    let builder = fake(SCRIPT).console(Console::serial()).guest_agent();
    let builder = builder.name(unique_name()).publish();
    let vm = builder.launch().wait().unwrap();
    let machine = registry::find(vm.name()).unwrap();
    (vm, machine)
}

/// Clients of every socket, some of which never read.
fn clients(machine: &PublishedMachine) -> Vec<RawClient> {
    let sockets = ["qmp", "agent", "console"].map(|it| machine.folder().join(it));
    let mut clients: Vec<_> = sockets.iter().map(|it| RawClient::connect(it)).collect();
    let mut waits = RawClient::ready(machine);
    // It has no reply before the end of the machine.
    waits.send("{\"execute\":\"__org.qemu-machine_shutdown\",\"arguments\":{\"after-guest\":600}}");
    clients.push(waits);
    clients[1].send("{\"execute\":\"guest-ping\"}");
    clients
}

#[test]
fn nothing_is_left_however_a_published_machine_ends() {
    let ends: [fn(Machine, &PublishedMachine); 5] = [
        |vm, _| drop(vm.kill().wait().unwrap()),
        |_, machine| drop(machine.kill().wait().unwrap()),
        |vm, _| drop(vm),
        |vm, machine| {
            signal(machine.entry().pid, "KILL");
            drop(vm.wait_for_exit().wait().unwrap());
        },
        |vm, machine| {
            let monitor = machine.monitor().wait().unwrap();
            let quit = monitor.execute_json("quit", ()).wait();
            assert!(quit.is_ok_and(|it| it.is_object()));
            drop(vm.wait_for_exit().wait().unwrap());
        },
    ];
    let live = || {
        for end in ends {
            let (vm, machine) = launch();
            let clients = clients(&machine);
            end(vm, &machine);
            assert!(!machine.folder().exists() && !machine.is_alive());
            drop(clients);
        }
        let failed = fake("exit 1").name(unique_name()).publish().launch().wait();
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::Ended);
    };
    // The engine and the guardian stay.
    live();
    let before = Census::take::<&str>(&[]);
    for _ in 0..3 {
        live();
    }
    assert_eq!(Census::take::<&str>(&[]).since(&before), [] as [&str; 0]);
}
