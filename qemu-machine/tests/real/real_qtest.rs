//! The devices and the memory of a real QEMU, driven over its qtest channel.

use std::time::Duration;

use crate::support::{Qemu, scenario, signal};
use qemu_machine::error::{QtestError, QtestFailure};
use qemu_machine::qmp::command::{Cont, QueryStatus};
use qemu_machine::qtest::QtestEnd;
use qemu_machine::spec::Monitor;
use qemu_machine::{MachineBuilder, Wait};

const SHORT: Duration = Duration::from_millis(50);

fn qtest(qemu: &Qemu) -> MachineBuilder {
    qemu.bare().args(["-serial", "null"]).qtest()
}

fn is_argument(error: &QtestError) -> bool {
    matches!(*error.failure, QtestFailure::Argument { .. })
}

// P28
scenario! {
    fn registers_are_read_and_written_by_ports(qemu) {
        let builder = qtest(&qemu).args(["-rtc", "base=2020-02-29T12:34:56"]);
        let vm = run!(builder.launch()).unwrap();
        let qtest = vm.qtest();
        // The clock's date, in decimal digits of 4 bits each.
        for (register, expected) in [(0x32, 0x20), (0x09, 0x20), (0x08, 0x02), (0x07, 0x29)] {
            run!(qtest.outb(0x70, register)).unwrap();
            assert_eq!(run!(qtest.inb(0x71)).unwrap(), expected, "{register:#x}");
        }
        // Its shutdown byte, which is memory.
        run!(qtest.outw(0x70, 0x5a0f)).unwrap();
        run!(qtest.outb(0x70, 0x0f)).unwrap();
        assert_eq!(run!(qtest.inb(0x71)).unwrap(), 0x5a);
        // The host bridge of the PCI bus, by its configuration.
        run!(qtest.outl(0xcf8, 0x8000_0000)).unwrap();
        assert_eq!(run!(qtest.inl(0xcf8)).unwrap(), 0x8000_0000);
        assert_eq!(run!(qtest.inl(0xcfc)).unwrap(), 0x1237_8086);
        assert_eq!(run!(qtest.inw(0xcfe)).unwrap(), 0x1237);
        assert_eq!(run!(qtest.inb(0xfff0)).unwrap(), 0xff, "there is nothing");
        run!(vm.shutdown()).unwrap();
    }
}

// P28
scenario! {
    fn memory_is_read_and_written_by_every_width_and_in_bulk(qemu) {
        let vm = run!(qtest(&qemu).memory("64M").launch()).unwrap();
        let qtest = vm.qtest();
        run!(qtest.writeq(0x1000, 0x1122_3344_5566_7788)).unwrap();
        assert_eq!(run!(qtest.readq(0x1000)).unwrap(), 0x1122_3344_5566_7788);
        assert_eq!(run!(qtest.readl(0x1004)).unwrap(), 0x1122_3344);
        assert_eq!(run!(qtest.readw(0x1002)).unwrap(), 0x5566);
        assert_eq!(run!(qtest.readb(0x1000)).unwrap(), 0x88);
        run!(qtest.writel(0x1000, 0xaabb_ccdd)).unwrap();
        run!(qtest.writew(0x1004, 0xeeff)).unwrap();
        run!(qtest.writeb(0x1006, 0x99)).unwrap();
        let bytes = [0xdd, 0xcc, 0xbb, 0xaa, 0xff, 0xee, 0x99, 0x11];
        assert_eq!(run!(qtest.read(0x1000, 8)).unwrap(), bytes);

        // More than a piece, from an odd address, with what stands around it.
        let data: Vec<u8> = (0..(1 << 20) + 3).map(|n: u32| (n * 7 + n / 251).to_le_bytes()[0]).collect();
        let at = 0x20_0001;
        run!(qtest.write(at, data.clone())).unwrap();
        let read = run!(qtest.read(at - 1, data.len() + 2)).unwrap();
        assert!(read == [&[0][..], &data, &[0]].concat());
        run!(qtest.memset(at, 1 << 20, 0xa5)).unwrap();
        let read = run!(qtest.read(at, data.len())).unwrap();
        assert!(read[..1 << 20].iter().all(|&byte| byte == 0xa5));
        assert_eq!(read[1 << 20..], data[1 << 20..]);
        assert!(run!(qtest.read(0, 0)).unwrap().is_empty());
        run!(qtest.write(0, [])).unwrap();
        run!(qtest.memset(0, 0, 1)).unwrap();
        assert_eq!(run!(qtest.readl(1 << 40)).unwrap(), 0, "there is nothing");
        run!(vm.shutdown()).unwrap();
    }
}

// P28
scenario! {
    fn callers_in_many_threads_have_their_own_replies(qemu) {
        let vm = run!(qtest(&qemu).launch()).unwrap();
        std::thread::scope(|scope| {
            for caller in 1..=8 {
                let qtest = vm.qtest();
                scope.spawn(move || {
                    let at = (1 << 20) + (caller << 18); // above the firmware
                    for round in 0..50 {
                        qtest.writeq(at, caller * 1000 + round).wait().unwrap();
                        assert_eq!(qtest.readq(at).wait().unwrap(), caller * 1000 + round);
                    }
                    let byte = u8::try_from(caller).unwrap();
                    qtest.write(at, vec![byte; 200_000]).wait().unwrap();
                    let read = qtest.read(at, 200_000).wait().unwrap();
                    assert!(read.iter().all(|&it| it == byte));
                });
            }
        });
        run!(vm.shutdown()).unwrap();
    }
}

// P28
scenario! {
    fn an_interrupt_is_heard_where_it_is_intercepted(qemu) {
        let vm = run!(qtest(&qemu).launch()).unwrap();
        let qtest = vm.qtest();
        run!(qtest.irq_intercept_in("ioapic")).unwrap();
        let mut irqs = qtest.irqs();
        assert!(!qtest.is_raised(4));
        // The serial port's transmitter is empty, and says so when it may. It
        // may where its pin lets it through.
        run!(qtest.outb(0x3fc, 0x08)).unwrap();
        run!(qtest.outb(0x3f9, 0x02)).unwrap();
        assert!(qtest.is_raised(4), "it is told before the reply");
        assert_eq!(run!(irqs.next()).unwrap().to_string(), "IRQ raise 4");
        // Reading the report clears it.
        assert_eq!(run!(qtest.inb(0x3fa)).unwrap() & 0x0f, 0x02);
        let lowered = irqs.try_next().unwrap();
        assert_eq!((lowered.line, lowered.raised), (4, false));
        assert!(!qtest.is_raised(4));
        assert_eq!(irqs.try_next(), None);

        // An interrupt that comes by itself: the clock's, once a second of the host.
        run!(qtest.outb(0x70, 0x0b)).unwrap();
        run!(qtest.outb(0x71, 0x12)).unwrap();
        assert_eq!(run!(irqs.next()).unwrap().to_string(), "IRQ raise 8");

        // An interrupt that is set from outside.
        run!(qtest.set_irq_in("ioapic", None, 5, 1)).unwrap();
        assert!(qtest.is_raised(5));
        run!(qtest.set_irq_in("ioapic", None, 5, 0)).unwrap();
        assert!(!qtest.is_raised(5));

        // Another device, and what is none.
        for path in ["/machine/unattached/device[0]", "/nonesuch"] {
            let error = run!(qtest.irq_intercept_out(path)).unwrap_err();
            assert!(matches!(*error.failure, QtestFailure::Refused { .. }), "{error}");
            assert!(error.to_string().contains(path), "{error}");
        }
        run!(vm.shutdown()).unwrap();
    }
}

// P28
scenario! {
    fn without_the_accelerator_the_guest_is_stopped_and_its_clock_refused_by_reason(qemu) {
        let vm = run!(qemu.tiny().qtest().launch()).unwrap();
        let qtest = vm.qtest();
        assert_eq!(run!(vm.monitor().execute(QueryStatus)).unwrap().status, "prelaunch");
        assert!(!qtest.controls_clock());
        for command in [
            qtest.clock_step(None),
            qtest.clock_step(Some(SHORT)),
            qtest.clock_set(SHORT),
        ] {
            let error = run!(command).unwrap_err();
            assert!(matches!(*error.failure, QtestFailure::NeedsAccelerator), "{error}");
            assert!(error.to_string().contains("accelerator 'qtest'"), "{error}");
        }
        // QEMU's own words.
        let words = run!(qtest.raw("clock_step")).unwrap();
        assert_eq!(words, "FAIL Unknown command 'clock_step'");

        // The guest runs when it is let, and the channel works on.
        run!(vm.monitor().execute(Cont)).unwrap();
        run!(vm.console().expect("tiny guest ready")).unwrap();
        run!(qtest.readb(0x1000)).unwrap();
        run!(vm.shutdown()).unwrap();
    }
}

// P28
scenario! {
    fn a_machine_without_a_monitor_has_a_qtest_channel_too(qemu) {
        let vm = run!(qtest(&qemu).monitor(Monitor::Off).launch()).unwrap();
        run!(vm.qtest().writeb(0x1000, 7)).unwrap();
        assert_eq!(run!(vm.qtest().readb(0x1000)).unwrap(), 7);
        run!(vm.shutdown()).unwrap();
    }
}

// P28
scenario! {
    fn a_line_is_sent_as_it_is_and_what_would_abort_qemu_is_not(qemu) {
        let vm = run!(qtest(&qemu).launch()).unwrap();
        let qtest = vm.qtest();
        assert_eq!(run!(qtest.raw("endianness")).unwrap(), "OK little");
        assert_eq!(run!(qtest.raw("outb 0x70 0xf")).unwrap(), "OK");
        let unknown = run!(qtest.raw("nonesuch 1 2")).unwrap();
        assert_eq!(unknown, "FAIL Unknown command 'nonesuch'");
        for line in ["", "inb 0x71\ninb 0x71", "inb\0"] {
            let error = run!(qtest.raw(line)).unwrap_err();
            assert!(is_argument(&error), "{error}");
        }
        for path in ["", "a b", "a\nb"] {
            assert!(is_argument(&run!(qtest.irq_intercept_in(path)).unwrap_err()), "{path}");
            assert!(is_argument(&run!(qtest.set_irq_in("ioapic", Some(path), 0, 1)).unwrap_err()), "{path}");
        }
        assert!(is_argument(&run!(qtest.read(u64::MAX, 2)).unwrap_err()));
        assert!(is_argument(&run!(qtest.write(u64::MAX - 1, [0; 3])).unwrap_err()));
        assert!(is_argument(&run!(qtest.memset(2, u64::MAX, 0)).unwrap_err()));
        assert_eq!(run!(qtest.raw("endianness")).unwrap(), "OK little");
        run!(vm.shutdown()).unwrap();
    }
}

// P28, D4, D6, D34
scenario! {
    fn a_qemu_that_is_stopped_costs_a_deadline_and_its_death_ends_who_waits(qemu) {
        let vm = run!(qtest(&qemu).launch()).unwrap();
        let qtest = vm.qtest().clone();
        run!(qtest.write(0x1000, [1, 2])).unwrap();
        signal(vm.pid().unwrap(), "STOP");
        let error = run!(qtest.readb(0x1000).timeout(SHORT)).unwrap_err();
        assert!(matches!(*error.failure, QtestFailure::Timeout { limit: SHORT }), "{error}");
        signal(vm.pid().unwrap(), "CONT");
        assert_eq!(run!(qtest.readb(0x1001)).unwrap(), 2);

        signal(vm.pid().unwrap(), "STOP");
        let error = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| qtest.read(0, 1 << 20).timeout(None).wait().unwrap_err());
            signal(vm.pid().unwrap(), "KILL");
            waiting.join().unwrap()
        });
        let report = run!(vm.wait_for_exit()).unwrap();
        assert_eq!(report.status.signal(), Some(9));
        assert!(
            matches!(error.ended(), Some(QtestEnd::MachineEnded(of)) if of.to_string() == report.to_string()),
            "{error}"
        );
    }
}

// P28, P13
scenario! {
    fn after_quit_the_channel_tells_the_end(qemu) {
        let vm = run!(qtest(&qemu).launch()).unwrap();
        let qtest = vm.qtest();
        run!(vm.monitor().execute_json("quit", ())).unwrap();
        // QEMU may still carry out what comes before it is done.
        let error = loop {
            if let Err(error) = run!(qtest.readb(0).timeout(None)) {
                break error;
            }
        };
        let report = run!(vm.wait_for_exit()).unwrap();
        assert!(
            matches!(error.ended(), Some(QtestEnd::MachineEnded(of)) if of.to_string() == report.to_string()),
            "{error}"
        );
        assert_eq!(report.status.code(), Some(0), "{report}");
    }
}
