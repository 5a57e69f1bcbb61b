//! The drawing of a crate's rooms: the permitted imports. It is compared with the
//! actual imports.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    circles::{circles, from_the_top},
    sources::Imports,
};

/// A drawing in a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Drawing {
    /// The rooms from the top, each with its line and its imports.
    rooms: Vec<(usize, String, Vec<String>)>,
}

impl Drawing {
    /// Finds the drawing in a text: a code block whose first line is its title.
    pub(super) fn find(text: &str, name: &str) -> Option<Self> {
        let mut lines = (1..).zip(text.lines());
        while let Some((_, line)) = lines.next() {
            if line.starts_with("```") && lines.clone().next().is_some_and(|it| it.1 == title(name))
            {
                let block = lines
                    .skip(1)
                    .take_while(|(_, line)| !line.starts_with("```"));
                return Some(Self::read(block));
            }
        }
        None
    }

    fn read<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Self {
        let mut rooms: Vec<(usize, String, Vec<String>)> = Vec::new();
        for (number, line) in lines {
            let names = |text: &str| -> Vec<String> {
                let names = text.split(',').map(str::trim).filter(|it| !it.is_empty());
                names.map(str::to_owned).collect()
            };
            match rooms.last_mut() {
                Some((_, _, targets)) if line.starts_with(' ') => targets.extend(names(line)),
                _ if line.trim().is_empty() => {}
                _ => {
                    let (room, targets) = line.split_once("->").unwrap_or((line, ""));
                    rooms.push((number, room.trim().to_owned(), names(targets)));
                }
            }
        }
        Self { rooms }
    }

    /// Every difference between the drawing and the imports, and every circle. `path`
    /// is the file of the drawing.
    pub(super) fn faults(&self, path: &str, imports: &Imports) -> Vec<String> {
        let mut faults = Vec::new();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (place, (line, room, _)) in self.rooms.iter().enumerate() {
            if places.insert(room, place).is_some() {
                faults.push(format!("{path}:{line}: the room {room} is drawn twice"));
            }
            if !imports.rooms.contains(room) {
                faults.push(format!(
                    "{path}:{line}: there is no room {room} in the crate"
                ));
            }
        }
        for room in &imports.rooms {
            if !places.contains_key(room.as_str()) {
                faults.push(format!("{path}: the room {room} of the crate is not drawn"));
            }
        }
        let mut drawn = BTreeSet::new();
        for (place, (line, from, targets)) in self.rooms.iter().enumerate() {
            for to in targets {
                let arrow = (from.clone(), to.clone());
                match places.get(to.as_str()) {
                    None => {
                        faults.push(format!("{path}:{line}: {from} -> {to}: no line draws {to}"));
                    }
                    Some(target) if *target <= place => {
                        faults.push(format!("{path}:{line}: {from} -> {to}: this arrow goes up"));
                    }
                    Some(_) if !imports.arrows.contains_key(&arrow) => {
                        faults.push(format!(
                            "{path}:{line}: {from} -> {to}: no import needs this"
                        ));
                    }
                    Some(_) => {}
                }
                drawn.insert(arrow);
            }
        }
        for (arrow, place) in &imports.arrows {
            if !drawn.contains(arrow) {
                let (from, to) = arrow;
                faults.push(format!("{place}: {from} imports {to}, which is not drawn"));
            }
        }
        faults.extend(circles_with_places(imports));
        faults
    }
}

/// Each circle as a line, with the place of each import.
pub(super) fn circles_with_places(imports: &Imports) -> Vec<String> {
    let pairs = imports.pairs();
    let circles = circles(&pairs).into_iter().map(|circle| {
        let next = circle.iter().cycle().skip(1);
        let steps = circle.iter().zip(next).map(|(from, to)| {
            let arrow = ((*from).to_owned(), (*to).to_owned());
            let place = imports.arrows.get(&arrow).map_or("?", String::as_str);
            format!("{from} -> {to} ({place})")
        });
        format!("circle: {}", steps.collect::<Vec<_>>().join(", "))
    });
    circles.collect()
}

/// The drawing of the actual imports.
pub(super) fn draw(name: &str, imports: &Imports) -> String {
    let rooms = imports.rooms.iter().map(String::as_str).collect();
    let pairs = imports.pairs();
    let mut lines = vec!["```text".to_owned(), title(name)];
    for room in from_the_top(&rooms, &pairs) {
        let targets = pairs.iter().filter(|arrow| arrow.0 == room);
        let targets: Vec<&str> = targets.map(|arrow| arrow.1).collect();
        let mut line = room.to_owned();
        for (place, target) in targets.iter().enumerate() {
            let mark = if place == 0 { " ->" } else { "," };
            line.push_str(mark);
            if line.len() + target.len() + 2 > WIDTH {
                lines.push(std::mem::replace(&mut line, "   ".to_owned()));
            }
            line = format!("{line} {target}");
        }
        lines.push(line);
    }
    lines.push("```".to_owned());
    lines.join("\n")
}

/// The first line of a drawing.
pub(super) fn title(name: &str) -> String {
    format!("rooms of {name}, from the top")
}

const WIDTH: usize = 100;

#[cfg(test)]
mod tests {
    use super::{super::sources::tests::crate_of, *};

    fn sound() -> Imports {
        crate_of(&[
            ("", "mod top; mod middle; mod low;"),
            ("top", "use crate::{middle::M, low::L};"),
            ("middle", "use crate::low::L;"),
            ("low", ""),
        ])
        .unwrap()
    }

    fn faults(drawing: &str, imports: &Imports) -> Vec<String> {
        let text = format!("# A\n```text\nrooms of x, from the top\n{drawing}```\nb -> c\n");
        Drawing::find(&text, "x").unwrap().faults("A.md", imports)
    }

    #[test]
    fn a_drawing_of_what_there_is_has_no_faults() {
        assert_eq!(
            faults("top -> middle,\n    low\nmiddle -> low\nlow\n", &sound()),
            [""; 0]
        );
        let drawn = draw("x", &sound());
        assert_eq!(
            drawn,
            "```text\nrooms of x, from the top\ntop -> low, middle\nmiddle -> low\nlow\n```"
        );
        let drawing = Drawing::find(&drawn, "x").unwrap();
        assert_eq!(drawing.faults("A.md", &sound()), [""; 0]);
    }

    #[test]
    fn an_import_that_is_not_drawn_and_an_arrow_without_import_are_faults() {
        assert_eq!(
            faults("top -> middle\nmiddle -> low\nlow\n", &sound()),
            ["top.rs:1: top imports low, which is not drawn"]
        );
        let mut imports = sound();
        imports.arrows.remove(&("top".to_owned(), "low".to_owned()));
        assert_eq!(
            faults("top -> middle, low\nmiddle -> low\nlow\n", &imports),
            ["A.md:4: top -> low: no import needs this"]
        );
    }

    #[test]
    fn a_room_that_only_one_side_has_is_a_fault() {
        assert_eq!(
            faults("top -> middle, low\nmiddle -> low\nlow\nattic\n", &sound()),
            ["A.md:7: there is no room attic in the crate"]
        );
        let found = faults("top -> middle, low\nmiddle -> low\n", &sound());
        assert_eq!(
            found,
            [
                "A.md: the room low of the crate is not drawn",
                "A.md:4: top -> low: no line draws low",
                "A.md:5: middle -> low: no line draws low",
            ]
        );
        let found = faults("top -> middle, low\nmiddle -> low\nlow\nlow\n", &sound());
        assert!(
            found.contains(&"A.md:7: the room low is drawn twice".to_owned()),
            "{found:?}"
        );
    }

    #[test]
    fn an_arrow_that_goes_up_and_a_circle_are_faults_even_if_drawn() {
        let imports = crate_of(&[
            ("", "mod a; mod b;"),
            ("a", "use crate::b::X;"),
            ("b", "\nuse crate::a::X;"),
        ]);
        assert_eq!(
            faults("a -> b\nb -> a\n", &imports.unwrap()),
            [
                "A.md:5: b -> a: this arrow goes up",
                "circle: a -> b (a.rs:1), b -> a (b.rs:2)",
            ]
        );
    }

    #[test]
    fn a_text_without_the_block_has_no_drawing() {
        assert_eq!(Drawing::find("rooms of x, from the top\na", "x"), None);
        assert_eq!(
            Drawing::find("```\nrooms of y, from the top\na\n```", "x"),
            None
        );
    }

    #[test]
    fn a_long_line_goes_on_in_the_next_one() {
        let names: Vec<String> = (10..50).map(|it| format!("room{it}")).collect();
        let top = names.iter().map(|it| format!("use crate::{it}::X;"));
        let top = top.collect::<Vec<_>>().concat();
        let mut files = vec![("", ""), ("a", top.as_str())];
        files.extend(names.iter().map(|it| (it.as_str(), "")));
        let imports = crate_of(&files).unwrap();
        let drawn = draw("x", &imports);
        assert!(drawn.lines().all(|line| line.len() <= WIDTH), "{drawn}");
        let drawing = Drawing::find(&drawn, "x").unwrap();
        assert_eq!(drawing.faults("A.md", &imports), [""; 0]);
    }
}
