//! Which names can be published.
//!
//! Pure: a name is a folder's name, and part of the path of a socket.

use std::path::{Path, PathBuf};

use super::RegistryError;

/// Checks the name of a machine.
pub(super) fn check_machine(name: &str) -> Result<(), RegistryError> {
    check("machine", name)
}

/// Checks the name of a pool.
pub(super) fn check_pool(name: &str) -> Result<(), RegistryError> {
    check("pool", name)
}

/// Checks the name of a console.
fn check_console(name: &str) -> Result<(), RegistryError> {
    check("console", name)
}

fn check(what: &'static str, name: &str) -> Result<(), RegistryError> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.contains('/') {
        "it has a slash"
    } else if name.starts_with(['.', '-']) {
        "it begins with a dot or a dash"
    } else if name.chars().any(char::is_control) {
        "it has a control character"
    } else if name.starts_with(char::is_whitespace) || name.ends_with(char::is_whitespace) {
        "it begins or ends with a blank"
    } else {
        return Ok(());
    };
    Err(RegistryError::Name {
        what,
        name: name.to_owned(),
        reason,
    })
}

/// The name of the file of a console's socket; `None` is the first console.
///
/// # Errors
/// The console's name is no name for a file.
pub(super) fn console_socket(name: Option<&str>) -> Result<String, RegistryError> {
    match name {
        None => Ok(CONSOLE.to_owned()),
        Some(name) => check_console(name).map(|()| format!("{CONSOLE}-{name}")),
    }
}

/// The path of a socket in a machine's folder.
///
/// # Errors
/// The path is too long for a socket.
pub(super) fn socket_path(folder: &Path, file: &str) -> Result<PathBuf, RegistryError> {
    let path = folder.join(file);
    if path.as_os_str().len() > PATH_BYTES {
        return Err(RegistryError::PathTooLong {
            path,
            limit_bytes: PATH_BYTES,
        });
    }
    Ok(path)
}

/// The socket that speaks QMP.
pub(super) const QMP: &str = "qmp";

/// The socket that speaks the guest agent's dialect.
pub(super) const AGENT: &str = "agent";

/// The socket of the first console, and the start of the others' names.
const CONSOLE: &str = "console";

/// The longest path that unix(7) allows, without the NUL at its end.
const PATH_BYTES: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_visible_folder_and_no_option() {
        for good in ["vm", "a b", "qemu-1-2", "x.y", "größe", "\u{1f600}", "a~2"] {
            check_machine(good).unwrap();
        }
        for bad in [
            "", ".", "..", "../x", "a/b", ".x", "-x", "a\nb", "a\0b", " a", "a ", "\x7f",
        ] {
            let error = check_machine(bad).unwrap_err();
            assert!(
                matches!(error, RegistryError::Name { .. }),
                "{bad:?}: {error}"
            );
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_socket_s_path_is_as_long_as_the_system_allows_and_no_longer() {
        let folder = PathBuf::from("/".to_owned() + &"x".repeat(PATH_BYTES - 5));
        let path = socket_path(&folder, QMP).unwrap();
        assert_eq!(path.as_os_str().len(), PATH_BYTES);
        let error = socket_path(&folder, "qmp2").unwrap_err();
        assert!(error.to_string().contains("has 108 bytes"), "{error}");
        assert!(error.to_string().contains("shorter name"), "{error}");
    }

    #[test]
    fn each_console_has_its_own_socket() {
        assert_eq!(console_socket(None).unwrap(), "console");
        assert_eq!(console_socket(Some("fw")).unwrap(), "console-fw");
        let error = console_socket(Some("a/b")).unwrap_err();
        assert!(error.to_string().contains("a console cannot"), "{error}");
    }
}
