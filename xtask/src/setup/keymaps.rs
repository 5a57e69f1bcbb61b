//! Keyboard layouts for the Linux guest's `loadkmap`. They are made from the
//! layouts of X (`xkb-data`), as Debian does for its consoles.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    apt::{self, Apt},
    make_folder, publish, scratch,
};
use crate::{failure::Failure, process};

/// Makes `LAYOUT.bkmap` for each layout in this folder.
pub(crate) fn fetch(place: &Path) -> Result<(), Failure> {
    let folder = scratch("keymaps")?;
    let packages = PACKAGES.map(str::to_owned);
    let files = Apt::system().download(&packages, &folder.join("packages"))?;
    let root = folder.join("root");
    apt::unpack(&files, &root)?;
    let made = folder.join("keymaps");
    make_folder(&made)?;
    for layout in LAYOUTS {
        let mut compile = Command::new("sh");
        compile
            .args(["-c", COMPILE])
            .arg(root.join("usr/bin/ckbcomp"))
            .arg(root.join("usr/share/X11/xkb"))
            .arg(layout)
            .arg(folder.join("text"))
            .arg(loadkeys(&root)?)
            .arg(made.join(format!("{layout}.bkmap")));
        process::run(&mut compile)?;
    }
    publish(&made, place)?;
    fs::remove_dir_all(&folder).map_err(Failure::io(format!("remove {}", folder.display())))
}

/// In some releases `/bin` is a folder, in others a link to `/usr/bin`.
fn loadkeys(root: &Path) -> Result<PathBuf, Failure> {
    ["bin/loadkeys", "usr/bin/loadkeys"]
        .map(|program| root.join(program))
        .into_iter()
        .find(|program| program.is_file())
        .ok_or_else(|| Failure::new("the package kbd has no program loadkeys"))
}

const COMPILE: &str = r#""$0" "-I$1" "$2" >"$3" && "$4" -u -b "$3" >"$5""#;

const PACKAGES: [&str; 3] = ["kbd", "console-setup", "xkb-data"];

const LAYOUTS: [&str; 2] = ["de", "fr"];
