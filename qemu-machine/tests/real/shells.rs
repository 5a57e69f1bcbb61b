//! Shells of this host on a pseudo-terminal, as if they were a guest's on its
//! console: bash with its line editor, busybox with its own, dash with none.

use std::time::{Duration, Instant};

use crate::support::{Scratch, linux_guest, text};
use qemu_machine::console::OutputPiece;
use qemu_machine::error::ShellFailure;
use qemu_machine::spec::Monitor;
use qemu_machine::{Console, Machine, MachineBuilder, Shell, Wait};

/// A machine that is but a program on a terminal, which is its console.
fn on_a_terminal(program: &str) -> MachineBuilder {
    let script = format!("exec script -qec 'PS1=$PROMPT exec {program}' /dev/null <&3 >&3 2>&3");
    Machine::builder("-")
        .wrapper(["/bin/sh", "-c", &script])
        .monitor(Monitor::Off)
        .default_timeout(Duration::from_secs(10))
        .console(Console::serial())
        .env("SHELL", "/bin/sh")
        .env("PROMPT", PROMPT)
        .env("TERM", "xterm")
        .env_remove("PROMPT_COMMAND")
}

/// A prompt that lies: it looks like a status, a line end, and other prompts.
const PROMPT: &str = "0\n$ login: # ";

/// Every shell there is, at its prompt.
fn each_shell(test: impl Fn(&str, &Machine, &mut Shell)) {
    let busybox = linux_guest().join("busybox");
    let busybox = format!("{} ash", busybox.canonicalize().unwrap().display());
    for program in ["bash --norc -i", &busybox, "dash -i"] {
        eprintln!("{program}");
        let vm = on_a_terminal(program).launch().wait().unwrap();
        vm.console().expect("login: # ").wait().unwrap();
        let mut shell = vm.console().shell().wait().unwrap();
        test(program, &vm, &mut shell);
        vm.kill().wait().unwrap();
    }
}

#[test]
fn a_command_has_its_output_and_its_status_and_leaves_its_state() {
    each_shell(|_, _, shell| {
        let mut run = |script: &str| {
            let ran = shell.run(script).wait().unwrap();
            assert_eq!(ran.dropped_bytes, 0);
            (text(&ran.output), ran.status)
        };
        assert_eq!(run("echo hello"), ("hello\n".into(), 0));
        assert_eq!(run("false"), (String::new(), 1));
        assert_eq!(run("printf 'no end'; (exit 42)"), ("no end".into(), 42));
        assert_eq!(run("cd /usr; here=$PWD"), (String::new(), 0));
        assert_eq!(run("echo $here >&2"), ("/usr\n".into(), 0));
        assert_eq!(run(""), (String::new(), 0));
        assert_eq!(run("sh -c 'kill -9 $$'").1, 128 + 9);
    });
}

/// Busybox asks at its prompt where the cursor is, and sleeps for 20 ms after the
/// next line if that does not begin with the answer.
#[test]
fn a_shell_that_asks_for_the_cursor_is_answered() {
    let busybox = linux_guest().join("busybox");
    let busybox = format!("{} ash", busybox.canonicalize().unwrap().display());
    let vm = on_a_terminal(&busybox).env("PROMPT", "it: # ").launch();
    let vm = vm.wait().unwrap();
    vm.console().expect("it: # \x1b[6n").wait().unwrap();
    let mut shell = vm.console().shell().wait().unwrap();
    shell.run("true").wait().unwrap();
    vm.console().expect("it: # \x1b[6n").wait().unwrap();
    // From here on, the shell is known to ask.
    let mut run = || {
        let begun = Instant::now();
        assert_eq!(shell.run("echo 42").wait().unwrap().text(), "42");
        begun.elapsed()
    };
    // One of many finds a free processor, however busy the host is.
    let is_quick = (0..200).any(|_| run() < Duration::from_millis(20));
    assert!(is_quick, "each took 20 ms or more");
    // Another shell in its place does not ask.
    shell
        .run("exec dash -i <&1")
        .timeout(Duration::from_secs(1))
        .wait()
        .unwrap_err();
    shell.recover().wait().unwrap();
    assert_eq!(shell.run("echo 43").wait().unwrap().text(), "43");
    assert_eq!(shell.run("echo 44").wait().unwrap().text(), "44");
}

#[test]
fn an_answer_that_no_shell_wanted_is_no_part_of_the_command() {
    for program in ["bash --norc -i", "dash -i"] {
        let vm = on_a_terminal(program).env("PROMPT", "it: # ").launch();
        let vm = vm.wait().unwrap();
        vm.console().expect("it: # ").wait().unwrap();
        let mut shell = vm.console().shell().wait().unwrap();
        // Another program asks, at the prompt.
        shell
            .run("(sleep 0.1; printf '\\033[6n') & ")
            .wait()
            .unwrap();
        vm.console().expect("\x1b[6n").wait().unwrap();
        assert_eq!(
            shell.run("echo 42").wait().unwrap().text(),
            "42",
            "{program}"
        );
    }
}

#[test]
fn prompts_markers_and_escapes_in_the_output_are_output() {
    each_shell(|_, _, shell| {
        let all = format!("{PROMPT}\r\n\x1b[31mqm-0123456789abcdef\x1b[m\n{PROMPT}");
        let script = format!("printf '%s' '{all}'");
        let ran = shell.run(&script).wait().unwrap();
        assert_eq!(text(&ran.output), all);
        shell.run("PS1='qm-\\n'; set -x").wait().unwrap();
        let ran = shell.run("set +x; echo traced").wait().unwrap();
        assert!(ran.text().ends_with("traced"), "{ran:?}");
        assert_eq!(shell.run("echo quiet").wait().unwrap().text(), "quiet");
    });
}

#[test]
fn binary_output_comes_back_to_the_byte() {
    let scratch = Scratch::new("binary");
    let all: Vec<u8> = (0..=255)
        .cycle()
        .take(100_000)
        .chain(*b"\r\r\n\n\r")
        .collect();
    std::fs::write(scratch.join("file"), &all).unwrap();
    each_shell(|_, _, shell| {
        let script = format!("cat '{}'", scratch.join("file").display());
        for terminal in ["true", "stty -onlcr"] {
            shell.run(terminal).wait().unwrap();
            let ran = shell.run(&script).wait().unwrap();
            assert!(ran.output == all, "{terminal}: {} bytes", ran.output.len());
        }
    });
}

#[test]
fn a_long_script_arrives_intact_whatever_is_in_it() {
    let here = "it's \"all\" $HOME `x` \\ !! ^a^b % é\u{1f600}\t\x01\x7f\n".repeat(300);
    let script = format!("cat <<'END'\n{here}END\nexit_with() {{ return 3; }}\nexit_with");
    each_shell(|_, _, shell| {
        let ran = shell.run(&script).wait().unwrap();
        assert!(ran.output == here.as_bytes(), "{}", ran.text());
        assert_eq!(ran.status, 3);
        let one_line = format!("printf '%s' {}", "x".repeat(10_000));
        assert_eq!(shell.run(one_line).wait().unwrap().output.len(), 10_000);
    });
}

#[test]
fn what_reads_its_input_finds_it_empty_and_bad_syntax_is_a_status() {
    each_shell(|_, _, shell| {
        assert_eq!(
            shell
                .run("cat; read x; echo \"<$x>\"")
                .wait()
                .unwrap()
                .text(),
            "<>"
        );
        let bad = shell.run("if then (").wait().unwrap();
        assert!(bad.status != 0 && !bad.output.is_empty(), "{bad:?}");
        assert_eq!(shell.run("echo on").wait().unwrap().text(), "on");
        let error = shell.run("a\0b").wait().unwrap_err();
        assert!(matches!(*error.failure, ShellFailure::Nul), "{error}");
        assert_eq!(shell.run("echo still").wait().unwrap().text(), "still");
    });
}

#[test]
fn output_of_any_length_is_read_as_it_comes_and_the_command_waits_for_its_reader() {
    each_shell(|_, vm, shell| {
        let script = "printf 'name: '; read x </dev/tty; head -c 5000000 /dev/zero; (exit 9)";
        let mut run = shell.run(script).stream().wait().unwrap();
        let mut question = Vec::new();
        while question != b"name: " {
            match run.next_piece().wait().unwrap() {
                Some(OutputPiece::Stdout(bytes)) => question.extend(bytes),
                other => panic!("{question:?} {other:?}"),
            }
        }
        vm.console().send("x\n").wait().unwrap();
        // Nobody reads, until more has come than the ring keeps.
        let before = vm.console().tail().len();
        while vm.console().tail().len() < (800 << 10).max(before) {
            std::thread::yield_now();
        }
        let mut zeros = Vec::new();
        while let Some(piece) = run.next_piece().wait().unwrap() {
            let OutputPiece::Stdout(bytes) = piece else {
                panic!("{piece:?}");
            };
            // The terminal's echo is there too.
            zeros.extend(bytes.into_iter().filter(|&it| it == 0));
        }
        assert_eq!((zeros.len(), run.status()), (5_000_000, Some(9)));
        drop(run);

        // Dropped early, it must be recovered, and the console is read again.
        let mut endless = shell.run("yes").stream().wait().unwrap();
        endless.next_piece().wait().unwrap().unwrap();
        drop(endless);
        let error = shell.run("true").wait().unwrap_err();
        assert!(matches!(*error.failure, ShellFailure::Unknown { .. }));
        shell.recover().wait().unwrap();
        assert_eq!(shell.run("echo on").wait().unwrap().text(), "on");
    });
}

// bash does this if it is interrupted while it starts a program.
#[test]
fn a_program_that_takes_the_terminal_after_the_answer_is_interrupted_too() {
    const LOOP: &str = "trap 'n=$((n+1))' INT; n=0; while :; do IFS= read -r line || continue; \
                        eval \"$line\"; [ $n != 1 ] || { n=2; cat >/dev/null; }; done";
    let vm = on_a_terminal("sh -c \"$LOOP\"").env("LOOP", LOOP);
    let vm = vm.launch().wait().unwrap();
    let mut shell = vm.console().shell().wait().unwrap();
    shell.recover().wait().unwrap();
    assert_eq!(shell.run("echo on").wait().unwrap().text(), "on");
    vm.kill().wait().unwrap();
}

#[test]
fn a_command_has_its_input_and_its_errors_apart() {
    let all: Vec<u8> = (0..=255).cycle().take(20_000).collect();
    each_shell(|_, _, shell| {
        let script = "cd /; here=there; echo err >&2; cat; printf 'no end' >&2; (exit 7)";
        let ran = shell.run(script).input(&all).stderr_apart().wait().unwrap();
        assert!(ran.output == all, "{} bytes", ran.output.len());
        assert_eq!((text(&ran.stderr), ran.status), ("err\nno end".into(), 7));
        let ran = shell
            .run("echo $here; wc -c; ls \"$_qf\"*")
            .input("abc")
            .wait()
            .unwrap();
        assert!(ran.text().starts_with("there\n3\n"), "{ran:?}");
        let left = shell.run("ls \"$_qf\"* 2>/dev/null").wait().unwrap();
        assert_eq!(left.text(), "");
        let mut run = shell.run(script).stderr_apart().stream().wait().unwrap();
        let mut errors = Vec::new();
        while let Some(piece) = run.next_piece().wait().unwrap() {
            let OutputPiece::Stderr(bytes) = piece else {
                panic!("{piece:?}");
            };
            errors.extend(bytes);
        }
        assert_eq!(text(&errors), "err\nno end");
        assert_eq!(run.status(), Some(7));
    });
}

// D6
#[test]
fn after_a_deadline_nothing_stale_reaches_the_next_command() {
    let short = Duration::from_millis(200);
    each_shell(|_, vm, shell| {
        let busy = "echo begun; while :; do sleep 0.01; echo stale; done";
        let error = shell.run(busy).timeout(short).wait().unwrap_err();
        assert!(
            matches!(*error.failure, ShellFailure::Timeout { .. }),
            "{error}"
        );
        let told = format!(
            "machine '{}': console: the shell did not run 'echo begun;",
            vm.name()
        );
        assert!(error.to_string().starts_with(&told), "{error}");
        assert!(error.to_string().contains("    stale"), "{error}");

        let error = shell.run("echo no").wait().unwrap_err();
        assert!(
            matches!(*error.failure, ShellFailure::Unknown { .. }),
            "{error}"
        );
        shell.recover().wait().unwrap();
        assert_eq!(shell.run("echo fresh").wait().unwrap().output, b"fresh\n");

        // The same for a command that was given up, done by then or not.
        let error = shell
            .run("sleep 0.3; echo late")
            .timeout(short)
            .wait()
            .unwrap_err();
        assert!(
            matches!(*error.failure, ShellFailure::Timeout { .. }),
            "{error}"
        );
        vm.console()
            .expect("late")
            .timeout(Duration::from_secs(10))
            .wait()
            .unwrap();
        shell.recover().wait().unwrap();
        shell.recover().wait().unwrap();
        assert_eq!(shell.run("echo again").wait().unwrap().output, b"again\n");
    });
}

// W10
#[test]
fn a_kernel_s_line_does_not_hide_an_answer() {
    let says = "kernel='[   12.345678] usb 1-1: new device\\r\\n'; ";
    each_shell(|_, _, shell| {
        let script = format!("{says} printf \"one\\n${{kernel}}two\\n\"");
        let ran = shell.run(&script).past_kernel_lines().wait().unwrap();
        assert_eq!(ran.text(), "one\ntwo");
        let ran = shell.run(&script).wait().unwrap();
        assert_eq!(ran.text(), "one\n[   12.345678] usb 1-1: new device\r\ntwo");
    });
}

#[test]
fn the_end_of_the_machine_ends_a_command_at_once() {
    each_shell(|_, vm, shell| {
        std::thread::scope(|scope| {
            let running = scope.spawn(|| shell.run("echo on; cat <&1").wait().unwrap_err());
            vm.console().expect("on\r\n").wait().unwrap();
            vm.kill().wait().unwrap();
            let error = running.join().unwrap();
            assert!(
                matches!(*error.failure, ShellFailure::Console(_)),
                "{error}"
            );
        });
    });
}

/// A log-in as `login(1)` has it, which ends in a shell.
const LOGIN: &str = r"
while :; do
    printf 'host login: '; read -r user
    if [ $user != plain ]; then
        stty -echo; printf 'Password: '; read -r password; stty echo; echo
        [ $password = secret ] || { echo; echo 'Login incorrect'; continue; }
    fi
    echo 'Last login: now on ttyS0'
    exec bash --norc -i
done
";

#[test]
fn a_user_is_logged_in_with_a_password_or_without() {
    let scratch = Scratch::new("login");
    let login = scratch.join("login");
    std::fs::write(&login, LOGIN).unwrap();
    let builder = on_a_terminal("bash \"$LOGIN\"")
        .env("LOGIN", login)
        .env("PROMPT", "\\h:\\w\\$ ");
    for (user, password) in [("root", Some("secret")), ("plain", None)] {
        let vm = builder.launch().wait().unwrap();
        let mut shell = vm.console().shell().user(user);
        if let Some(password) = password {
            shell = shell.password(password);
        }
        assert!(!format!("{shell:?}").contains("secret"));
        let mut shell = shell.wait().unwrap();
        assert_eq!(shell.run("echo $user").wait().unwrap().status, 0);
        vm.kill().wait().unwrap();
    }
    let vm = builder.launch().wait().unwrap();
    let error = vm
        .console()
        .shell()
        .user("root")
        .password("wrong")
        .wait()
        .unwrap_err();
    assert!(matches!(*error.failure, ShellFailure::Refused), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    let error = vm.console().shell().user("root").wait().unwrap_err();
    assert!(
        matches!(*error.failure, ShellFailure::PasswordWanted),
        "{error}"
    );
    vm.kill().wait().unwrap();
}
