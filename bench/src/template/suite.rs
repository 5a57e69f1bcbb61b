//! A test run of many processes, which boot a guest once together.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::{OURS, each_at_most, guest};
use crate::Failure;
use crate::operation::{Measured, Operation, Unit};
use crate::setting::Setting;

pub(super) const ROWS: [&str; 2] = ["template-suite", "template-suite/boots"];

pub(super) fn measure(setting: &Setting) -> Result<[Operation; 2], Failure> {
    let processes = setting.size(100, 4);
    let (mut seconds, mut boots) = (Vec::new(), Vec::new());
    for (who, qemu) in OURS.into_iter().zip(guest::qemus(setting)?) {
        let run = run(setting, &qemu, processes)?;
        let one = |value| Measured {
            who,
            values: vec![value],
        };
        seconds.push(one(run.seconds));
        boots.push(one(run.boots));
    }
    Ok([
        Operation {
            id: ROWS[0],
            name: format!("{processes} processes with a test each, {AT_ONCE} at once"),
            about: "The elapsed time of a test run, from an empty store to the end of its last \
                    process. Each process is the example `suite`. It makes the template or waits \
                    for it, and launches and wakes a clone. Then it compares a nonce that only \
                    the memory of the template has, and ends the clone."
                .into(),
            unit: Unit::Seconds,
            bars: each_at_most(&seconds, 30.0),
            contenders: seconds,
        },
        Operation {
            id: ROWS[1],
            name: "the boots of that test run".into(),
            about: "How many of these processes booted the guest. All of them saw the same nonce, \
                    and each its own random numbers, or the row fails."
                .into(),
            unit: Unit::Count,
            bars: each_at_most(&boots, 1.0),
            contenders: boots,
        },
    ])
}

struct Run {
    seconds: f64,
    boots: f64,
}

fn run(setting: &Setting, qemu: &Path, processes: usize) -> Result<Run, Failure> {
    let store = Store::new()?;
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let printed = thread::scope(|scope| {
        let workers = [(); AT_ONCE].map(|()| {
            scope.spawn(|| {
                let mut printed = String::new();
                while next.fetch_add(1, Ordering::Relaxed) < processes {
                    printed += &test(setting, qemu, &store.0)?;
                }
                Ok::<_, String>(printed)
            })
        });
        let joined = workers.map(|worker| worker.join().unwrap_or(Err("a panic".into())));
        joined.into_iter().collect::<Result<String, _>>()
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let values = |name| {
        let values = printed.lines().filter_map(move |it| it.strip_prefix(name));
        let mut values: Vec<_> = values.collect();
        let all = values.len();
        values.sort_unstable();
        values.dedup();
        (all, values.len())
    };
    if values("nonce ") != (processes, 1) || values("uuid ") != (processes, processes) {
        return Err(format!("not {processes} clones of one guest:\n{printed}").into());
    }
    let boots = printed.lines().filter(|line| *line == "booting").count();
    Ok(Run {
        seconds,
        boots: f64::from(u32::try_from(boots)?),
    })
}

/// Runs a process to its end, and returns what it printed.
fn test(setting: &Setting, qemu: &Path, store: &Path) -> Result<String, String> {
    let mut test = Command::new(setting.command.with_file_name("examples/suite"));
    test.arg(store);
    test.args([guest::KERNEL, "initramfs"].map(|file| setting.linux.join(file)));
    test.arg(qemu).stdin(Stdio::null());
    let output = test
        .output()
        .map_err(|error| format!("{test:?}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!("{test:?}: {}: {errors}", output.status))
    }
}

/// A store that is removed at the end.
struct Store(PathBuf);

impl Store {
    fn new() -> Result<Self, Failure> {
        let name = format!("bench-templates-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The number of processes at once.
const AT_ONCE: usize = 2;
