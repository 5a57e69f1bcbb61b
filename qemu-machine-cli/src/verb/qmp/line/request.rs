//! From words to commands and their arguments. Pure.

use serde_json::{Map, Value, json};

use super::path::Members;
use super::value;
use super::words::{Entry, Statement, Word, entries};

/// A command for QEMU.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) command: String,
    /// An object, or null for none.
    pub(crate) arguments: Value,
    /// As a whole message can ask for (`exec-oob`).
    pub(crate) out_of_band: bool,
    pub(crate) id: Option<String>,
}

/// What a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Qmp,
    /// The human monitor.
    Human,
}

/// What a line asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    Execute(Request),
    /// A line of the human monitor.
    Human(String),
    /// Help about a command or an event, with arguments that choose a variant; or
    /// about the shell.
    Help(Option<(String, Map<String, Value>)>),
    Switch(Mode),
    Leave,
}

/// Reads the commands of a text, in this mode.
pub(crate) fn parse(text: &str, mode: Mode) -> Vec<Result<Action, String>> {
    match mode {
        Mode::Qmp => entries(text).iter().map(entry).collect(),
        Mode::Human => {
            let lines = text.lines().map(str::trim);
            let lines = lines.filter(|it| !it.is_empty() && !it.starts_with('#'));
            lines.map(human).map(Ok).collect()
        }
    }
}

/// Reads the command of a command line, whose words a shell has split. It is a
/// line of this language if it is one word with spaces in it.
pub(crate) fn parse_words(command: &str, words: &[String]) -> Result<Vec<Action>, String> {
    let is_line = words.is_empty() && command.trim().contains(char::is_whitespace);
    let is_help = matches!(command, "help" | "?") || words.last().is_some_and(|it| it == "?");
    if is_line || is_help || command.starts_with("transaction(") || command.starts_with('{') {
        let mut line = command.to_owned();
        for word in words {
            line.extend([" ", word]);
        }
        return parse(&line, Mode::Qmp).into_iter().collect();
    }
    let arguments = match words {
        [] => Value::Null,
        [object] if object.starts_with('{') => value::whole(object)?,
        words => {
            let mut members = Members::default();
            for word in words {
                let (key, text) = word.split_once('=').ok_or_else(|| not_an_argument(word))?;
                members.put(key, value::read_word(text)?)?;
            }
            Value::Object(members.finish()?)
        }
    };
    Ok(vec![Action::Execute(Request::new(command, arguments))])
}

impl Request {
    pub(crate) fn new(command: &str, arguments: Value) -> Self {
        Self {
            command: command.to_owned(),
            arguments,
            out_of_band: false,
            id: None,
        }
    }

    /// The message as it goes to QEMU, except for an id that is made there.
    pub(crate) fn message(&self) -> Value {
        let key = if self.out_of_band {
            "exec-oob"
        } else {
            "execute"
        };
        let mut message = Map::new();
        message.insert(key.to_owned(), self.command.as_str().into());
        if !self.arguments.is_null() {
            message.insert("arguments".to_owned(), self.arguments.clone());
        }
        if let Some(id) = &self.id {
            message.insert("id".to_owned(), id.as_str().into());
        }
        Value::Object(message)
    }

    /// Reads `{"execute": NAME, "arguments": {…}}`.
    fn from_message(text: &str) -> Result<Self, String> {
        let Value::Object(mut message) = value::whole(text)? else {
            return Err(format!("{text} is no message: an object is needed"));
        };
        let mut name = |key| match message.remove(key) {
            Some(Value::String(name)) => Ok(Some(name)),
            Some(other) => Err(format!(
                "\"{key}\" must be the name of a command, not {other}"
            )),
            None => Ok(None),
        };
        let (in_band, out_of_band) = (name("execute")?, name("exec-oob")?);
        let id = match message.remove("id") {
            None => None,
            Some(Value::String(id)) => Some(id),
            // Numbers are ours.
            Some(other) => Some(other.to_string()),
        };
        let arguments = message.remove("arguments").unwrap_or_default();
        if let Some(key) = message.keys().next() {
            return Err(format!("a message has no \"{key}\""));
        }
        let (command, is_out_of_band) = match (in_band, out_of_band) {
            (Some(command), None) => (command, false),
            (None, Some(command)) => (command, true),
            (None, None) => {
                return Err(format!("{text} has no command: \"execute\" is missing"));
            }
            (Some(_), Some(_)) => {
                return Err("a message has either \"execute\" or \"exec-oob\"".to_owned());
            }
        };
        Ok(Self {
            command,
            arguments,
            out_of_band: is_out_of_band,
            id,
        })
    }
}

fn entry(entry: &Entry<'_>) -> Result<Action, String> {
    match entry {
        Entry::Command(statement) => command(statement),
        Entry::Transaction {
            is_closed: false, ..
        } => Err("the ) that closes the transaction is missing".to_owned()),
        Entry::Transaction {
            rest: Some(rest), ..
        } => Err(format!(
            "nothing may follow the ) of a transaction, but '{}' does",
            rest.text
        )),
        Entry::Transaction { steps, line, .. } => {
            let steps = steps.iter().map(|statement| {
                let step = step(statement);
                let is_first = statement.line == *line;
                step.map_err(|why| {
                    if is_first {
                        return why;
                    }
                    let number = statement.line - line + 1;
                    format!("line {number} of the transaction: {why}")
                })
            });
            let actions: Vec<Value> = steps.collect::<Result<_, _>>()?;
            let arguments = json!({ "actions": actions });
            Ok(Action::Execute(Request::new("transaction", arguments)))
        }
    }
}

/// A step of a transaction.
fn step(statement: &Statement<'_>) -> Result<Value, String> {
    let (first, rest) = split(statement)?;
    if first.text.starts_with('{') {
        return value::whole(first.text);
    }
    let data = match arguments(rest)? {
        Value::Null => json!({}),
        data => data,
    };
    Ok(json!({"type": first.text, "data": data}))
}

fn command(statement: &Statement<'_>) -> Result<Action, String> {
    let (first, rest) = split(statement)?;
    let is_question = |word: &Word<'_>| word.text == "?";
    match (first.text, rest) {
        (message, []) if message.starts_with('{') => {
            Request::from_message(message).map(Action::Execute)
        }
        (message, [word, ..]) if message.starts_with('{') => Err(format!(
            "a whole message has its arguments in it, and '{}' is too much",
            word.text
        )),
        ("help" | "?", []) => Ok(Action::Help(None)),
        ("help" | "?", [subject, rest @ ..]) => help(subject.text, rest),
        (subject, [rest @ .., last]) if is_question(last) => help(subject, rest),
        (subject, []) if subject.len() > 1 && subject.ends_with('?') => {
            help(&subject[..subject.len() - 1], &[])
        }
        ("hmp", []) => Ok(Action::Switch(Mode::Human)),
        ("hmp", rest) => {
            let line: Vec<&str> = rest.iter().map(|it| it.text).collect();
            Ok(Action::Human(line.join(" ")))
        }
        ("qmp", []) => Ok(Action::Switch(Mode::Qmp)),
        ("exit", []) => Ok(Action::Leave),
        (name, _) if first.equals.is_some() => Err(format!(
            "'{name}' is an argument, but no command is before it"
        )),
        (name, rest) => Ok(Action::Execute(Request::new(name, arguments(rest)?))),
    }
}

fn help(subject: &str, rest: &[Word<'_>]) -> Result<Action, String> {
    let chosen = match arguments(rest)? {
        Value::Object(chosen) => chosen,
        _ => Map::new(),
    };
    Ok(Action::Help(Some((subject.to_owned(), chosen))))
}

/// A line for the human monitor.
fn human(line: &str) -> Action {
    let (first, rest) = match line.split_once(char::is_whitespace) {
        Some((first, rest)) => (first, rest.trim()),
        None => (line, ""),
    };
    match (first, rest) {
        ("qmp", "") => Action::Switch(Mode::Qmp),
        ("hmp", "") => Action::Switch(Mode::Human),
        ("exit", "") => Action::Leave,
        _ => Action::Human(line.to_owned()),
    }
}

fn split<'a, 'b>(statement: &'b Statement<'a>) -> Result<(Word<'a>, &'b [Word<'a>]), String> {
    let open = statement
        .words
        .iter()
        .find_map(|word| Some((word, word.open?)));
    if let Some((word, closing)) = open {
        return Err(format!(
            "'{}' is not closed: {closing} is missing",
            word.text
        ));
    }
    match statement.words.split_first() {
        Some((first, rest)) => Ok((*first, rest)),
        None => Err("a command is missing".to_owned()),
    }
}

/// Reads arguments: `key=value`, or one JSON object. Null is none.
fn arguments(words: &[Word<'_>]) -> Result<Value, String> {
    match words {
        [] => Ok(Value::Null),
        [object] if object.text.starts_with('{') => value::whole(object.text),
        words => {
            let mut members = Members::default();
            for word in words {
                let (key, text) = word.pair().ok_or_else(|| not_an_argument(word.text))?;
                members.put(key, value::read(text)?)?;
            }
            Ok(Value::Object(members.finish()?))
        }
    }
}

fn not_an_argument(word: &str) -> String {
    format!("'{word}' is no argument: KEY=VALUE or a JSON object is needed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Result<Action, String> {
        let mut actions = parse(text, Mode::Qmp);
        assert_eq!(actions.len(), 1, "{text}");
        actions.remove(0)
    }

    fn message(text: &str) -> Value {
        match only(text) {
            Ok(Action::Execute(request)) => request.message(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_line_becomes_the_message_that_it_means() {
        let table = [
            ("query-status", json!({"execute": "query-status"})),
            (
                "a b=1 c.d='x y' c.e=True f={'g': [1, None]}",
                json!({"execute": "a", "arguments":
                    {"b": 1, "c": {"d": "x y", "e": true}, "f": {"g": [1, null]}}}),
            ),
            (
                "a l.0.x=1 l.1.x=2",
                json!({"execute": "a", "arguments": {"l": [{"x": 1}, {"x": 2}]}}),
            ),
            (
                "a {\"b\": 1}",
                json!({"execute": "a", "arguments": {"b": 1}}),
            ),
            (
                "a b=x=y",
                json!({"execute": "a", "arguments": {"b": "x=y"}}),
            ),
            (
                "{'execute': 'a', 'arguments': {'b': 1}, 'id': 'x'}",
                json!({"execute": "a", "arguments": {"b": 1}, "id": "x"}),
            ),
            ("{\"exec-oob\": \"a\"}", json!({"exec-oob": "a"})),
            (
                "transaction(\n a x=1\n b ; c y.z=2\n)",
                json!({"execute": "transaction", "arguments": {"actions": [
                    {"type": "a", "data": {"x": 1}},
                    {"type": "b", "data": {}},
                    {"type": "c", "data": {"y": {"z": 2}}}]}}),
            ),
            (
                "transaction( a x=1 )",
                json!({"execute": "transaction", "arguments":
                {"actions": [{"type": "a", "data": {"x": 1}}]}}),
            ),
            (
                "transaction actions=[]",
                json!({"execute": "transaction", "arguments": {"actions": []}}),
            ),
        ];
        for (text, expected) in table {
            assert_eq!(message(text), expected, "{text}");
        }
    }

    #[test]
    fn the_shells_own_words_are_known() {
        let subject = |name: &str| Ok(Action::Help(Some((name.to_owned(), Map::new()))));
        assert_eq!(only("help"), Ok(Action::Help(None)));
        assert_eq!(only("?"), Ok(Action::Help(None)));
        for text in ["help stop", "? stop", "stop ?", "stop?"] {
            assert_eq!(only(text), subject("stop"), "{text}");
        }
        let Ok(Action::Help(Some((_, chosen)))) = only("blockdev-add driver=qcow2 ?") else {
            panic!();
        };
        assert_eq!(chosen["driver"], "qcow2");
        assert_eq!(only("hmp"), Ok(Action::Switch(Mode::Human)));
        assert_eq!(
            only("hmp info  status"),
            Ok(Action::Human("info status".into()))
        );
        assert_eq!(only("exit"), Ok(Action::Leave));

        let human = |text| parse(text, Mode::Human);
        assert_eq!(human(" # no\n\n"), []);
        assert_eq!(
            human("info {\nqmp\nhelp\n"),
            [
                Ok(Action::Human("info {".into())),
                Ok(Action::Switch(Mode::Qmp)),
                Ok(Action::Human("help".into()))
            ]
        );
    }

    #[test]
    fn a_text_of_several_lines_is_several_commands() {
        let actions = parse("stop\n# no\na b\ncont", Mode::Qmp);
        assert_eq!(actions.len(), 3);
        assert!(actions[0].is_ok() && actions[1].is_err() && actions[2].is_ok());
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let table = [
            ("a b", "'b' is no argument"),
            ("a =1", "'=1' is no argument"),
            ("a=1", "'a=1' is an argument"),
            ("a b=1 b=2", "'b' is given twice"),
            ("a {", "not closed: } is missing"),
            ("a b='x", "not closed: ' is missing"),
            ("a b={x}", "a key in quotes"),
            ("a b='x'y", "nothing may follow"),
            ("{} a", "'a' is too much"),
            ("{}", "\"execute\" is missing"),
            ("{'execute': 1}", "must be the name of a command"),
            ("{'execute': 'a', 'exec-oob': 'b'}", "either"),
            ("{'execute': 'a', 'argumens': {}}", "no \"argumens\""),
            ("transaction( a", "the ) that closes"),
            ("transaction( a ) b", "'b' does"),
            (
                "transaction(\na\nb c\n)",
                "line 3 of the transaction: 'c' is no argument",
            ),
        ];
        for (text, reason) in table {
            let error = only(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn the_words_of_a_command_line_are_read_as_the_shell_split_them() {
        let read = |words: &[&str]| {
            let rest: Vec<String> = words[1..].iter().map(|it| (*it).to_owned()).collect();
            let actions = parse_words(words[0], &rest)?.into_iter();
            let messages = actions.map(|action| match action {
                Action::Execute(request) => request.message(),
                other => panic!("{other:?}"),
            });
            Ok::<_, String>(messages.collect::<Vec<_>>())
        };
        let table: &[(&[&str], Value)] = &[
            (&["a"], json!({"execute": "a"})),
            (
                &["a", "b=x y", "c='1'"],
                json!({"execute": "a", "arguments": {"b": "x y", "c": "1"}}),
            ),
            (
                &["a", "b=it's"],
                json!({"execute": "a", "arguments": {"b": "it's"}}),
            ),
            (
                &["a", "{\"b\": 1}"],
                json!({"execute": "a", "arguments": {"b": 1}}),
            ),
            (
                &["a b='x y'"],
                json!({"execute": "a", "arguments": {"b": "x y"}}),
            ),
            (&["{'execute': 'a'}"], json!({"execute": "a"})),
            (
                &["transaction(", "a", "x=1", ";", "b", ")"],
                json!({"execute": "transaction", "arguments": {"actions": [
                    {"type": "a", "data": {"x": 1}}, {"type": "b", "data": {}}]}}),
            ),
        ];
        for (words, expected) in table {
            assert_eq!(read(words), Ok(vec![expected.clone()]), "{words:?}");
        }
        assert_eq!(read(&["stop\ncont"]).unwrap().len(), 2);
        for words in [&["help", "stop"][..], &["stop", "?"]] {
            let rest = [words[1].to_owned()];
            let actions = parse_words(words[0], &rest).unwrap();
            assert!(matches!(&actions[..], [Action::Help(Some(_))]), "{words:?}");
        }
        for words in [&["a", "b"][..], &["a", "{b"], &["{}", "b"], &["a", "b={"]] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        let pieces = [
            "a",
            "=",
            ".",
            "'",
            "\"",
            "{",
            "}",
            "[",
            "]",
            "(",
            ")",
            "transaction(",
            " ",
            "\n",
            "\\",
            "é",
            "0",
            "#",
            ";",
            "?",
            "help",
            ",",
            ":",
            "\\u",
            "d83d",
        ];
        let mut seed: u64 = 1;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text += pieces[usize::try_from(seed >> 33).unwrap() % pieces.len()];
            }
            let _ = parse(&text, Mode::Qmp);
            let _ = parse(&text, Mode::Human);
            let _ = super::super::is_complete(&text);
        }
    }
}
