//! The tiny guest does as it says, on every machine type and every real QEMU.
//! A separate program, because it measures time.
#![allow(missing_docs)]

mod support;

use std::time::{Duration, Instant};

use qemu_machine::console::Pattern;
use qemu_machine::spec::OptionGroup;
use qemu_machine::{ExitCause, Machine, MachineBuilder, Wait};
use serde_json::json;
use support::{Qemu, scenario};

const TYPES: [&str; 4] = ["pc", "q35", "microvm", "isapc"];

fn on(qemu: &Qemu, machine: &str) -> MachineBuilder {
    qemu.tiny().machine(machine)
}

/// A machine whose guest waits for a command.
fn ready(builder: &MachineBuilder) -> Machine {
    let vm = builder
        .launch()
        .wait()
        .unwrap_or_else(|error| panic!("{error}"));
    vm.console()
        .expect("tiny guest ready\r\n> ")
        .wait()
        .unwrap();
    vm
}

/// What the guest answers to a line, without its line end.
fn ask(vm: &Machine, line: &str) -> String {
    vm.console().send(format!("{line}\n")).wait().unwrap();
    let answer = vm
        .console()
        .expect("\r\n> ")
        .timeout(Duration::from_secs(60))
        .wait()
        .unwrap();
    answer.before_text()
}

/// The host is shared: what the guest can do shows in the best of some tries.
#[test]
fn it_greets_within_200_ms_of_the_start_of_qemu() {
    for qemu in support::qemus() {
        for machine in TYPES {
            let mut fastest = Duration::MAX;
            for _ in 0..20 {
                let builder = on(&qemu, machine);
                let start = Instant::now();
                let vm = ready(&builder);
                fastest = fastest.min(start.elapsed());
                drop(vm);
                if fastest < Duration::from_millis(200) {
                    break;
                }
            }
            assert!(
                fastest < Duration::from_millis(200),
                "{machine}: {fastest:?}"
            );
        }
    }
}

#[test]
fn it_knows_its_machine_and_obeys_simple_commands() {
    for qemu in support::qemus() {
        for machine in TYPES {
            let vm = ready(&on(&qemu, machine));
            assert_eq!(ask(&vm, "machine"), machine);
            assert_eq!(ask(&vm, "echo a  b\x01\u{f6}"), "a  b\x01\u{f6}");
            assert_eq!(ask(&vm, "loop 100000"), "loop 100000 done");
            assert_eq!(ask(&vm, "loop x"), "error: bad number");
            assert_eq!(ask(&vm, "nonsense"), "error: unknown command");
            assert!(ask(&vm, "help").contains("poweroff"));
        }
    }
}

/// The same steps as the guest's.
fn sum_of_bench(turns: u32) -> u32 {
    let mut words = vec![0_u32; 0x80000 / 4];
    let mut sum = 1_u32;
    for _ in 0..turns {
        for word in &mut words {
            sum = sum.wrapping_add(*word).rotate_left(1);
            *word = sum;
        }
    }
    sum
}

#[test]
fn a_bench_has_the_sum_of_its_steps_each_time() {
    for qemu in support::qemus() {
        for machine in TYPES {
            let vm = ready(&on(&qemu, machine));
            for turns in [3, 0, 2, 3] {
                let expected = format!("bench {turns} {}", sum_of_bench(turns));
                assert_eq!(ask(&vm, &format!("bench {turns}")), expected, "{machine}");
            }
            assert_eq!(ask(&vm, "bench"), "error: bad number");
        }
    }
}

#[test]
fn a_flood_has_exactly_the_bytes_that_were_asked_for() {
    const COUNT: usize = 100_000;
    for qemu in support::qemus() {
        for machine in TYPES {
            let vm = ready(&on(&qemu, machine));
            let flood = ask(&vm, &format!("flood {COUNT}"));
            let expected: String = "0123456789abcdef".chars().cycle().take(COUNT).collect();
            assert!(flood == expected, "{machine}: {} bytes", flood.len());
        }
    }
}

#[test]
fn it_ticks_until_it_is_told_to_stop() {
    for qemu in support::qemus() {
        for machine in TYPES {
            let vm = ready(&on(&qemu, machine));
            let start = Instant::now();
            vm.console().send("tick 20\n").wait().unwrap();
            vm.console().expect("tick 10\r\n").wait().unwrap();
            let took = start.elapsed();
            assert!(took >= Duration::from_millis(190), "{machine}: {took:?}");
            vm.console().send("\n").wait().unwrap();
            vm.console().expect("> ").wait().unwrap();
        }
    }
}

#[test]
fn a_reset_and_a_triple_fault_start_it_anew() {
    for qemu in support::qemus() {
        for machine in TYPES {
            let vm = ready(&on(&qemu, machine));
            for command in ["reset\n", "triplefault\n"] {
                let mut events = vm.monitor().events();
                vm.console().send(command).wait().unwrap();
                let reset = events.next_named("RESET").wait().unwrap();
                assert_eq!(
                    reset.data::<serde_json::Value>().unwrap()["guest"],
                    json!(true)
                );
                vm.console()
                    .expect("tiny guest ready\r\n> ")
                    .wait()
                    .unwrap();
            }
        }
    }
}

#[test]
fn it_powers_off_where_there_is_acpi() {
    for qemu in support::qemus() {
        for machine in ["pc", "q35", "microvm"] {
            let vm = ready(&on(&qemu, machine));
            vm.console().send("poweroff\n").wait().unwrap();
            let report = vm.wait_for_exit().wait().unwrap();
            assert_eq!(report.cause, ExitCause::Guest, "{machine}");
            assert_eq!(report.status.code(), Some(0));
            assert_eq!(report.shutdown_reason.as_deref(), Some("guest-shutdown"));
        }
        let vm = ready(&on(&qemu, "isapc"));
        assert_eq!(ask(&vm, "poweroff"), "error: no way to power off");
    }
}

scenario! {
    fn a_panic_reaches_the_report(qemu) {
        for machine in TYPES {
            let vm = run!(on(&qemu, machine).device(&OptionGroup::new("pvpanic")).launch()).unwrap();
            run!(vm.console().expect("> ")).unwrap();
            run!(vm.console().send("panic\n")).unwrap();
            let report = run!(vm.wait_for_exit()).unwrap();
            assert!(report.guest_panicked, "{machine}: {report}");
            assert_eq!(report.cause, ExitCause::Guest);
        }
        let vm = run!(qemu.tiny().launch()).unwrap();
        run!(vm.console().expect("> ")).unwrap();
        run!(vm.console().send("panic\n")).unwrap();
        run!(vm.console().expect("error: no pvpanic device\r\n> ")).unwrap();
    }
}

scenario! {
    fn a_hung_guest_answers_no_more_and_is_revived_by_a_reset(qemu) {
        let vm = run!(qemu.tiny().launch()).unwrap();
        run!(vm.console().expect("> ")).unwrap();
        run!(vm.console().send("hang\n")).unwrap();
        run!(vm.console().expect("hanging\r\n")).unwrap();
        run!(vm.console().send("echo awake\n")).unwrap();
        run!(vm.monitor().execute_json("system_reset", json!({}))).unwrap();
        let greeting = run!(vm.console().expect(Pattern::regex("ready|awake").unwrap())).unwrap();
        assert_eq!(greeting.matched(), b"ready");
    }
}
