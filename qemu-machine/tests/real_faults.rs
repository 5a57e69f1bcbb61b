//! The table of faults, on every real QEMU.
#![allow(missing_docs)]

mod faults;
mod support;

fn main() -> std::process::ExitCode {
    faults::main(faults::Place::Real)
}
