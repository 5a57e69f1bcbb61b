//! A cold build of the library, and of a peer that offers a part of it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Failure;
use crate::operation::{Bar, Limit, Measured, OURS, Operation, Unit};
use crate::setting::{Extent, Setting};

pub(super) const BUILD: &str = "cold-build";
pub(super) const CRATES: &str = "crates";

pub(super) fn build(setting: &Setting) -> Result<Operation, Failure> {
    let packages = Package::all(setting)?;
    for package in &packages {
        package.cargo(&["fetch"]).run()?;
    }
    let mut values = vec![Vec::new(); packages.len()];
    for _ in 0..setting.size(3, 1) {
        for (package, values) in packages.iter().zip(&mut values) {
            values.push(package.build(setting)?);
        }
    }
    Ok(Operation {
        id: BUILD,
        name: "a cold debug build, 2 crates at a time".into(),
        about: "`cargo build` of the library as a dependency, into an empty folder and not \
                incrementally. Once without features, and once with the feature `png`. The peer is \
                `qapi` with QMP and tokio, which offers the protocol but no processes."
            .into(),
        unit: Unit::Seconds,
        contenders: Package::measured(&packages, values),
        bars: at_most(20.0),
    })
}

pub(super) fn crates(setting: &Setting) -> Result<Operation, Failure> {
    let packages = Package::all(setting)?;
    let counts = packages.iter().map(|it| Ok(vec![it.crates()?]));
    let counts = counts.collect::<Result<_, Failure>>()?;
    Ok(Operation {
        id: CRATES,
        name: "crates that a user gets with the library".into(),
        about: "All crates in `cargo tree -e normal`, including the library's.".into(),
        unit: Unit::Count,
        contenders: Package::measured(&packages, counts),
        bars: at_most(40.0),
    })
}

fn at_most(limit: f64) -> Vec<Bar> {
    vec![Bar {
        who: OURS,
        limit: Limit::AtMost(limit),
    }]
}

struct Package {
    who: &'static str,
    name: &'static str,
    features: &'static str,
    /// The workspace.
    folder: PathBuf,
}

impl Package {
    fn all(setting: &Setting) -> Result<Vec<Self>, Failure> {
        Ok(match setting.extent {
            Extent::Full => vec![Self::ours(), Self::ours_with_pictures(), Self::qapi()?],
            // The peer is not part of this project.
            Extent::Smoke => vec![Self::ours(), Self::ours_with_pictures()],
        })
    }

    fn ours() -> Self {
        Self {
            who: OURS,
            name: "qemu-machine",
            features: "",
            folder: workspace(),
        }
    }

    fn ours_with_pictures() -> Self {
        Self {
            who: "ours, with `png`",
            features: "png",
            ..Self::ours()
        }
    }

    /// An empty crate that depends on the peer.
    fn qapi() -> Result<Self, Failure> {
        let folder = scratch().join("user-of-qapi");
        fs::create_dir_all(folder.join("src"))?;
        fs::write(folder.join("Cargo.toml"), USER_OF_QAPI)?;
        fs::write(folder.join("src/lib.rs"), "")?;
        Ok(Self {
            who: "qapi",
            name: "user-of-qapi",
            features: "",
            folder,
        })
    }

    fn cargo(&self, words: &[&str]) -> Cargo {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(cargo);
        command.args(words).current_dir(&self.folder);
        if words != ["fetch"] {
            command.args(["--package", self.name, "--features", self.features]);
        }
        // The cargo that runs this program has set them for itself.
        for (key, _) in std::env::vars_os() {
            let text = key.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(key);
            }
        }
        Cargo { command }
    }

    fn build(&self, setting: &Setting) -> Result<f64, Failure> {
        // Too long for a smoke run, which only checks that the package exists.
        let mut build = self.cargo(&["tree", "--offline", "--quiet"]);
        if setting.extent == Extent::Full {
            let folder = scratch().join("cold").join(self.name);
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            build = self.cargo(&["build", "--offline", "--quiet", "--jobs", "2"]);
            build.command.arg("--target-dir").arg(&folder);
            // Cargo builds crates of a registry in this way, too.
            build.command.env("CARGO_INCREMENTAL", "0");
        }
        let begun = Instant::now();
        build.run()?;
        Ok(begun.elapsed().as_secs_f64())
    }

    fn measured(packages: &[Self], values: Vec<Vec<f64>>) -> Vec<Measured> {
        let contenders = packages.iter().zip(values);
        let measured = contenders.map(|(Self { who, .. }, values)| Measured { who, values });
        measured.collect()
    }

    fn crates(&self) -> Result<f64, Failure> {
        let tree = ["tree", "--edges", "normal", "--prefix", "none", "--quiet"];
        let text = self.cargo(&tree).run()?;
        // A crate that cargo has listed before has a mark after its version.
        let names = text
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| line.split(' ').take(2).collect::<Vec<_>>());
        let count = names.collect::<BTreeSet<_>>().len();
        // The empty crate does not count.
        let own = usize::from(!self.who.starts_with(OURS));
        Ok(u32::try_from(count - own)?.into())
    }
}

struct Cargo {
    command: Command,
}

impl Cargo {
    fn run(&mut self) -> Result<String, Failure> {
        let output = self.command.stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout)?);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{:?} failed: {said}", self.command).into())
    }
}

fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// The folder for temporary builds.
fn scratch() -> PathBuf {
    workspace().join("target/bench")
}

const USER_OF_QAPI: &str = r#"
[package]
name = "user-of-qapi"
version = "0.0.0"
edition = "2024"

[dependencies]
qapi = { version = "0.15", features = ["qmp", "async-tokio-all"] }

[workspace]
"#;
