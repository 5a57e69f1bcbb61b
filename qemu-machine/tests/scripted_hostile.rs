//! Machines that mean harm: guests and QEMUs that flood each channel that a
//! machine has. Each flood costs the documented memory, gets an error that says
//! what was expected, and ends; nothing is left.
//!
//! Optimised (`cargo test --release`), the floods are ten times as long.
#![allow(missing_docs)]

mod support;

use std::fmt::Display;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use qemu_machine::console::Pattern;
use qemu_machine::spec::ConsoleConfig;
use qemu_machine::{Console, Machine, Wait};
use support::fake;
use testbed::{CountingAllocator, trials};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

fn main() -> ExitCode {
    testbed::adopt_orphans();
    for _ in 0..2 {
        let vm = fake("greet\nnegotiate\nserve").launch().wait().unwrap();
        vm.shutdown().wait().unwrap();
    }
    // The guardian is ours once the shell that started it has gone.
    let deadline = Instant::now() + Duration::from_secs(20);
    assert!(testbed::wait_for_ends(
        &std::collections::BTreeSet::new(),
        deadline
    ));
    testbed::run_alone(trials![
        a_flood_on_a_console_costs_the_ring_and_a_search,
        a_flood_on_a_screen_costs_the_ring_and_the_screen,
        a_search_with_groups_keeps_its_deadline_under_a_flood,
        a_monitor_without_an_end_of_line_ends_the_launch_at_the_limit,
        a_monitor_that_floods_before_it_greets_ends_the_launch_at_its_deadline,
        an_output_without_end_costs_its_tail,
        a_qtest_line_without_end_costs_the_limit,
        interrupts_that_nobody_reads_cost_a_listener_its_bound,
    ])
}

/// Does `work` within so much memory besides [`SMALL`].
fn costs(limit_bytes: usize, work: impl FnOnce()) {
    testbed::costs(&ALLOCATOR, limit_bytes + SMALL, work);
}

fn told(error: &impl Display, words: &str) {
    let text = error.to_string();
    assert!(text.contains(words), "{text}");
    assert!(text.len() < 100 << 10, "{} bytes", text.len());
}

/// What never ends, or means nothing: how it begins, and the byte that follows.
const ENDLESS: [(&str, &str); 9] = [
    ("a title", r"\x1b]0;|x"),
    ("a control sequence", r"\x1b[|1"),
    ("escapes", r"\x1b|\x1b"),
    ("a kernel line", r"[    1.234567] |x"),
    ("what may begin a kernel line", r"|["),
    ("NULs", r"|\x00"),
    ("no UTF-8", r"|\xff"),
    ("line ends", r"|\n"),
    ("text", r"|x"),
];

/// A machine whose console prints this many times, and then ends.
fn flooding(console: ConsoleConfig, endless: &str, bytes: usize) -> Machine {
    let (begin, byte) = endless.split_once('|').unwrap();
    let begin = match begin {
        "" => String::new(),
        begin => format!("console {begin}\n"),
    };
    let script = format!(
        "greet\nnegotiate\nconsole-expect go\n{begin}console-fill {bytes} {byte}\n\
         console-close\nserve"
    );
    fake(&script).console(console).launch().wait().unwrap()
}

fn a_flood_on_a_console_costs_the_ring_and_a_search() {
    // The ring, whose room doubles; each search has an automaton of up to
    // 2 MiB; and errors show a part of the console.
    costs(3 * RING + 3 * (2 * MIB), || {
        for (what, endless) in ENDLESS {
            eprintln!("{what}");
            let console = Console::serial().ring_bytes(RING);
            let vm = flooding(console.past_escapes().past_kernel_lines(), endless, FLOOD);
            vm.console().send("go").wait().unwrap();
            let patterns = [
                "never".into(),
                Pattern::regex(r"(n+)e(v.*r)(\d*)!").unwrap(),
            ];
            let expect = vm.console().expect_any(patterns).timeout(None);
            let error = expect.wait().unwrap_err();
            told(&error, "never");
            assert!(vm.is_running());
            vm.shutdown().wait().unwrap();
        }
    });
}

fn a_flood_on_a_screen_costs_the_ring_and_the_screen() {
    costs(3 * RING + 2 * MIB, || {
        for (what, endless) in ENDLESS {
            eprintln!("{what}");
            let console = Console::serial().ring_bytes(RING).screen();
            let vm = flooding(console, endless, FLOOD / 8);
            vm.console().send("go").wait().unwrap();
            let shows = vm.console().screen_shows("never").timeout(None);
            told(&shows.wait().unwrap_err(), "never");
            vm.shutdown().wait().unwrap();
        }
    });
}

fn a_search_with_groups_keeps_its_deadline_under_a_flood() {
    costs(3 * RING + 4 * (2 * MIB) + 2 * RING, || {
        let script = "greet\nnegotiate\nconsole-expect go\nconsole-fill forever x";
        let console = Console::serial().ring_bytes(RING);
        let vm = fake(script).console(console).launch().wait().unwrap();
        vm.console().send("go").wait().unwrap();
        // A match that is found at once, with the whole ring as a group.
        let all = Pattern::regex(r"(x{4})(x*)").unwrap();
        for _ in 0..20 {
            let found = vm.console().expect(&all).wait().unwrap();
            assert_eq!(found.group(1), Some(b"xxxx".as_slice()));
        }
        let began = Instant::now();
        let never = Pattern::regex(r"(x+)(x+)(x+)!").unwrap();
        let expect = vm.console().expect(never).timeout(LIMIT);
        told(&expect.wait().unwrap_err(), "within 500ms");
        assert!(began.elapsed() < LIMIT + PATIENCE, "{:?}", began.elapsed());
        vm.kill().wait().unwrap();
    });
}

fn a_monitor_without_an_end_of_line_ends_the_launch_at_the_limit() {
    costs(3 * (16 * MIB), || {
        let builder = fake("fill forever x").reply_limit_bytes(16 * MIB);
        let error = builder.launch().wait().unwrap_err();
        told(
            &error,
            "the server sent a line longer than 16777216 bytes; set a higher limit",
        );
    });
}

fn a_monitor_that_floods_before_it_greets_ends_the_launch_at_its_deadline() {
    costs(0, || {
        let builder = fake("repeat forever\nevent EARLY\nend").launch_timeout(LIMIT);
        let began = Instant::now();
        let error = builder.launch().wait().unwrap_err();
        told(&error, "within 500ms");
        assert!(began.elapsed() < LIMIT + PATIENCE, "{:?}", began.elapsed());
    });
}

fn an_output_without_end_costs_its_tail() {
    costs(4 * (64 << 10), || {
        let line = "x".repeat(1000);
        let script = format!("repeat {}\nstdout {line}\nend\nexit 3", FLOOD / 8000);
        let error = fake(&script).launch().wait().unwrap_err();
        told(&error, "xxxx");
    });
}

fn a_qtest_line_without_end_costs_the_limit() {
    // Room for a line doubles, up to exactly the limit.
    costs(64 * MIB + 32 * MIB, || {
        let vm = with_qtest("qtest-expect inb 0x1\\n\nqtest-fill 67108865 \\x00\nserve");
        let error = vm.qtest().inb(1).timeout(None).wait().unwrap_err();
        told(
            &error,
            "qtest command 'inb 0x1' was interrupted: QEMU sent a line of more than 67108864 \
             bytes on the qtest channel",
        );
        vm.kill().wait().unwrap();
    });
}

fn interrupts_that_nobody_reads_cost_a_listener_its_bound() {
    // 4,096 that wait, and a bit of each line's state.
    costs(MIB, || {
        let changes = "IRQ raise 1\\nIRQ lower 1\\nIRQ raise 65535\\n".repeat(10);
        let times = FLOOD / 8000;
        let script = format!(
            "qtest-expect inb 0x1\\n\nrepeat {times}\nqtest {changes}\nend\nqtest OK 0x0001\\n\nserve"
        );
        let vm = with_qtest(&script);
        let qtest = vm.qtest();
        let mut irqs = qtest.irqs();
        qtest.inb(1).timeout(None).wait().unwrap();
        let missed = 30 * times - 4096;
        let words = format!("the listener lagged, and {missed} interrupts were dropped");
        told(&irqs.next().wait().unwrap_err(), &words);
        vm.shutdown().wait().unwrap();
    });
}

/// A machine whose qtest channel has answered that it knows no clock.
fn with_qtest(script: &str) -> Machine {
    let asked = "greet\nnegotiate\nqtest-expect clock_set 0\\n\n\
                 qtest FAIL Unknown command 'clock_set'\\n\n";
    let builder = fake(&format!("{asked}{script}")).qtest();
    builder.launch().wait().unwrap()
}

const MIB: usize = 1 << 20;

/// What a machine takes by itself.
const SMALL: usize = MIB;

const RING: usize = MIB;

const FLOOD: usize = if cfg!(debug_assertions) {
    4 * MIB
} else {
    40 * MIB
};

const LIMIT: Duration = Duration::from_millis(500);

/// What a host that is busy may add.
const PATIENCE: Duration = Duration::from_secs(10);
