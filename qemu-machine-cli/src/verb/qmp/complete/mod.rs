//! Completes a line: from the schema, the line before the cursor, and what this
//! machine has now. Pure, except for what [`Facts`] asks.

mod facts;
mod human;
mod scope;

pub(super) use facts::{Facts, Kind, Property};
pub(super) use human::human;
pub(super) use scope::{Given, members};

use qemu_machine::qmp::schema::{Schema, SchemaMember, SchemaType, TypeKind};
use serde_json::Value;

use super::line::value;
use super::line::words::{Entry, Statement, Word, entries};

/// What may stand at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// What a list of candidates shows.
    pub(crate) shown: String,
    /// What it puts into the line.
    pub(crate) text: String,
}

impl Candidate {
    /// A text, and what follows it in the line.
    pub(super) fn new(text: &str, suffix: &str) -> Self {
        Self {
            shown: text.to_owned(),
            text: format!("{text}{suffix}"),
        }
    }
}

/// The candidates at the end of this text, which is a line of QMP mode up to the
/// cursor; and the place in the text that they replace from.
pub(crate) fn complete(schema: &Schema, facts: &dyn Facts, text: &str) -> (usize, Vec<Candidate>) {
    let place = Place::of(text);
    let (start, mut candidates) = place.candidates(schema, facts);
    let stem = &text[start..];
    candidates.retain(|it| it.text.starts_with(stem));
    (start, candidates)
}

/// Where the cursor is: at the end of the text.
struct Place<'a> {
    text: &'a str,
    /// The words before that of the cursor.
    before: Vec<Word<'a>>,
    /// The word of the cursor, up to it.
    word: Word<'a>,
    /// Whether it is a step of a transaction.
    is_step: bool,
}

impl<'a> Place<'a> {
    fn of(text: &'a str) -> Self {
        let (mut statement, is_step) = match entries(text).pop() {
            Some(Entry::Command(statement)) => (statement, false),
            Some(Entry::Transaction {
                mut steps,
                is_closed: false,
                ..
            }) => (steps.pop().unwrap_or_default(), true),
            _ => (Statement::default(), false),
        };
        let end = |it: &Word<'_>| it.start + it.text.len();
        let last = statement.words.pop_if(|it| end(it) == text.len());
        let tail = &text[statement.words.last().map_or(0, end)..];
        let is_new = tail.contains('\n') || (is_step && tail.contains(';'));
        if last.is_none() && is_new {
            statement.words.clear();
        }
        Self {
            text,
            before: statement.words,
            word: last.unwrap_or(Word {
                text: "",
                start: text.len(),
                equals: None,
                open: None,
            }),
            is_step,
        }
    }

    fn candidates(&self, schema: &Schema, facts: &dyn Facts) -> (usize, Vec<Candidate>) {
        let start = self.word.start;
        if self.text.ends_with(['(', ';']) {
            // A space is needed first.
            return (start, Vec::new());
        }
        let Some((first, given)) = self.before.split_first() else {
            return (start, self.first_words(schema));
        };
        match first.text {
            "help" | "?" if !self.is_step && given.is_empty() => {
                let commands = schema.commands().map(|it| it.name());
                let names = commands.chain(schema.events().map(|it| it.name()));
                return (start, names.map(|it| Candidate::new(it, " ")).collect());
            }
            "hmp" if !self.is_step => {
                let begin = given.first().map_or(start, |it| it.start);
                let (at, candidates) = human(facts, &self.text[begin..]);
                return (begin + at, candidates);
            }
            _ => {}
        }
        let (command, given) = match first.text {
            "help" | "?" if !self.is_step => (given[0].text, &given[1..]),
            command => (command, given),
        };
        let of = if self.is_step {
            step(schema, command)
        } else {
            schema.command(command).map(|it| it.argument_type())
        };
        let Some(of) = of else {
            return (start, Vec::new());
        };
        let arguments = Arguments {
            command,
            of,
            given: Given::of(given),
            facts,
        };
        match self.word.pair() {
            None => (start, arguments.names(self.word.text)),
            Some((key, text)) => arguments.values(key, text, start + key.len() + 1),
        }
    }

    fn first_words(&self, schema: &Schema) -> Vec<Candidate> {
        if self.is_step {
            let names = steps(schema).map(|it| it.0);
            return names.map(|it| Candidate::new(it, " ")).collect();
        }
        let commands = schema.commands().map(|it| Candidate::new(it.name(), " "));
        let own = [("help", " "), ("hmp", " "), ("exit", "")];
        let own = own.map(|(word, suffix)| Candidate::new(word, suffix));
        let mut all: Vec<Candidate> = commands.chain(own).collect();
        if schema.command("transaction").is_some() {
            all.push(Candidate::new("transaction(", " "));
        }
        all.sort_by(|a, b| a.shown.cmp(&b.shown));
        all
    }
}

/// The arguments of a command, or the data of a step.
struct Arguments<'a> {
    command: &'a str,
    of: SchemaType<'a>,
    given: Given,
    facts: &'a dyn Facts,
}

impl Arguments<'_> {
    /// The names that can follow.
    fn names(&self, key: &str) -> Vec<Candidate> {
        let prefix = key.rfind('.').map_or("", |at| &key[..=at]);
        let Some((of, path)) = scope::resolve(self.of, &self.given, prefix) else {
            return Vec::new();
        };
        if !path.is_empty() && of.kind() == TypeKind::List {
            let mut index: usize = 0;
            while self.given.has_inside(&format!("{path}{index}")) {
                index += 1;
            }
            return vec![element(&of, &format!("{path}{index}"))];
        }
        let members = members(of, &self.given, &path);
        let mut candidates = Vec::new();
        for member in members {
            let name = format!("{prefix}{}", member.name());
            if !self.given.has(&name) {
                candidates.extend(named(&member, &name));
            }
        }
        candidates.extend(self.device_properties(prefix));
        candidates
    }

    /// A device's own properties, which no schema has.
    fn device_properties(&self, prefix: &str) -> Vec<Candidate> {
        let Some(driver) = self.given.value("driver") else {
            return Vec::new();
        };
        if self.command != "device_add" || !prefix.is_empty() {
            return Vec::new();
        }
        let properties = self.facts.device_properties(driver).into_iter();
        let names = properties.map(|it| it.name);
        let names = names.filter(|it| !self.given.has(it));
        names.map(|it| Candidate::new(&it, "=")).collect()
    }

    /// The values that an argument can have, and where in the text they begin.
    fn values(&self, key: &str, text: &str, start: usize) -> (usize, Vec<Candidate>) {
        let quote = text.chars().next().filter(|it| matches!(it, '"' | '\''));
        let start = start + quote.map_or(0, char::len_utf8);
        let text = text.trim_start_matches(['"', '\'']);
        let suffix = quote.map_or(" ".to_owned(), |it| format!("{it} "));
        let name = key.rsplit('.').next().unwrap_or(key);
        let member = scope::member(self.of, &self.given, key);
        let mut values: Vec<String> = Vec::new();
        if let Some(of) = member.map(|it| it.member_type()) {
            values.extend(of.values().map(str::to_owned));
            if of.json_types().any(|it| it == "boolean") {
                values.extend(["false".to_owned(), "true".to_owned()]);
            }
        }
        let is_text = member.is_none_or(|it| {
            let mut types = it.member_type().json_types();
            types.any(|it| it == "string" || it == "value")
        });
        match facts::kind(self.command, name, member.map(|it| it.member_type())) {
            Some(Kind::QomPath) => return (start, qom_paths(self.facts, text, &suffix)),
            Some(Kind::QomProperty) => {
                let path = self.given.value("path").unwrap_or("/");
                let properties = self.facts.children(path).into_iter();
                values.extend(properties.filter(|it| !it.is_child()).map(|it| it.name));
            }
            Some(kind) if is_text => values.extend(self.facts.names(kind)),
            _ => {}
        }
        if member.is_none() && self.command == "device_add" {
            let driver = self.given.value("driver").unwrap_or("");
            let mut properties = self.facts.device_properties(driver).into_iter();
            let is_switch = |it: &Property| it.name == key && matches!(&*it.of, "bool" | "boolean");
            if properties.any(|it| is_switch(&it)) {
                values.extend(["false".to_owned(), "true".to_owned()]);
            }
        }
        values.sort();
        values.dedup();
        let values = values.iter().map(|it| Candidate::new(it, &suffix));
        (start, values.collect())
    }
}

/// An argument's name, with what follows it: `=` for a value, `.` for members.
fn named(member: &SchemaMember<'_>, name: &str) -> Vec<Candidate> {
    let of = member.member_type();
    match of.kind() {
        TypeKind::List | TypeKind::Object => vec![Candidate::new(name, ".")],
        TypeKind::Alternate => {
            let has_members = of.parts().any(|it| it.kind() == TypeKind::Object);
            let mut all = vec![Candidate::new(&format!("{name}="), "")];
            if has_members {
                all.push(Candidate::new(&format!("{name}."), ""));
            }
            all
        }
        _ => vec![Candidate::new(name, "=")],
    }
}

fn element(list: &SchemaType<'_>, name: &str) -> Candidate {
    let has_members = list.parts().any(|it| it.kind() == TypeKind::Object);
    Candidate::new(name, if has_members { "." } else { "=" })
}

/// The paths that go on from this one.
fn qom_paths(facts: &dyn Facts, path: &str, suffix: &str) -> Vec<Candidate> {
    let Some(at) = path.rfind('/') else {
        return vec![Candidate::new("/", "")];
    };
    let (folder, stem) = (&path[..=at], &path[at + 1..]);
    let children = facts.children(if folder == "/" { "/" } else { &path[..at] });
    let children = children.into_iter().filter(Property::is_child);
    let mut names: Vec<String> = children
        .map(|it| it.name)
        .filter(|it| it.starts_with(stem))
        .collect();
    names.sort();
    let is_only = names.len() == 1;
    let path = |name: String| {
        let full = format!("{folder}{name}");
        let has_children = is_only && facts.children(&full).iter().any(Property::is_child);
        Candidate {
            shown: name,
            text: match is_only {
                true if has_children => full + "/",
                true => full + suffix,
                false => full,
            },
        }
    };
    names.into_iter().map(path).collect()
}

/// The steps that a transaction can have, each with its data.
fn steps(schema: &Schema) -> impl Iterator<Item = (&str, SchemaType<'_>)> {
    let actions = schema
        .command("transaction")
        .and_then(|it| it.argument("actions"));
    let variants = actions
        .into_iter()
        .flat_map(|it| it.member_type().variants());
    variants.filter_map(|(name, of)| {
        let data = of.members().find(|it| it.name() == "data")?;
        Some((name, data.member_type()))
    })
}

/// The data of this step.
pub(super) fn step<'a>(schema: &'a Schema, name: &str) -> Option<SchemaType<'a>> {
    steps(schema).find(|it| it.0 == name).map(|it| it.1)
}

/// The text of a value, without quotes.
fn plain_text(raw: &str) -> String {
    match value::read(raw) {
        Ok(Value::String(text)) => text,
        _ => raw.to_owned(),
    }
}

#[cfg(test)]
mod tests;
