//! What a flood of a console costs. Alone in its process, whose memory is
//! measured.
#![allow(missing_docs)]

mod support;

use qemu_machine::error::ExpectFailure;
use qemu_machine::{Console, Wait};
use support::fake;

// D17, D20
#[test]
fn a_pattern_that_never_comes_costs_the_ring_and_no_more() {
    let script = "greet\nnegotiate\nconsole-expect go\nconsole-fill 67108864 n\nexit 0";
    for console in [
        Console::serial(),
        Console::serial().past_escapes().past_kernel_lines(),
    ] {
        let vm = fake(script)
            .console(console.ring_bytes(1 << 20))
            .launch()
            .wait()
            .unwrap();
        let before = kibibytes("VmRSS:");
        vm.console().send("go").wait().unwrap();
        let error = vm
            .console()
            .expect("never")
            .timeout(None)
            .wait()
            .unwrap_err();
        assert!(
            matches!(*error.failure, ExpectFailure::MachineEnded(_)),
            "{error}"
        );
        let grown = kibibytes("VmHWM:").saturating_sub(before);
        assert!(grown < 16 << 10, "{grown} KiB for 64 MiB");
    }
}

/// A size of this process, by `proc(5)`.
fn kibibytes(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let size = line.unwrap().trim().strip_suffix(" kB").unwrap();
    size.parse().unwrap()
}
