//! Debian's apt: with the system's sources, or with another suite. The lists of
//! the other suite are below `target`, and the system does not change.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use super::{make_folder, sources, tools};
use crate::{failure::Failure, process, progress};

/// Apt with one set of sources.
pub(crate) struct Apt {
    options: Vec<OsString>,
    may_update: bool,
}

impl Apt {
    /// Apt with the sources of this system.
    pub(crate) fn system() -> Self {
        // By default apt downloads as the user `_apt`, which cannot write to a
        // checkout of root.
        Self {
            options: vec!["-o".into(), "APT::Sandbox::User=root".into()],
            may_update: tools::is_root(),
        }
    }

    /// Apt with another suite of a release's archive. Its lists are downloaded
    /// to the folder.
    pub(crate) fn suite(suite: &str, release: &str, folder: &Path) -> Result<Self, Failure> {
        let system = Self::system();
        let place = system.with_fresh_lists(|| {
            let targets =
                system.output("apt-get", &["indextargets", "--format", sources::FORMAT])?;
            sources::place(&targets, release)
                .ok_or_else(|| Failure::new(format!("apt has no source for the release {release}")))
        })?;
        let text =
            fs::read_to_string(&place.file).map_err(Failure::io(format!("read {}", place.file)))?;
        let entry = place
            .retarget(&text, suite)
            .ok_or_else(|| Failure::new(format!("{} has no entry {}", place.file, place.number)))?;

        let lists = folder.join("lists");
        let cache = folder.join("cache");
        // Apt knows the format of a file by its extension.
        let sources = match Path::new(&place.file).extension() {
            Some(extension) => folder.join("suite").with_extension(extension),
            None => folder.join("suite.list"),
        };
        for needed in [lists.join("partial"), cache.join("archives/partial")] {
            make_folder(&needed)?;
        }
        fs::write(&sources, entry).map_err(Failure::io(format!("write {}", sources.display())))?;

        let mut apt = system;
        apt.may_update = true;
        apt.set("Dir::Etc::sourcelist", &sources);
        apt.set("Dir::Etc::sourceparts", Path::new("-"));
        apt.set("Dir::State::Lists", &lists);
        apt.set("Dir::Cache", &cache);
        // Backports have a low priority unless they are the default release.
        apt.set("APT::Default-Release", Path::new(suite));
        apt.update()?;
        Ok(apt)
    }

    /// Installs a package into the system, without questions.
    pub(crate) fn install(&self, package: &str) -> Result<(), Failure> {
        progress::step(&format!("install {package}"), || {
            self.with_fresh_lists(|| {
                let mut install = self.command("apt-get");
                install.env("DEBIAN_FRONTEND", "noninteractive").args([
                    "install",
                    "--yes",
                    "--no-install-recommends",
                    package,
                ]);
                progress::run_live(&mut install)
            })
        })
    }

    /// Downloads packages to a new folder below `parent`. Returns their files.
    pub(crate) fn download(
        &self,
        packages: &[String],
        parent: &Path,
    ) -> Result<Vec<PathBuf>, Failure> {
        let Some(first) = packages.first() else {
            return Ok(Vec::new());
        };
        let folder = parent.join(first);
        make_folder(&folder)?;
        progress::step(&format!("download {}", packages.join(", ")), || {
            self.with_fresh_lists(|| {
                let mut download = self.command("apt-get");
                download.arg("download").args(packages).current_dir(&folder);
                progress::run_live(&mut download)
            })
        })?;
        let list = || -> io::Result<_> {
            let files = fs::read_dir(&folder)?;
            files.map(|file| Ok(file?.path())).collect()
        };
        list().map_err(Failure::io(format!("list {}", folder.display())))
    }

    /// Whether there is a package of this name. A virtual package does not count.
    pub(crate) fn has(&self, package: &str) -> bool {
        self.output("apt-cache", &["show", "--no-all-versions", package])
            .is_ok_and(|text| text.starts_with("Package:"))
    }

    /// The names of the packages that this one depends on. Of alternatives, it
    /// is the first.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>, Failure> {
        self.with_fresh_lists(|| {
            let text = self.output("apt-cache", &["show", "--no-all-versions", package])?;
            Ok(text
                .lines()
                .find_map(|line| line.strip_prefix("Depends:"))
                .map(|depends| names(depends).map(str::to_owned).collect())
                .unwrap_or_default())
        })
    }

    fn update(&self) -> Result<(), Failure> {
        progress::step("update the package lists", || {
            progress::run_live(self.command("apt-get").arg("update"))
        })
    }

    /// Tries a second time with new lists: a new system has none, and old lists
    /// name versions that the mirror no longer has.
    fn with_fresh_lists<T>(&self, attempt: impl Fn() -> Result<T, Failure>) -> Result<T, Failure> {
        attempt().or_else(|failure| {
            if !self.may_update {
                return Err(failure.hint("If the package lists are old: sudo apt-get update"));
            }
            self.update()?;
            attempt()
        })
    }

    fn set(&mut self, option: &str, value: &Path) {
        let mut setting = OsString::from(option);
        setting.push("=");
        setting.push(value);
        self.options.extend(["-o".into(), setting]);
    }

    fn output(&self, program: &str, arguments: &[&str]) -> Result<String, Failure> {
        process::output(self.command(program).args(arguments))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }
}

/// Unpacks packages below a folder, without installing them.
pub(crate) fn unpack(packages: &[PathBuf], folder: &Path) -> Result<(), Failure> {
    // `<name>_<version>_<architecture>.deb`
    let names: Vec<_> = packages
        .iter()
        .filter_map(|file| file.file_name()?.to_str()?.split('_').next())
        .collect();
    progress::step(&format!("unpack {}", names.join(", ")), || {
        make_folder(folder)?;
        for package in packages {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("--vextract").arg(package).arg(folder);
            progress::run_counted(&mut unpack, "files")?;
        }
        Ok(())
    })
}

/// The names that downloaded packages provide, and the names that they depend
/// on. Of alternatives, it is the first.
pub(crate) fn relations(packages: &[PathBuf]) -> Result<(Vec<String>, Vec<String>), Failure> {
    let (mut provides, mut depends) = (Vec::new(), Vec::new());
    for package in packages {
        let mut show = Command::new("dpkg-deb");
        show.args([
            "--showformat",
            "${Package}, ${Provides}\n${Depends}, ${Pre-Depends}\n",
        ]);
        let text = process::output(show.arg("--show").arg(package))?;
        let mut fields = text.lines().map(|field| names(field).map(str::to_owned));
        provides.extend(fields.next().into_iter().flatten());
        depends.extend(fields.next().into_iter().flatten());
    }
    Ok((provides, depends))
}

/// The names of the installed packages, and the names that they provide.
pub(crate) fn installed() -> Result<HashSet<String>, Failure> {
    let mut query = Command::new("dpkg-query");
    query.args([
        "--show",
        "--showformat",
        "${db:Status-Status}:${Package}, ${Provides}\n",
    ]);
    let text = process::output(&mut query)?;
    let installed = text.lines().filter_map(|it| it.strip_prefix("installed:"));
    Ok(installed.flat_map(names).map(str::to_owned).collect())
}

/// The names in a field of packages, without versions and alternatives.
fn names(field: &str) -> impl Iterator<Item = &str> {
    field
        .split(',')
        .filter_map(|choice| choice.split(['|', '(', '[', ':']).next())
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_depends_field_is_read_as_names() {
        let field = " libc6 (>= 2.34), seabios (>> 1.16.3-1~) , a:any | b, zlib1g\n";
        assert_eq!(
            names(field).collect::<Vec<_>>(),
            ["libc6", "seabios", "a", "zlib1g"]
        );
        assert_eq!(names("\n").count(), 0);
    }
}
