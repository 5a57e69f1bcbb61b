//! Published machines with a real QEMU, used over their sockets: by raw clients,
//! by this library, and by several at once.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::raw_client::{RawClient, unique_name};
use crate::support::{self, Qemu, Scratch, linux_guest, scenario, text};
use qemu_machine::error::{ErrorKind, LaunchFailure, PublishedError, RegistryError};
use qemu_machine::qmp::agent::ShutdownMode;
use qemu_machine::qmp::command::{QueryStatus, Stop};
use qemu_machine::registry::{self, PublishedMachine};
use qemu_machine::{Console, ExitCause, GuestState, Machine, MachineBuilder, Wait};
use serde_json::{Value, json};

fn published(qemu: &Qemu) -> MachineBuilder {
    qemu.tiny().name(unique_name()).publish()
}

fn find(vm: &Machine) -> PublishedMachine {
    registry::find(vm.name()).unwrap()
}

scenario! {
    fn a_published_machine_is_used_by_many_clients_and_nothing_of_it_is_left(qemu) {
        let vm = run!(published(&qemu).launch()).unwrap();
        let machine = find(&vm);
        let entry = machine.entry();
        assert_eq!((entry.owner_pid, Some(entry.pid)), (std::process::id(), vm.pid()));
        assert_eq!(entry.log, vm.log_path());
        assert!(entry.command_line.len() > 5 && entry.has_monitor && !entry.has_guest_agent);
        let listed = registry::list().unwrap();
        assert!(listed.iter().any(|it| it.name() == vm.name()));
        let taken = run!(published(&qemu).name(vm.name()).launch()).unwrap_err();
        assert!(
            matches!(&*taken.failure, LaunchFailure::Publish(RegistryError::NameTaken { .. })),
            "{taken}"
        );

        let [one, other] = [run!(machine.monitor()).unwrap(), run!(machine.monitor()).unwrap()];
        assert!(one.oob() && one.greeting() == vm.monitor().greeting());
        let (mut heard, mut own) = (other.events(), vm.monitor().events());
        run!(one.execute(Stop)).unwrap();
        assert_eq!(run!(heard.next()).unwrap().name(), "STOP");
        assert_eq!(run!(own.next()).unwrap().name(), "STOP");
        assert_eq!(run!(other.execute(QueryStatus)).unwrap().status, "paused");
        let status = run!(machine.status()).unwrap();
        assert!(matches!(status.guest, GuestState::Paused { .. }), "{status}");
        assert_eq!(status.machine, *entry);
        let refused = run!(one.execute_json("nonesuch", ())).unwrap_err();
        let own = run!(vm.monitor().execute_json("nonesuch", ())).unwrap_err();
        let said = |reply: &qemu_machine::error::ExecuteError| reply.reply().unwrap().to_string();
        assert_eq!(said(&refused), said(&own));
        // A long reply, whole.
        let schema = run!(one.execute_json("query-qmp-schema", ())).unwrap();
        assert_eq!(schema, run!(vm.monitor().execute_json("query-qmp-schema", ())).unwrap());
        let refused = run!(one.getfd("x", Path::new("/dev/null"))).unwrap_err();
        assert!(refused.to_string().contains("cannot be passed to a published machine"), "{refused}");

        let folder = machine.folder().to_owned();
        let report = run!(machine.shutdown()).unwrap();
        assert_eq!(report.cause, ExitCause::Requested(qemu_machine::life::Rung::Quit));
        let own = run!(vm.wait_for_exit()).unwrap();
        assert_eq!(report.to_string(), own.to_string());
        assert!(own.warnings.is_empty() && !folder.exists() && !machine.is_alive());
        let error = run!(machine.status()).unwrap_err();
        assert!(matches!(error, PublishedError::Ended { .. }), "{error}");
        let error = registry::find(vm.name()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}

scenario! {
    fn a_raw_client_reads_what_qemu_itself_would_send(qemu) {
        let vm = run!(published(&qemu).launch()).unwrap();
        let machine = find(&vm);
        let mut raw = RawClient::greeted(&machine);
        let desc = |reply: Value| reply["error"]["desc"].as_str().unwrap().to_owned();
        let error = raw.ask("{\"execute\":\"query-status\",\"id\":1}");
        assert_eq!((&error["id"], &error["error"]["class"]), (&json!(1), &json!("CommandNotFound")));
        assert!(desc(error).contains("Expecting capabilities negotiation"));
        assert!(desc(raw.ask("foo\n")).contains("JSON parse error"));
        // Events are sent after negotiation only.
        run!(vm.monitor().execute(Stop)).unwrap();
        let enable = "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}";
        raw.send(enable);
        assert_eq!(raw.line().unwrap(), json!({"return": {}}));
        let status = raw.ask("{\"execute\":\n\"query-status\",\n\"id\":[1,{\"a\":null}]}");
        assert_eq!((&status["return"]["status"], &status["id"]), (&json!("paused"), &json!([1, {"a": null}])));
        let refused = raw.ask("{\"exec-oob\":\"query-status\",\"id\":\"o\"}\n");
        assert_eq!(refused["id"], "o");
        assert_eq!(desc(refused), "The command query-status does not support OOB");
        let refused = raw.ask("{\"execute\":\"__org.qemu-machine_kill\",\"arguments\":{\"x\":1}}");
        assert_eq!(desc(refused), "Parameter 'x' is unexpected");

        // What is asked for before the end of the stream is answered.
        let mut last = RawClient::greeted(&machine);
        last.send("{\"execute\":\"qmp_capabilities\"}{\"execute\":\"query-name\",\"id\":9}");
        last.0.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(last.line().unwrap(), json!({"return": {}}));
        assert_eq!(last.line().unwrap()["id"], 9);
        assert_eq!(last.line(), None);

        // The event comes before the answer, and both before the end.
        raw.send("{\"execute\":\"__org.qemu-machine_shutdown\",\"id\":\"s\",\"arguments\":{\"quit-timeout\":30}}");
        let event = raw.line().unwrap();
        assert_eq!((&event["event"], &event["data"]["reason"]), (&json!("SHUTDOWN"), &json!("host-qmp-quit")));
        assert!(event["timestamp"]["seconds"].as_u64().unwrap() > 1_000_000_000, "{event}");
        let answer = raw.line().unwrap();
        assert_eq!((&answer["id"], &answer["return"]["report"]["status"]), (&json!("s"), &json!({"code": 0})));
        assert_eq!(raw.line(), None);
        run!(vm.wait_for_exit()).unwrap();
    }
}

scenario! {
    fn a_client_s_quit_is_an_end_that_was_asked_for_and_a_kill_is_a_kill(qemu) {
        let vm = run!(published(&qemu).launch()).unwrap();
        let mut raw = RawClient::greeted(&find(&vm));
        raw.ask("{\"execute\":\"qmp_capabilities\"}");
        raw.send("{\"execute\":\"quit\",\"id\":5}");
        assert_eq!(raw.line().unwrap()["event"], "SHUTDOWN");
        assert_eq!(raw.line().unwrap(), json!({"return": {}, "id": 5}));
        assert_eq!(raw.line(), None);
        assert_eq!(run!(vm.wait_for_exit()).unwrap().cause, ExitCause::QuitCommand);

        let vm = run!(published(&qemu).launch()).unwrap();
        let report = run!(find(&vm).kill()).unwrap();
        assert_eq!(report.status.signal(), Some(9));

        // The drop of the last handle ends it, also while a client is connected.
        let vm = run!(published(&qemu).launch()).unwrap();
        let machine = find(&vm);
        let connected = run!(machine.monitor()).unwrap();
        drop(vm);
        assert!(!machine.folder().exists());
        run!(connected.execute(QueryStatus)).unwrap_err();
    }
}

scenario! {
    fn a_machine_without_a_monitor_answers_its_owner_s_commands(qemu) {
        let off = qemu_machine::spec::Monitor::Off;
        let vm = run!(published(&qemu).monitor(off).launch()).unwrap();
        let machine = find(&vm);
        assert!(!machine.entry().has_monitor);
        assert_eq!(run!(machine.status()).unwrap().guest, GuestState::Running);
        let monitor = run!(machine.monitor()).unwrap();
        let error = run!(monitor.execute(QueryStatus)).unwrap_err();
        assert!(error.to_string().contains("without a monitor"), "{error}");
        let report = run!(machine.kill()).unwrap();
        assert_eq!(report.status.signal(), Some(9));
    }
}

scenario! {
    fn a_console_is_read_from_what_it_has_kept_and_typed_on_by_many(qemu) {
        let vm = run!(published(&qemu).add_console("fw", Console::debugcon(0x402)).launch()).unwrap();
        run!(vm.console().expect("> ")).unwrap();
        let machine = find(&vm);
        let names: Vec<_> = machine.entry().consoles.iter().map(|it| it.name.as_deref()).collect();
        assert_eq!(names, [None, Some("fw")]);
        let [one, other] = [run!(machine.console()).unwrap(), run!(machine.console()).unwrap()];
        for console in [&one, &other] {
            // It was printed before.
            run!(console.expect("> ")).unwrap();
        }
        run!(one.send("echo from one\n")).unwrap();
        for console in [&one, &other, vm.console()] {
            run!(console.expect("from one\r\n> ")).unwrap();
        }
        run!(other.send("echo from other\n")).unwrap();
        run!(one.expect("from other\r\n")).unwrap();
        let fw = run!(machine.console_named("fw")).unwrap();
        assert!(fw.tail().is_empty());
        let error = run!(machine.console_named("nonesuch")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");

        // It goes to its end, and the error names the machine.
        run!(vm.shutdown()).unwrap();
        let error = run!(one.expect("nothing more").timeout(None)).unwrap_err();
        let said = format!("machine '{}': console", vm.name());
        assert!(error.to_string().contains(&said), "{error}");
        assert_eq!(error.kind(), ErrorKind::Ended);
    }
}

scenario! {
    fn the_guest_agent_is_shared_with_the_owner(qemu) {
        let guest = linux_guest();
        let vm = run!(
            qemu.bare()
                .memory("256M")
                .kernel(guest.join("vmlinux"))
                .initrd(guest.join("initramfs-agent"))
                .append("console=ttyS0 quiet no_timer_check cryptomgr.notests")
                .console(Console::serial())
                .guest_agent()
                .name(unique_name())
                .publish()
                .launch()
        )
        .unwrap();
        let machine = find(&vm);
        // It waits for the agent, as the owner's does.
        let agent = run!(machine.guest_agent()).unwrap();
        run!(agent.wait_until_ready().timeout(Duration::from_secs(60))).unwrap();
        let mut raw = RawClient::connect(&machine.folder().join("agent"));
        raw.send(b"{\"exec\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":42}}\n");
        assert_eq!(raw.line().unwrap(), json!({"return": 42}));
        assert_eq!(raw.ask("{\"execute\":\"guest-ping\",\"id\":7}"), json!({"return": {}, "id": 7}));
        assert_eq!(raw.ask("{\"execute\":\"guest-sync\",\"arguments\":{\"id\":1}}"), json!({"return": 1}));
        let unknown = raw.ask("{\"execute\":\"guest-nonesuch\"}");
        assert_eq!(unknown["error"]["class"], "CommandNotFound");

        std::thread::scope(|scope| {
            for (number, agent) in [&agent, vm.guest_agent()].into_iter().enumerate() {
                scope.spawn(move || {
                    for round in 0..5 {
                        let word = format!("{number}-{round}");
                        let output = agent.exec("busybox").args(["echo", &word]).wait().unwrap();
                        assert_eq!(text(&output.stdout).trim(), word);
                    }
                });
            }
        });
        let bytes: Vec<u8> = (0..300_000_u32).map(|it| it.to_le_bytes()[1]).collect();
        run!(agent.write_file("/root/file", bytes.as_slice())).unwrap();
        assert!(run!(agent.read_file("/root/file")).unwrap() == bytes);
        // It has no reply, and the guest takes the agent with it.
        run!(agent.shutdown(ShutdownMode::Powerdown)).unwrap();
        let report = run!(vm.wait_for_exit()).unwrap();
        assert_eq!(report.cause, ExitCause::Guest, "{report}");
    }
}

scenario! {
    fn a_console_of_a_qemu_that_another_program_runs_is_used_and_closed_with_its_last_handle(qemu) {
        let scratch = Scratch::for_sockets("foreign");
        let socket = scratch.join("serial");
        let serial = format!("unix:{},server=on,wait=on", socket.display());
        let firmware = scratch.join("tiny.bin");
        qemu_machine::guests::tiny().write_to(&firmware).unwrap();
        let mut process = Command::new(&qemu.binary)
            .args(["-nodefaults", "-display", "none", "-accel", "tcg", "-serial", &serial, "-bios"])
            .arg(&firmware)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        // It waits until QEMU listens.
        let console = run!(Console::connect_unix(&socket)).unwrap();
        run!(console.expect("tiny guest ready")).unwrap();
        let other = console.clone();
        drop(console);
        run!(other.send("echo still here\n")).unwrap();
        run!(other.expect("still here")).unwrap();
        drop(other);
        // QEMU has one client at a time.
        let console = run!(Console::connect_unix(&socket)).unwrap();
        run!(console.send("echo once more\n")).unwrap();
        run!(console.expect("once more")).unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        let error = run!(console.expect("nothing").timeout(None)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ended, "{error}");
        let gone = Console::connect_unix(scratch.join("none")).already_listening();
        assert_eq!(run!(gone).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

const QEMU: &str = "REAL_REGISTRY_QEMU";
const NAME: &str = "REAL_REGISTRY_NAME";

/// The other process: owns a machine until it is killed.
#[test]
fn the_other_process() {
    let (Some(binary), Ok(name)) = (std::env::var_os(QEMU), std::env::var(NAME)) else {
        return;
    };
    let qemu = Qemu {
        version: String::new(),
        binary: binary.into(),
    };
    let vm = qemu.tiny().name(name).publish().launch().wait().unwrap();
    println!("launched");
    let _ = vm.wait_for_exit().timeout(None).wait();
}

/// The process, and its output: without a reader it would fail.
fn owned_elsewhere(qemu: &Qemu, name: &str) -> (Child, impl BufRead + use<>) {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "real_registry::the_other_process", "--nocapture"])
        .env(QEMU, &qemu.binary)
        .env(NAME, name)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    // The test runner's words may stand before ours.
    while !line.contains("launched") {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "it ended");
    }
    (process, output)
}

#[test]
fn a_machine_of_another_process_is_used_and_what_that_leaves_when_killed_is_removed() {
    for qemu in support::qemus() {
        let name = unique_name();
        let (mut owner, _output) = owned_elsewhere(&qemu, &name);
        let machine = registry::find(&name).unwrap();
        assert_eq!(machine.entry().owner_pid, owner.id());
        let status = machine.status().wait().unwrap();
        assert_eq!(status.guest, GuestState::Running);
        let console = machine.console().wait().unwrap();
        console.expect("> ").wait().unwrap();
        let monitor = machine.monitor().wait().unwrap();
        let report = machine.shutdown().wait().unwrap();
        assert_eq!(report.status.code(), Some(0));
        assert!(owner.wait().unwrap().success());
        assert!(monitor.execute(QueryStatus).wait().is_err());

        for by_sweep in [true, false] {
            let (mut owner, _output) = owned_elsewhere(&qemu, &name);
            let machine = registry::find(&name).unwrap();
            let (folder, pid) = (machine.folder().to_owned(), machine.entry().pid);
            owner.kill().unwrap();
            owner.wait().unwrap();
            let soon = Instant::now() + Duration::from_secs(10);
            assert!(testbed::wait_for_end(pid, soon));
            if !folder.join("machine.json").exists() {
                // Another test's launch has swept it: then nothing of it is left.
                registry::sweep().unwrap();
                assert!(!folder.exists());
            }
            assert!(!machine.is_alive());
            registry::find(&name).unwrap_err();
            assert!(matches!(
                machine.kill().wait(),
                Err(PublishedError::Ended { .. })
            ));
            if by_sweep {
                registry::sweep().unwrap();
                assert!(!folder.exists());
            } else {
                let vm = qemu.tiny().name(&name).publish().launch().wait().unwrap();
                assert_eq!(find(&vm).entry().owner_pid, std::process::id());
                vm.shutdown().wait().unwrap();
                assert!(!folder.exists());
            }
        }
    }
}
