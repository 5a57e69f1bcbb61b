//! Plays one plan: launches the machine, causes its fault and ends it. Checks
//! what the library reports, and that nothing is left.

use std::fs;
use std::future::IntoFuture;
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use qemu_machine::error::LaunchError;
use qemu_machine::{ExitCause, Machine, MachineBuilder, Wait};
use testbed::Target;

use crate::faults::{befall, poll_once};
use crate::peer::World;
use crate::plan::{Ending, Fault, Haste, Left, Peer, Plan};
use crate::verdict::{
    Told, crashed_on_its_way_out, ended_rightly, launch_failed_rightly, was_ended_rightly,
};

/// Plays a plan. Returns how its machine ended, as a text to count.
///
/// # Errors
/// A wrong report, something that took too long, or something that is left.
pub(crate) fn play(plan: &Plan, world: &World) -> Result<String, String> {
    let builder = world.builder(plan);
    if let Fault::LaunchGivenUp { polls } = plan.fault {
        return give_up(&builder, polls, world);
    }
    match launch(&builder, plan.idle_polls) {
        Ok(vm) if plan.fault.leaves() == Left::Unlaunched => {
            Err(format!("the launch must fail, but made {vm:?}"))
        }
        Ok(vm) => {
            let _member = world.crowd.enter();
            let remains = Remains::of(&vm)?;
            befall(plan, &vm)?;
            let ended = end(plan, vm, &remains, world)?;
            remains.are_gone()?;
            console_is_whole(plan, world)?;
            Ok(ended)
        }
        Err(error) if launch_failed_rightly(plan, &error) => {
            if let Some(report) = &error.report {
                process_is_gone(report.pid)?;
            }
            Ok("launch failed".to_owned())
        }
        Err(error) => Err(format!("{:?}: {error}", error.failure)),
    }
}

/// Launches, after this number of extra polls of the future.
fn launch(builder: &MachineBuilder, idle_polls: u64) -> Result<Machine, LaunchError> {
    let mut launch = builder.launch().into_future();
    for _ in 0..idle_polls {
        if let Poll::Ready(result) = poll_once(launch.as_mut()) {
            return result;
        }
    }
    launch.wait()
}

/// Polls a launch this number of times, then drops it.
fn give_up(builder: &MachineBuilder, polls: u64, world: &World) -> Result<String, String> {
    let mut launch = builder.launch().into_future();
    for _ in 0..polls {
        match poll_once(launch.as_mut()) {
            Poll::Ready(Ok(vm)) => {
                let remains = Remains::of(&vm)?;
                drop(launch);
                end_by_drop(vm, &remains, world)?;
                remains.are_gone()?;
                return Ok("given up when launched".to_owned());
            }
            Poll::Ready(Err(error)) => return Err(error.to_string()),
            Poll::Pending => thread::yield_now(),
        }
    }
    Ok("launch given up".to_owned())
}

fn end(plan: &Plan, vm: Machine, remains: &Remains, world: &World) -> Result<String, String> {
    let Some(ending) = plan.ending else {
        let told = told_of_own_end(&vm)?;
        return judge(&told, ended_rightly(plan, &told));
    };
    if !plan.lingers.is_zero()
        && let Ok(report) = vm.wait_for_exit().timeout(plan.lingers).wait()
    {
        return Err(format!("the machine ended by itself: {report}"));
    }
    let told = match ending {
        Ending::Drop => return end_by_drop(vm, remains, world),
        Ending::DropInPanic => return end_by_panic(vm, remains, world),
        Ending::Shutdown => Told::new(vm.shutdown().wait())?,
        Ending::Kill => Told::new(vm.kill().wait())?,
        Ending::HastyShutdown(haste) => Told::new(hasty(&vm, haste).wait())?,
        Ending::ShutdownGivenUp(haste) => {
            let _ = poll_once(hasty(&vm, haste).into_future().as_mut());
            told_of_own_end(&vm)?
        }
        Ending::TwoShutdowns(haste) => two_shutdowns(&vm, haste)?,
        Ending::KilledMeanwhile(signal) => {
            let target = vm
                .pid()
                .and_then(Target::of)
                .ok_or("the machine ended too early")?;
            thread::scope(|scope| {
                let end = scope.spawn(|| vm.shutdown().wait());
                target.signal(signal.number());
                joined(end.join()).and_then(Told::new)
            })?
        }
        Ending::QuitCommand => {
            // QEMU may end before it has sent its reply.
            match vm.monitor().execute_json("quit", ()).wait() {
                Err(error) if error.disconnected().is_none() => return Err(error.to_string()),
                _ => told_of_own_end(&vm)?,
            }
        }
    };
    if plan.fault == Fault::ForksChild {
        child_is_gone(&told)?;
    }
    let right = was_ended_rightly(plan, ending, &told);
    if !right && crashed_on_its_way_out(plan, &told) {
        return Ok("crashed by itself while it exited".to_owned());
    }
    judge(&told, right)
}

fn hasty(vm: &Machine, haste: Haste) -> qemu_machine::machine::Shutdown {
    vm.shutdown()
        .quit_timeout(haste.quit)
        .terminate_timeout(haste.terminate)
}

fn told_of_own_end(vm: &Machine) -> Result<Told, String> {
    vm.wait_for_exit()
        .wait()
        .map_err(|error| error.to_string())?;
    Told::new(vm.shutdown().wait())
}

fn two_shutdowns(vm: &Machine, haste: Haste) -> Result<Told, String> {
    let (one, other) = thread::scope(|scope| {
        let end = || hasty(vm, haste).wait();
        let (one, other) = (scope.spawn(end), scope.spawn(end));
        (one.join(), other.join())
    });
    let (one, other) = (Told::new(joined(one)?)?, Told::new(joined(other)?)?);
    if !std::sync::Arc::ptr_eq(&one.report, &other.report) || one.forced != other.forced {
        return Err(format!(
            "two callers got different results: {one:?} {other:?}"
        ));
    }
    Ok(one)
}

fn end_by_drop(vm: Machine, remains: &Remains, world: &World) -> Result<String, String> {
    let begun = Instant::now();
    drop(vm);
    was_dropped("dropped", begun, remains, world)
}

fn end_by_panic(vm: Machine, remains: &Remains, world: &World) -> Result<String, String> {
    let begun = Instant::now();
    let panicked = thread::spawn(move || {
        let _vm = vm;
        // A panic that the hook does not report.
        std::panic::resume_unwind(Box::new(PANIC));
    });
    let payload = panicked.join().err();
    let kept = payload.is_some_and(|payload| payload.downcast_ref() == Some(&PANIC));
    if !kept {
        return Err("the panic was lost".to_owned());
    }
    was_dropped("dropped by a panic", begun, remains, world)
}

/// A drop ends the process by itself. On an overloaded host the engine may not
/// have run yet; it removes the rest as soon as it runs.
fn was_dropped(
    how: &str,
    begun: Instant,
    remains: &Remains,
    world: &World,
) -> Result<String, String> {
    let took = begun.elapsed();
    if took > DROP_LIMIT {
        return Err(format!("the drop took {took:.1?}"));
    }
    if took < DROP_PROMISED {
        return Ok(how.to_owned());
    }
    process_is_gone(remains.pid)?;
    while remains.place.exists() && begun.elapsed() < DROP_LIMIT {
        end_a_plain_machine(world)?;
    }
    Ok(format!("{how}, late"))
}

/// Launches and ends a machine without a fault. One thread ends all machines, so
/// earlier ones are cleaned up before this one.
pub(crate) fn end_a_plain_machine(world: &World) -> Result<(), String> {
    let vm = world.plain().launch().wait();
    let vm = vm.map_err(|error| error.to_string())?;
    let ended = vm.shutdown().wait();
    ended.map(drop).map_err(|error| error.to_string())
}

fn joined<T>(result: thread::Result<T>) -> Result<T, String> {
    result.map_err(|_| "the thread that ends the machine panicked".to_owned())
}

fn judge(told: &Told, is_right: bool) -> Result<String, String> {
    let report = &told.report;
    if !is_right {
        let Told { forced, failed, .. } = told;
        return Err(format!("forced: {forced}, failed: {failed}: {report}"));
    }
    process_is_gone(report.pid)?;
    Ok(match &report.cause {
        ExitCause::Outside => format!("outside: {}", report.status),
        cause => cause.to_string(),
    })
}

/// What must be gone after the end of a machine.
struct Remains {
    pid: u32,
    /// The machine's private files.
    place: PathBuf,
}

impl Remains {
    fn of(vm: &Machine) -> Result<Self, String> {
        Ok(Self {
            // The fault has not happened yet.
            pid: vm.pid().ok_or("the machine ended right after its launch")?,
            place: vm.directory().unwrap_or(vm.log_path()).to_owned(),
        })
    }

    fn are_gone(&self) -> Result<(), String> {
        process_is_gone(self.pid)?;
        if self.place.exists() {
            return Err(format!("{} is left", self.place.display()));
        }
        Ok(())
    }
}

fn process_is_gone(pid: u32) -> Result<(), String> {
    match fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")) {
        Ok(stat) => Err(format!("the machine's process is left: {stat}")),
        Err(_) => Ok(()),
    }
}

/// The end of a machine kills its forked child. This process reaps the child.
fn child_is_gone(told: &Told) -> Result<(), String> {
    let said = String::from_utf8_lossy(&told.report.output_tail);
    let child = said.strip_prefix("child ").and_then(|it| it.lines().next());
    let child: u32 = match child.map(str::parse) {
        Some(Ok(child)) => child,
        // The machine may be killed before it forks.
        _ if said.is_empty() => return Ok(()),
        _ => {
            return Err(format!(
                "the machine's output is not in the report: {said:?}"
            ));
        }
    };
    if !testbed::reap(child, Instant::now() + GENEROUS) {
        return Err(format!("the machine's forked child is left: {child}"));
    }
    Ok(())
}

/// Checks that every byte of a console is in its log.
fn console_is_whole(plan: &Plan, world: &World) -> Result<(), String> {
    let (Fault::ConsoleFlood { bytes }, Peer::Scripted) = (plan.fault, plan.peer) else {
        return Ok(());
    };
    let log = world.console_log(plan);
    let length = fs::metadata(&log).map(|log| log.len());
    let removed = fs::remove_file(&log);
    match (length, removed) {
        (Ok(length), Ok(())) if length == bytes => Ok(()),
        other => Err(format!("the log must have {bytes} bytes, but is {other:?}")),
    }
}

const PANIC: &str = "as planned";

const DROP_PROMISED: Duration = Duration::from_secs(5);

/// The longest time of a drop, on a busy host.
const DROP_LIMIT: Duration = Duration::from_secs(20);

const GENEROUS: Duration = Duration::from_secs(20);
