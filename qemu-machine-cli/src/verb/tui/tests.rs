//! The model and its frames: screens as text.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::entry::{Entry, Reader};
use super::model::{Effect, Focus, Message, Model};
use super::view::view;
use crate::verb::replay::Direction;

/// A model with some traffic, on a small screen.
fn model() -> Model {
    let mut model = Model::new("server at qmp | QEMU 10.0.2".to_owned(), true, 100);
    model.update(Message::Size(80, 14));
    let mut reader = Reader::default();
    for (seconds, is_sent, line) in TRAFFIC {
        let entry = reader.read(seconds, is_sent, line.to_owned());
        model.update(Message::Traffic(entry));
    }
    model
}

const TRAFFIC: [(f64, bool, &str); 5] = [
    (0.5, true, r#"{"execute": "stop", "id": 2}"#),
    (0.625, false, r#"{"event": "STOP", "data": {}}"#),
    (0.626, false, r#"{"return": {}, "id": 2}"#),
    (
        12.0,
        true,
        r#"{"execute": "device_del", "arguments": {"id": "a"}, "id": 3}"#,
    ),
    (
        12.25,
        false,
        r#"{"id": 3, "error": {"class": "DeviceNotFound", "desc": "no 'a'"}}"#,
    ),
];

fn press(model: &mut Model, keys: &str) -> Vec<Effect> {
    let keys = keys.chars().map(|letter| match letter {
        '\n' => KeyCode::Enter,
        '\t' => KeyCode::Tab,
        '\x1b' => KeyCode::Esc,
        letter => KeyCode::Char(letter),
    });
    let keys = keys.map(|code| Message::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    keys.filter_map(|key| model.update(key)).collect()
}

fn code(model: &mut Model, code: KeyCode) {
    model.update(Message::Key(KeyEvent::new(code, KeyModifiers::NONE)));
}

/// The screen as text. The selected row is marked behind it.
fn screen(model: &Model) -> String {
    let backend = TestBackend::new(model.screen.width, model.screen.height);
    let mut terminal = Terminal::new(backend).unwrap();
    terminal.draw(|frame| view(model, false, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(model.screen.width.into());
    let rows = rows.map(|row| {
        row.iter()
            .map(ratatui::buffer::Cell::symbol)
            .collect::<String>()
    });
    rows.map(|row| row.trim_end().to_owned() + "\n").collect()
}

fn selected(model: &Model) -> &str {
    &model.log.get(model.selected.unwrap()).unwrap().line
}

#[test]
fn the_screen_has_a_list_a_detail_and_a_foot() {
    let model = model();
    assert_eq!(
        screen(&model),
        "\
server at qmp | QEMU 10.0.2 | 5 of 5 messages | following
┌[messages]────────────────────────────────────────────────────────────────────┐
│    0.625 < STOP                 {}                                           │
│    0.626 < stop                 {}                                           │
│   12.000 > device_del           {\"id\":\"a\"}                                   │
│   12.250 < device_del           no 'a'                                       │
└──────────────────────────────────────────────────────────────────────────────┘
┌detail────────────────────────────────────────────────────────────────────────┐
│{                                                                             │
│  \"error\": {                                                                  │
│    \"class\": \"DeviceNotFound\",                                                │
│    \"desc\": \"no 'a'\"                                                          │
└──────────────────────────────────────────────────────────────────────────────┘
? help  / search  f filter  : command  s save  F follow  q quit
"
    );
}

#[test]
fn a_wide_screen_has_the_panes_beside_each_other() {
    let mut model = model();
    model.update(Message::Size(120, 6));
    assert_eq!(
        screen(&model),
        "\
server at qmp | QEMU 10.0.2 | 5 of 5 messages | following
┌[messages]────────────────────────────────────────────────┐┌detail────────────────────────────────────────────────────┐
│   12.000 > device_del           {\"id\":\"a\"}               ││{                                                         │
│   12.250 < device_del           no 'a'                   ││  \"error\": {                                              │
└──────────────────────────────────────────────────────────┘└──────────────────────────────────────────────────────────┘
? help  / search  f filter  : command  s save  F follow  q quit
"
    );
}

#[test]
fn every_size_of_a_screen_is_drawn() {
    let mut model = model();
    for keys in ["", "/a b c", "\x1b?"] {
        press(&mut model, keys);
        for (width, height) in [(0, 0), (1, 1), (2, 3), (10, 4), (119, 50), (300, 5)] {
            model.update(Message::Size(width, height));
            if width > 0 {
                screen(&model);
            }
        }
    }
}

#[test]
fn moving_up_stops_the_following_and_the_end_follows_again() {
    let mut model = model();
    press(&mut model, "k");
    assert!(selected(&model).contains("device_del"));
    let event = || Reader::default().read(13.0, false, r#"{"event": "RESUME"}"#.to_owned());
    model.update(Message::Traffic(event()));
    assert!(selected(&model).contains("device_del") && !model.follows);
    press(&mut model, "G");
    model.update(Message::Traffic(event()));
    assert_eq!(model.place(), 6);
    press(&mut model, "g");
    assert_eq!((model.place(), model.top), (0, 0));
    code(&mut model, KeyCode::PageDown);
    assert_eq!(model.place(), 4);
    press(&mut model, "\tj");
    assert_eq!((model.focus, model.detail.top), (Focus::Detail, 1));
    code(&mut model, KeyCode::End);
    assert_eq!(model.detail.top, model.detail.lines.len() - 1);
}

#[test]
fn a_filter_and_a_search_choose_messages() {
    let mut model = model();
    press(&mut model, "fevent\n");
    assert_eq!(model.log.shown(), 1);
    assert!(screen(&model).contains("| 1 of 5 messages | filter: event |"));
    press(&mut model, "f{\n");
    assert!(screen(&model).contains("{ is no JSON"));
    assert_eq!(model.filter, "event");
    // The filter is there to be edited.
    press(&mut model, "f stop\n");
    assert_eq!((model.log.shown(), &*model.filter), (3, "event stop"));
    press(&mut model, "f");
    for _ in 0.."event stop".len() {
        code(&mut model, KeyCode::Backspace);
    }
    press(&mut model, "\n");
    assert_eq!(model.log.shown(), 5);

    press(&mut model, "g/DEVICE\n");
    assert_eq!(model.place(), 3);
    press(&mut model, "n");
    assert_eq!(model.place(), 4);
    press(&mut model, "n");
    assert_eq!(model.place(), 3);
    press(&mut model, "N");
    assert_eq!(model.place(), 4);
    press(&mut model, "/nonesuch\n");
    assert!(screen(&model).ends_with("no message has 'nonesuch'\n"));
}

#[test]
fn a_command_is_typed_in_both_forms_and_recalled() {
    let mut model = model();
    let typed = press(&mut model, ":device_del id=b\n");
    let expected = Effect::Execute("device_del".to_owned(), json!({"id": "b"}));
    assert_eq!(typed, [expected]);
    let typed = press(&mut model, ":{\"execute\": \"cont\"}\n");
    assert_eq!(typed, [Effect::Execute("cont".to_owned(), Value::Null)]);
    press(&mut model, ":");
    code(&mut model, KeyCode::Up);
    code(&mut model, KeyCode::Up);
    assert!(screen(&model).ends_with("command: device_del id=b\n"));
    press(&mut model, "\x1b");
    assert_eq!(press(&mut model, ":stop now\n"), []);
    assert!(
        screen(&model).ends_with("'now' is no argument: KEY=VALUE or a JSON object is needed\n")
    );
    model.update(Message::Ended("the server has gone".to_owned()));
    assert!(screen(&model).ends_with("the server has gone\n"));
    press(&mut model, ":");
    assert!(model.prompt.is_none());
}

#[test]
fn the_message_or_the_list_is_saved() {
    let mut model = model();
    let [Effect::Save(path, text)] = &press(&mut model, "gsone.json\n")[..] else {
        panic!()
    };
    assert_eq!(path.to_str(), Some("one.json"));
    assert_eq!(text, "{\n  \"execute\": \"stop\",\n  \"id\": 2\n}\n");
    model.update(Message::Traffic(Entry::note(1.0, "lost")));
    let [Effect::Save(_, text)] = &press(&mut model, "Sall\n")[..] else {
        panic!()
    };
    // It is a transcript, in which a note has no place.
    let entries: Vec<_> = text.lines().map(crate::verb::replay::Entry::read).collect();
    assert_eq!(entries.len(), TRAFFIC.len());
    let first = entries[0].as_ref().unwrap();
    assert_eq!(
        (first.direction, &*first.text),
        (Direction::Sent, TRAFFIC[0].2)
    );
    assert_eq!(press(&mut model, "S\n"), []);
}

#[test]
fn the_help_is_closed_by_any_key_and_quit_works_everywhere() {
    let mut model = model();
    model.update(Message::Size(80, 24));
    press(&mut model, "?");
    let help = screen(&model);
    assert!(help.contains("send a command") && help.contains("quit, as Ctrl-C does"));
    press(&mut model, "x");
    assert!(!screen(&model).contains("send a command"));
    assert_eq!(press(&mut model, "q"), [Effect::Quit]);
    press(&mut model, "/");
    assert_eq!(press(&mut model, "q"), []);
    let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(model.update(Message::Key(control)), Some(Effect::Quit));
}

#[test]
fn escape_sequences_of_a_server_do_not_reach_the_terminal() {
    let mut model = model();
    let line = "{\"event\": \"A\\u001b[2J\\u009b2J\"}";
    let entry = Reader::default().read(1.0, false, line.to_owned());
    model.update(Message::Traffic(entry));
    model.update(Message::Traffic(Reader::default().read(
        1.0,
        false,
        "\x1b[2J".to_owned(),
    )));
    assert!(!screen(&model).contains(|it: char| it.is_control() && it != '\n'));
}
