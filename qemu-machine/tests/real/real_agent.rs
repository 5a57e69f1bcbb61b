//! A real guest agent in a real guest: Debian's `qemu-ga`.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::support::{Qemu, linux_guest, scenario, text};
use qemu_machine::qmp::agent::{AgentError, AgentFailure, ShutdownMode};
use qemu_machine::qmp::command::{Cont, SystemReset};
use qemu_machine::qmp::wire::Port;
use qemu_machine::spec::OptionGroup;
use qemu_machine::{Console, ExitCause, MachineBuilder};

/// How long a guest may take to boot.
pub(crate) const BOOT: Duration = Duration::from_secs(60);

/// A Linux that starts the agent.
pub(crate) fn linux(qemu: &Qemu) -> MachineBuilder {
    let guest = linux_guest();
    let initrd = guest.join("initramfs-agent");
    assert!(initrd.is_file(), "no agent: run `cargo xtask setup`");
    qemu.bare()
        .memory("256M")
        .kernel(guest.join("vmlinux"))
        .initrd(initrd)
        .append("console=ttyS0 quiet no_timer_check cryptomgr.notests")
        .console(Console::serial())
        .guest_agent()
}

type Begun<T> = Pin<Box<dyn Future<Output = Result<T, AgentError>> + Send>>;

/// Has an operation do what it does before it waits: a command is sent then, if
/// the agent is ready.
fn begin<T>(
    operation: impl IntoFuture<Output = Result<T, AgentError>, IntoFuture = Begun<T>>,
) -> Begun<T> {
    let mut future = operation.into_future();
    let polled = future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending));
    future
}

scenario! {
    fn the_agent_runs_programs_carries_files_and_shuts_the_guest_down(qemu) {
        let vm = run!(linux(&qemu).launch()).unwrap();
        let agent = vm.guest_agent();
        run!(agent.wait_until_ready().timeout(BOOT)).unwrap();
        run!(agent.ping()).unwrap();
        let info = run!(agent.info()).unwrap();
        assert!(info.has("guest-exec"), "{info:?}");
        let mut silent = info.commands.iter().filter(|it| !it.replies);
        assert!(silent.any(|it| it.name == "guest-shutdown"), "{info:?}");

        let script = "cat; echo $WORD >&2; kill -$SIGNAL $$; exit 3";
        let shell = || agent.exec("/bin/sh").args(["-c", script]).env("PATH", "/bin");
        let output = run!(shell().env("WORD", "to err").env("SIGNAL", "0").input("in\0put")).unwrap();
        assert_eq!((output.code, output.signal), (Some(3), None));
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("in\0put".into(), "to err\n".into()));
        let output = run!(shell().env("SIGNAL", "9")).unwrap();
        assert_eq!((output.code, output.signal), (None, Some(9)));
        assert!(run!(agent.exec("busybox").arg("true")).unwrap().success());
        let error = run!(agent.exec("nonesuch")).unwrap_err();
        assert!(error.reply().is_some() && error.command == "guest-exec", "{error}");
        let error = run!(agent.exec("busybox").args(["sleep", "600"]).timeout(Duration::from_secs(2))).unwrap_err();
        assert!(matches!(*error.failure, AgentFailure::StillRunning { .. }), "{error}");

        let mut noise = 1u32;
        let mut byte = || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.to_be_bytes()[0]
        };
        let bytes: Vec<u8> = std::iter::repeat_with(&mut byte).take(1 << 20).collect();
        run!(agent.write_file("/root/file", bytes.as_slice())).unwrap();
        let size = run!(agent.exec("busybox").args(["stat", "-c", "%s", "/root/file"])).unwrap();
        assert_eq!(text(&size.stdout), "1048576\n");
        assert!(run!(agent.read_file("/root/file")).unwrap() == bytes);
        run!(agent.write_file("/root/file", "")).unwrap();
        assert_eq!(run!(agent.read_file("/root/file")).unwrap(), b"");
        let error = run!(agent.read_file("/nonesuch")).unwrap_err();
        assert!(error.to_string().contains("No such file or directory"), "{error}");
        // Nothing was left open, but for the agent's own.
        let open = run!(agent.exec("sh").args(["-c", "ls -l /proc/$PPID/fd"])).unwrap();
        assert!(!text(&open.stdout).contains("/root"), "{}", text(&open.stdout));

        run!(agent.shutdown(ShutdownMode::Powerdown)).unwrap();
        let report = run!(vm.wait_for_exit()).unwrap();
        assert_eq!(report.cause, ExitCause::Guest, "{report}");
    }
}

scenario! {
    fn programs_are_started_and_waited_for_by_handles(qemu) {
        let controller = OptionGroup::new("virtio-serial-pci").set("max_ports", "2");
        let vm = run!(linux(&qemu).guest_agent_controller(controller).launch()).unwrap();
        let agent = vm.guest_agent();
        run!(agent.wait_until_ready().timeout(BOOT)).unwrap();
        let shell = |script: &str| agent.exec("/bin/sh").args(["-c", script]).env("PATH", "/bin");

        // It goes on after its input, and reports its state before that.
        let waits = run!(shell("mkfifo /root/go; read word </root/go; echo $word; exit 3").spawn()).unwrap();
        assert_eq!(run!(waits.status()).unwrap(), None);
        let error = run!(waits.wait_for_exit().timeout(Duration::from_secs(1))).unwrap_err();
        assert!(matches!(*error.failure, AgentFailure::StillRunning { .. }), "{error}");
        let goes = run!(shell("until [ -p /root/go ]; do :; done; echo gone >/root/go").spawn()).unwrap();
        assert!(run!(goes.wait_for_exit()).unwrap().success());
        let ended = run!(waits.wait_for_exit()).unwrap();
        assert_eq!((ended.code, text(&ended.stdout)), (Some(3), "gone\n".into()));
        // The agent has forgotten it, and we have not.
        assert_eq!(run!(waits.clone().status()).unwrap(), Some(ended));

        // A program that leaves a process behind ends for the agent when its output is
        // closed, or is not kept.
        let daemon = "busybox sleep 600 & echo $! >/root/pid";
        let error = run!(
            run!(shell(daemon).spawn()).unwrap().wait_for_exit().timeout(Duration::from_secs(1))
        )
        .unwrap_err();
        assert!(matches!(*error.failure, AgentFailure::StillRunning { .. }), "{error}");
        let output = run!(shell(daemon).capture_output(false)).unwrap();
        assert!(output.success() && output.stdout.is_empty());
        let lives = shell("kill -0 $(cat /root/pid)");
        assert!(run!(lives).unwrap().success());
        // Nobody waits for this one.
        drop(run!(shell("busybox sleep 600").spawn()).unwrap());
        run!(agent.ping()).unwrap();
        run!(vm.kill()).unwrap();
    }
}

scenario! {
    fn an_agent_that_goes_ends_who_waits_and_the_next_one_is_spoken_with(qemu) {
        let vm = run!(linux(&qemu).launch()).unwrap();
        let agent = vm.guest_agent();
        run!(agent.wait_until_ready().timeout(BOOT)).unwrap();
        run!(vm.console().expect("~ # ")).unwrap();
        run!(vm.console().send("killall -STOP qemu-ga; echo stopped $((6 * 7))\n")).unwrap();
        run!(vm.console().expect("stopped 42")).unwrap();
        let asked = begin(agent.ping().timeout(None));
        run!(vm.console().send("killall -KILL qemu-ga\n")).unwrap();
        let error = run!(asked).unwrap_err();
        assert!(matches!(*error.failure, AgentFailure::Gone), "{error}");

        // No agent runs, and the error says so; a waiting caller gets the next agent.
        let error = run!(agent.ping().timeout(Duration::from_millis(50))).unwrap_err();
        assert!(
            matches!(*error.failure, AgentFailure::NotReady { port: Port::Closed, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("nothing in the guest has its port open"), "{error}");
        let waits = begin(agent.wait_until_ready().timeout(BOOT));
        run!(vm.console().send("/etc/init.d/agent &\n")).unwrap();
        run!(waits).unwrap();
        assert!(run!(agent.exec("busybox").arg("true")).unwrap().success());

        // The machine's end reaches every waiter.
        let report = run!(vm.kill()).unwrap();
        let error = run!(agent.ping().timeout(None)).unwrap_err();
        assert!(error.to_string().contains(&report.to_string()), "{error}");
    }
}

// D34
scenario! {
    fn whoever_waits_on_the_agent_is_told_how_the_machine_ended(qemu) {
        let vm = run!(qemu.tiny().guest_agent().guest_agent().launch()).unwrap();
        let agent = vm.guest_agent();
        let waits = [(); 2].map(|()| begin(agent.wait_until_ready().timeout(None)));
        let error = run!(agent.exec("busybox").arg("true").timeout(Duration::from_millis(20))).unwrap_err();
        assert!(
            matches!(*error.failure, AgentFailure::NotReady { port: Port::Closed, .. }),
            "{error}"
        );
        let report = run!(vm.shutdown()).unwrap();
        for waits in waits {
            let error = run!(waits).unwrap_err();
            let cause = error.disconnected().unwrap().to_string();
            assert_eq!(cause, report.to_string());
        }

        let vm = run!(qemu.tiny().launch()).unwrap();
        let error = run!(vm.guest_agent().wait_until_ready().timeout(None)).unwrap_err();
        assert!(error.to_string().contains("without a port for a guest agent"), "{error}");
        run!(vm.shutdown()).unwrap();
    }
}

// W2
scenario! {
    fn whoever_waits_on_the_agent_of_a_guest_that_panicked_is_told(qemu) {
        let panics = ["-device", "pvpanic", "-action", "panic=pause"];
        let vm = run!(qemu.tiny().args(panics).guest_agent().launch()).unwrap();
        let agent = vm.guest_agent();
        run!(vm.console().expect("> ")).unwrap();
        let waits = begin(agent.wait_until_ready().timeout(None));
        run!(vm.console().send("panic\n")).unwrap();
        for waits in [waits, agent.wait_until_ready().timeout(None).into_future()] {
            let error = run!(waits).unwrap_err();
            assert!(matches!(*error.failure, AgentFailure::GuestPanicked), "{error}");
        }
        // After a reset the guest is one again.
        run!(vm.monitor().execute(SystemReset)).unwrap();
        run!(vm.monitor().execute(Cont)).unwrap();
        run!(vm.console().expect("> ")).unwrap();
        let error = run!(agent.ping().timeout(Duration::from_millis(20))).unwrap_err();
        assert!(matches!(*error.failure, AgentFailure::NotReady { .. }), "{error}");
        run!(vm.shutdown()).unwrap();
    }
}
