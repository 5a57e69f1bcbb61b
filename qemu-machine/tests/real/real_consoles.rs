//! More consoles than one on a machine, of every kind.

use std::time::Duration;

use crate::support::{Scratch, linux_guest, scenario, text, untimed};
use qemu_machine::Console;
use qemu_machine::spec::OptionGroup;

// P3, P27
scenario! {
    fn a_firmware_is_heard_on_its_debug_port_beside_the_first_console(qemu) {
        let builder = qemu.bare()
            .console(Console::serial())
            .add_console("firmware", Console::debugcon(0x402));
        let vm = run!(builder.launch()).unwrap();
        assert!(vm.console_named("nonesuch").is_none());
        let firmware = vm.console_named("firmware").unwrap();
        run!(firmware.expect("SeaBIOS (version ")).unwrap();
        assert_eq!(vm.console().tail(), b"");
        let error = run!(firmware.expect("never").timeout(Duration::from_millis(20))).unwrap_err();
        assert_eq!(error.console.as_deref(), Some("firmware"));
        let which = format!("machine '{}': console 'firmware' did not print 'never'", vm.name());
        assert!(error.to_string().starts_with(&which), "{error}");

        let waiting = run!(vm.wait_for_exit().timeout(Duration::from_millis(20))).unwrap_err().to_string();
        let report = run!(vm.shutdown()).unwrap();
        let (name, tail) = &report.named_console_tails[0];
        assert_eq!((name.as_str(), report.console_tail.as_slice()), ("firmware", b"".as_slice()));
        assert!(!tail.is_empty());
        for words in [waiting, report.to_string()] {
            assert!(words.contains("\n  console 'firmware':\n    "), "{words}");
        }
    }
}

// P27
scenario! {
    fn two_serial_ports_of_linux_are_consoles_with_logs_of_their_own(qemu) {
        let scratch = Scratch::new("ports");
        let [first, second] = ["first.log", "second.log"].map(|name| scratch.join(name));
        let guest = linux_guest();
        let builder = qemu.bare()
            .memory("256M")
            .kernel(guest.join("vmlinux"))
            .initrd(guest.join("initramfs"))
            .append("console=ttyS0 quiet no_timer_check cryptomgr.notests")
            .add_console("second", Console::serial().log(&second).log_times())
            .console(Console::serial().log(&first));
        let vm = run!(builder.launch()).unwrap();
        run!(vm.console().expect("~ # ").timeout(Duration::from_secs(120))).unwrap();
        let other = vm.console_named("second").unwrap();

        run!(vm.console().send("(echo one; echo two) >/dev/ttyS1\n")).unwrap();
        let lines = run!(other.expect("two\r\n")).unwrap();
        assert_eq!(lines.before, b"one\r\n");
        // What is typed before somebody has opened the port goes nowhere.
        let read = "exec 3<>/dev/ttyS1; echo ready >&3; read answer <&3; echo heard $answer\n";
        run!(vm.console().send(read)).unwrap();
        run!(other.expect("ready\r\n")).unwrap();
        run!(other.send("the host\n")).unwrap();
        run!(vm.console().expect("heard the host\r\n")).unwrap();
        run!(vm.kill()).unwrap();

        let second = std::fs::read(&second).unwrap();
        let second = text(&second);
        let lines: Vec<_> = second.split_inclusive('\n').map(untimed).collect();
        assert_eq!(lines, ["one\r\n", "two\r\n", "ready\r\n", "the host\r\n"], "{second:?}");
        assert_eq!(std::fs::read(&first).unwrap(), vm.console().tail());
    }
}

// P3
scenario! {
    fn each_kind_of_console_and_the_agent_has_its_device_and_its_controller(qemu) {
        let mmio = || OptionGroup::new("virtio-serial-device");
        for (builder, virtio) in [
            (qemu.bare().machine("q35").guest_agent(), Console::virtio()),
            (
                qemu.bare().machine("microvm").guest_agent_controller(mmio()),
                Console::virtio().controller(mmio()),
            ),
        ] {
            let builder = builder
                .arg("-S")
                .console(virtio.clone())
                .add_console("another", virtio)
                .add_console("debug", Console::debugcon(0xe9))
                .add_console("serial", Console::serial());
            let vm = run!(builder.launch()).unwrap();
            let tree = run!(vm.monitor().human("info qtree")).unwrap();
            for (bus, device) in [
                ("console0-controller.0", "virtconsole"),
                ("console2-controller.0", "virtconsole"),
                ("agent1-controller.0", "virtserialport"),
                ("isa.0", "isa-debugcon"),
                ("isa.0", "isa-serial"),
            ] {
                let on_bus = tree.split(&format!("bus: {bus}\r\n")).nth(1);
                let on_bus = on_bus.unwrap_or_else(|| panic!("no {bus} in {tree}"));
                assert!(on_bus.contains(&format!("dev: {device},")), "no {device} on {bus} in {tree}");
            }
            // Each console is taken by a device; the port waits for the guest.
            let ends = run!(vm.monitor().execute_json("query-chardev", ())).unwrap();
            for label in ["console0", "console2", "console3", "console4"] {
                let end = ends.as_array().unwrap().iter().find(|it| it["label"] == label);
                assert_eq!(end.unwrap()["frontend-open"], true, "{label}: {ends}");
            }
            run!(vm.shutdown()).unwrap();
        }
    }
}

// P27
scenario! {
    fn linux_is_heard_and_driven_on_a_virtio_console(qemu) {
        let guest = linux_guest();
        // The initramfs that has the modules for it.
        let builder = qemu.bare()
            .memory("256M")
            .kernel(guest.join("vmlinux"))
            .initrd(guest.join("initramfs-agent"))
            .append("console=ttyS0 quiet no_timer_check cryptomgr.notests")
            .console(Console::serial())
            .add_console("virtio", Console::virtio());
        let vm = run!(builder.launch()).unwrap();
        run!(vm.console().expect("~ # ").timeout(Duration::from_secs(120))).unwrap();
        let virtio = vm.console_named("virtio").unwrap();
        // The device's node is there before what it stands for.
        let talk = "until [ -c /dev/hvc0 ] && (exec 3<>/dev/hvc0) 2>/dev/null; \
                    do sleep 0.1; done; \
                    exec 3<>/dev/hvc0; echo ready >&3; read answer <&3; echo heard $answer\n";
        run!(vm.console().send(talk)).unwrap();
        run!(virtio.expect("ready\r\n")).unwrap();
        run!(virtio.send("the host\n")).unwrap();
        run!(vm.console().expect("heard the host\r\n")).unwrap();
        run!(vm.kill()).unwrap();
    }
}
