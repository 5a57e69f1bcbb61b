//! Runs one test program, and shows its results as they come.

use std::{
    ffi::OsString,
    io::{self, BufRead, BufReader, Read},
    ops::AddAssign,
    os::unix::process::CommandExt,
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
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

/// The results of all programs.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// Each test with its time.
    pub(crate) times: Vec<(String, Duration)>,
    /// The tests and programs that failed.
    pub(crate) failed: Vec<String>,
    /// The last lines of each program that failed.
    pub(crate) last_lines: Vec<String>,
}

impl Outcome {
    /// One check that passed.
    pub(crate) const PASSED: Self = Self {
        tally: Tally::PASSED,
        times: Vec::new(),
        failed: Vec::new(),
        last_lines: Vec::new(),
    };

    /// One check or program of this name that failed as a whole.
    pub(crate) fn failed(name: &str) -> Self {
        Self {
            tally: Tally::FAILED,
            times: Vec::new(),
            failed: vec![name.to_owned()],
            last_lines: Vec::new(),
        }
    }

    /// Keeps the end of what a program printed, for the summary.
    pub(crate) fn keep_last_lines(&mut self, program: &str, printed: &str) {
        let lines: Vec<&str> = printed.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        let last = format!("last lines of {program}:\n{}", last.join("\n"));
        self.last_lines.push(last);
    }
}

/// A service that runs the tests may keep only the end of the output.
const LAST_LINES: usize = 60;

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.tally += other.tally;
        self.times.extend(other.times);
        self.failed.extend(other.failed);
        self.last_lines.extend(other.last_lines);
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

/// Runs one program to its end. The result of each test shows as it comes. All
/// other output shows at the end, together, if a test has failed.
///
/// `name` is for messages: one program may run more than once.
pub(crate) fn run(
    name: &str,
    program: &Program,
    hardships: &[Hardship],
) -> Result<Outcome, Failure> {
    let processors = thread::available_parallelism().map_or(2, usize::from);
    let places = suites::places(&program.name, processors);
    let times = Times::start(listed(program)?, places, Instant::now());
    let mut command = command(program, hardships);
    command.env("RUST_TEST_THREADS", places.to_string());

    let started = Instant::now();
    let ended = watch(name, &mut command, times, TIME_LIMIT)?;
    let mut tally = results::of(&ended.results);
    if tally.failed == 0 && !ended.failed.is_empty() {
        tally += Tally::FAILED;
    }
    let times = ended.times.into_ended().into_iter();
    let mut outcome = Outcome {
        tally,
        times: times
            .map(|(test, time)| (format!("{name}: {test}"), time))
            .collect(),
        failed: ended.failed,
        last_lines: Vec::new(),
    };
    if tally.failed > 0 {
        tell!("\noutput of {name}:\n{}", ended.rest);
        outcome.keep_last_lines(name, &ended.rest);
    }
    let seconds = started.elapsed().as_secs_f64();
    tell!("{name}: {tally} in {seconds:.1} s");
    Ok(outcome)
}

/// A test program that has ended, or was killed.
struct Ended {
    /// Its standard output.
    results: String,
    /// Its output without the results of tests.
    rest: String,
    /// The tests that failed, and what else went wrong.
    failed: Vec<String>,
    times: Times,
}

/// Starts a program and shows its results until it ends. A program that does not
/// end within `limit` is killed with its process group.
fn watch(
    name: &str,
    command: &mut Command,
    mut times: Times,
    limit: Duration,
) -> Result<Ended, Failure> {
    let (group, outputs) = start(command)?;
    let deadline = Instant::now() + limit;
    let (mut results, mut rest) = (String::new(), String::new());
    let mut parser = results::Ends::default();
    let mut failed = Vec::new();
    let (mut status, mut is_killed) = (None, false);
    loop {
        let patience = if status.is_none() && !is_killed {
            deadline.saturating_duration_since(Instant::now())
        } else {
            PATIENCE
        };
        match outputs.recv_timeout(patience) {
            Ok(Output::Stdout(line, at)) => {
                if let Some((test, result)) = parser.read(&line) {
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
            Ok(Output::Stderr(line)) => rest += &line,
            Ok(Output::Ended(ended)) => {
                status = Some(ended.map_err(Failure::io(format!("wait for {name}")))?);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if status.is_none() && !is_killed => {
                let failure = format!(
                    "{name}: killed because it did not end within {} s; running: {}",
                    limit.as_secs_f64(),
                    running(&times)
                );
                tell!("{failure}");
                failed.push(failure);
                process::kill_group(group)?;
                is_killed = true;
            }
            Err(RecvTimeoutError::Timeout) => {
                failed.push(format!(
                    "{name}: a process that it started still has its output open"
                ));
                break;
            }
        }
    }
    let is_success = status.is_some_and(|status| status.success());
    if failed.is_empty() && !is_success {
        let end = status.map_or_else(String::new, |status| status.to_string());
        failed.push(format!("{name}: {end}; running: {}", running(&times)));
    }
    Ok(Ended {
        results,
        rest,
        failed,
        times,
    })
}

/// The tests that run now, for a message.
fn running(times: &Times) -> String {
    times.running().collect::<Vec<_>>().join(", ")
}

/// The time limit of one test program. A program that hangs must not stop the
/// whole run. The longest one, `qemu-machine/real`, takes 5 minutes on a host
/// with two processors.
const TIME_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Gives a program a ninth of a processor that another one wants.
const NICE: [&str; 3] = ["nice", "-n", "10"];

/// The output of a program ends with the program. A process that it started may
/// keep the pipes open, which may be for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is received from a program.
enum Output {
    Stdout(String, Instant),
    Stderr(String),
    Ended(io::Result<ExitStatus>),
}

/// Starts a program in a new process group. Returns the group and the program's
/// output, which ends with the program and its pipes.
fn start(command: &mut Command) -> Result<(u32, Receiver<Output>), Failure> {
    // A Ctrl-C does not reach that group. It ends this process, and then the
    // program at its next write, because its pipes are closed.
    let mut child = command
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(process::not_started(command))?;
    let (sender, outputs) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        read_lines(stdout, sender.clone(), Output::Stdout);
    }
    if let Some(stderr) = child.stderr.take() {
        read_lines(stderr, sender.clone(), |line, _| Output::Stderr(line));
    }
    let group = child.id();
    thread::spawn(move || sender.send(Output::Ended(child.wait())));
    Ok((group, outputs))
}

/// Starts a thread that sends each line with its time.
fn read_lines(
    from: impl Read + Send + 'static,
    to: Sender<Output>,
    output: impl Fn(String, Instant) -> Output + Send + 'static,
) {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from
            .read_until(b'\n', &mut line)
            .is_ok_and(|length| length > 0)
        {
            let text = String::from_utf8_lossy(&line).into_owned();
            if to.send(output(text, Instant::now())).is_err() {
                return;
            }
            line.clear();
        }
    });
}

/// The names of a program's tests, in the order in which they run.
fn listed(program: &Program) -> Result<Vec<String>, Failure> {
    let mut command = command(program, &[]);
    let list = process::output(command.args(["--list", "--format", "terse"]))?;
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(str::to_owned).collect())
}

/// A program as cargo would run it, under these hardships.
fn command(program: &Program, hardships: &[Hardship]) -> Command {
    let yields = suites::yields(&program.name).then_some(NICE);
    let yields = yields.into_iter().flatten().map(OsString::from);
    let mut words = yields.chain(hardships.iter().flat_map(Hardship::words));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn run_script(script: &str, limit: Duration) -> Ended {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        let tests = ["quick", "hangs"].map(str::to_owned).to_vec();
        let times = Times::start(tests, 1, Instant::now());
        watch("x/y", &mut command, times, limit).unwrap()
    }

    const HANG: &str = "
        echo 'running 2 tests'
        echo 'test quick ... ok'
        echo 'it prints this last' >&2
        tail -f /dev/null & # it has the pipes, too
        wait
    ";

    #[test]
    fn a_program_that_hangs_is_killed_with_all_it_started_and_shows_its_output() {
        let started = Instant::now();
        let ended = run_script(HANG, Duration::from_secs(5));
        assert!(started.elapsed() < PATIENCE);
        assert_eq!(
            ended.failed,
            ["x/y: killed because it did not end within 5 s; running: hangs"]
        );
        assert!(ended.rest.contains("it prints this last"), "{}", ended.rest);
        assert_eq!(results::of(&ended.results).failed, 1);
    }

    #[test]
    fn a_program_that_ends_in_time_fails_by_its_status_alone() {
        let limit = Duration::from_secs(60);
        assert_eq!(run_script("exit 0", limit).failed, [""; 0]);
        assert_eq!(
            run_script("exit 3", limit).failed,
            ["x/y: exit status: 3; running: quick"]
        );
    }
}
