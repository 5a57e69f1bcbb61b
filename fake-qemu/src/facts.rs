//! Prints facts about this process on stdout, for tests: its descriptors,
//! arguments, environment and directory. Values are quoted and escaped like
//! Rust's `Debug`, so that each is one line.

use std::io;
use std::path::PathBuf;

/// `fd N -> TARGET` for each open descriptor, then `fds done`.
pub(crate) fn descriptors() -> io::Result<String> {
    // Reading the directory opens one more descriptor, known by its target.
    let own = PathBuf::from(format!("/proc/{}/fd", std::process::id()));
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let target = std::fs::read_link(entry.path())?;
        if target != own {
            let number = entry.file_name().to_string_lossy().parse::<u32>();
            open.push((number.map_err(io::Error::other)?, target));
        }
    }
    open.sort();
    let lines = open
        .iter()
        .map(|(number, target)| format!("fd {number} -> {}", target.display()));
    Ok(listing(lines, "fds done"))
}

/// Each argument on a line, then `args done`.
pub(crate) fn arguments() -> String {
    listing(
        std::env::args_os()
            .skip(1)
            .map(|argument| format!("{:?}", argument.display())),
        "args done",
    )
}

/// `NAME="VALUE"`, or `NAME unset`.
pub(crate) fn environment(name: &str) -> String {
    match std::env::var_os(name) {
        Some(value) => format!("{name}={:?}\n", value.display()),
        None => format!("{name} unset\n"),
    }
}

/// `cwd "PATH"`.
pub(crate) fn directory() -> io::Result<String> {
    Ok(format!("cwd {:?}\n", std::env::current_dir()?.display()))
}

fn listing(lines: impl Iterator<Item = String>, end: &str) -> String {
    lines
        .chain([end.to_owned()])
        .map(|line| line + "\n")
        .collect()
}
