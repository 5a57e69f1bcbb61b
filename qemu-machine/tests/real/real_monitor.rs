//! What the monitor of a real QEMU is asked beside its commands.

use std::fs::File;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;

use crate::support::{self, Scratch, scenario};
use qemu_machine::Wait;
use qemu_machine::error::ForwardError;
use qemu_machine::qmp::command::{HumanMonitorCommand, QueryStatus, Stop};
use qemu_machine::qmp::error::ExecuteFailure;
use qemu_machine::spec::{Monitor, UserNet};
use serde_json::json;

// P15
scenario! {
    fn the_human_monitor_answers_by_text(qemu) {
        let vm = run!(qemu.tiny().launch()).unwrap();
        let status = run!(vm.monitor().human("info status")).unwrap();
        assert_eq!(status, "VM status: running\r\n");
        let command = HumanMonitorCommand::new("nonesuch");
        let unknown = run!(vm.monitor().execute(command)).unwrap();
        assert_eq!(unknown, "unknown command: 'nonesuch'\r\n");
        run!(vm.shutdown()).unwrap();
    }
}

// P17
scenario! {
    fn descriptors_of_every_kind_are_passed_and_are_what_they_were(qemu) {
        let scratch = Scratch::new("passed");
        let path = scratch.join("data");
        std::fs::write(&path, "by path").unwrap();
        let vm = run!(qemu.tiny().launch()).unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        run!(vm.monitor().getfd("pipe", writer)).unwrap();
        run!(vm.monitor().add_fd(7, path.as_path())).unwrap();
        run!(vm.monitor().add_fd(7, File::open("/dev/zero").unwrap())).unwrap();
        let sets = run!(vm.monitor().execute_json("query-fdsets", ())).unwrap();
        assert_eq!(sets[0]["fds"].as_array().unwrap().len(), 2, "{sets}");

        // What QEMU writes to the pipe is read here: our own copy is closed.
        run!(vm.monitor().execute_json("stop", ())).unwrap();
        run!(vm.monitor().execute_json("migrate", json!({"uri": "fd:pipe"}))).unwrap();
        let mut state = Vec::new();
        reader.read_to_end(&mut state).unwrap();
        assert!(state.starts_with(b"QEVM"), "{} bytes", state.len());

        let missing = run!(vm.monitor().getfd("x", scratch.join("missing"))).unwrap_err();
        assert!(matches!(*missing.failure, ExecuteFailure::File { .. }), "{missing}");
        run!(vm.shutdown()).unwrap();
    }
}

// P17: QEMU keeps only the last passed descriptor, until a command takes it.
scenario! {
    fn descriptors_passed_from_many_threads_reach_their_own_commands(qemu) {
        let vm = run!(qemu.tiny().launch()).unwrap();
        std::thread::scope(|scope| {
            for set in 0..16 {
                let vm = &vm;
                scope.spawn(move || vm.monitor().add_fd(set, Path::new("/dev/null")).wait().unwrap());
            }
        });
        let sets = run!(vm.monitor().execute_json("query-fdsets", ())).unwrap();
        assert_eq!(sets.as_array().unwrap().len(), 16, "{sets}");
        run!(vm.shutdown()).unwrap();
    }
}

// P17
scenario! {
    fn a_descriptor_is_refused_by_name_where_there_is_no_unix_socket(qemu) {
        let monitor = Monitor::Tcp(([127, 0, 0, 1], 0).into());
        let vm = run!(qemu.tiny().monitor(monitor).launch()).unwrap();
        let error = run!(vm.monitor().getfd("x", Path::new("/dev/null"))).unwrap_err();
        assert!(matches!(*error.failure, ExecuteFailure::NoDescriptors), "{error}");
        assert!(error.to_string().contains("only a unix socket can pass a descriptor"), "{error}");
        run!(vm.shutdown()).unwrap();
    }
}

// P30, W9
scenario! {
    fn the_port_that_the_system_chose_is_told(qemu) {
        let any = ([127, 0, 0, 1], 0).into();
        let net = |id| UserNet::new(id).model("e1000").forward_tcp(any, 22).forward_tcp(any, 80);
        let builder = qemu.tiny().netdev_user(net("net0")).netdev_user(net("net1"));
        let vm = run!(builder.launch()).unwrap();
        let mut ports = Vec::new();
        for (network, port) in [("net0", 22), ("net0", 80), ("net1", 22), ("net1", 80)] {
            let port = run!(vm.forwarded_port(network, port)).unwrap();
            // QEMU listens there, whatever the guest does.
            TcpStream::connect(("127.0.0.1", port)).unwrap();
            ports.push(port);
        }
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 4);
        let error = run!(vm.forwarded_port("net0", 443)).unwrap_err();
        assert!(matches!(&error, ForwardError::None { server, .. } if server.contains(vm.name())), "{error}");
        assert!(error.to_string().contains("HOST_FORWARD"), "{error}");
        run!(vm.shutdown()).unwrap();
    }
}

scenario! {
    fn a_second_monitor_is_a_connection_of_its_own(qemu) {
        let vm = run!(qemu.tiny().add_monitor("watch").add_monitor("third").launch()).unwrap();
        assert!(vm.monitor_named("nonesuch").is_none());
        let watch = vm.monitor_named("watch").unwrap();
        let mut events = watch.events();
        run!(vm.monitor().execute(Stop)).unwrap();
        assert_eq!(run!(events.next()).unwrap().name(), "STOP");
        let status = run!(vm.monitor_named("third").unwrap().execute(QueryStatus)).unwrap();
        assert_eq!(status.status, "paused");

        // The machine lives on without it, and ends it with itself.
        vm.monitor_named("third").unwrap().close();
        run!(watch.execute(QueryStatus)).unwrap();
        let report = run!(vm.shutdown()).unwrap();
        let error = run!(watch.execute(QueryStatus)).unwrap_err();
        let cause = error.disconnected().unwrap().to_string();
        assert!(cause.contains(&report.to_string()), "{cause}");
    }
}

// P22
scenario! {
    fn a_recorded_session_is_played_again_by_the_scripted_peer(qemu) {
        let scratch = Scratch::new("transcript");
        let path = scratch.join("session.jsonl");
        let mut told = Vec::new();
        let scripted = support::fake(&format!("transcript {}", path.display()));
        for builder in [qemu.bare().transcript(&path), scripted] {
            let vm = run!(builder.launch()).unwrap();
            let mut events = vm.monitor().events();
            let version = run!(vm.monitor().execute_json("query-version", ())).unwrap();
            run!(vm.monitor().execute_json("stop", ()).id("mine")).unwrap();
            let refused = run!(vm.monitor().execute_json("nonesuch", ())).unwrap_err();
            let stopped = run!(events.next_named("STOP")).unwrap();
            let report = run!(vm.shutdown()).unwrap();
            assert!(report.warnings.is_empty(), "{report}");
            told.push((version, refused.reply().unwrap().desc.clone(), stopped.timestamp()));
        }
        assert_eq!(told[0], told[1]);

        // Any other order is an error that says so.
        let vm = run!(support::fake(&format!("transcript {}", path.display())).launch()).unwrap();
        run!(vm.monitor().execute_json("query-name", ())).unwrap_err();
        let report = run!(vm.wait_for_exit()).unwrap().to_string();
        assert!(report.contains("query-version"), "{report}");
    }
}

// D14
scenario! {
    fn a_reply_over_the_bound_ends_the_monitor_by_name_and_not_the_machine(qemu) {
        let vm = run!(qemu.bare().reply_limit_bytes(10_000).launch()).unwrap();
        run!(vm.monitor().execute(QueryStatus)).unwrap();
        let error = run!(vm.monitor().execute_json("query-qmp-schema", ())).unwrap_err();
        assert!(error.to_string().contains("longer than 10000 bytes"), "{error}");
        assert!(vm.is_running());
        run!(vm.shutdown()).unwrap();
    }
}
