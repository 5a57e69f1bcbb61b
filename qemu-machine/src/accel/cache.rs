//! Keeps findings until the host reboots or the binary's file changes.
//!
//! This process keeps them in memory. A small file keeps them for other
//! processes, because a test runner starts a process for each test. What the
//! host permits is not kept: it may change, and is quick to check. A trial that
//! failed or timed out is not kept: it may succeed the next time.
//!
//! Never an error: a file that cannot be read, parsed or written counts as no
//! file.

use crate::host::AccelDenial;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use qemu_qmp_engine::TurnLock;
use serde_json::{Value, json};

use super::{Accel, AccelFinding};
use crate::process;

/// The results of one probe, in the order of QEMU's list.
pub(super) type Findings = Arc<[(Accel, AccelFinding)]>;

/// What findings are about: this binary, on this host, since it booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    /// The file's device, inode, size, and the time of its last change in
    /// seconds and nanoseconds.
    file: [i64; 5],
    boot: String,
    /// The processor's model. It can change within a boot: a VM may be moved to
    /// another host, or cloned.
    processor: String,
}

/// The findings of one subject in this process.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// How many probes have ended.
    pub(super) probes: AtomicU64,
    /// The findings of the last probe. A probe holds the lock until it ends, so
    /// one probe runs at a time.
    pub(super) last: TurnLock<Option<Findings>>,
}

impl Subject {
    /// `None` if the binary or the boot cannot be identified.
    pub(super) fn of(binary: &OsStr) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let file = fs::metadata(process::find(binary, &path).ok()?).ok()?;
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processor
            .lines()
            .find(|line| line.starts_with("model name"));
        Some(Self {
            file: [
                file.dev().cast_signed(),
                file.ino().cast_signed(),
                file.size().cast_signed(),
                file.mtime(),
                file.mtime_nsec(),
            ],
            boot: fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?,
            processor: model.unwrap_or_default().to_owned(),
        })
    }

    /// This process's place for the subject.
    pub(super) fn place(&self) -> Arc<Place> {
        // The process id is part of the key: after a fork without exec, the
        // child has a copy of a lock that no thread there releases.
        type Places = Vec<((u32, Subject), Arc<Place>)>;
        static PLACES: Mutex<Places> = Mutex::new(Vec::new());
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= KEPT_PLACES {
            places.retain(|(_, place)| Arc::strong_count(place) > 1);
        }
        let owner = (std::process::id(), self.clone());
        if let Some((_, place)) = places.iter().find(|(other, _)| *other == owner) {
            return Arc::clone(place);
        }
        let place = Arc::<Place>::default();
        places.push((owner, Arc::clone(&place)));
        place
    }

    /// The file's name in the folder. It does not depend on the boot, so each
    /// binary has one file.
    fn file_name(&self) -> String {
        format!("accel-{:x}-{:x}.json", self.file[0], self.file[1])
    }

    fn to_json(&self) -> Value {
        json!({"file": self.file, "boot": self.boot, "processor": self.processor})
    }
}

/// The user's cache folder by the XDG Base Directory Specification:
/// `XDG_CACHE_HOME`, or `.cache` in the home directory.
pub(super) fn user_folder() -> Option<PathBuf> {
    let of = |name| Some(PathBuf::from(std::env::var_os(name)?));
    let cache = of("XDG_CACHE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| Some(of("HOME").filter(|path| path.is_absolute())?.join(".cache")))?;
    Some(cache.join("qemu-machine"))
}

/// Reads the file of a subject; `None` if it has no findings of this subject.
pub(super) fn read(folder: &Path, subject: &Subject) -> Option<Findings> {
    let path = folder.join(subject.file_name());
    // Another kind of file could block the read, or never end.
    let file = fs::metadata(&path).ok()?;
    if !file.is_file() || file.len() > LONGEST_FILE_BYTES {
        return None;
    }
    let value: Value = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
    if value["subject"] != subject.to_json() {
        return None;
    }
    value["findings"]
        .as_array()?
        .iter()
        .map(finding_from_json)
        .collect()
}

/// Writes the file of a subject, if all of the findings can be kept.
pub(super) fn write(folder: &Path, subject: &Subject, findings: &Findings) {
    if !findings
        .iter()
        .all(|(_, finding)| can_be_kept(findings, finding))
    {
        return;
    }
    let findings: Option<Vec<Value>> = findings.iter().map(finding_to_json).collect();
    let Some(findings) = findings else { return };
    let value = json!({"subject": subject.to_json(), "findings": findings});
    let path = folder.join(subject.file_name());
    // The name is always the same, so a process that dies here leaves one file,
    // and the next process overwrites it. If two processes write at once, a
    // reader finds the text of one of them, or invalid JSON.
    let new = path.with_extension("new");
    let written = || {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        fs::File::create(&new)?.write_all(value.to_string().as_bytes())?;
        fs::rename(&new, &path)
    };
    if let Err(error) = written() {
        log::debug!(
            "cannot write the accelerator findings to {}: {error}",
            path.display()
        );
    }
}

/// Kept findings, with what the host permits now; `None` if a trial must run.
///
/// With `is_fresh`, a concurrent probe has just made them, and a failed trial
/// counts.
pub(super) fn reuse(
    findings: &Findings,
    is_fresh: bool,
    permitted: impl Fn(&Accel) -> Result<(), AccelDenial>,
) -> Option<Findings> {
    let reused = |(accel, finding): &(Accel, AccelFinding)| {
        let finding = match (permitted(accel), finding) {
            (_, AccelFinding::RunsNoGuest | AccelFinding::NotTried { .. }) => finding.clone(),
            (Err(denial), _) => AccelFinding::Denied(denial),
            // QEMU may be denied what this process is permitted.
            (Ok(()), AccelFinding::Denied(_)) if !is_fresh => return None,
            (Ok(()), finding) if is_fresh || can_be_kept(findings, finding) => finding.clone(),
            (Ok(()), _) => return None,
        };
        Some((accel.clone(), finding))
    };
    findings.iter().map(reused).collect()
}

/// Whether the next trial would find the same. A timeout is kept only if TCG
/// worked in the same probe; otherwise the host was too busy.
fn can_be_kept(findings: &Findings, finding: &AccelFinding) -> bool {
    match finding {
        AccelFinding::Failed { .. } => false,
        AccelFinding::Silent { .. } | AccelFinding::TooSlow { .. } => findings
            .iter()
            .any(|(accel, finding)| *accel == Accel::TCG && finding.works()),
        _ => true,
    }
}

/// `None` for a finding that is never kept.
fn finding_to_json((accel, finding): &(Accel, AccelFinding)) -> Option<Value> {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).ok();
    let found = match finding {
        AccelFinding::Works { greeting, run } => {
            json!({"is": "works", "greeting_ns": nanos(*greeting)?, "run_ns": nanos(*run)?})
        }
        AccelFinding::Silent { limit, message } => {
            json!({"is": "silent", "limit_ns": nanos(*limit)?, "message": message})
        }
        AccelFinding::TooSlow { limit, message } => {
            json!({"is": "too slow", "limit_ns": nanos(*limit)?, "message": message})
        }
        AccelFinding::RunsNoGuest => json!({"is": "no guest"}),
        AccelFinding::NotTried { target } => json!({"is": "not tried", "target": target}),
        // A reader checks again what the host permits.
        AccelFinding::Denied(_) => json!({"is": "denied"}),
        AccelFinding::Failed { .. } => return None,
    };
    Some(json!({"accel": accel.name(), "found": found}))
}

fn finding_from_json(value: &Value) -> Option<(Accel, AccelFinding)> {
    let found = &value["found"];
    let nanos = |name: &str| Some(Duration::from_nanos(found[name].as_u64()?));
    let text = |name: &str| Some(found[name].as_str()?.to_owned());
    let finding = match found["is"].as_str()? {
        "works" => AccelFinding::Works {
            greeting: nanos("greeting_ns")?,
            run: nanos("run_ns")?,
        },
        "silent" => AccelFinding::Silent {
            limit: nanos("limit_ns")?,
            message: text("message")?,
        },
        "too slow" => AccelFinding::TooSlow {
            limit: nanos("limit_ns")?,
            message: text("message")?,
        },
        "no guest" => AccelFinding::RunsNoGuest,
        "not tried" => AccelFinding::NotTried {
            target: text("target")?,
        },
        "denied" => AccelFinding::Denied(AccelDenial::Other {
            cause: String::new(),
        }),
        _ => return None,
    };
    Some((Accel::new(value["accel"].as_str()?), finding))
}

/// More binaries than a program uses at once.
const KEPT_PLACES: usize = 16;

const LONGEST_FILE_BYTES: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn subject(boot: &str) -> Subject {
        Subject {
            file: [1, 2, 3, 4, -5],
            boot: boot.to_owned(),
            processor: "model name : X".to_owned(),
        }
    }

    fn works() -> AccelFinding {
        AccelFinding::Works {
            greeting: Duration::from_nanos(61_234_567),
            run: Duration::from_nanos(88_123_456),
        }
    }

    fn lasting() -> Findings {
        let limit = Duration::from_millis(1400);
        Arc::new([
            (Accel::TCG, works()),
            (
                Accel::KVM,
                AccelFinding::Silent {
                    limit,
                    message: "a \"b\"\n".to_owned(),
                },
            ),
            (
                Accel::new("zoom"),
                AccelFinding::TooSlow {
                    limit,
                    message: String::new(),
                },
            ),
            (Accel::QTEST, AccelFinding::RunsNoGuest),
            (
                Accel::XEN,
                AccelFinding::NotTried {
                    target: "arm".to_owned(),
                },
            ),
        ])
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let name = format!("known-{}-{test}", std::process::id());
            Self(std::env::temp_dir().join(name).join("of/the/user"))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.0.ancestors().nth(3).unwrap());
        }
    }

    #[test]
    fn what_is_kept_is_read_again_for_the_same_subject_alone() {
        let folder = Folder::new("kept");
        write(&folder.0, &subject("a"), &lasting());
        assert_eq!(read(&folder.0, &subject("a")), Some(lasting()));
        assert_eq!(read(&folder.0, &subject("b")), None);
        // The findings of the next boot replace them, and no other file stays.
        write(&folder.0, &subject("b"), &lasting());
        assert_eq!(read(&folder.0, &subject("a")), None);
        assert_eq!(read(&folder.0, &subject("b")), Some(lasting()));
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    }

    #[test]
    fn a_trial_that_failed_or_had_not_the_time_is_not_kept() {
        let folder = Folder::new("failed");
        let message = String::new();
        let limit = Duration::from_secs(5);
        let failed = AccelFinding::Failed {
            message: message.clone(),
        };
        let silent = AccelFinding::Silent { limit, message };
        for (tcg, kvm) in [
            (works(), failed.clone()),
            (failed, silent.clone()),
            (silent.clone(), works()),
            (AccelFinding::RunsNoGuest, silent),
        ] {
            let findings: Findings = Arc::new([(Accel::TCG, tcg), (Accel::KVM, kvm)]);
            write(&folder.0, &subject("a"), &findings);
            assert_eq!(read(&folder.0, &subject("a")), None);
            assert_eq!(reuse(&findings, false, |_| Ok(())), None);
            let shared = reuse(&findings, true, |_| Ok(()));
            assert_eq!(shared.as_ref(), Some(&findings));
        }
    }

    #[test]
    fn whatever_is_found_in_the_folder_is_as_good_as_nothing() {
        let folder = Folder::new("anything");
        let subject = subject("a");
        write(&folder.0, &subject, &lasting());
        let path = folder.0.join(subject.file_name());
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(read(&folder.0, &subject), None);
        }
        let text = String::from_utf8(whole).unwrap();
        for (from, to) in [
            ("88123456", "-1"),
            ("88123456", "1e99"),
            ("works", "flies"),
            ("\"tcg\"", "7"),
            ("\"accel\"", "\"x\""),
            ("\"findings\":[", "\"findings\":[null,"),
        ] {
            assert!(text.contains(from));
            fs::write(&path, text.replace(from, to)).unwrap();
            assert_eq!(read(&folder.0, &subject), None, "{from} {to}");
        }
        let long = vec![b' '; 1 << 17];
        for odd in [&b"\xff"[..], b"[]", b"null", &long] {
            fs::write(&path, odd).unwrap();
            assert_eq!(read(&folder.0, &subject), None);
        }
        // A write replaces it.
        write(&folder.0, &subject, &lasting());
        assert_eq!(read(&folder.0, &subject), Some(lasting()));
        // Neither a file that never ends nor a folder in its place.
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        assert_eq!(read(&folder.0, &subject), None);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(read(&folder.0, &subject), None);
        write(&folder.0, &subject, &lasting());
        // Nor a folder that cannot be created.
        write(Path::new("/dev/null/x"), &subject, &lasting());
        assert_eq!(read(Path::new("/dev/null/x"), &subject), None);
    }

    #[test]
    fn what_the_host_permits_is_asked_anew_and_what_failed_is_tried_anew() {
        let permitted = |_: &Accel| Ok(());
        let denies_kvm = |accel: &Accel| match accel.name() {
            "kvm" => Err(AccelDenial::NotPermitted),
            _ => Ok(()),
        };
        let of_kvm =
            |finding| -> Findings { Arc::new([(Accel::TCG, works()), (Accel::KVM, finding)]) };
        let denied = |denial| of_kvm(AccelFinding::Denied(denial));
        let failed = of_kvm(AccelFinding::Failed {
            message: String::new(),
        });

        assert_eq!(reuse(&lasting(), false, permitted), Some(lasting()));
        let now_denied = Some(denied(AccelDenial::NotPermitted));
        for before in [of_kvm(works()), denied(AccelDenial::Busy), failed.clone()] {
            assert_eq!(reuse(&before, false, denies_kvm), now_denied);
        }
        // It is permitted now, so a trial must run.
        assert_eq!(reuse(&denied(AccelDenial::Busy), false, permitted), None);
        assert_eq!(reuse(&failed, false, permitted), None);
        // A caller that waited for the probe takes its findings unchanged.
        assert_eq!(reuse(&failed, true, permitted), Some(failed.clone()));
        let denied_to_qemu = denied(AccelDenial::Busy);
        assert_eq!(
            reuse(&denied_to_qemu, true, permitted),
            Some(denied_to_qemu)
        );
    }
}
