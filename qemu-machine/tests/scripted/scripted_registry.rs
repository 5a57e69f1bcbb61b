//! Published machines with peers that misbehave on both sides: a QEMU that floods
//! or is silent, and clients that do not read.

use std::io::{Read, Write};
use std::time::Duration;

use crate::support::raw_client::{RawClient, unique_name};
use crate::support::{fake, scenario};
use qemu_machine::error::{ErrorKind, LaunchFailure, RegistryError};
use qemu_machine::registry;
use qemu_machine::{Console, MachineBuilder};

fn published(script: &str) -> MachineBuilder {
    fake(script).name(unique_name()).publish()
}

scenario! {
    fn a_client_that_does_not_read_is_left_and_costs_the_others_nothing() {
        let script = "greet
            negotiate
            expect flood
            event-fill 200000 X {\"what\": \"a flood of events that nobody reads at the other end\"}
            reply {}
            serve";
        let vm = run!(published(script).launch()).unwrap();
        let machine = registry::find(vm.name()).unwrap();
        let mut slow = RawClient::ready(&machine);
        let mut other = RawClient::ready(&machine);
        let answer = other.ask("{\"execute\":\"flood\",\"id\":1}");
        assert_eq!(answer["id"], 1);
        // It gets the first events, and then the end.
        let mut events = 0;
        let mut bytes = Vec::new();
        slow.0.read_to_end(&mut bytes).unwrap();
        for line in bytes.split(|&byte| byte == b'\n') {
            events += usize::from(line.starts_with(b"{\"timestamp\""));
        }
        assert!((1..200_000).contains(&events), "{events}");
        assert_eq!(other.ask("{\"execute\":\"x\",\"id\":2}")["id"], 2);
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_console_s_client_that_does_not_read_is_told_what_it_lost_and_blocks_nobody() {
        let script = "greet
            negotiate
            console first\\n
            console-expect go
            console-fill 8388608 x
            console done\\n
            serve";
        let vm = run!(published(script).console(Console::serial()).launch()).unwrap();
        let machine = registry::find(vm.name()).unwrap();
        let mut slow = RawClient::connect(&machine.folder().join("console"));
        let mut first = [0; 6];
        slow.0.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"first\n");
        let other = run!(machine.console()).unwrap();
        run!(other.send("go")).unwrap();
        run!(other.expect("done\n")).unwrap();
        run!(vm.console().expect("done\n")).unwrap();

        let mut bytes = Vec::new();
        while !bytes.ends_with(b"done\n") {
            let piece = std::io::BufRead::fill_buf(&mut slow.0).unwrap();
            assert!(!piece.is_empty(), "its end came first");
            bytes.extend_from_slice(piece);
            let count = piece.len();
            std::io::BufRead::consume(&mut slow.0, count);
        }
        let text = String::from_utf8(bytes).unwrap();
        // On a busy host, it may lag behind more than once.
        let notices = text.split("\r\n[qemu-machine: ").skip(1);
        let lost = notices.map(|notice| {
            let (lost, _) = notice.split_once(" bytes were lost here]\r\n").unwrap();
            lost.parse::<usize>().unwrap()
        });
        let lost: usize = lost.sum();
        let kept = text.bytes().filter(|&byte| byte == b'x').count();
        assert!(lost > 0);
        assert_eq!(kept + lost, 8_388_608);
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_guest_that_does_not_read_lets_who_types_wait_and_nobody_else() {
        let script = "greet\nnegotiate\nserve";
        let vm = run!(published(script).console(Console::serial()).launch()).unwrap();
        let machine = registry::find(vm.name()).unwrap();
        let mut typist = RawClient::connect(&machine.folder().join("console"));
        let types = std::thread::spawn(move || {
            let all = vec![b'x'; 32 << 20];
            typist.0.get_mut().write_all(&all).unwrap_err();
        });
        for _ in 0..10 {
            run!(machine.status()).unwrap();
        }
        run!(machine.shutdown()).unwrap();
        types.join().unwrap();
        run!(vm.wait_for_exit()).unwrap();
    }
}

scenario! {
    fn many_commands_at_once_are_answered_in_their_order() {
        let vm = run!(published("greet\nnegotiate\nserve").launch()).unwrap();
        let machine = registry::find(vm.name()).unwrap();
        let mut raw = RawClient::ready(&machine);
        for id in 0..2000 {
            raw.send(format!("{{\"execute\":\"x\",\"id\":{id}}}"));
        }
        for id in 0..2000 {
            assert_eq!(raw.line().unwrap()["id"], id);
        }
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_qemu_that_is_silent_hangs_neither_the_owner_s_commands_nor_the_end() {
        let vm = run!(published("greet\nnegotiate\nsilent").launch()).unwrap();
        let machine = registry::find(vm.name()).unwrap();
        let monitor = run!(machine.monitor()).unwrap();
        let asked = monitor.execute_json("x", ()).timeout(Duration::from_millis(20));
        assert_eq!(run!(asked).unwrap_err().kind(), ErrorKind::Timeout);
        run!(machine.status()).unwrap();
        let soon = Duration::from_millis(20);
        let report = run!(machine.shutdown().quit_timeout(soon).terminate_timeout(soon));
        // SIGTERM ends it, or the kill after that.
        assert_eq!(report.is_err(), report.as_ref().is_err_and(|it| it.report().is_some()));
        run!(vm.wait_for_exit()).unwrap();
        assert!(!machine.folder().exists());
    }
}

scenario! {
    fn one_client_too_many_sees_the_end_at_once() {
        let vm = run!(published("greet\nnegotiate\nserve").launch()).unwrap();
        let machine = registry::find(vm.name()).unwrap();
        let clients: Vec<_> = (0..64).map(|_| RawClient::ready(&machine)).collect();
        let mut surplus = RawClient::connect(&machine.folder().join("qmp"));
        assert_eq!(surplus.line(), None);
        drop(clients);
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_launch_that_fails_publishes_nothing_and_its_name_is_free() {
        let name = unique_name();
        let error = run!(fake("exit 1").name(&name).publish().launch()).unwrap_err();
        assert!(matches!(*error.failure, LaunchFailure::Exited), "{error}");
        assert!(registry::find(&name).is_err());
        assert!(!registry::directory().unwrap().join(&name).exists());
        for bad in ["a/b", "..", ""] {
            let error = run!(fake("serve").name(bad).publish().launch()).unwrap_err();
            assert!(
                matches!(&*error.failure, LaunchFailure::Publish(RegistryError::Name { .. })),
                "{error}"
            );
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        let long = "x".repeat(100);
        let error = run!(fake("serve").name(&long).publish().launch()).unwrap_err();
        assert!(error.to_string().contains("choose a shorter name"), "{error}");
        let vm = run!(published("greet\nnegotiate\nserve").name(&name).launch()).unwrap();
        run!(vm.kill()).unwrap();
    }
}
