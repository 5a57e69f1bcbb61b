//! Where a file is: here, or in the guest of a machine.

use std::path::PathBuf;
use std::str::FromStr;

/// A path, and whose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Here(PathBuf),
    Guest { name: String, path: PathBuf },
}

impl FromStr for Place {
    type Err = String;

    /// What has a colon and no slash before it is in a guest.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((name, path)) if !name.is_empty() && !name.contains('/') => {
                if path.is_empty() {
                    return Err(format!("'{text}' has no path after the colon"));
                }
                let (name, path) = (name.to_owned(), path.into());
                Ok(Self::Guest { name, path })
            }
            _ if text.is_empty() => Err("a path cannot be empty".to_owned()),
            _ => Ok(Self::Here(text.into())),
        }
    }
}

impl Place {
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::Here(path) | Self::Guest { path, .. } => path.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_s_path_has_a_name_and_a_colon_before_it() {
        let here = |path: &str| Ok(Place::Here(path.into()));
        let guest = |name: &str, path: &str| {
            let (name, path) = (name.to_owned(), path.into());
            Ok(Place::Guest { name, path })
        };
        let table = [
            ("file", here("file")),
            ("-", here("-")),
            ("./vm:file", here("./vm:file")),
            (":x", here(":x")),
            ("vm:/etc/passwd", guest("vm", "/etc/passwd")),
            ("vm:a:b", guest("vm", "a:b")),
        ];
        for (text, place) in table {
            assert_eq!(text.parse(), place, "{text}");
        }
        assert!("vm:".parse::<Place>().is_err() && "".parse::<Place>().is_err());
    }
}
