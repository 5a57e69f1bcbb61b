//! The table of faults, on the scripted peer.
#![allow(missing_docs)]

mod faults;
mod support;

fn main() -> std::process::ExitCode {
    faults::main(faults::Place::Scripted)
}
