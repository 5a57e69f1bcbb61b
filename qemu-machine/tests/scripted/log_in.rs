//! Log-ins on programs of this host, on a pseudo-terminal, in place of a guest's
//! getty on its console. Each misbehaves as a real one was seen to, and writes
//! down everything it reads.

use std::process::Command;
use std::time::Duration;

use crate::scripted_consoles::begin;
use crate::support::{Scratch, scenario, text};
use qemu_machine::console::{OpenShell, Pattern};
use qemu_machine::error::{ErrorKind, ShellFailure};
use qemu_machine::spec::Monitor;
use qemu_machine::{Console, Machine};

/// What every getty here is made of.
const GETTY: &str = r#"
heard() { printf '%s: %s\n' "$1" "$2" >>"$HEARD"; }
asks_user() { printf '\r\nhost login: '; read -r user || exit; heard name "$user"; [ -n "$user" ]; }
asks_password() { printf 'Password: '; stty -echo; read -r password; stty echo; echo; heard password "$password"; }
flushes() { stty -icanon -echo; while read -r -t 0.3 -n 1000 _; do :; done; stty icanon echo; }
is_right() { [ "$password" = secret ] && return; sleep 1; printf '\r\nLogin incorrect\r\n'; return 1; }
shell() { printf '\r\nLast login: Tue Nov 28 03:39:41 on ttyS0\r\n'; PS1='\h:\w# ' exec bash --norc -i; }
daemon() { printf '[  OK  ] Started a daemon.\r\n'; }
"#;

/// A machine that is but this getty, on its console.
fn getty(scratch: &Scratch, script: &str) -> Machine {
    use qemu_machine::Wait;
    std::fs::write(scratch.join("getty"), [GETTY, script].concat()).unwrap();
    let command = r#"exec script -qec 'exec bash "$GETTY"' /dev/null <&3 >&3 2>&3"#;
    Machine::builder("-")
        .wrapper(["/bin/sh", "-c", command])
        .monitor(Monitor::Off)
        .console(Console::serial())
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .env("GETTY", scratch.join("getty"))
        .env("HEARD", scratch.join("heard"))
        .launch()
        .wait()
        .unwrap()
}

/// The shells here are all this user's, whatever was typed.
fn me() -> String {
    let told = Command::new("id").arg("-un").output().unwrap().stdout;
    text(&told).trim().to_owned()
}

fn enter(vm: &Machine) -> OpenShell {
    let shell = vm.console().shell().user(me()).password("secret");
    shell.timeout(Duration::from_secs(60))
}

/// What the getty has read, line by line; an empty name is none.
fn heard(scratch: &Scratch) -> Vec<String> {
    let heard = std::fs::read_to_string(scratch.join("heard")).unwrap_or_default();
    let heard = heard.replace(&format!("name: {}\n", me()), "name: me\n");
    let lines = heard.lines().filter(|it| *it != "name: ");
    lines.map(str::to_owned).collect()
}

/// The gettys that end in a shell, and what each of them reads until then.
const PASSING: [(&str, &str, &[&str]); 9] = [
    (
        "one that throws away what was typed before it asks again",
        "printf '\r\nhost login: '; sleep 1; flushes; while ! asks_user; do :; done
         asks_password; is_right && shell",
        &["name: me", "password: secret"],
    ),
    (
        "one whose prompt is torn by a daemon",
        "printf '\r\nhost log'; daemon; printf 'in: '; read -r; while ! asks_user; do :; done
         printf 'Pass'; daemon; printf 'word: '
         stty -echo; read -r password; stty echo; echo; heard password \"$password\"
         is_right && { printf '\r\nhost:/'; daemon; shell; }",
        &["name: me", "password: secret"],
    ),
    (
        "one that prints banners at every point, each like a prompt",
        "printf 'fsck: 45%%'; sleep 0.4; printf '\r\n# '; sleep 0.6; printf '\r\n'
         while ! asks_user; do :; done
         printf '\r\n<14> ######'; sleep 1; printf '\r\n=> '; sleep 2; printf '\r\nroot@x:~# '; sleep 2; printf '\r\n100%%\r\n'
         asks_password; is_right
         printf 'Welcome $ '; sleep 0.5; printf '\r\nhost login: '; sleep 0.5; printf '\r\nPassword: '; sleep 0.5; printf '\r\n> \r\n'
         shell",
        &["name: me", "password: secret"],
    ),
    (
        "one that is colourful",
        r"printf '\033[?2004l\033]0;a title\007\033[1;32mhost\033[0m login\033[m: \033[6n'; read -r user
          heard name $user; printf '\033[1mPassword\033[0m: '; stty -echo; read -r password; stty echo
          heard password $password; is_right && shell",
        &["name: me", "password: secret"],
    ),
    (
        "one that asks for no password",
        "while ! asks_user; do :; done; shell",
        &["name: me"],
    ),
    (
        "one that tells an earlier failure, and of another's",
        "printf 'Login incorrect\r\n'; while ! asks_user; do :; done
         printf 'sshd[7]: authentication failure; user=root\r\n'; asks_password
         printf 'sshd[7]: Permission denied\r\n'; shell",
        &["name: me", "password: secret"],
    ),
    (
        "one whose console a kernel writes to",
        "printf '\r\nhost lo[   12.345678] usb 1-1: new device\r\ngin: '; read -r user; heard name $user
         printf 'Pass[   12.345678] usb 1-1: new device\r\nword: '; stty -echo; read -r password; stty echo
         heard password $password; is_right && shell",
        &["name: me", "password: secret"],
    ),
    (
        "one that wants a key first",
        "printf 'Please press Enter to activate this console. '; read -r; shell",
        &[],
    ),
    (
        "a shell that is there",
        "shell",
        &[],
    ),
];

scenario! {
    fn every_getty_gets_the_answers_to_its_questions_and_nothing_else() {
        for (which, script, reads) in PASSING {
            eprintln!("{which}");
            let scratch = Scratch::new("getty");
            let vm = getty(&scratch, script);
            let mut shell = run!(enter(&vm)).unwrap();
            assert_eq!(run!(shell.run("echo it is")).unwrap().text(), "it is");
            assert_eq!(heard(&scratch), reads, "{which}");
            run!(vm.kill()).unwrap();
        }
    }
}

scenario! {
    fn a_failure_is_told_by_its_name_and_not_by_the_deadline() {
        let refused = "while :; do asks_user || continue; asks_password; is_right; done";
        let expired = "asks_user; asks_password; printf '\r\nYou are required to change your password immediately (administrator enforced).\r\nCurrent password: '; sleep 100";
        let gone = "asks_user; asks_password; printf '\r\nYour account has expired; please contact your system administrator.\r\n'; sleep 100";
        let scratch = Scratch::new("refused");
        let vm = getty(&scratch, refused);
        let wrong = vm.console().shell().user(me()).password("Sesam");
        let error = run!(wrong).unwrap_err();
        assert!(matches!(*error.failure, ShellFailure::Refused), "{error}");
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.waited < Duration::from_secs(10), "{error}");
        let told = error.to_string();
        for words in ["', the password", "    Login incorrect"] {
            assert!(told.contains(words), "{told}");
        }
        assert!(!format!("{told}{error:?}").contains("Sesam"), "{error:?}");
        assert_eq!(heard(&scratch), ["name: me", "password: Sesam"]);
        run!(vm.kill()).unwrap();

        for (script, name) in [(expired, "the password has expired"), (gone, "the account has expired")] {
            let scratch = Scratch::new("expired");
            let vm = getty(&scratch, script);
            let error = run!(enter(&vm)).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(heard(&scratch), ["name: me", "password: secret"]);
            run!(vm.kill()).unwrap();
        }

        let scratch = Scratch::new("wanted");
        let vm = getty(&scratch, refused);
        let error = run!(vm.console().shell()).unwrap_err();
        assert!(matches!(*error.failure, ShellFailure::UserWanted), "{error}");
        let error = run!(vm.console().shell().user("root\nroot")).unwrap_err();
        assert!(matches!(*error.failure, ShellFailure::ControlCharacter), "{error}");
        let error = run!(vm.console().shell().user(me())).unwrap_err();
        assert!(matches!(*error.failure, ShellFailure::PasswordWanted), "{error}");
        run!(vm.kill()).unwrap();
    }
}

scenario! {
    fn a_deadline_tells_what_was_typed_and_what_was_waited_for() {
        let scratch = Scratch::new("deadline");
        let vm = getty(&scratch, "asks_user; asks_password; printf 'Verification code: '; sleep 100");
        let error = run!(enter(&vm).timeout(Duration::from_secs(3))).unwrap_err();
        assert!(matches!(*error.failure, ShellFailure::Timeout { .. }), "{error}");
        let told = error.to_string();
        for words in [
            "' in (",
            "it waited for a shell's prompt",
            "', the password\n",
            "    Verification code:",
        ] {
            assert!(told.contains(words), "{told}");
        }
        assert_eq!(heard(&scratch), ["name: me", "password: secret"]);
        run!(vm.kill()).unwrap();
    }
}

scenario! {
    fn a_shell_runs_one_command_at_a_time_and_its_operations_do_not_borrow_it() {
        let scratch = Scratch::new("one");
        let vm = getty(&scratch, "while ! asks_user; do :; done; asks_password; is_right && shell");
        let mut shell = run!(enter(&vm)).unwrap();
        let one = begin(shell.run("sleep 0.2; echo one"));
        let error = run!(shell.run("echo two")).unwrap_err();
        assert!(matches!(&*error.failure, ShellFailure::Unknown { task } if task.contains("echo one")), "{error}");
        assert_eq!(run!(one).unwrap().text(), "one");
        let three = shell.run("echo three");
        let elsewhere = std::thread::spawn(move || qemu_machine::Wait::wait(three).unwrap().text());
        assert_eq!(elsewhere.join().unwrap(), "three");
        run!(vm.kill()).unwrap();
    }
}

scenario! {
    fn the_caller_s_own_patterns_are_questions_too() {
        let scratch = Scratch::new("patterns");
        let vm = getty(
            &scratch,
            "printf 'Benutzer: '; read -r user; heard name $user
             printf 'Kennwort: '; stty -echo; read -r password; stty echo; heard password $password
             PS1='bereit! ' exec bash --norc -i",
        );
        let shell = enter(&vm)
            .login_prompt("Benutzer:")
            .password_prompt(Pattern::regex("Kennwort: $").unwrap())
            .prompt("bereit!");
        let mut shell = run!(shell).unwrap();
        assert_eq!(run!(shell.run("echo it is")).unwrap().text(), "it is");
        assert_eq!(heard(&scratch), ["name: me", "password: secret"]);
        run!(vm.kill()).unwrap();
    }
}

scenario! {
    fn a_prompt_that_was_taken_by_an_expect_is_answered() {
        let scratch = Scratch::new("taken");
        let vm = getty(&scratch, "while ! asks_user; do :; done; asks_password; is_right && shell");
        run!(vm.console().expect("login: ")).unwrap();
        run!(enter(&vm)).unwrap();
        // And the shell that is there by now.
        run!(vm.console().shell().user(me())).unwrap();
        assert_eq!(heard(&scratch), ["name: me", "password: secret"]);
        run!(vm.kill()).unwrap();
    }
}
