//! Checks the dependencies against `deny.toml`: licences, sources, banned
//! versions and known vulnerabilities. `cargo-deny` does the work.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{cargo_tool, failure::Failure, process, workspace};

/// Checks the dependencies.
pub(crate) fn run() -> Result<(), Failure> {
    let program = program()?;
    // Each workspace has its own dependencies.
    for manifest in ["Cargo.toml", "python/Cargo.toml"] {
        check(&program, manifest)?;
    }
    Ok(())
}

fn check(program: &Path, manifest: &str) -> Result<(), Failure> {
    let deny = |checks: &[&str]| {
        let mut deny = Command::new(program);
        // It reads `deny.toml` of this folder.
        deny.current_dir(workspace::root())
            .args(["--manifest-path", manifest, "check"])
            .args(checks);
        deny.stdin(Stdio::null());
        deny
    };
    process::run_shown(&mut deny(&["bans", "licenses", "sources"]))?;
    let mut advisories = deny(&["advisories"]);
    let output = advisories
        .output()
        .map_err(process::not_started(&advisories))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && is_out_of_reach(&said) {
        tell!("advisories: not checked: cannot reach their database on GitHub");
        return Ok(());
    }
    tell!("{}", said.trim_end());
    process::succeeded(&advisories, output.status)
}

/// Whether cargo-deny reports that it could not fetch the database of
/// advisories.
fn is_out_of_reach(said: &str) -> bool {
    said.contains("failed to fetch advisory database")
}

/// The cargo-deny of the `PATH`, or of `target/tools`.
fn program() -> Result<PathBuf, Failure> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut programs = env::split_paths(&path).map(|folder| folder.join(NAME));
    match programs.find(|program| program.is_file()) {
        Some(program) => Ok(program),
        None => cargo_tool::ensure(NAME),
    }
}

const NAME: &str = "cargo-deny";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_database_that_was_not_fetched_is_out_of_reach() {
        assert!(is_out_of_reach(
            "2026-01-01 00:00:00 [ERROR] failed to fetch advisory database https://x: failed"
        ));
        assert!(!is_out_of_reach("error[vulnerability]: a crate is unsafe"));
        assert!(!is_out_of_reach("error: deny.toml is not valid"));
    }
}
