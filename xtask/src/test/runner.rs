//! Runs test programs: two side by side, and then those that are to be alone.
//!
//! Cargo runs one after the other, so that every one that waits, or has but one
//! thread, leaves processors idle.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    ops::AddAssign,
    process::{Command, ExitStatus, Stdio},
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    programs::Program,
    results::{self, Tally},
    suites,
    times::Times,
};
use crate::{checked::Checked, failure::Failure, hardships::Hardship, process};

/// What came of all programs.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// Each test with the time that it took.
    pub(crate) times: Vec<(String, Duration)>,
    /// The tests that failed, and the programs that did.
    pub(crate) failed: Vec<String>,
}

/// Runs all, each under all of these hardships.
pub(crate) fn run(programs: Vec<Program>, hardships: &[Hardship]) -> Outcome {
    let suites = suites::sort(programs);
    let outcome = Mutex::new(Outcome::default());
    let waiting = Mutex::new(VecDeque::from(suites.beside));
    let next = || {
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let run_and_add = |program: &Program| {
        let run = run_one(program, hardships).unwrap_or_else(|failure| {
            tell!("{}: {failure}", program.name);
            Outcome::failed(&program.name)
        });
        *outcome.lock().unwrap_or_else(PoisonError::into_inner) += run;
    };
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(program) = next() {
                    run_and_add(&program);
                }
            });
        }
    });
    for program in &suites.alone {
        run_and_add(program);
    }
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The second one has the processor where the first one waits. Each runs as
/// many tests at once as there are processors.
const SIDE_BY_SIDE: usize = 2;

impl Outcome {
    /// One check that passed.
    pub(crate) const PASSED: Self = Self {
        tally: Tally::PASSED,
        times: Vec::new(),
        failed: Vec::new(),
    };

    /// One check, or program, of this name that failed as a whole.
    pub(crate) fn failed(name: &str) -> Self {
        Self {
            tally: Tally::FAILED,
            times: Vec::new(),
            failed: vec![name.to_owned()],
        }
    }
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.tally += other.tally;
        self.times.extend(other.times);
        self.failed.extend(other.failed);
    }
}

impl From<Checked> for Outcome {
    fn from(checked: Checked) -> Self {
        match checked {
            Checked::Passed => Self::PASSED,
            Checked::Skipped => Tally::SKIPPED.into(),
        }
    }
}

impl From<Tally> for Outcome {
    fn from(tally: Tally) -> Self {
        Self {
            tally,
            ..Self::default()
        }
    }
}

/// Runs one program to its end. The result of each test shows as it comes; all
/// else that is said shows at the end, together, if a test has failed.
fn run_one(program: &Program, hardships: &[Hardship]) -> Result<Outcome, Failure> {
    let name = &program.name;
    let places = if suites::is_one_by_one(program) {
        1
    } else {
        thread::available_parallelism().map_or(2, usize::from)
    };
    let listed = listed(program)?;
    let started = Instant::now();
    let mut times = Times::start(listed, places, started);
    let mut command = command(program, hardships);
    command.env("RUST_TEST_THREADS", places.to_string());
    let tells = start(&mut command)?;

    let (mut results, mut rest) = (String::new(), String::new());
    let mut ends = results::Ends::default();
    let mut failed = Vec::new();
    let mut ended = None;
    loop {
        let told = match ended {
            None => tells.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(_) => tells.recv_timeout(PATIENCE),
        };
        match told {
            Ok(Told::Out(line, at)) => {
                if let Some((test, result)) = ends.read(&line) {
                    times.end(&test, at);
                    tell!("{name}: {test} ... {result}");
                    if result.starts_with("FAILED") {
                        failed.push(format!("{name}: {test}"));
                    }
                } else {
                    if results::is_slow_test(&line) {
                        tell!("{name}: {}", line.trim_end());
                    }
                    rest += &line;
                }
                results += &line;
            }
            Ok(Told::Err(line)) => rest += &line,
            Ok(Told::Ended(status)) => {
                ended = Some(status.map_err(Failure::io(format!("wait for {name}")))?);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                failed.push(format!("{name}: a process that it left holds its output"));
                break;
            }
        }
    }
    let mut tally = results::of(&results);
    let is_success = ended.is_some_and(|status| status.success());
    if tally.failed == 0 && (!is_success || !failed.is_empty()) {
        tally += Tally::FAILED;
        let end = ended.map_or_else(String::new, |status| status.to_string());
        let running = times.running().collect::<Vec<_>>().join(", ");
        failed.push(format!("{name}: {end}; running: {running}"));
    }
    if tally.failed > 0 {
        tell!("\n{name} said:\n{rest}");
    }
    let seconds = started.elapsed().as_secs_f64();
    tell!("{name}: {tally} in {seconds:.1} s");
    let times = times.into_ended().into_iter();
    Ok(Outcome {
        tally,
        times: times
            .map(|(test, time)| (format!("{name}: {test}"), time))
            .collect(),
        failed,
    })
}

/// What a program says ends with it, but where a process that it left has the
/// pipes open, which may be for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is told of a program.
enum Told {
    Out(String, Instant),
    Err(String),
    Ended(std::io::Result<ExitStatus>),
}

/// Starts a program; what is told of it ends when it has ended, and all is told.
fn start(command: &mut Command) -> Result<Receiver<Told>, Failure> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(process::not_started(command))?;
    let (told, tells) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        read_lines(stdout, told.clone(), Told::Out);
    }
    if let Some(stderr) = child.stderr.take() {
        read_lines(stderr, told.clone(), |line, _| Told::Err(line));
    }
    thread::spawn(move || told.send(Told::Ended(child.wait())));
    Ok(tells)
}

/// Tells each line with the time at which it came, on a thread of its own.
fn read_lines(
    from: impl Read + Send + 'static,
    to: Sender<Told>,
    told: impl Fn(String, Instant) -> Told + Send + 'static,
) {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            let text = String::from_utf8_lossy(&line).into_owned();
            if to.send(told(text, Instant::now())).is_err() {
                return;
            }
            line.clear();
        }
    });
}

/// The names of a program's tests, in the order in which it runs them.
fn listed(program: &Program) -> Result<Vec<String>, Failure> {
    let mut command = command(program, &[]);
    let list = process::output(command.args(["--list", "--format", "terse"]))?;
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(str::to_owned).collect())
}

/// Runs a program as cargo would, but for the hardships.
fn command(program: &Program, hardships: &[Hardship]) -> Command {
    let mut words = hardships.iter().flat_map(Hardship::words);
    let mut command = match words.next() {
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(&program.path);
            command
        }
        None => Command::new(&program.path),
    };
    command
        .current_dir(&program.folder)
        .env("CARGO_MANIFEST_DIR", &program.folder)
        .stdin(Stdio::null());
    command
}
