//! What a builder asks for is what QEMU itself says it has.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{self, Qemu, Scratch, scenario};
use qemu_machine::spec::{Drive, Monitor, OptionGroup};
use qemu_machine::{Console, Machine, MachineBuilder, guests};
use serde_json::{Value, json};

const PROMPT: &str = "tiny guest ready\r\n> ";

fn disk(path: &Path) -> Drive {
    File::create(path).unwrap().set_len(1 << 20).unwrap();
    Drive::file(path).format("raw").interface("none")
}

fn strings(list: &Value, key: &str) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    list.filter_map(|item| item[key].as_str().map(ToOwned::to_owned))
        .collect()
}

// P2: a comma in a path is a comma to QEMU.
scenario! {
    fn a_drive_whose_path_has_commas_and_blanks_is_that_file(qemu) {
        let scratch = Scratch::new("drive");
        let path = scratch.join("a,b=c, d.img");
        let vm = run!(qemu.bare().drive(disk(&path)).launch()).unwrap();
        let blocks = run!(vm.monitor().execute_json("query-block", ())).unwrap();
        assert_eq!(blocks[0]["inserted"]["file"], json!(path.to_str().unwrap()), "{blocks}");
        run!(vm.shutdown()).unwrap();
    }
}

// P3
scenario! {
    fn an_added_descriptor_is_in_its_set_with_its_name(qemu) {
        let vm = run!(qemu
            .bare()
            .console(Console::serial())
            .add_fd(7, File::open("/dev/null").unwrap(), Some("a,b"))
            .add_fd(9, File::open("/dev/zero").unwrap(), None)
            .launch())
        .unwrap();
        let sets = run!(vm.monitor().execute_json("query-fdsets", ())).unwrap();
        let set = |id: u32| {
            let mut sets = sets.as_array().unwrap().iter();
            sets.find(|set| set["fdset-id"] == json!(id)).unwrap().clone()
        };
        assert_eq!(set(7)["fds"][0]["opaque"], json!("a,b"));
        assert_eq!(set(9)["fds"].as_array().unwrap().len(), 1);
        run!(vm.shutdown()).unwrap();
    }
}

// P3
scenario! {
    fn the_guest_finds_itself_on_the_machine_that_was_set(qemu) {
        for machine in ["pc", "q35", "microvm", "isapc"] {
            let vm = run!(qemu.tiny().machine(machine).launch()).unwrap();
            run!(vm.console().expect(PROMPT)).unwrap();
            run!(vm.console().send("machine\n")).unwrap();
            let answer = run!(vm.console().expect("\r\n> ")).unwrap();
            assert_eq!(answer.before_text(), machine);
            run!(vm.shutdown()).unwrap();
        }
    }
}

// P2, P3
scenario! {
    fn null_serials_stand_before_the_console(qemu) {
        let vm = run!(qemu.tiny().null_serials(2).null_monitor().launch()).unwrap();
        let chardevs = run!(vm.monitor().execute_json("query-chardev", ())).unwrap();
        let mut labels = strings(&chardevs, "label");
        labels.sort();
        assert_eq!(labels, ["compat_monitor0", "console0", "mon", "serial0", "serial1"]);
        run!(vm.shutdown()).unwrap();
    }
}

// P2
scenario! {
    fn a_console_on_a_device_of_its_own_is_heard(qemu) {
        let console = Console::device(OptionGroup::new("isa-serial"));
        let vm = run!(qemu.bare().firmware(guests::tiny()).console(console).launch()).unwrap();
        run!(vm.console().expect(PROMPT)).unwrap();
        run!(vm.shutdown()).unwrap();
    }
}

// P6, P19
scenario! {
    fn the_monitor_is_reached_by_path_and_by_port_too(qemu) {
        let scratch = Scratch::for_sockets("monitor");
        let path = scratch.join("a,b c.qmp");
        for monitor in [Monitor::Unix(path), Monitor::Tcp(([127, 0, 0, 1], 0).into())] {
            let vm = run!(qemu.bare().monitor(monitor).launch()).unwrap();
            assert!(scratch.names().is_empty());
            run!(vm.monitor().execute_json("query-status", ())).unwrap();
            run!(vm.shutdown()).unwrap();
        }
    }
}

// P1
scenario! {
    fn a_wrapper_that_becomes_qemu_changes_nothing_else(qemu) {
        for wrapper in [
            ["env", "A=b"].as_slice(),
            &["taskset", "1"],
            &["sh", "-c", "exec \"$@\"", "sh"],
            // A wrapper that stays is ended with QEMU.
            &["sh", "-c", "\"$@\"; exit $?", "sh"],
        ] {
            let vm = run!(qemu.tiny().wrapper(wrapper.to_vec()).launch()).unwrap();
            run!(vm.console().expect(PROMPT)).unwrap();
            assert_eq!(vm.command_line().words()[0], wrapper[0]);
            assert_eq!(run!(vm.shutdown()).unwrap().status.code(), Some(0));
        }
    }
}

// P2: the line of a dry run, pasted into a shell, starts the same machine.
#[test]
fn the_shell_line_of_a_dry_run_runs_in_a_shell() {
    for qemu in support::qemus() {
        let scratch = Scratch::new("it's a, shell");
        let firmware = scratch.join("tiny $firmware.bin");
        guests::tiny().write_to(&firmware).unwrap();
        let binary = qemu.binary.canonicalize().unwrap();
        let line = Machine::builder(binary)
            .accel(["tcg"])
            .arg("-nodefaults")
            .bios(&firmware)
            .env("KEY", "two words")
            .current_dir(scratch.path())
            .console(Console::serial())
            .drive(disk(&scratch.join("a,b.img")))
            .dry_run()
            .shell_line;
        let mut shell = Command::new("bash")
            .args(["-c", &line])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdin, mut stdout) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
        let mut greeting = [0; PROMPT.len()];
        stdout.read_exact(&mut greeting).unwrap();
        assert_eq!(greeting, PROMPT.as_bytes(), "{line}");
        assert!(scratch.names().iter().any(|name| name.contains(".qmp")));
        stdin.write_all(b"poweroff\n").unwrap();
        assert!(shell.wait().unwrap().success());
    }
}

fn relative_to_here(qemu: &Qemu) -> MachineBuilder {
    let binary = Path::new("../target/qemu")
        .join(&qemu.version)
        .join("qemu-system-x86_64");
    Machine::builder(binary).arg("-nodefaults")
}

// P1: the arguments are relative to the working directory, the binary is not.
scenario! {
    fn a_working_directory_is_where_arguments_are_found_and_not_the_binary(qemu) {
        let scratch = Scratch::new("directory");
        let _ = disk(&scratch.join("nbd:disk"));
        let drive = Drive::file("nbd:disk").format("raw").interface("none");
        let builder = relative_to_here(&qemu).current_dir(scratch.path()).drive(drive);
        let vm = run!(builder.launch()).unwrap();
        run!(vm.shutdown()).unwrap();
    }
}
