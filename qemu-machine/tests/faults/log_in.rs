//! Log-ins that do not end in a shell.

use qemu_machine::Wait;
use qemu_machine::error::ShellFailure;

use super::Place::Scripted;
use super::running::with_console;
use super::{AT_ONCE, Fault, PATIENCE, fault};

/// The reply of the guest to the password, and the result of the caller.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    fn(&ShellFailure) -> bool,
);

const ROWS: [Row; 4] = [
    (
        "the guest refuses the password of a log-in",
        r"\r\nLogin incorrect\r\n",
        "Refused, with what was typed but the password",
        |failure| matches!(failure, ShellFailure::Refused),
    ),
    (
        "the password of a log-in has expired",
        r"\r\nCurrent password: ",
        "PasswordExpired",
        |failure| matches!(failure, ShellFailure::PasswordExpired),
    ),
    (
        "the account of a log-in has expired",
        r"\r\nYour account has expired; please contact your system administrator.\r\n",
        "AccountExpired",
        |failure| matches!(failure, ShellFailure::AccountExpired),
    ),
    (
        "the console closes during a log-in",
        "",
        "Console, Closed",
        |failure| matches!(failure, ShellFailure::Console(_)),
    ),
];

pub(super) fn rows() -> Vec<Fault> {
    let row = |(what, says, gets, is): Row| {
        fault(what, Scripted, gets, AT_ONCE, move |scene| {
            let then = match says {
                "" => "console-close".to_owned(),
                says => format!("console {says}"),
            };
            let vm = with_console(
                scene,
                &format!(
                    r"console host login: \x20
                    console-expect root\n
                    console root\r\nPassword: \x20
                    console-expect secret\n
                    {then}
                    serve"
                ),
            );
            let shell = vm.console().shell().user("root").password("secret");
            scene.fault();
            let error = shell.timeout(PATIENCE).wait().unwrap_err();
            scene.notified();
            assert!(is(&error.failure), "{error}");
            let text = format!("{error}{error:?}");
            assert!(text.contains("typed: 'root', the password"), "{text}");
            assert!(!text.contains("secret"), "{text}");
            vm.shutdown().wait().unwrap();
        })
    };
    ROWS.into_iter().map(row).collect()
}
