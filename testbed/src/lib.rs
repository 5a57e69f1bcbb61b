//! Tools for the tests and the soak: they find leaks, count memory, and cause bad
//! conditions of a host.
//!
//! Not published; only for tests of this workspace.

mod allocator;
mod bounds;
mod census;
mod children;
mod error_types;
mod host;
mod seeds;
mod stall;
mod sys;

pub use allocator::CountingAllocator;
pub use bounds::{Named, costs, run_alone};
pub use census::Census;
pub use children::{
    adopt_orphans, children, children_like, described_children, reap, wait_for_children,
    wait_for_end, wait_for_ends,
};
pub use error_types::errors_with_another_debug;
pub use host::{
    Ballast, DescriptorLimit, Forked, folder_for_sockets, forbid_processes, fork, ignore_children,
    kill, reap_any, trace, wait_for_the_end_of_a_tracee,
};
pub use seeds::{Tried, try_seeds};
pub use stall::stall_who_wakes;
pub use sys::{Target, bring_to_foreground, pseudo_terminal};
