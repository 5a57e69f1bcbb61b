//! How soon every waiter is woken: by its match, reply or event, and by a
//! machine's death.
#![allow(missing_docs)]

mod support;

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use qemu_machine::{Console, Machine, Wait};
use support::fake;

const DEATHS: usize = 20;

#[test]
fn a_death_from_outside_ends_every_waiter_at_once() {
    let outside = |vm: &Machine| testbed::kill(vm.pid().unwrap());
    for waiters in [by_wait, by_await] {
        assert_prompt("silent", outside, waiters);
    }
}

#[test]
fn a_death_of_its_own_ends_every_waiter_at_once() {
    let script = "console-expect die\ndie SIGSEGV";
    let of_its_own = |vm: &Machine| vm.console().send("die").wait().unwrap();
    for waiters in [by_wait, by_await] {
        assert_prompt(script, of_its_own, waiters);
    }
}

// D18
#[test]
fn a_byte_wakes_who_waits_for_it_and_an_idle_console_ends_with_its_machine() {
    let script = "greet\nnegotiate\nrepeat forever\nconsole-expect ?\nconsole !\nend";
    let vm = fake(script)
        .console(Console::serial())
        .launch()
        .wait()
        .unwrap();
    let asked = || {
        let begun = Instant::now();
        let answer = vm.console().expect("!");
        vm.console().send("?").wait().unwrap();
        answer.wait().unwrap();
        begun.elapsed()
    };
    let mut all: Vec<Duration> = (0..DEATHS).map(|_| asked()).collect();
    all.sort();
    assert!(all[DEATHS / 2] <= Duration::from_millis(50), "{all:?}");
    drop(vm);

    let ended = || {
        let vm = fake("greet\nnegotiate\nserve").console(Console::serial());
        let vm = vm.launch().wait().unwrap();
        let begun = Instant::now();
        vm.shutdown().wait().unwrap();
        begun.elapsed()
    };
    let least = (0..DEATHS).map(|_| ended()).min().unwrap();
    assert!(least <= Duration::from_millis(200), "{least:?}");
}

/// How long it took until the last waiter of a machine had returned.
type UntilTheLast = fn(Vec<Waiter>, &dyn Fn()) -> Duration;

type Waiter = Pin<Box<dyn Future<Output = ()> + Send>>;

fn assert_prompt(script: &str, die: impl Fn(&Machine), until_the_last: UntilTheLast) {
    let took = || {
        let vm = fake(&format!("greet\nnegotiate\nexpect *\n{script}"))
            .console(Console::serial())
            .launch()
            .wait()
            .unwrap();
        let took = until_the_last(waiting(&vm), &|| die(&vm));
        assert!(!vm.is_running());
        took
    };
    let mut all: Vec<Duration> = (0..DEATHS).map(|_| took()).collect();
    all.sort();
    let (median, most) = (all[DEATHS / 2], all[DEATHS - 1]);
    eprintln!("{script:?}: median {median:?}, most {most:?}");
    assert!(median <= Duration::from_millis(50), "{all:?}");
}

/// One of each kind that can wait on a machine; all of them wait already.
fn waiting(vm: &Machine) -> Vec<Waiter> {
    let mut events = vm.monitor().events();
    let (command, console) = (vm.monitor().execute_json("x", ()), vm.console().clone());
    let exited = vm.wait_for_exit();
    let mut waiters: Vec<Waiter> = vec![
        Box::pin(async move { drop(command.timeout(None).await.unwrap_err()) }),
        Box::pin(async move { drop(events.next().timeout(None).await.unwrap_err()) }),
        Box::pin(async move { drop(console.expect("x").timeout(None).await.unwrap_err()) }),
        Box::pin(async move { drop(exited.timeout(None).await.unwrap()) }),
    ];
    for waiter in &mut waiters {
        let first_look = waiter
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(first_look.is_pending());
    }
    waiters
}

fn by_wait(waiters: Vec<Waiter>, die: &dyn Fn()) -> Duration {
    std::thread::scope(|scope| {
        let wait = |waiter: Waiter| {
            scope.spawn(|| {
                waiter.wait();
                Instant::now()
            })
        };
        let threads: Vec<_> = waiters.into_iter().map(wait).collect();
        let died = Instant::now();
        die();
        let returned = threads.into_iter().map(|thread| thread.join().unwrap());
        returned.max().unwrap() - died
    })
}

fn by_await(waiters: Vec<Waiter>, die: &dyn Fn()) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = waiters.into_iter().map(tokio::spawn).collect();
        // Each is asked once before, so that it waits under this executor.
        tokio::task::yield_now().await;
        let died = Instant::now();
        die();
        for task in tasks {
            task.await.unwrap();
        }
        died.elapsed()
    })
}
