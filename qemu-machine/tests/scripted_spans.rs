//! The spans of the feature `tracing`, with a subscriber for the whole process.

#![allow(missing_docs)]

mod support;

use std::fmt::Write;
use std::sync::{Arc, Mutex};

use qemu_machine::Wait;
use support::fake;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Writes down each new span: its name, and its fields.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "qemu_machine"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields(span.metadata().name().to_owned());
        span.record(&mut fields);
        let mut spans = self.0.lock().unwrap();
        spans.push(fields.0);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_launch_a_command_a_console_and_an_end_have_spans() {
    let recorder = Recorder::default();
    tracing::subscriber::set_global_default(recorder.clone()).unwrap();
    let vm = fake("greet\nnegotiate\nconsole hello\nserve")
        .name("spans")
        .console(qemu_machine::Console::serial())
        .launch()
        .wait()
        .unwrap();
    vm.console().expect("hello").wait().unwrap();
    vm.monitor().execute_json("query-name", ()).wait().unwrap();
    vm.shutdown().wait().unwrap();
    let spans = recorder.0.lock().unwrap().clone();
    let has = |span: &str| assert!(spans.iter().any(|it| it == span), "{span}: {spans:#?}");
    has("machine machine=\"spans\"");
    has("launch machine=\"spans\"");
    has("command server=\"machine 'spans'\" command=\"query-name\"");
    has("console console=\"machine 'spans': console\" what=\"expect\"");
    has("end machine=\"spans\"");
}
