//! The numbers by which the kernel knows objects and properties. Pure.
//!
//! A number stays with its path until the kernel forgets it.

use std::collections::HashMap;

/// The number of the mount point itself.
pub(super) const ROOT: u64 = 1;

/// An object, or a property of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// The object with this path.
    Object(String),
    /// The property of the object with this path.
    Property(String, String),
}

/// The numbers in use.
#[derive(Debug)]
pub(super) struct Inodes {
    nodes: HashMap<u64, Known>,
    numbers: HashMap<Node, u64>,
    next: u64,
}

#[derive(Debug)]
struct Known {
    node: Node,
    /// How often the kernel was given the number.
    lookups: u64,
}

impl Inodes {
    /// Only the object that is mounted has a number.
    pub(super) fn new(path: &str) -> Self {
        let root = Node::Object(path.to_owned());
        let known = Known {
            node: root.clone(),
            lookups: 1,
        };
        Self {
            nodes: [(ROOT, known)].into(),
            numbers: [(root, ROOT)].into(),
            next: ROOT + 1,
        }
    }

    /// What has this number.
    pub(super) fn node(&self, number: u64) -> Option<&Node> {
        self.nodes.get(&number).map(|it| &it.node)
    }

    /// The number to give to the kernel once more.
    pub(super) fn look_up(&mut self, node: Node) -> u64 {
        if let Some(number) = self.numbers.get(&node) {
            if let Some(known) = self.nodes.get_mut(number) {
                known.lookups += 1;
            }
            return *number;
        }
        let number = self.next;
        self.next += 1;
        self.numbers.insert(node.clone(), number);
        self.nodes.insert(number, Known { node, lookups: 1 });
        number
    }

    /// The kernel gives the number back this often.
    pub(super) fn forget(&mut self, number: u64, count: u64) {
        let Some(known) = self.nodes.get_mut(&number) else {
            return;
        };
        known.lookups = known.lookups.saturating_sub(count);
        if known.lookups == 0
            && number != ROOT
            && let Some(known) = self.nodes.remove(&number)
        {
            self.numbers.remove(&known.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_until_it_is_forgotten_as_often_as_it_was_given() {
        let mut inodes = Inodes::new("/");
        let node = || Node::Property("/machine".to_owned(), "type".to_owned());
        let number = inodes.look_up(node());
        assert_eq!(inodes.look_up(node()), number);
        assert_ne!(inodes.look_up(Node::Object("/machine".to_owned())), number);
        inodes.forget(number, 1);
        assert_eq!(inodes.node(number), Some(&node()));
        inodes.forget(number, 1);
        assert_eq!(inodes.node(number), None);
        // A number is never used again, so an old handle reaches nothing else.
        assert_ne!(inodes.look_up(node()), number);
    }

    #[test]
    fn the_mount_point_is_never_forgotten() {
        let mut inodes = Inodes::new("/machine");
        inodes.forget(ROOT, 100);
        inodes.forget(99, 1);
        assert_eq!(
            inodes.node(ROOT),
            Some(&Node::Object("/machine".to_owned()))
        );
    }
}
