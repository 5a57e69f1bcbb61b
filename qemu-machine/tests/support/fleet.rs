//! Many machines at once, and the open descriptors of each process, read from
//! outside.

use std::collections::{BTreeMap, BTreeSet};
use std::future::IntoFuture;
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

use qemu_machine::{Machine, MachineBuilder};
use testbed::DescriptorLimit;

/// Raises the limit for the descriptors of this number of machines. Returns the
/// number that the limit is enough for.
pub fn room_for(count: usize) -> (DescriptorLimit, usize) {
    let needed = u64::try_from(OTHERS + count * EACH).unwrap();
    let limit = DescriptorLimit::below(needed);
    let number = usize::try_from(limit.number()).unwrap();
    let room = number.saturating_sub(OTHERS) / EACH;
    let count = count.min(room / THREADS * THREADS);
    assert!(
        count > 0,
        "no room for {THREADS} machines in {number} descriptors"
    );
    eprintln!("{count} machines");
    (limit, count)
}

/// The most descriptors of this process that a launch uses.
const EACH: usize = 10;

/// The descriptors that do not depend on the number of machines.
const OTHERS: usize = 64;

/// Launches machines from 8 threads at once. Each thread starts all of its
/// launches together, and all threads start at the same time.
pub fn launch(count: usize, builder: &MachineBuilder) -> Vec<Machine> {
    assert_eq!(count % THREADS, 0, "each thread launches as many");
    let all_there = Barrier::new(THREADS);
    let share = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let launches: Vec<_> = (0..count / THREADS)
            // The time of one launch beside all others does not matter here.
            .map(|_| builder.clone().launch_timeout(LONG).launch())
            .collect();
        all_there.wait();
        runtime.unwrap().block_on(async {
            let spawn = |launch: qemu_machine::Launch| tokio::spawn(launch.into_future());
            let launches: Vec<_> = launches.into_iter().map(spawn).collect();
            let mut machines = Vec::new();
            for launch in launches {
                machines.push(launch.await.unwrap().unwrap());
            }
            machines
        })
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(share)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// Longer than any test, so that no deadline of a launch passes in it.
pub const LONG: Duration = Duration::from_secs(3600);

const THREADS: usize = 8;

/// The open descriptors of one process.
#[derive(Debug)]
pub struct Open {
    pub number: u32,
    /// `/dev/null`, `socket:[7]`, `pipe:[7]`, `anon_inode:[eventfd]`, …
    pub target: String,
    /// Whether it is write-only.
    pub only_written: bool,
}

impl Open {
    /// Whether it is connected to another process, not to a file or the kernel.
    fn is_channel(&self) -> bool {
        self.target.starts_with("socket:") || self.target.starts_with("pipe:")
    }
}

/// The descriptors of a process, by number.
pub fn descriptors(process: &str) -> Vec<Open> {
    let process = Path::new("/proc").join(process);
    let entries = std::fs::read_dir(process.join("fd")).unwrap();
    let mut open: Vec<Open> = entries
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            // The listing of this process has a descriptor that is already closed.
            let target = std::fs::read_link(&path).ok()?;
            let info = std::fs::read_to_string(process.join("fdinfo").join(name)).unwrap();
            Some(Open {
                number: name.parse().unwrap(),
                target: target.to_str().unwrap().to_owned(),
                only_written: access_mode(&info) == O_WRONLY,
            })
        })
        .collect();
    open.sort_by_key(|open| open.number);
    open
}

/// Asserts that each machine has its own six descriptors, and no end of another
/// machine's channel. Each machine has one channel beside its monitor. The last of
/// the six shows that a process of the machine is alive. Returns the other
/// descriptors, which the process opened itself.
pub fn assert_each_has_its_own(machines: &[Machine]) -> Vec<Vec<Open>> {
    let mut owners: BTreeMap<String, u32> = BTreeMap::new();
    let mut outputs = BTreeSet::new();
    let mut opened_themselves = Vec::new();
    for vm in machines {
        let pid = vm.pid().unwrap();
        let mut open = descriptors(&pid.to_string());
        let rest = open.split_off(6);
        let numbers: Vec<u32> = open.iter().map(|open| open.number).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5], "{open:?}");
        assert_eq!(open[0].target, "/dev/null");
        // Standard output and error are one pipe, and only its writing end.
        assert!(open[1].target.starts_with("pipe:"), "{open:?}");
        assert_eq!(open[1].target, open[2].target);
        assert!(open[1].only_written && open[2].only_written, "{open:?}");
        for channel in &open[3..] {
            assert!(channel.target.starts_with("socket:"), "{open:?}");
        }
        outputs.insert(open[1].target.clone());
        // Within one machine, only the pipe may have two numbers.
        for channel in open
            .iter()
            .skip(2)
            .chain(&rest)
            .filter(|it| it.is_channel())
        {
            let other = owners.insert(channel.target.clone(), pid);
            assert_eq!(other, None, "{channel:?} of {pid} is also there");
        }
        opened_themselves.push(rest);
    }
    // The ends of this process. Both ends of a pipe have one name; the access
    // mode distinguishes them.
    for ours in descriptors("self").iter().filter(|it| it.is_channel()) {
        let owner = owners.get(&ours.target);
        if outputs.contains(&ours.target) {
            assert!(!ours.only_written, "we hold QEMU's end of {ours:?}");
        } else {
            assert_eq!(owner, None, "our own {ours:?} is there");
        }
    }
    opened_themselves
}

/// The flags of open(2) in octal, from `proc_pid_fdinfo(5)`.
fn access_mode(info: &str) -> u32 {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    u32::from_str_radix(flags.unwrap().trim(), 8).unwrap() & O_ACCMODE
}

const O_ACCMODE: u32 = 3;
const O_WRONLY: u32 = 1;
