//! What a template was made of and consists of, in its file `template.json`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::process::stamp::Stamp;
use crate::spec::image::FrozenShell;

/// The description of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Whether the guest ran when it was frozen.
    pub(super) guest_ran: bool,
    /// The shell on the first console.
    pub(super) shell: FrozenShell,
    /// The version of QEMU, as it greeted.
    pub(super) version: String,
    /// The words of the command line that the guest sees.
    pub(super) guest_words: Vec<OsString>,
    /// The digest of the host's processor, if the guest sees it.
    pub(super) host_cpu: Option<String>,
    /// The digest of the state of the devices.
    pub(super) state_digest: String,
    /// The files of the template, by their names in it.
    pub(super) files: Vec<(String, Stamp)>,
    /// The files that it was made of, which must stay: QEMU, the kernel, the
    /// images below its disks.
    pub(super) inputs: Vec<(PathBuf, Stamp)>,
}

impl Manifest {
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let files = self.files.iter();
        let inputs = self.inputs.iter();
        let manifest = json!({
            "format": FORMAT,
            "guest_ran": self.guest_ran,
            "shell_at_prompt": self.shell.is_at_prompt,
            "shell_asked_for_cursor": self.shell.has_asked_for_cursor,
            "shell_prepared": self.shell.is_prepared,
            "version": self.version,
            "guest_words": self.guest_words.iter().map(|it| word(it)).collect::<Vec<_>>(),
            "host_cpu": self.host_cpu,
            "state_digest": self.state_digest,
            "files": files.map(|(name, stamp)| json!([name, stamp_json(stamp)])).collect::<Vec<_>>(),
            "inputs": inputs
                .map(|(path, stamp)| json!([word(path.as_os_str()), stamp_json(stamp)]))
                .collect::<Vec<_>>(),
        });
        fs::write(directory.join(MANIFEST), format!("{manifest:#}\n"))
    }

    /// Reads a manifest; fails with a reason.
    pub(super) fn read(directory: &Path) -> Result<Self, String> {
        let text = fs::read(directory.join(MANIFEST));
        let text = text.map_err(|error| format!("cannot read {MANIFEST}: {error}"))?;
        let value: Value = serde_json::from_slice(&text)
            .map_err(|error| format!("{MANIFEST} is not JSON: {error}"))?;
        if value["format"] != FORMAT {
            return Err(format!("{MANIFEST} is of another version; make it again"));
        }
        Self::of_json(&value).ok_or_else(|| format!("{MANIFEST} is not complete; make it again"))
    }

    fn of_json(value: &Value) -> Option<Self> {
        let pairs = |name: &str| value[name].as_array().map(|it| it.iter());
        Some(Self {
            guest_ran: value["guest_ran"].as_bool()?,
            // Older templates have none of them.
            shell: FrozenShell {
                is_at_prompt: value["shell_at_prompt"] == true,
                has_asked_for_cursor: value["shell_asked_for_cursor"] == true,
                is_prepared: value["shell_prepared"] == true,
            },
            version: value["version"].as_str()?.to_owned(),
            guest_words: pairs("guest_words")?.map(of_word).collect::<Option<_>>()?,
            host_cpu: value["host_cpu"].as_str().map(str::to_owned),
            state_digest: value["state_digest"].as_str()?.to_owned(),
            files: pairs("files")?
                .map(|pair| Some((pair[0].as_str()?.to_owned(), of_stamp(&pair[1])?)))
                .collect::<Option<_>>()?,
            inputs: pairs("inputs")?
                .map(|pair| Some((of_word(&pair[0])?.into(), of_stamp(&pair[1])?)))
                .collect::<Option<_>>()?,
        })
    }
}

fn stamp_json(stamp: &Stamp) -> Value {
    json!([
        stamp.length_bytes,
        stamp.modified.0,
        stamp.modified.1,
        stamp.ends
    ])
}

fn of_stamp(value: &Value) -> Option<Stamp> {
    Some(Stamp {
        length_bytes: value[0].as_u64()?,
        modified: (value[1].as_i64()?, value[2].as_i64()?),
        ends: value[3].as_str()?.to_owned(),
    })
}

/// A word as JSON: text, or bytes if it is no UTF-8.
pub(super) fn word(word: &OsStr) -> Value {
    match word.to_str() {
        Some(text) => text.into(),
        None => word.as_bytes().into(),
    }
}

pub(super) fn of_word(value: &Value) -> Option<OsString> {
    if let Some(text) = value.as_str() {
        return Some(text.into());
    }
    let bytes = value.as_array()?.iter();
    let bytes = bytes.map(|it| u8::try_from(it.as_u64()?).ok());
    bytes.collect::<Option<Vec<_>>>().map(OsString::from_vec)
}

const FORMAT: u64 = 2;
pub(super) const MANIFEST: &str = "template.json";

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("manifest-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn a_manifest_is_read_back_and_a_damaged_one_is_refused() {
        let path = directory("read");
        fs::write(path.join("ram"), "x").unwrap();
        let stamp = Stamp::of(&path.join("ram")).unwrap();
        let manifest = Manifest {
            guest_ran: true,
            shell: FrozenShell {
                is_at_prompt: true,
                has_asked_for_cursor: true,
                is_prepared: false,
            },
            version: "10.0.2".to_owned(),
            guest_words: vec!["-m".into(), OsString::from_vec(b"\xff".to_vec())],
            state_digest: "0f".to_owned(),
            host_cpu: Some("x".to_owned()),
            files: vec![("ram".to_owned(), stamp.clone())],
            inputs: vec![("/qemu".into(), stamp)],
        };
        manifest.write(&path).unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), manifest);
        let text = fs::read_to_string(path.join(MANIFEST)).unwrap();
        fs::write(path.join(MANIFEST), text.replace("shell", "x")).unwrap();
        let older = Manifest::read(&path).unwrap();
        assert_eq!(older.shell, FrozenShell::default());
        fs::write(path.join(MANIFEST), text.replace("guest_ran", "x")).unwrap();
        assert!(Manifest::read(&path).unwrap_err().contains("not complete"));
        fs::write(path.join(MANIFEST), &text[..text.len() / 2]).unwrap();
        assert!(Manifest::read(&path).unwrap_err().contains("not JSON"));
        fs::remove_dir_all(&path).unwrap();
        assert!(Manifest::read(&path).unwrap_err().contains("cannot read"));
    }
}
