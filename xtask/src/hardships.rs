//! Runs the tests under hardships: in the background of a script, in another
//! language, with few descriptors, as another user. The tests must pass.
//!
//! `cargo xtask hardships` runs the quick tests under one hardship after the
//! other. Three hardships that one process can have at once are part of every
//! `cargo xtask test`.

use std::{
    env,
    ffi::OsString,
    fs,
    path::PathBuf,
    process::{self, Command, Stdio},
    time::Instant,
};

use crate::{failure::Failure, process as command, setup};

/// A condition that is hard for a program.
pub(crate) struct Hardship {
    /// The name on the command line.
    pub(crate) name: &'static str,
    about: &'static str,
    /// A script of `sh` that runs `"$@"`: the program and its arguments.
    script: fn() -> String,
}

/// All hardships, in the order in which they run.
pub(crate) const ALL: [Hardship; 12] = [
    Hardship {
        name: "background",
        about: "in the background of a script, with SIGINT and SIGQUIT ignored",
        script: || r#""$@" & wait "$!""#.to_owned(),
    },
    Hardship {
        name: "nohup",
        about: "under nohup, with SIGHUP ignored",
        script: || r#"exec nohup "$@""#.to_owned(),
    },
    Hardship {
        name: "setsid",
        about: "in a new session, without a terminal",
        script: || r#"exec setsid --wait "$@""#.to_owned(),
    },
    Hardship {
        name: "no-stdin",
        about: "with standard input closed",
        script: || r#"exec "$@" <&-"#.to_owned(),
    },
    Hardship {
        name: "no-stdout",
        about: "with standard output closed",
        script: || r#"exec "$@" >&-"#.to_owned(),
    },
    Hardship {
        name: "no-stderr",
        about: "with standard error closed",
        script: || r#"exec "$@" 2>&-"#.to_owned(),
    },
    Hardship {
        name: "c-locale",
        about: "with LC_ALL=C",
        script: || r#"export LC_ALL=C; exec "$@""#.to_owned(),
    },
    Hardship {
        name: "german",
        about: "with LC_ALL=de_DE.UTF-8",
        script: german,
    },
    Hardship {
        name: "umask",
        about: "with umask 077",
        script: || r#"umask 077; exec "$@""#.to_owned(),
    },
    Hardship {
        name: "descriptors",
        about: "with 256 descriptors",
        script: || r#"ulimit -n 256; exec "$@""#.to_owned(),
    },
    Hardship {
        name: "tmpdir",
        about: "with a TMPDIR of 90 characters, including a space",
        script: tmpdir,
    },
    Hardship {
        name: "user",
        about: "as a user who is not root",
        script: user,
    },
];

/// The three of every `cargo xtask test`, for one run under all of them.
pub(crate) fn of_every_test() -> Vec<Hardship> {
    let chosen = ["background", "umask", "tmpdir"];
    let mut all = Vec::from(ALL);
    all.retain(|it| chosen.contains(&it.name));
    all
}

/// Runs the quick tests under each of these hardships, or under each of all.
pub(crate) fn run(names: &[&str]) -> Result<(), Failure> {
    if let Some(unknown) = names
        .iter()
        .find(|name| ALL.iter().all(|it| it.name != **name))
    {
        let lines = ALL.map(|it| format!("  {:12} {}", it.name, it.about));
        let lines = lines.join("\n");
        return Err(Failure::advice(format!(
            "there is no hardship '{unknown}'; the hardships are:\n{lines}"
        )));
    }
    setup::locale::ensure()?;
    let own = env::current_exe().map_err(Failure::io("find the program xtask"))?;
    let mut failed = Vec::new();
    let chosen = |it: &Hardship| names.is_empty() || names.contains(&it.name);
    for hardship in ALL.into_iter().filter(chosen) {
        tell!("\n==== {}: {}", hardship.name, hardship.about);
        let started = Instant::now();
        let words = hardship.words();
        let mut test = Command::new(&words[0]);
        test.args(&words[1..])
            .arg(&own)
            .args(["test", "--quick"])
            .stdin(Stdio::null());
        let status = test.status().map_err(command::not_started(&test))?;
        let outcome = if status.success() { "ok" } else { "FAILED" };
        let seconds = started.elapsed().as_secs_f64();
        tell!("==== {}: {outcome} in {seconds:.1} s", hardship.name);
        let tidied = tidy();
        if let Err(failure) = &tidied {
            tell!("{failure}");
        }
        if !status.success() || tidied.is_err() {
            failed.push(hardship.name);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("failed: {}", failed.join(", "))))
}

impl Hardship {
    /// The words to put before a program.
    pub(crate) fn words(&self) -> [OsString; 4] {
        ["sh", "-c", &(self.script)(), "sh"].map(OsString::from)
    }
}

/// The locale is from the system, or the set-up has made it.
fn german() -> String {
    let made = setup::locale::folder();
    let place = if made.is_dir() {
        format!("export LOCPATH={}; ", command::quoted(&made))
    } else {
        String::new()
    };
    format!(r#"{place}export LC_ALL=de_DE.UTF-8 LANGUAGE=de; exec "$@""#)
}

/// For this run only. The path of a socket has room for 107 characters.
fn tmpdir_folder() -> PathBuf {
    let mut folder = env::temp_dir().into_os_string();
    folder.push(format!("/qemu machine {}", process::id()));
    while folder.len() < 90 {
        folder.push("x");
    }
    folder.into()
}

/// Removes the folder that the hardships have made.
///
/// # Errors
/// The tests have left files there.
pub(crate) fn tidy() -> Result<(), Failure> {
    let folder = tmpdir_folder();
    let left: Vec<_> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    if !left.is_empty() {
        let folder = folder.display();
        let left = left.join("\n  ");
        return Err(Failure::new(format!(
            "the tests left files in {folder}:\n  {left}"
        )));
    }
    // It exists only after the hardship `tmpdir`.
    let _ = fs::remove_dir(&folder);
    Ok(())
}

fn tmpdir() -> String {
    let quoted = command::quoted(&tmpdir_folder());
    // Like every folder for temporary files, it is open to every user.
    format!(r#"mkdir -p {quoted} && chmod 1777 {quoted} && export TMPDIR={quoted} && exec "$@""#)
}

/// Root becomes the user nobody. It keeps only the right to use files of root:
/// the toolchain and the build.
fn user() -> String {
    if setup::is_root() {
        let files = "+dac_override,+dac_read_search,+fowner";
        format!(
            "exec setpriv --reuid=65534 --regid=65534 --clear-groups \
             --inh-caps={files} --ambient-caps={files} \"$@\""
        )
    } else {
        r#"exec "$@""#.to_owned()
    }
}
