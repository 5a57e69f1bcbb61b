//! The files of a template, and what they must be like for a clone.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::host_cpu::host_cpu;
use super::manifest::Manifest;
use crate::machine::freezable::inputs;
use crate::process::digest::Digest;
use crate::process::runtime_dir::PrivateDirectory;
use crate::process::stamp::Stamp;
use crate::spec::MachineSpec;
use crate::spec::image::{FrozenShell, MEMORY, STATE, TemplateFiles, guest_words};

/// The files of a template. If no path was given to keep them at, they are
/// removed when this is dropped. QEMU has them open, so a clone that runs does
/// not need their names.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) directory: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) _owned: Option<PrivateDirectory>,
    /// A shared lock, by which a store knows that the template is in use.
    pub(super) lock: Option<Arc<File>>,
}

impl TemplateFiles for Files {
    fn directory(&self) -> &Path {
        &self.directory
    }

    fn guest_ran(&self) -> bool {
        self.manifest.guest_ran
    }

    fn lock(&self) -> Option<Arc<File>> {
        self.lock.clone()
    }

    fn shell(&self) -> FrozenShell {
        self.manifest.shell
    }

    fn lower_disks(&self) -> Vec<String> {
        let names = self.manifest.files.iter().map(|(name, _)| name.clone());
        names.filter(|name| name.contains(".below")).collect()
    }

    fn has_read_only_memory(&self) -> bool {
        let memory = self.directory.join(MEMORY);
        let is_read_only = File::options().write(true).open(memory).is_err();
        is_read_only && clones_read_only_memory(self.version())
    }

    fn version(&self) -> &str {
        &self.manifest.version
    }

    fn identity(&self) -> &str {
        &self.manifest.state_digest
    }

    fn check(&self, spec: &MachineSpec) -> Result<(), String> {
        let (ours, theirs) = (&self.manifest.guest_words, guest_words(spec));
        if let Some(difference) = difference(ours, &theirs) {
            return Err(difference);
        }
        if host_cpu(spec) != self.manifest.host_cpu {
            let reason = "it was frozen on another processor, which its guest sees; make the \
                          template again, or give it a model of QEMU's with `-cpu`";
            return Err(reason.to_owned());
        }
        let given = inputs(spec).map_err(|_| {
            let binary = spec.binary().display();
            format!("there is no QEMU '{binary}' that can be started")
        })?;
        let program = given.first();
        if self.manifest.inputs.first().map(|(path, _)| path) != program {
            let path = program.map(|it| it.display().to_string());
            let path = path.unwrap_or_default();
            return Err(format!("{path} is another QEMU than the template's"));
        }
        for path in &given {
            // A link may have another target now, and a relative path another
            // directory.
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            if !self.manifest.inputs.iter().any(|(it, _)| *it == real) {
                let path = path.display();
                return Err(format!(
                    "{path} is another file than the template's; make the template again"
                ));
            }
        }
        for (path, stamp) in &self.manifest.inputs {
            if Stamp::of(path).ok().as_ref() != Some(stamp) {
                let path = path.display();
                return Err(format!("{path} has changed since; make the template again"));
            }
        }
        for (name, stamp) in &self.manifest.files {
            if Stamp::of(&self.directory.join(name)).ok().as_ref() != Some(stamp) {
                return Err(format!(
                    "its file {name} has changed; make the template again"
                ));
            }
        }
        match Digest::of_file(&self.directory.join(STATE)) {
            Ok(digest) if digest.hex() == self.manifest.state_digest => Ok(()),
            Ok(_) => Err(format!(
                "its file {STATE} is damaged; make the template again"
            )),
            Err(error) => Err(format!("its file {STATE} cannot be read: {error}")),
        }
    }
}

/// Whether this QEMU has the option `rom` of memory in a file, which came with 8.2.
/// Without it, memory that is opened read-only is read-only for the guest.
fn clones_read_only_memory(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    let (major, minor) = (numbers.next(), numbers.next());
    matches!((major, minor), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (8, 2))
}

/// The file whose lock says that a template is in use, and whose time says when
/// it was used last.
pub(super) const USED: &str = "used";

/// The file whose time says when a maker of a store asked for the template last.
pub(super) const ASKED_FOR: &str = "asked-for";

/// What differs between the words of a template and those of a machine.
fn difference(template: &[OsString], machine: &[OsString]) -> Option<String> {
    let end = OsStr::new("");
    let (longer, length) = (template.len().max(machine.len()), |words: &[OsString]| {
        words.len()
    });
    let at = (0..longer).find(|&at| template.get(at) != machine.get(at))?;
    let word = |words: &[OsString]| {
        let word = words.get(at).map_or(end, |it| it);
        if at < length(words) {
            format!("'{}'", word.display())
        } else {
            "nothing".to_owned()
        }
    };
    let before = at.checked_sub(1).and_then(|at| template.get(at));
    let after = before.map(|word| format!(" after '{}'", word.display()));
    Some(format!(
        "the template has {}{}, this machine has {}; a clone must have the devices, memory and \
         processors of its template",
        word(template),
        after.unwrap_or_default(),
        word(machine),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_for_read_only_memory_came_with_a_version() {
        for version in ["8.2.0", "9.0.1", "10.0.2"] {
            assert!(clones_read_only_memory(version), "{version}");
        }
        for version in ["7.2.9", "8.1.5", "", "x"] {
            assert!(!clones_read_only_memory(version), "{version}");
        }
    }

    #[test]
    fn the_first_difference_is_named() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let differ = |ours, theirs| difference(&words(ours), &words(theirs));
        assert_eq!(differ("-m 1G", "-m 1G"), None);
        let text = differ("-m 1G -smp 2", "-m 2G -smp 2").unwrap();
        assert!(
            text.starts_with("the template has '1G' after '-m', this machine has '2G'"),
            "{text}"
        );
        let text = differ("-m 1G", "-m 1G -smp 2").unwrap();
        assert!(
            text.starts_with("the template has nothing after '1G', this machine has '-smp'"),
            "{text}"
        );
    }
}
