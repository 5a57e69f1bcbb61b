//! Facts about this system for the set-up.

use std::{env, fs};

/// A family of systems that share a package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Debian,
    Fedora,
    Arch,
    MacOs,
}

/// An operating system.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct System {
    /// `None` if it is unknown.
    pub(crate) family: Option<Family>,
    /// The name to show: `Debian GNU/Linux 12 (bookworm)`.
    pub(crate) name: String,
    /// The name of a Debian release, such as `bookworm`; else empty.
    pub(crate) codename: String,
}

impl System {
    pub(crate) fn this() -> Self {
        if cfg!(target_os = "macos") {
            return Self {
                family: Some(Family::MacOs),
                name: "macOS".to_owned(),
                codename: String::new(),
            };
        }
        // os-release(5) requires this order.
        let release = fs::read_to_string("/etc/os-release")
            .or_else(|_| fs::read_to_string("/usr/lib/os-release"));
        Self::from_os_release(&release.unwrap_or_default())
    }

    /// Reads `os-release(5)`.
    fn from_os_release(text: &str) -> Self {
        let value = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            let found = lines.find(|(name, _)| *name == key);
            found.map_or("", |(_, value)| value.trim_matches(['"', '\'']))
        };
        let mut ids = vec![value("ID")];
        ids.extend(value("ID_LIKE").split_whitespace());
        Self {
            family: ids.iter().find_map(|id| Family::from_id(id)),
            name: value("PRETTY_NAME").to_owned(),
            codename: match value("ID") {
                "debian" => value("VERSION_CODENAME").to_owned(),
                _ => String::new(),
            },
        }
    }

    /// Whether Debian's own packages are available.
    pub(crate) fn has_debian_packages(&self) -> bool {
        !self.codename.is_empty() && env::consts::ARCH == "x86_64"
    }

    /// Whether the backports of the release have a second, newer QEMU.
    pub(crate) fn has_backported_qemu(&self) -> bool {
        self.codename == "bookworm" && self.has_debian_packages()
    }
}

impl Family {
    pub(crate) const ALL: [Self; 4] = [Self::Debian, Self::Fedora, Self::Arch, Self::MacOs];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Debian => "Debian, Ubuntu",
            Self::Fedora => "Fedora",
            Self::Arch => "Arch Linux",
            Self::MacOs => "macOS",
        }
    }

    fn from_id(id: &str) -> Option<Self> {
        match id {
            "debian" | "ubuntu" => Some(Self::Debian),
            "fedora" | "rhel" | "centos" => Some(Self::Fedora),
            "arch" | "archlinux" => Some(Self::Arch),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debian_release_is_told_by_its_codename() {
        let system = System::from_os_release(
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n\
             VERSION_CODENAME=bookworm\n\
             ID=debian\n",
        );
        assert_eq!(system.family, Some(Family::Debian));
        assert_eq!(system.name, "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(system.codename, "bookworm");
    }

    #[test]
    fn a_derivative_belongs_to_the_family_it_is_like() {
        let mint = System::from_os_release("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n");
        assert_eq!(mint.family, Some(Family::Debian));
        let rocky = System::from_os_release("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n");
        assert_eq!(rocky.family, Some(Family::Fedora));
        let manjaro = System::from_os_release("ID=manjaro\nID_LIKE=arch\n");
        assert_eq!(manjaro.family, Some(Family::Arch));
    }

    #[test]
    fn only_debian_itself_has_debian_s_backports() {
        let derived = "ID=devuan\nID_LIKE=debian\nVERSION_CODENAME=bookworm\n";
        assert!(!System::from_os_release(derived).has_backported_qemu());
    }

    #[test]
    fn an_unknown_system_has_no_family() {
        assert_eq!(System::from_os_release("ID=nixos\n").family, None);
        assert_eq!(System::from_os_release("").family, None);
    }
}
