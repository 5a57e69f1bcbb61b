//! What a machine has now, by its monitor.

use std::time::Duration;

use qemu_machine::Wait;
use qemu_machine::qmp::Client;
use serde_json::{Value, json};

use super::complete::{Facts, Kind, Property};

/// Asks the monitor. Each question has little time, because a person waits for
/// the answer.
pub(super) struct Live<'a>(pub(super) &'a Client);

impl Live<'_> {
    fn ask(&self, command: &str, arguments: Value) -> Value {
        let execute = self.0.execute_json(command, arguments);
        execute.timeout(PATIENCE).wait().unwrap_or_default()
    }

    /// A member of each element of a list.
    fn each(&self, command: &str, arguments: Value, member: &str) -> Vec<String> {
        let answer = self.ask(command, arguments);
        let elements = answer.as_array().into_iter().flatten();
        let texts = elements.filter_map(|it| it[member].as_str());
        texts
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn objects_in(&self, path: &str) -> Vec<String> {
        let children = self.children(path).into_iter();
        let children = children.filter(Property::is_child);
        children.map(|it| it.name).collect()
    }

    fn types(&self, implements: &str) -> Vec<String> {
        let arguments = json!({"implements": implements, "abstract": false});
        self.each("qom-list-types", arguments, "name")
    }
}

impl Facts for Live<'_> {
    fn names(&self, kind: Kind) -> Vec<String> {
        let nothing = Value::Null;
        match kind {
            Kind::Device => self.objects_in("/machine/peripheral"),
            Kind::DeviceType => self.types("device"),
            Kind::Object => self.objects_in("/objects"),
            Kind::ObjectType => self.types("object"),
            Kind::Node => self.each(
                "query-named-block-nodes",
                json!({"flat": true}),
                "node-name",
            ),
            Kind::NodeOrDevice => {
                let mut names = self.names(Kind::Node);
                names.extend(self.each("query-block", nothing, "device"));
                names.extend(self.names(Kind::Device));
                names
            }
            Kind::Chardev => self.each("query-chardev", nothing, "label"),
            Kind::Job => self.each("query-jobs", nothing, "id"),
            Kind::BlockJob => self.each("query-block-jobs", nothing, "device"),
            Kind::Export => self.each("query-block-exports", nothing, "id"),
            Kind::IoThread => self.each("query-iothreads", nothing, "id"),
            Kind::QomPath | Kind::QomProperty => Vec::new(),
        }
    }

    fn children(&self, path: &str) -> Vec<Property> {
        properties(&self.ask("qom-list", json!({"path": path})))
    }

    fn device_properties(&self, driver: &str) -> Vec<Property> {
        properties(&self.ask("device-list-properties", json!({"typename": driver})))
    }

    fn human_help(&self, topic: &str) -> String {
        let human = self.0.human(format!("help {topic}").trim());
        human.timeout(PATIENCE).wait().unwrap_or_default()
    }
}

fn properties(answer: &Value) -> Vec<Property> {
    let elements = answer.as_array().into_iter().flatten();
    let property = |it: &Value| {
        Some(Property {
            name: it["name"].as_str()?.to_owned(),
            of: it["type"].as_str()?.to_owned(),
        })
    };
    elements.filter_map(property).collect()
}

/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(2);
