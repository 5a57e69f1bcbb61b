//! The end of a machine and the state of its guest as JSON, written and read: the
//! owner's answers to its commands.
//!
//! The forms are those of the feature `serde`, which a program may not have. Bytes
//! that are not UTF-8 are U+FFFD.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::life::{
    ExitCause, ExitDevice, ExitReport, ExitStatus, GuestExit, GuestState, PauseReason, Rung,
    RungOutcome, RungReport, Survivor, SurvivorOutcome,
};

pub(super) fn write_report(report: &ExitReport) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let tails = report.named_console_tails.iter();
    let tails: Map<String, Value> = tails
        .map(|(name, bytes)| (name.clone(), text(bytes).into()))
        .collect();
    let guest_exit = report.guest_exit.map(|exit| {
        let device = name_of(&EXIT_DEVICES, &exit.device);
        json!({"device": device, "code": exit.code})
    });
    let rungs = report.rungs.iter().map(write_rung);
    let survivors = report.survivors.iter().map(|it| {
        let outcome = name_of(&SURVIVOR_OUTCOMES, &it.outcome);
        json!({"pid": it.pid, "name": it.name, "outcome": outcome})
    });
    json!({
        "name": report.name,
        "pid": report.pid,
        "status": write_status(report.status),
        "cause": match report.cause {
            ExitCause::Requested(rung) => json!({"requested": name_of(&RUNGS, &rung)}),
            ExitCause::QuitCommand => json!("quit_command"),
            ExitCause::Guest => json!("guest"),
            ExitCause::Outside => json!("outside"),
        },
        "guest_exit": guest_exit,
        "rungs": rungs.collect::<Vec<_>>(),
        "shutdown_reason": report.shutdown_reason,
        "guest_panicked": report.guest_panicked,
        "uptime": report.uptime.as_secs_f64(),
        "output_tail": text(&report.output_tail),
        "console_tail": text(&report.console_tail),
        "named_console_tails": tails,
        "log": report.log.as_deref().map(|log| log.to_string_lossy()),
        "survivors": survivors.collect::<Vec<_>>(),
        "warnings": report.warnings,
    })
}

/// `None` if it is not a report.
pub(super) fn read_report(value: &Value) -> Option<ExitReport> {
    let text = |value: &Value| Some(value.as_str()?.as_bytes().to_vec());
    let tails = value["named_console_tails"].as_object()?.iter();
    let guest_exit = match &value["guest_exit"] {
        Value::Null => None,
        exit => Some(GuestExit {
            device: named(&EXIT_DEVICES, &exit["device"])?,
            code: exit["code"].as_u64()?.try_into().ok()?,
        }),
    };
    Some(ExitReport {
        name: value["name"].as_str()?.to_owned(),
        pid: pid(&value["pid"])?,
        status: read_status(&value["status"])?,
        cause: match value["cause"].as_str() {
            None => ExitCause::Requested(named(&RUNGS, &value["cause"]["requested"])?),
            Some("quit_command") => ExitCause::QuitCommand,
            Some("guest") => ExitCause::Guest,
            Some("outside") => ExitCause::Outside,
            Some(_) => return None,
        },
        guest_exit,
        rungs: all(&value["rungs"], read_rung)?,
        shutdown_reason: value["shutdown_reason"].as_str().map(str::to_owned),
        guest_panicked: value["guest_panicked"].as_bool()?,
        uptime: seconds(&value["uptime"])?,
        output_tail: text(&value["output_tail"])?,
        console_tail: text(&value["console_tail"])?,
        named_console_tails: tails
            .map(|(name, value)| Some((name.clone(), text(value)?)))
            .collect::<Option<_>>()?,
        log: value["log"].as_str().map(Into::into),
        survivors: all(&value["survivors"], |it| {
            Some(Survivor {
                pid: pid(&it["pid"])?,
                name: it["name"].as_str()?.to_owned(),
                outcome: named(&SURVIVOR_OUTCOMES, &it["outcome"])?,
            })
        })?,
        warnings: all(&value["warnings"], |it| it.as_str().map(str::to_owned))?,
    })
}

fn write_status(status: ExitStatus) -> Value {
    match status {
        ExitStatus::Code(code) => json!({"code": code}),
        ExitStatus::Signal {
            signal,
            core_dumped,
        } => json!({"signal": {"signal": signal, "core_dumped": core_dumped}}),
        ExitStatus::Unknown => json!("unknown"),
    }
}

fn read_status(value: &Value) -> Option<ExitStatus> {
    let number = |value: &Value| i32::try_from(value.as_i64()?).ok();
    if value == "unknown" {
        return Some(ExitStatus::Unknown);
    }
    if let Some(code) = number(&value["code"]) {
        return Some(ExitStatus::Code(code));
    }
    let signal = &value["signal"];
    Some(ExitStatus::Signal {
        signal: number(&signal["signal"])?,
        core_dumped: signal["core_dumped"].as_bool()?,
    })
}

fn write_rung(report: &RungReport) -> Value {
    let outcome = match &report.outcome {
        RungOutcome::Ended => json!("ended"),
        RungOutcome::TimedOut => json!("timed_out"),
        RungOutcome::Failed(why) => json!({"failed": why}),
        RungOutcome::Overtaken => json!("overtaken"),
        RungOutcome::GuestPaused => json!("guest_paused"),
    };
    json!({
        "rung": name_of(&RUNGS, &report.rung),
        "took": report.took.as_secs_f64(),
        "outcome": outcome,
    })
}

fn read_rung(value: &Value) -> Option<RungReport> {
    Some(RungReport {
        rung: named(&RUNGS, &value["rung"])?,
        took: seconds(&value["took"])?,
        outcome: match value["outcome"].as_str() {
            Some("ended") => RungOutcome::Ended,
            Some("timed_out") => RungOutcome::TimedOut,
            Some("overtaken") => RungOutcome::Overtaken,
            Some("guest_paused") => RungOutcome::GuestPaused,
            Some(_) => return None,
            None => RungOutcome::Failed(value["outcome"]["failed"].as_str()?.to_owned()),
        },
    })
}

pub(super) fn write_guest(guest: &GuestState) -> Value {
    match guest {
        GuestState::Running => json!("running"),
        GuestState::Paused { reason, elapsed } => {
            let reason = match reason {
                PauseReason::IoError { disk, cause } => {
                    json!({"io_error": {"disk": disk, "cause": cause}})
                }
                plain => json!(name_of(&PAUSE_REASONS, plain)),
            };
            json!({"paused": {"reason": reason, "elapsed": elapsed.as_secs_f64()}})
        }
        GuestState::ShutDown { reason, elapsed } => {
            json!({"shut_down": {"reason": reason, "elapsed": elapsed.as_secs_f64()}})
        }
        GuestState::Panicked { elapsed } => {
            json!({"panicked": {"elapsed": elapsed.as_secs_f64()}})
        }
    }
}

/// `None` if it is not a guest's state.
pub(super) fn read_guest(value: &Value) -> Option<GuestState> {
    if value == "running" {
        return Some(GuestState::Running);
    }
    let (kind, state) = value.as_object()?.iter().next()?;
    let elapsed = seconds(&state["elapsed"])?;
    Some(match kind.as_str() {
        "paused" => GuestState::Paused {
            reason: match &state["reason"] {
                Value::Object(reason) => PauseReason::IoError {
                    disk: reason.get("io_error")?["disk"].as_str()?.to_owned(),
                    cause: reason.get("io_error")?["cause"].as_str()?.to_owned(),
                },
                plain => named(&PAUSE_REASONS, plain)?,
            },
            elapsed,
        },
        "shut_down" => GuestState::ShutDown {
            reason: state["reason"].as_str()?.to_owned(),
            elapsed,
        },
        "panicked" => GuestState::Panicked { elapsed },
        _ => return None,
    })
}

pub(super) fn seconds(value: &Value) -> Option<Duration> {
    Duration::try_from_secs_f64(value.as_f64()?).ok()
}

fn pid(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

fn all<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    value.as_array()?.iter().map(read).collect()
}

/// The name of a value in a table.
fn name_of<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> Option<&'static str> {
    table.iter().find(|it| it.1 == *value).map(|it| it.0)
}

fn named<T: Clone>(table: &[(&'static str, T)], name: &Value) -> Option<T> {
    let name = name.as_str()?;
    table.iter().find(|it| it.0 == name).map(|it| it.1.clone())
}

const RUNGS: [(&str, Rung); 5] = [
    ("guest", Rung::Guest),
    ("powerdown", Rung::Powerdown),
    ("quit", Rung::Quit),
    ("terminate", Rung::Terminate),
    ("kill", Rung::Kill),
];

const EXIT_DEVICES: [(&str, ExitDevice); 5] = [
    ("isa_debug_exit", ExitDevice::IsaDebugExit),
    ("sifive_test", ExitDevice::SifiveTest),
    ("htif", ExitDevice::Htif),
    ("semihosting", ExitDevice::Semihosting),
    ("unknown", ExitDevice::Unknown),
];

const SURVIVOR_OUTCOMES: [(&str, SurvivorOutcome); 3] = [
    ("killed", SurvivorOutcome::Killed),
    ("unkillable", SurvivorOutcome::Unkillable),
    ("not_permitted", SurvivorOutcome::NotPermitted),
];

const PAUSE_REASONS: [(&str, PauseReason); 7] = [
    ("not_started", PauseReason::NotStarted),
    ("incoming", PauseReason::Incoming),
    ("stopped", PauseReason::Stopped),
    ("watchdog", PauseReason::Watchdog),
    ("suspended", PauseReason::Suspended),
    ("reset", PauseReason::Reset),
    ("migrated", PauseReason::Migrated),
];

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn report() -> ExitReport {
        ExitReport {
            name: "vm".to_owned(),
            pid: 7,
            status: ExitStatus::Signal {
                signal: 9,
                core_dumped: true,
            },
            cause: ExitCause::Requested(Rung::Kill),
            guest_exit: Some(GuestExit {
                device: ExitDevice::Htif,
                code: 3,
            }),
            rungs: vec![
                RungReport {
                    rung: Rung::Quit,
                    took: Duration::from_millis(250),
                    outcome: RungOutcome::Failed("why".to_owned()),
                },
                RungReport {
                    rung: Rung::Kill,
                    took: Duration::from_millis(5),
                    outcome: RungOutcome::Ended,
                },
            ],
            shutdown_reason: Some("host-qmp-quit".to_owned()),
            guest_panicked: true,
            uptime: Duration::from_millis(1500),
            output_tail: b"out\n".to_vec(),
            console_tail: b"in\n".to_vec(),
            named_console_tails: vec![("fw".to_owned(), b"x".to_vec())],
            log: Some("/x/y.log".into()),
            survivors: vec![Survivor {
                pid: 8,
                name: "qemu".to_owned(),
                outcome: SurvivorOutcome::NotPermitted,
            }],
            warnings: vec!["w".to_owned()],
        }
    }

    #[test]
    fn a_report_that_is_written_is_the_one_that_is_read() {
        let mut report = report();
        for status in [report.status, ExitStatus::Code(-3), ExitStatus::Unknown] {
            report.status = status;
            let written = write_report(&report);
            let read = read_report(&written).unwrap();
            assert_eq!(write_report(&read), written);
            assert_eq!(read.to_string(), report.to_string());
        }
        for cause in [ExitCause::QuitCommand, ExitCause::Guest, ExitCause::Outside] {
            report.cause = cause;
            report.guest_exit = None;
            let read = read_report(&write_report(&report)).unwrap();
            assert_eq!((read.cause, read.guest_exit), (report.cause.clone(), None));
        }
        for member in ["pid", "status", "cause", "rungs", "uptime", "warnings"] {
            let mut value = write_report(&report);
            value[member] = json!({"x": 1});
            assert!(read_report(&value).is_none(), "{member}");
        }
    }

    #[test]
    fn a_guest_s_state_that_is_written_is_the_one_that_is_read() {
        let elapsed = Duration::from_millis(1500);
        let io_error = PauseReason::IoError {
            disk: "d".to_owned(),
            cause: "full".to_owned(),
        };
        let reasons = PAUSE_REASONS.map(|it| it.1).into_iter().chain([io_error]);
        let paused = reasons.map(|reason| GuestState::Paused { reason, elapsed });
        let reason = "guest-shutdown".to_owned();
        let others = [
            GuestState::Running,
            GuestState::ShutDown { reason, elapsed },
            GuestState::Panicked { elapsed },
        ];
        for guest in paused.chain(others) {
            assert_eq!(read_guest(&write_guest(&guest)), Some(guest));
        }
        assert_eq!(read_guest(&json!("nonesuch")), None);
        assert_eq!(
            read_guest(&json!({"paused": {"elapsed": 1, "reason": "x"}})),
            None
        );
    }

    /// A program that has the feature gets the same form from its own reports.
    #[cfg(feature = "serde")]
    #[test]
    fn the_form_is_that_of_the_feature_serde() {
        let report = report();
        assert_eq!(
            write_report(&report),
            serde_json::to_value(&report).unwrap()
        );
        for (_, reason) in PAUSE_REASONS {
            let elapsed = Duration::from_millis(1500);
            let guest = GuestState::Paused { reason, elapsed };
            assert_eq!(write_guest(&guest), serde_json::to_value(&guest).unwrap());
        }
        for outcome in [
            RungOutcome::TimedOut,
            RungOutcome::Overtaken,
            RungOutcome::GuestPaused,
        ] {
            let took = Duration::from_millis(250);
            let rung = RungReport {
                rung: Rung::Guest,
                took,
                outcome,
            };
            assert_eq!(write_rung(&rung), serde_json::to_value(&rung).unwrap());
        }
        for (name, device) in EXIT_DEVICES {
            assert_eq!(serde_json::to_value(device).unwrap(), name);
        }
        for (name, outcome) in SURVIVOR_OUTCOMES {
            assert_eq!(serde_json::to_value(outcome).unwrap(), name);
        }
        for (name, rung) in RUNGS {
            assert_eq!(serde_json::to_value(rung).unwrap(), name);
        }
    }
}
