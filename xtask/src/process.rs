//! Runs commands to their end. None of them reads this process's input.

use std::{
    env,
    ffi::OsString,
    io::{self, BufRead, BufReader},
    path::Path,
    process::{Command, ExitStatus, Output, Stdio},
};

use crate::{failure::Failure, workspace};

/// Runs a command without showing its output. The error has the output.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    output(command).map(drop)
}

/// Runs a command without showing its output. Returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    // The output of apt and dpkg is parsed, so it must not be translated.
    command.env("LC_ALL", "C").stdin(Stdio::null());
    let output = command.output().map_err(not_started(command))?;
    if !output.status.success() {
        return Err(ended_badly(command, &output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command that writes to this process's own output.
pub(crate) fn run_shown(command: &mut Command) -> Result<(), Failure> {
    command.stdin(Stdio::null());
    let status = command.status().map_err(not_started(command))?;
    succeeded(command, status)
}

/// Shows the standard output as it comes, and returns it.
pub(crate) fn run_kept(command: &mut Command) -> Result<(ExitStatus, String), Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(not_started(command))?;
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        let read = || Failure::io("read what a command prints");
        while stdout.read_until(b'\n', &mut line).map_err(read())? > 0 {
            let text = String::from_utf8_lossy(&line);
            tell!("{}", text.trim_end_matches('\n'));
            said += &text;
            line.clear();
        }
    }
    let status = child.wait().map_err(Failure::io("wait for a command"))?;
    Ok((status, said))
}

/// The result of a command whose output has been shown.
pub(crate) fn succeeded(command: &Command, status: ExitStatus) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    let line = line(command);
    Err(Failure::new(format!("`{line}` failed: {status}")))
}

/// The cargo that runs this program.
pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut cargo = Command::new(program);
    cargo.args(arguments).current_dir(workspace::root());
    cargo
}

/// The error of a command that could not be started.
pub(crate) fn not_started(command: &Command) -> impl FnOnce(io::Error) -> Failure {
    Failure::io(format!("run `{}`", line(command)))
}

/// The command as a person types it.
pub(crate) fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// Kills a process group. It is no error if the group is gone.
pub(crate) fn kill_group(group: u32) -> Result<(), Failure> {
    let mut kill = Command::new("sh");
    kill.args(["-c", &format!("kill -KILL -{group}")]);
    kill.stdin(Stdio::null()).stderr(Stdio::null());
    kill.status().map(drop).map_err(not_started(&kill))
}

/// A path as one word of the shell.
pub(crate) fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

fn ended_badly(command: &Command, output: &Output) -> Failure {
    let mut message = format!("`{}` failed: {}", line(command), output.status);
    for said in [&output.stdout, &output.stderr] {
        let said = String::from_utf8_lossy(said);
        if !said.trim().is_empty() {
            message.push('\n');
            message.push_str(said.trim_end());
        }
    }
    Failure::new(message)
}
