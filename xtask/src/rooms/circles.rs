//! Circles among rooms, and the order in which no arrow goes up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The imports of each room.
pub(super) type Arrows<'a> = BTreeSet<(&'a str, &'a str)>;

/// The shortest circle of each arrow in a circle. Each circle is listed once, and
/// begins with its first name in the alphabet.
pub(super) fn circles<'a>(arrows: &Arrows<'a>) -> BTreeSet<Vec<&'a str>> {
    let circle = |&(from, to): &(&'a str, &'a str)| {
        let mut circle = shortest(arrows, to, from)?;
        let first = circle.iter().min()?;
        let place = circle.iter().position(|name| name == first)?;
        circle.rotate_left(place);
        Some(circle)
    };
    arrows.iter().filter_map(circle).collect()
}

/// The names on the shortest path, including both ends.
fn shortest<'a>(arrows: &Arrows<'a>, from: &'a str, to: &'a str) -> Option<Vec<&'a str>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut open = VecDeque::from([from]);
    while let Some(name) = open.pop_front() {
        if name == to {
            let mut way = vec![to];
            let mut name = to;
            while name != from {
                name = before.get(name)?;
                way.push(name);
            }
            way.reverse();
            return Some(way);
        }
        for &(_, next) in arrows.iter().filter(|arrow| arrow.0 == name) {
            if next != from && !before.contains_key(next) {
                before.insert(next, name);
                open.push_back(next);
            }
        }
    }
    None
}

/// The sets of several rooms that reach each other.
pub(super) fn knots<'a>(rooms: &BTreeSet<&'a str>, arrows: &Arrows<'a>) -> BTreeSet<Vec<&'a str>> {
    let reach = reach(rooms, arrows);
    let knot = |room: &&'a str| {
        let is_mutual =
            |other: &&&str| reach.contains(&(*room, **other)) && reach.contains(&(**other, *room));
        rooms.iter().filter(is_mutual).copied().collect::<Vec<_>>()
    };
    rooms
        .iter()
        .map(knot)
        .filter(|knot| knot.len() > 1)
        .collect()
}

/// The rooms from the top: no arrow goes up, except within a knot.
pub(super) fn from_the_top<'a>(rooms: &BTreeSet<&'a str>, arrows: &Arrows<'a>) -> Vec<&'a str> {
    let reach = reach(rooms, arrows);
    let mut left = rooms.clone();
    let mut order = Vec::new();
    while !left.is_empty() {
        let is_top = |room: &&&str| {
            let is_above = |other: &&str| {
                reach.contains(&(*other, **room)) && !reach.contains(&(**room, *other))
            };
            !left.iter().any(is_above)
        };
        let Some(&top) = left.iter().find(is_top) else {
            break;
        };
        left.remove(top);
        order.push(top);
    }
    order
}

/// Every pair in which the first reaches the second.
fn reach<'a>(rooms: &BTreeSet<&'a str>, arrows: &Arrows<'a>) -> Arrows<'a> {
    let mut reach = arrows.clone();
    for middle in rooms {
        for from in rooms {
            if reach.contains(&(*from, *middle)) {
                let more: Vec<_> = rooms
                    .iter()
                    .filter(|to| reach.contains(&(*middle, **to)))
                    .collect();
                reach.extend(more.into_iter().map(|to| (*from, *to)));
            }
        }
    }
    reach
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARROWS: [(&str, &str); 7] = [
        ("a", "b"),
        ("b", "c"),
        ("c", "b"),
        ("c", "d"),
        ("d", "e"),
        ("e", "c"),
        ("z", "a"),
    ];

    fn rooms() -> BTreeSet<&'static str> {
        BTreeSet::from(["a", "b", "c", "d", "e", "z"])
    }

    #[test]
    fn each_circle_is_found_once() {
        let found = circles(&Arrows::from(ARROWS));
        assert_eq!(Vec::from_iter(found), [vec!["b", "c"], vec!["c", "d", "e"]]);
        assert!(circles(&Arrows::from([("a", "b"), ("a", "c"), ("b", "c")])).is_empty());
    }

    #[test]
    fn rooms_that_reach_each_other_are_one_knot() {
        let knots = knots(&rooms(), &Arrows::from(ARROWS));
        assert_eq!(Vec::from_iter(knots), [["b", "c", "d", "e"]]);
    }

    #[test]
    fn an_importer_stands_above_what_it_imports() {
        let order = from_the_top(&rooms(), &Arrows::from(ARROWS));
        assert_eq!(order, ["z", "a", "b", "c", "d", "e"]);
    }
}
