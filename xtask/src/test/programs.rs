//! Builds the test programs, and reads their paths from cargo's messages.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{failure::Failure, process};

/// One program with tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// `package/target`, or `package/lib` and `package/bin` for unit tests.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// The folder of its package. Cargo would run it there.
    pub(crate) folder: PathBuf,
}

impl Program {
    /// The name without the package.
    pub(crate) fn target(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

/// Builds the programs of this `cargo test` without running them.
pub(crate) fn build(mut cargo: Command) -> Result<Vec<Program>, Failure> {
    cargo
        .args(["--no-run", "--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = cargo.spawn().map_err(process::not_started(&cargo))?;
    let mut programs = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for message in BufReader::new(stdout).lines() {
            let message = message.map_err(Failure::io("read the messages of cargo"))?;
            programs.extend(program(&message));
        }
    }
    let status = child.wait().map_err(Failure::io("wait for cargo"))?;
    process::succeeded(&cargo, status)?;
    Ok(programs)
}

/// The program in a message of cargo, if it has tests.
///
/// The chapter "External tools" of cargo's book has the format.
fn program(message: &str) -> Option<Program> {
    let (artifact, profile) = message.split_once(r#""profile":{"#)?;
    let (profile, files) = profile.split_once('}')?;
    if !profile.contains(r#""test":true"#) {
        return None;
    }
    let (_, target) = artifact.split_once(r#""target":{"#)?;
    let manifest = string(artifact, "manifest_path")?;
    let folder = Path::new(&manifest).parent()?;
    let package = folder.file_name()?.to_string_lossy();
    let kind = target.split('"').nth(3)?;
    let target = match kind {
        "test" => string(target, "name")?,
        kind => kind.to_owned(),
    };
    Some(Program {
        name: format!("{package}/{target}"),
        path: string(files, "executable")?.into(),
        folder: folder.to_owned(),
    })
}

/// The text value of a key.
fn string(json: &str, key: &str) -> Option<String> {
    let (_, value) = json.split_once(&format!(r#""{key}":""#))?;
    let mut text = String::new();
    let mut characters = value.chars();
    loop {
        match characters.next()? {
            '"' => return Some(text),
            // Paths have no other escapes than `\"` and `\\`.
            '\\' => text.push(characters.next()?),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &str, test: bool, executable: &str) -> String {
        format!(
            r#"{{"reason":"compiler-artifact","package_id":"path+file:///w/qemu-qmp#0.1.0","manifest_path":"/a \"b\"/qemu-qmp/Cargo.toml","target":{{"kind":["{kind}"],"crate_types":["bin"],"name":"core","src_path":"/x.rs","edition":"2024","doc":false,"doctest":false,"test":true}},"profile":{{"opt_level":"0","debuginfo":1,"debug_assertions":true,"overflow_checks":true,"test":{test}}},"features":[],"filenames":["/t/core-1"],"executable":{executable},"fresh":true}}"#
        )
    }

    #[test]
    fn a_program_with_tests_is_told_from_all_else_that_is_built() {
        let path = r#""/a \"b\"/target/debug/deps/core-1""#;
        let folder = PathBuf::from("/a \"b\"/qemu-qmp");
        for (kind, name) in [("test", "core"), ("lib", "lib"), ("bin", "bin")] {
            let expected = Program {
                name: format!("qemu-qmp/{name}"),
                path: "/a \"b\"/target/debug/deps/core-1".into(),
                folder: folder.clone(),
            };
            assert_eq!(program(&message(kind, true, path)), Some(expected));
        }
        for other in [
            message("bin", false, path),
            message("lib", true, "null"),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
            String::new(),
        ] {
            assert_eq!(program(&other), None, "{other}");
        }
    }
}
