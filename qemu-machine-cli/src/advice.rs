//! The library's advice in words of the command: it names methods of the library,
//! and here they are options.

use std::fmt;

/// The text of an error of the library, with options in place of methods.
pub(crate) fn in_our_words(error: impl fmt::Display) -> String {
    let text = apart(error.to_string());
    WORDS.iter().fold(text, |text, (method, option)| {
        if text.contains(method) {
            text.replace(method, option)
        } else {
            text
        }
    })
}

/// Two words in place of `.args(["-m", "256M"])`.
fn apart(text: String) -> String {
    let split = || {
        let (before, rest) = text.split_once("`.args([\"")?;
        let (words, after) = rest.split_once("\"])`")?;
        let words = words.replace("\", \"", "` and `");
        Some(format!("{before}`{words}`{after}"))
    };
    split().unwrap_or(text)
}

/// What the library says, and what it is here. Longer texts come first.
const WORDS: [(&str, &str); 17] = [
    (
        "set another directory with `base_dir` and `log_dir`",
        "set another directory with `TMPDIR` and `--log-dir`",
    ),
    (
        "set another with `base_dir`, `log_dir` or `TMPDIR`",
        "set another with `TMPDIR`, for logs with `--log-dir`",
    ),
    (
        "emulate with `accel([\"tcg\"])`",
        "emulate with `--accel tcg`",
    ),
    (
        "use `Console::virtio()`, or `Console::device` with a device such as `pci-serial`, or another machine type",
        "choose another machine type with `--machine`",
    ),
    (
        "print to `Console::debugcon` without a driver",
        "print to a serial port",
    ),
    (
        "use `Console::semihosting` or `Console::serial`",
        "use a serial port",
    ),
    (
        "set the `controller` of the console or the `guest_agent_controller`: `virtio-serial-device` on virtio-mmio",
        "add the controller after `--`: `-device virtio-serial-device` on virtio-mmio",
    ),
    (
        "such as `machine(\"virt\")`, which is `-machine`; `-machine help` lists them",
        "such as `--machine virt`; `qemu-machine schema machines` lists them",
    ),
    (
        "give the machine less by `memory`",
        "give the machine less by `--memory`",
    ),
    (
        "name QEMU's binary, such as",
        "name QEMU's binary with `--qemu`, such as",
    ),
    ("give one with `user()`", "give one with `--login USER`"),
    (
        "give one with `password()`",
        "give one with `--login USER:file:PATH`",
    ),
    (
        "pass each argument by itself with `.arg()` or `.args()`",
        "pass each argument by itself after `--`",
    ),
    (
        "which ended this shell; open another one with `console().shell()`",
        "which ended this shell",
    ),
    (
        "call `recover()` first",
        "wait for its end, or reset the guest",
    ),
    ("; set a larger ring with `ring_bytes()`", ""),
    (
        "a launch returns when QEMU is ready, and the machine runs in the background until its last handle is dropped",
        "`--detach` leaves the machine in the background",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_says_is_still_said_there() {
        let sources = [
            include_str!("../../qemu-machine/src/launch/advice.rs"),
            include_str!("../../qemu-machine/src/console/shell/error.rs"),
        ];
        // A literal goes on in the next line after a backslash.
        let said = sources.concat().replace("\\\"", "\"");
        let lines = said.split("\\\n").map(str::trim_start);
        let said: String = lines.collect();
        for (method, option) in WORDS {
            assert!(said.contains(method), "{method}");
            assert!(!in_our_words(method).contains("()"), "{option}");
        }
    }

    #[test]
    fn methods_become_options_and_the_rest_stays() {
        let error = "cannot make a directory in /x: full\n  advice: free some space there, or set \
                     another directory with `base_dir` and `log_dir`";
        assert_eq!(
            in_our_words(error),
            "cannot make a directory in /x: full\n  advice: free some space there, or set another \
             directory with `TMPDIR` and `--log-dir`"
        );
        assert_eq!(
            in_our_words("two arguments: `.args([\"-m\", \"256M\"])`, \"x\", \"y\""),
            "two arguments: `-m` and `256M`, \"x\", \"y\""
        );
        assert_eq!(in_our_words("nothing of that"), "nothing of that");
    }
}
