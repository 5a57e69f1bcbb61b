//! Where the panes are. Pure.

use ratatui::layout::{Constraint, Layout, Rect};

/// The parts of the screen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Areas {
    pub(super) title: Rect,
    pub(super) list: Rect,
    pub(super) detail: Rect,
    pub(super) foot: Rect,
}

/// From this width on, the panes are beside each other.
const WIDE: u16 = 120;

/// Divides the screen.
pub(super) fn areas(screen: Rect) -> Areas {
    let rows = [
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ];
    let [title, panes, foot] = Layout::vertical(rows).areas(screen);
    let halves = [Constraint::Percentage(50), Constraint::Percentage(50)];
    let [list, detail] = if screen.width >= WIDE {
        Layout::horizontal(halves).areas(panes)
    } else {
        Layout::vertical(halves).areas(panes)
    };
    Areas {
        title,
        list,
        detail,
        foot,
    }
}

/// The rows inside the border of a pane.
pub(super) fn rows(pane: Rect) -> usize {
    pane.height.saturating_sub(2).into()
}
