//! A German locale, for tests under it. If the system has none, it is made from
//! the system's locale sources.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    apt::Apt,
    make_folder, scratch,
    system::{Family, System},
    tools,
};
use crate::{failure::Failure, process, workspace};

/// The folder of the locale, if the system has none. It must be in `LOCPATH`.
pub(crate) fn folder() -> PathBuf {
    workspace::target().join("locale")
}

/// Makes the locale, if it is missing.
pub(crate) fn ensure() -> Result<(), Failure> {
    let known = process::output(Command::new("locale").arg("-a"))?;
    if folder().is_dir() || known.lines().any(|name| name == "de_DE.utf8") {
        return Ok(());
    }
    let sources = Path::new("/usr/share/i18n/locales/de_DE");
    let is_debian = System::this().family == Some(Family::Debian);
    if !sources.is_file() && is_debian && tools::is_root() {
        Apt::system().install("locales")?;
    }
    let half = scratch("locale")?;
    let mut make = Command::new("localedef");
    make.args(["-i", "de_DE", "-f", "UTF-8"])
        .arg(half.join("de_DE.utf8"));
    process::run(&mut make).map_err(|failure| {
        failure.hint(
            "Install the locale sources: Debian's package locales, or Fedora's \
             glibc-locale-source.",
        )
    })?;
    make_folder(&workspace::target())?;
    fs::rename(&half, folder()).map_err(Failure::io(format!("make {}", folder().display())))
}
