#![doc = include_str!("../README.md")]

mod channel;
mod command_line;
mod facts;
mod player;
mod script;
mod sys;
mod text;
mod transcript;

use command_line::CommandLine;
use player::{Ending, Player};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ending::Exit(code)) => code.into(),
        Err(Ending::Failed { code, message }) => {
            eprintln!("fake-qemu: {message}");
            code.into()
        }
    }
}

fn run() -> Result<(), Ending> {
    // The whole script is parsed before the first channel is opened, so that a
    // misspelt script fails with its own error.
    let command_line = CommandLine::parse(std::env::args_os().skip(1)).map_err(Ending::usage)?;
    let text = command_line.script_text().map_err(Ending::usage)?;
    let script = script::parse(&text).map_err(Ending::usage)?;
    let mut player = Player::new(&command_line)?;
    let outcome = player.play(&script);
    // The kernel closes the channels at the exit.
    std::mem::forget(player);
    outcome
}
