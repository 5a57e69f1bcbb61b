//! A real guest's console: every byte is logged and searched, and nobody is
//! kept waiting.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::support::{Scratch, scenario};
use qemu_machine::console::Pattern;
use qemu_machine::error::ExpectFailure;
use qemu_machine::{Console, guests};

const PROMPT: &str = "tiny guest ready\r\n> ";

// P27, D17
scenario! {
    fn every_byte_of_a_flood_is_logged_and_searched(qemu) {
        let scratch = Scratch::new("flood");
        let log = scratch.join("console.log");
        let console = Console::serial().ring_bytes(100).log(&log);
        let vm = run!(qemu.tiny().console(console).launch()).unwrap();
        run!(vm.console().expect(PROMPT)).unwrap();
        run!(vm.console().send("flood 200000\n")).unwrap();
        let end = run!(vm.console().expect("\r\n> ")).unwrap();
        assert_eq!(end.before.len() as u64 + end.dropped_bytes, 200_000);
        assert!(end.dropped_bytes >= 199_900);
        run!(vm.shutdown()).unwrap();
        let flood = "0123456789abcdef".repeat(200_000 / 16);
        assert_eq!(std::fs::read_to_string(log).unwrap(), format!("{PROMPT}{flood}\r\n> "));
    }
}

// P10: nobody reads, and QEMU is not blocked by it.
scenario! {
    fn a_console_that_nobody_reads_does_not_block_the_end(qemu) {
        let vm = run!(qemu.tiny().launch()).unwrap();
        run!(vm.console().expect(PROMPT)).unwrap();
        run!(vm.console().send("flood 4294967295\n")).unwrap();
        run!(vm.console().expect("cdef")).unwrap();
        assert_eq!(run!(vm.shutdown()).unwrap().status.code(), Some(0));
    }
}

// W10, D20
scenario! {
    fn a_pattern_has_groups_and_what_was_before(qemu) {
        let vm = run!(qemu.tiny().launch()).unwrap();
        run!(vm.console().expect(PROMPT)).unwrap();
        run!(vm.console().send("echo noise load=12 end\n")).unwrap();
        let load = run!(vm.console().expect(Pattern::regex(r"load=(\d+) ").unwrap())).unwrap();
        assert_eq!((load.group(1), load.before_text()), (Some(b"12".as_slice()), "noise ".to_owned()));
        run!(vm.console().send("reset\n")).unwrap();
        run!(vm.console().expect(PROMPT)).unwrap();
        run!(vm.shutdown()).unwrap();
    }
}

// P27
scenario! {
    fn the_first_of_several_patterns_is_taken_and_told(qemu) {
        let vm = run!(qemu.tiny().launch()).unwrap();
        let found = run!(vm.console().expect_any(["Kernel panic", PROMPT])).unwrap();
        assert_eq!(found.pattern, 1);
        let none = vm.console().expect_any(["one", "two"]).timeout(Duration::from_millis(20));
        let error = run!(none).unwrap_err().to_string();
        assert!(error.contains("did not print 'one' or 'two'"), "{error}");
        run!(vm.shutdown()).unwrap();
    }
}

// D34, D18
scenario! {
    fn an_expectation_ends_with_its_deadline_or_with_the_machine(qemu) {
        let vm = run!(qemu.tiny().launch()).unwrap();
        run!(vm.console().expect(PROMPT)).unwrap();
        let limit = Duration::from_millis(100);
        run!(vm.console().send("echo seen\n")).unwrap();
        run!(vm.console().expect("se")).unwrap();
        run!(vm.console().expect(">")).unwrap();
        let error = run!(vm.console().expect("never").timeout(limit)).unwrap_err();
        assert!(matches!(*error.failure, ExpectFailure::Timeout { .. }), "{error}");
        assert!(error.waited >= limit);
        run!(vm.console().send("poweroff\n")).unwrap();
        let begun = Instant::now();
        let error = run!(vm.console().expect("never")).unwrap_err();
        assert!(matches!(*error.failure, ExpectFailure::MachineEnded(_)), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(10));
        let report = run!(vm.wait_for_exit()).unwrap();
        assert!(report.console_tail.ends_with(b"seen\r\n> "));
    }
}

// P27
scenario! {
    fn a_console_left_to_its_caller_is_a_socket(qemu) {
        let console = Console::serial().undrained();
        let vm = run!(qemu.bare().firmware(guests::tiny()).console(console).launch()).unwrap();
        let mut stream = vm.console().take_stream().unwrap();
        assert!(vm.console().take_stream().is_none());
        let mut greeting = [0; PROMPT.len()];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(greeting, PROMPT.as_bytes());
        stream.write_all(b"poweroff\n").unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        run!(vm.wait_for_exit()).unwrap();
        let error = run!(vm.console().expect("x")).unwrap_err();
        assert!(!matches!(*error.failure, ExpectFailure::Timeout { .. }), "{error}");
    }
}
