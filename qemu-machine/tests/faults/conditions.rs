//! Launches on a host that lacks descriptors, processes, space, or an address.

use std::net::TcpListener;
use std::time::Duration;

use qemu_machine::error::LaunchFailure;
use qemu_machine::spec::Monitor;
use qemu_machine::{Console, Wait};
use testbed::DescriptorLimit;

use super::Place::Scripted;
use super::at_launch::{address, executable, exited_by, fails, file, launch};
use super::{AT_ONCE, Fault, SHORT, fault, host};
use crate::support;

pub fn rows() -> Vec<Fault> {
    vec![
        fault(
            "is debugged from the start, with its deadlines suspended",
            Scripted,
            "nothing, however long it takes; then a machine",
            2 * SHORT + AT_ONCE,
            |scene| {
                let fifo = scene.fifo("go");
                let script = format!("wait-file {}\ngreet\nnegotiate\nsilent", fifo.display());
                let builder = scene
                    .fake(&script)
                    .launch_timeout(SHORT)
                    .suspend_deadlines();
                std::thread::scope(|scope| {
                    let launch = scope.spawn(|| builder.launch().wait().unwrap());
                    // Measured by the clock of another machine, which is not
                    // suspended.
                    let other = scene.running("silent");
                    other.wait_for_exit().timeout(2 * SHORT).wait().unwrap_err();
                    support::release(&fifo);
                    let vm = launch.join().unwrap();
                    vm.deadlines().resume();
                    let command = vm.monitor().execute_json("x", ()).timeout(SHORT);
                    command.wait().unwrap_err();
                    scene.notified();
                    vm.kill().wait().unwrap();
                    other.kill().wait().unwrap();
                });
            },
        ),
        fault(
            "no descriptors left",
            Scripted,
            "Resources or File, with what to do; the next launch works",
            Duration::from_secs(10),
            |scene| {
                // The check would find a descriptor that stays open.
                let builder = scene
                    .fake("greet\nnegotiate\nserve")
                    .console(Console::serial());
                let mut failures = 0;
                // With one more descriptor each time, it fails at each place
                // that makes one.
                for number in lowest_free().. {
                    let limit = DescriptorLimit::below(number);
                    let launched = builder.launch().wait();
                    drop(limit);
                    match launched {
                        Ok(vm) => {
                            vm.shutdown().wait().unwrap();
                            break;
                        }
                        Err(error) => {
                            failures += 1;
                            let failure = &*error.failure;
                            let emfile = error.to_string().contains("Too many open files");
                            let known = matches!(
                                failure,
                                LaunchFailure::Resources { .. } | LaunchFailure::File { .. }
                            );
                            assert!(known && emfile, "{error}");
                        }
                    }
                }
                assert!(failures >= 8, "only {failures} launches failed");
            },
        ),
        fault(
            "no processes left",
            Scripted,
            "Resources, with what to do",
            AT_ONCE,
            |scene| host::Host::new(scene, "no_processes").succeeds(),
        ),
        fault(
            "no threads left for the engine",
            Scripted,
            "Resources",
            AT_ONCE,
            |scene| host::Host::new(scene, "no_threads").succeeds(),
        ),
        launch(
            "directory for temporary files missing",
            "File, with its path",
            AT_ONCE,
            |scene| scene.fake("serve").base_dir("/nonexistent/tmp"),
            file,
            "/nonexistent/tmp",
        ),
        fault(
            "directory for temporary files read-only",
            Scripted,
            "File, with its path and what to do",
            AT_ONCE,
            |scene| host::Host::on_a_file_system(scene, "read_only", "ro").succeeds(),
        ),
        fault(
            "directory for temporary files has no room for a file",
            Scripted,
            "File, with its path and what to do",
            AT_ONCE,
            |scene| {
                host::Host::on_a_file_system(scene, "no_room", "nr_inodes=1").succeeds();
            },
        ),
        fault(
            "directory for temporary files has no room for the firmware",
            Scripted,
            "File, with its path and what to do",
            AT_ONCE,
            |scene| {
                host::Host::on_a_file_system(scene, "no_room", "size=4k").succeeds();
            },
        ),
        fault(
            "log directory full",
            Scripted,
            "a machine; its report says that the log is incomplete, and has the output",
            AT_ONCE,
            |scene| {
                host::Host::on_a_file_system(scene, "full_log", "size=4k").succeeds();
            },
        ),
        launch(
            "log directory missing",
            "File, with its path",
            AT_ONCE,
            |scene| scene.fake("serve").log_dir("/nonexistent/log"),
            file,
            "/nonexistent/log",
        ),
        launch(
            "working directory missing",
            "File, with its path",
            AT_ONCE,
            |scene| scene.fake("serve").current_dir("/nonexistent/cwd"),
            file,
            "/nonexistent/cwd",
        ),
        launch(
            "socket path over the system's limit",
            "Monitor",
            AT_ONCE,
            |scene| {
                let path = scene.file(&"long".repeat(40));
                scene.fake("serve").monitor(Monitor::Unix(path))
            },
            address,
            "cannot listen on",
        ),
        fault(
            "socket path in use",
            Scripted,
            "Monitor, with what to do; the file is left as it was",
            AT_ONCE,
            |scene| {
                let path = executable(scene, "used", "mine", 0o600);
                let builder = scene.fake("serve").monitor(Monitor::Unix(path.clone()));
                let error = fails(scene, &builder);
                assert!(address(&error), "{error}");
                assert!(error.advice().unwrap().contains("socket pair"), "{error}");
                assert_eq!(std::fs::read(path).unwrap(), b"mine");
            },
        ),
        fault(
            "monitor's port in use",
            Scripted,
            "Monitor, with what to do",
            AT_ONCE,
            |scene| {
                let used = TcpListener::bind("127.0.0.1:0").unwrap();
                let port = Monitor::Tcp(used.local_addr().unwrap());
                let error = fails(scene, &scene.fake("serve").monitor(port));
                assert!(address(&error), "{error}");
                assert!(error.advice().unwrap().contains("port 0"), "{error}");
            },
        ),
        fault(
            "dies before it connects to the monitor's address",
            Scripted,
            "Exited, not at the deadline",
            AT_ONCE,
            |scene| {
                let path = Monitor::Unix(scene.file("qmp"));
                let builder = scene.program("/bin/false").monitor(path);
                let error = fails(scene, &builder);
                assert!(exited_by(1)(&error), "{error}");
            },
        ),
    ]
}

fn lowest_free() -> u64 {
    use std::os::fd::AsRawFd;
    let null = std::fs::File::open("/dev/null").unwrap();
    null.as_raw_fd().unsigned_abs().into()
}
