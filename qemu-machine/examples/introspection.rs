//! Queries the commands and features of a QEMU.
//!
//! `cargo run --example introspection [QEMU [QUESTION…]]`

use std::error::Error;

use qemu_machine::{Machine, Wait};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let qemu = arguments.next().unwrap_or("qemu-system-x86_64".into());
    let vm = Machine::builder(qemu).machine("none").launch().wait()?;
    let schema = vm.schema().wait()?; // read once for each binary

    let (commands, events) = (schema.commands().count(), schema.events().count());
    println!("{commands} commands and {events} events");
    let deprecated = schema.commands().filter(|it| it.features().deprecated());
    for command in deprecated {
        println!("deprecated: {}", command.name());
    }
    if let Some(screendump) = schema.command("screendump") {
        for argument in screendump.arguments() {
            let values: Vec<_> = argument.values().collect();
            println!("screendump takes {} {values:?}", argument.name());
        }
    }
    let mut questions: Vec<String> = arguments
        .map(|it| it.to_string_lossy().into_owned())
        .collect();
    if questions.is_empty() {
        questions = QUESTIONS.map(Into::into).into();
    }
    for question in questions {
        let answer = if schema.has(&question)? { "yes" } else { "no" };
        println!("{question}: {answer}");
    }
    vm.shutdown().wait()?;
    Ok(())
}

const QUESTIONS: [&str; 5] = [
    "screendump/arg-type/format/^png",
    "migrate/arg-type/*uri",
    "query-status/ret-type/running/!boolean",
    "netdev_add/arg-type/+stream/reconnect/$deprecated",
    "request-ebpf",
];
