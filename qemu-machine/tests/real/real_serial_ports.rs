//! Consoles on serial ports that a machine has, and that it does not have.
use crate::support::scenario;
use qemu_machine::error::LaunchFailure;
use qemu_machine::spec::OptionGroup;
use qemu_machine::{Console, MachineBuilder, Wait, guests};

/// This number of consoles on serial ports; the first is the machine's first.
fn serials(builder: MachineBuilder, count: usize) -> MachineBuilder {
    let builder = builder.console(Console::serial());
    (2..=count).fold(builder, |builder, number| {
        builder.add_console(format!("c{number}"), Console::serial())
    })
}

// R9
scenario! {
    fn a_console_on_a_serial_port_that_the_machine_does_not_have_fails_the_launch(qemu) {
        for (machine, has) in [("pc", 4), ("q35", 4), ("microvm", 1), ("none", 0)] {
            let builder = || qemu.bare().machine(machine).firmware(guests::tiny());
            if has > 0 {
                let vm = run!(serials(builder(), has).launch()).unwrap();
                run!(vm.kill()).unwrap();
            }
            let error = run!(serials(builder(), has + 1).launch()).unwrap_err();
            match &*error.failure {
                LaunchFailure::NoSerialPort { console, number, .. } => {
                    let name = (has > 0).then(|| format!("c{}", has + 1));
                    assert_eq!((console, *number), (&name, has + 1), "{machine}");
                }
                other => panic!("{machine}: {other}"),
            }
            let advice = error.advice().unwrap();
            assert!(advice.contains("Console::virtio()"), "{advice}");
        }
        // Null ports count too.
        let microvm = qemu.bare().machine("microvm").firmware(guests::tiny());
        let error = run!(microvm.null_serials(1).console(Console::serial()).launch()).unwrap_err();
        assert!(error.to_string().contains("no serial port number 2"), "{error}");
    }
}

// R9
scenario! {
    fn a_console_whose_device_waits_for_the_guest_or_for_the_machine_fails_no_launch(qemu) {
        let port = OptionGroup::new("virtserialport").set("name", "org.example.port");
        let waits = Console::device(port).controller(OptionGroup::new("virtio-serial"));
        let vm = run!(
            qemu.tiny()
                .add_console("port", waits)
                .add_console("hvc", Console::virtio())
                .add_console("debug", Console::debugcon(0xe9))
                .add_console("pci", Console::device(OptionGroup::new("pci-serial")))
                .launch()
        )
        .unwrap();
        run!(vm.console().expect("ready")).unwrap();
        run!(vm.shutdown()).unwrap();

        // No machine has devices before its initialization.
        let vm = run!(qemu.tiny().arg("--preconfig").launch()).unwrap();
        run!(vm.monitor().execute_json("x-exit-preconfig", ())).unwrap();
        run!(vm.console().expect("ready")).unwrap();
        run!(vm.shutdown()).unwrap();
    }
}

/// Without a monitor nobody can be asked.
// R9
#[test]
fn a_machine_without_a_monitor_is_launched_unasked() {
    for qemu in crate::support::qemus() {
        let builder = qemu
            .bare()
            .machine("none")
            .monitor(qemu_machine::spec::Monitor::Off);
        let vm = serials(builder, 1).launch().wait().unwrap();
        vm.kill().wait().unwrap();
    }
}
