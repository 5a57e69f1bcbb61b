//! Checks the packages to publish. Each crate is packed and built from its
//! package, which must have a README and the licences. The crates are also built
//! with their oldest supported Rust, if that is installed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{checked::Checked, failure::Failure, process, process::cargo, workspace};

/// Checks the packages and the oldest supported Rust.
pub(crate) fn run() -> Result<(), Failure> {
    forget_unpacked();
    process::run_shown(&mut packages())?;
    contents()?;
    oldest_rust().map(drop)
}

/// Packs every published crate, and builds each from its package. The crates
/// that it depends on also come from their packages.
pub(crate) fn packages() -> Command {
    // The warnings of metadata ask for the address of a repository.
    let mut package = cargo(["package", "--allow-dirty", "--no-metadata"]);
    for name in workspace::PUBLISHED {
        package.args(["--package", name]);
    }
    package.arg("--target-dir").arg(folder());
    // The build is not run. Without debug information it is a quarter faster.
    package.env("CARGO_PROFILE_DEV_DEBUG", "0");
    package
}

/// The folder in which packages are made and built.
fn folder() -> PathBuf {
    workspace::target().join("packages")
}

/// Removes what cargo keeps of packages that it has verified before. Cargo
/// compares only the version, and would use a stale build.
pub(crate) fn forget_unpacked() {
    remove_ours(&folder().join("debug/.fingerprint"));
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let Some(home) = home.or_else(|| Some(env::home_dir()?.join(".cargo"))) else {
        return;
    };
    let sources = fs::read_dir(home.join("registry/src"));
    for registry in sources.into_iter().flatten().flatten() {
        // Cargo's temporary registry for this has no name.
        if !registry.file_name().to_string_lossy().starts_with('-') {
            continue;
        }
        remove_ours(&registry.path());
    }
}

/// Removes the folders of published crates: `NAME-VERSION`, `NAME-HASH`.
fn remove_ours(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_str().and_then(|it| it.rsplit_once('-'));
        if name.is_some_and(|(name, _)| workspace::PUBLISHED.contains(&name)) {
            // If it stays, the verification fails and reports the reason.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Fails if a package of [`packages`] lacks a file.
pub(crate) fn contents() -> Result<(), Failure> {
    let root = workspace::root();
    let mut faults = Vec::new();
    for name in workspace::PUBLISHED {
        let id = process::output(&mut cargo(["pkgid", "--package", name]))?;
        let folder = format!("{name}-{}", version(&id));
        let package = self::folder().join("package").join(&folder);
        let found = faults_of(&package, &root.join(name), &root);
        faults.extend(
            found
                .into_iter()
                .map(|fault| format!("{folder}.crate: {fault}")),
        );
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::new(faults.join("\n")))
}

/// What is missing or wrong in an unpacked package. The crate's folder and the
/// workspace have the expected files.
fn faults_of(package: &Path, folder: &Path, root: &Path) -> Vec<String> {
    let licences = LICENCES.map(|name| (name, root.join(name)));
    let files = [("README.md", folder.join("README.md"))];
    let files = files.into_iter().chain(licences);
    let fault = |(name, original): (&str, PathBuf)| match fs::read(package.join(name)) {
        Err(error) => Some(format!("{name}: {error}")),
        Ok(packed) if packed.trim_ascii().is_empty() => Some(format!("{name} is empty")),
        Ok(packed) => match fs::read(&original) {
            Ok(original) if original == packed => None,
            _ => Some(format!("{name} differs from {}", original.display())),
        },
    };
    files.filter_map(fault).collect()
}

/// The version in the output of `cargo pkgid`: `path+file:///x/name#0.1.0` or
/// `...#name@0.1.0`.
fn version(id: &str) -> &str {
    id.trim().rsplit(['#', '@']).next().unwrap_or_default()
}

/// Builds the published crates with their oldest supported Rust. Without that
/// toolchain, it prints a line.
pub(crate) fn oldest_rust() -> Result<Checked, Failure> {
    let manifest = workspace::root().join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).map_err(Failure::io("read Cargo.toml"))?;
    let oldest = rust_version(&manifest)
        .ok_or_else(|| Failure::new("Cargo.toml has no rust-version of the workspace"))?;
    let Ok(list) = process::output(Command::new("rustup").args(["toolchain", "list"])) else {
        tell!("Rust {oldest}: not checked: rustup is not installed");
        return Ok(Checked::Skipped);
    };
    let Some(toolchain) = toolchain(&list, oldest) else {
        tell!(
            "Rust {oldest}: not checked: it is not installed; to install it: \
             rustup toolchain install {oldest} --profile minimal"
        );
        return Ok(Checked::Skipped);
    };
    let mut check = Command::new("rustup");
    check
        .args(["run", toolchain, "cargo", "check", "--all-features"])
        .arg("--target-dir")
        .arg(workspace::target().join("oldest-rust"))
        .current_dir(workspace::root());
    // They belong to the toolchain that runs this program.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        check.env_remove(name);
    }
    for name in workspace::PUBLISHED {
        check.args(["--package", name]);
    }
    process::run_shown(&mut check)?;
    Ok(Checked::Passed)
}

/// The value of `rust-version` in a manifest.
fn rust_version(manifest: &str) -> Option<&str> {
    let mut lines = manifest.lines();
    let value = lines.find_map(|line| line.trim().strip_prefix("rust-version"))?;
    Some(value.trim().strip_prefix('=')?.trim().trim_matches('"'))
}

/// A toolchain of this version in the output of `rustup toolchain list`.
fn toolchain<'a>(list: &'a str, version: &str) -> Option<&'a str> {
    let names = list.lines().filter_map(|line| line.split(' ').next());
    let is_it = |name: &&str| {
        let rest = name.strip_prefix(version);
        // 1.8 is not 1.89, but 1.89.0 is 1.89.
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
    };
    names.filter(is_it).max()
}

const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, env, process};

    use super::*;

    #[test]
    fn a_package_that_lacks_a_file_or_has_another_one_is_refused() {
        let folder = env::temp_dir().join(format!("qemu machine package {}", process::id()));
        for (name, text) in [
            ("root/LICENSE-MIT", "mit"),
            ("root/LICENSE-APACHE", "apache"),
            ("crate/README.md", "read"),
            ("packed/LICENSE-MIT", "mit"),
            ("packed/README.md", "\n"),
        ] {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let places = ["packed", "crate", "root"].map(|name| folder.join(name));
        let faults = || faults_of(&places[0], &places[1], &places[2]);
        let found = faults();
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0], "README.md is empty");
        assert!(
            found[1].starts_with("LICENSE-APACHE: No such file"),
            "{found:?}"
        );

        fs::write(places[0].join("README.md"), "read").unwrap();
        fs::write(places[0].join("LICENSE-APACHE"), "other").unwrap();
        let found = faults();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("LICENSE-APACHE differs from "),
            "{found:?}"
        );

        fs::write(places[0].join("LICENSE-APACHE"), "apache").unwrap();
        assert_eq!(faults(), [""; 0]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_version_is_the_end_of_an_id() {
        assert_eq!(version("path+file:///x/qemu-qmp#0.1.0\n"), "0.1.0");
        assert_eq!(version("path+file:///x#qemu-qmp@0.1.0-beta"), "0.1.0-beta");
    }

    #[test]
    fn a_toolchain_of_the_oldest_version_is_found() {
        let list = "stable-x86_64 (active, default)\n1.8.1-x86_64\n1.89.0-x86_64\n1.89-x86_64\n";
        assert_eq!(toolchain(list, "1.89"), Some("1.89.0-x86_64"));
        assert_eq!(toolchain("1.890-x86_64\nstable\n", "1.89"), None);
        let manifest = "[workspace.package]\nrust-version = \"1.89\"\n";
        assert_eq!(rust_version(manifest), Some("1.89"));
        assert_eq!(rust_version("[package]\n"), None);
    }

    #[test]
    fn the_published_crates_are_those_that_may_be_published_in_order() {
        let root = workspace::root();
        let manifest = |name: &str| fs::read_to_string(root.join(name).join("Cargo.toml"));
        let mut published = BTreeSet::new();
        for entry in fs::read_dir(&root).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            if manifest(&name).is_ok_and(|it| !it.contains("publish = false")) {
                published.insert(name);
            }
        }
        assert_eq!(published, workspace::PUBLISHED.map(str::to_owned).into());
        for (place, name) in workspace::PUBLISHED.iter().enumerate() {
            for later in &workspace::PUBLISHED[place + 1..] {
                let manifest = manifest(name).unwrap();
                let depends = manifest.lines().any(|line| {
                    let rest = line.strip_prefix(later);
                    rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
                });
                assert!(!depends, "{name} depends on {later}");
            }
        }
    }
}
