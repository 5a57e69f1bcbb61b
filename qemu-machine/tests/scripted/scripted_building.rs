//! What reaches the process: arguments, environment, directory.

use crate::support::{Scratch, fake, scenario, text};
use qemu_machine::{Console, Machine};

// P1, P2
#[test]
fn the_words_of_a_command_line_are_in_their_order() {
    let dry = Machine::builder("qemu")
        .arg("-user")
        .machine("q35,smm=off")
        .null_serials(1)
        .console(Console::serial())
        .wrapper(["gdb", "--args"])
        .args(["-last"])
        .dry_run();
    let expected = "gdb --args qemu -display none -vga none -chardev socket,id=mon,fd=3 \
        -mon chardev=mon,mode=control -machine q35,smm=off -serial null \
        -chardev socket,id=console0,fd=4 -serial chardev:console0 -S -user -last";
    assert_eq!(dry.command_line.to_string(), expected);
}

// P1, P2
scenario! {
    fn what_a_dry_run_tells_is_what_is_run_to_the_letter() {
        let odd = ["", "two words", "it's", "$HOME", "a,b", "gr\u{f6}\u{df}e", "-x\n"];
        let builder = fake("greet\nnegotiate\nprint-args\nserve").args(odd);
        let vm = run!(builder.launch()).unwrap();
        assert_eq!(*vm.command_line(), builder.dry_run().command_line);
        let report = run!(vm.shutdown()).unwrap();
        let printed = text(&report.output_tail);
        let mut lines = printed.lines();
        for word in &vm.command_line().words()[1..] {
            let line = lines.next().unwrap();
            assert!(line.ends_with(&format!("{word:?}")), "{line}");
        }
        assert_eq!(lines.next(), Some("args done"));
    }
}

// P1
scenario! {
    fn the_environment_and_the_directory_are_as_they_were_set() {
        let scratch = Scratch::new("it is here");
        let script = "greet\nnegotiate\nprint-env KEY\nprint-env PATH\nprint-env HOME\nprint-cwd\nserve";
        let builder = fake(script).env("KEY", "two words").env("PATH", "/x").env_remove("HOME");
        let vm = run!(builder.current_dir(scratch.path()).launch()).unwrap();
        let report = run!(vm.shutdown()).unwrap();
        let cwd = scratch.path().canonicalize().unwrap();
        let expected = format!("KEY=\"two words\"\nPATH=\"/x\"\nHOME unset\ncwd {cwd:?}\n");
        assert_eq!(text(&report.output_tail), expected);
    }
}

// P5, P9, P4
scenario! {
    fn names_logs_and_directories_are_told_and_removed() {
        let scratch = Scratch::new("names");
        let script = "greet\nnegotiate\nstdout words\\n\nserve";
        let vm = run!(fake(script).name("my name").base_dir(scratch.path()).launch()).unwrap();
        assert_eq!(vm.name(), "my name");
        // A log alone needs no directory.
        assert_eq!(vm.directory(), None);
        assert_eq!(vm.log_path().parent().unwrap(), scratch.path());
        assert!(text(vm.log_path().as_os_str().as_encoded_bytes()).ends_with("-my name.log"));
        assert!(vm.log_path().is_file());
        let pid = vm.pid().unwrap();
        let report = run!(vm.shutdown()).unwrap();
        assert_eq!((report.pid, vm.pid()), (pid, None));
        assert_eq!(vm.output_tail(), b"words\n");
        assert!(scratch.names().is_empty());
        // A file of a machine's own does.
        let builder = fake(script).name("my name").firmware(qemu_machine::guests::tiny());
        let vm = run!(builder.base_dir(scratch.path()).launch()).unwrap();
        let directory = vm.directory().unwrap().to_owned();
        assert!(directory.starts_with(scratch.path()) && directory.is_dir());
        assert_eq!(vm.log_path(), directory.join("my name.log"));
        run!(vm.shutdown()).unwrap();
        assert!(scratch.names().is_empty());
        // With a log directory there is no need for a private one.
        let vm = run!(fake(script).log_dir(scratch.path()).launch()).unwrap();
        assert_eq!(vm.directory(), None);
        run!(vm.shutdown()).unwrap();
        assert_eq!(scratch.names(), [format!("{}.log", vm.name())]);
    }
}
