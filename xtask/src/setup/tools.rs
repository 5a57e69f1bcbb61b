//! The tools to install: which are missing, and how to install them.

use std::{env, fs, os::unix::fs::MetadataExt};

use super::{
    apt::Apt,
    system::{Family, System},
};
use crate::failure::Failure;

/// Installs the missing tools, or fails with advice.
///
/// # Errors
/// Advice, if the user must install them: without root, or not on Debian.
pub(crate) fn ensure(system: &System) -> Result<(), Failure> {
    match plan(&missing(), system, is_root()) {
        Plan::Nothing => Ok(()),
        Plan::Advise(text) => Err(Failure::advice(text)),
        Plan::Install(packages) => {
            for package in packages {
                Apt::system().install(package)?;
            }
            match missing().as_slice() {
                [] => Ok(()),
                still => Err(Failure::new(format!(
                    "all packages are installed, but the PATH lacks these programs: {}",
                    programs(still)
                ))),
            }
        }
    }
}

/// Fails with advice if [`ensure`] would.
pub(crate) fn check(system: &System) -> Result<(), Failure> {
    match plan(&missing(), system, is_root()) {
        Plan::Advise(text) => Err(Failure::advice(text)),
        Plan::Nothing | Plan::Install(_) => Ok(()),
    }
}

/// Tools of the same packages.
#[derive(Debug, PartialEq, Eq)]
struct Tools {
    programs: &'static [&'static str],
    /// Apt installs each in a separate call. In one call it may choose a
    /// `qemu-utils` of another version.
    debian: &'static [&'static str],
    fedora: &'static [&'static str],
    arch: &'static [&'static str],
    macos: &'static [&'static str],
}

const TOOLS: [Tools; 4] = [
    Tools {
        programs: &["qemu-system-x86_64", "qemu-img"],
        debian: &["qemu-system-x86", "qemu-utils"],
        fedora: &["qemu-system-x86-core", "qemu-img"],
        arch: &["qemu-base"],
        macos: &["qemu"],
    },
    // For semihosting, which a PC does not have.
    Tools {
        programs: &["qemu-system-arm"],
        debian: &["qemu-system-arm"],
        fedora: &["qemu-system-arm-core"],
        arch: &["qemu-system-arm"],
        macos: &["qemu"],
    },
    Tools {
        programs: &["as", "ld", "objcopy"],
        debian: &["binutils"],
        fedora: &["binutils"],
        arch: &["binutils"],
        macos: &["x86_64-elf-binutils"],
    },
    // The command's completions and manual pages are tried in them.
    Tools {
        programs: &["fish", "zsh", "groff"],
        debian: &["fish", "zsh", "groff-base"],
        fedora: &["fish", "zsh", "groff-base"],
        arch: &["fish", "zsh", "groff"],
        macos: &["fish", "zsh", "groff"],
    },
];

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    /// Debian packages, in this order.
    Install(Vec<&'static str>),
    /// The advice for the user.
    Advise(String),
}

/// Decides by the missing tools, the system, and whether the user is root.
fn plan(missing: &[&Tools], system: &System, root: bool) -> Plan {
    if missing.is_empty() {
        return Plan::Nothing;
    }
    if root && system.family == Some(Family::Debian) {
        let packages = missing.iter().flat_map(|tools| tools.debian);
        return Plan::Install(packages.copied().collect());
    }

    let mut paragraphs = vec![format!("Missing programs: {}", programs(missing))];
    let commands = |family| commands(missing, family);
    if let Some(family) = system.family {
        let name = &system.name;
        paragraphs.push(format!("On this system ({name}):\n{}", commands(family)));
    }
    for family in Family::ALL {
        if Some(family) != system.family {
            paragraphs.push(format!("{}:\n{}", family.name(), commands(family)));
        }
    }
    paragraphs.push("Then run this command again.".to_owned());
    Plan::Advise(paragraphs.join("\n\n"))
}

/// The commands to paste.
fn commands(missing: &[&Tools], family: Family) -> String {
    let packages = |of: fn(&Tools) -> &'static [&'static str]| -> Vec<&str> {
        let all = missing.iter().flat_map(|tools| of(tools));
        all.copied().collect()
    };
    match family {
        Family::Debian => {
            let install = "    sudo apt-get install --no-install-recommends ";
            install.to_owned() + &packages(|it| it.debian).join(&format!("\n{install}"))
        }
        Family::Fedora => "    sudo dnf install ".to_owned() + &packages(|it| it.fedora).join(" "),
        Family::Arch => {
            "    sudo pacman -S --needed ".to_owned() + &packages(|it| it.arch).join(" ")
        }
        Family::MacOs => "    brew install ".to_owned() + &packages(|it| it.macos).join(" "),
    }
}

fn programs(tools: &[&Tools]) -> String {
    let programs = tools.iter().flat_map(|tools| tools.programs);
    programs.copied().collect::<Vec<_>>().join(", ")
}

fn missing() -> Vec<&'static Tools> {
    TOOLS
        .iter()
        .filter(|tools| !tools.programs.iter().all(|program| is_found(program)))
        .collect()
}

/// Whether a program is in the `PATH`.
fn is_found(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

pub(crate) fn is_root() -> bool {
    // Without libc: the folder of this process belongs to its effective user.
    fs::metadata("/proc/self").is_ok_and(|folder| folder.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(family: Option<Family>) -> System {
        System {
            family,
            name: "Some System 1".to_owned(),
            codename: String::new(),
        }
    }

    fn advice(missing: &[&Tools], family: Option<Family>, root: bool) -> String {
        match plan(missing, &system(family), root) {
            Plan::Advise(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_is_done_where_nothing_is_missing() {
        for root in [false, true] {
            assert_eq!(plan(&[], &system(None), root), Plan::Nothing);
        }
    }

    #[test]
    fn root_on_debian_installs_qemu_before_its_utilities() {
        assert_eq!(
            plan(&[&TOOLS[0]], &system(Some(Family::Debian)), true),
            Plan::Install(vec!["qemu-system-x86", "qemu-utils"])
        );
    }

    #[test]
    fn root_elsewhere_is_only_told() {
        for family in [Family::Fedora, Family::Arch, Family::MacOs] {
            advice(&[&TOOLS[0]], Some(family), true);
        }
        advice(&[&TOOLS[0]], None, true);
    }

    #[test]
    fn a_person_on_debian_is_told_two_calls_of_apt() {
        let text = advice(&[&TOOLS[0]], Some(Family::Debian), false);
        assert!(text.contains(
            "On this system (Some System 1):\n    \
             sudo apt-get install --no-install-recommends qemu-system-x86\n    \
             sudo apt-get install --no-install-recommends qemu-utils\n"
        ));
    }

    #[test]
    fn this_system_comes_first_and_only_once() {
        let text = advice(&[&TOOLS[0], &TOOLS[2]], Some(Family::Arch), false);
        let here = text.find("pacman -S --needed qemu-base binutils").unwrap();
        let others = ["apt-get", "dnf", "brew"].map(|name| text.find(name).unwrap());
        assert!(others.iter().all(|place| *place > here));
        assert_eq!(text.matches("pacman").count(), 1);
    }

    #[test]
    fn an_unknown_system_is_told_all() {
        let text = advice(&[&TOOLS[2]], None, false);
        assert!(!text.contains("On this system"));
        assert!(text.starts_with("Missing programs: as, ld, objcopy\n"));
        for manager in ["apt-get", "dnf", "pacman", "brew"] {
            assert!(text.contains(manager));
        }
    }
}
