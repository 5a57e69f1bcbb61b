//! The model as a frame. Pure.

use std::fmt::Write as _;

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::entry::{Entry, Kind};
use super::keys::HELP;
use super::layout::areas;
use super::model::{Focus, Model};

/// Draws all. Without colour, only reversed and bold letters are used.
pub(super) fn view(model: &Model, has_colour: bool, frame: &mut Frame<'_>) {
    let areas = areas(frame.area());
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    let title = Paragraph::new(title(model)).style(reversed);
    frame.render_widget(title, areas.title);
    frame.render_widget(list(model, has_colour), areas.list);
    frame.render_widget(detail(model), areas.detail);
    foot(model, has_colour, frame, areas.foot);
    if model.shows_help {
        let panes = areas.list.union(areas.detail);
        frame.render_widget(Clear, panes);
        let help = Paragraph::new(HELP).block(Block::bordered().title("help"));
        frame.render_widget(help, panes);
    }
}

fn title(model: &Model) -> String {
    let (shown, kept) = (model.log.shown(), model.log.len());
    let mut title = format!("{} | {shown} of {kept} messages", model.source);
    if model.log.gone() > 0 {
        let _ = write!(title, ", {} older are gone", model.log.gone());
    }
    if !model.filter.is_empty() {
        let _ = write!(title, " | filter: {}", model.filter);
    }
    if model.follows {
        title += " | following";
    }
    title
}

fn list(model: &Model, has_colour: bool) -> Paragraph<'_> {
    let rows = model.log.from(model.top).take(model.list_rows());
    let rows = rows.map(|(number, entry)| {
        let style = style(entry.kind, has_colour);
        let row = Line::styled(row(entry), style);
        if Some(number) == model.selected {
            row.patch_style(Modifier::REVERSED)
        } else {
            row
        }
    });
    Paragraph::new(rows.collect::<Vec<_>>()).block(pane("messages", model.focus == Focus::List))
}

fn row(entry: &Entry) -> String {
    let Entry {
        seconds,
        name,
        summary,
        ..
    } = entry;
    format!("{seconds:>9.3} {} {name:<20} {summary}", entry.kind.sign())
}

fn detail(model: &Model) -> Paragraph<'_> {
    let lines = model.detail.lines.iter().skip(model.detail.top);
    let lines = lines
        .take(model.detail_rows())
        .map(|line| Line::raw(&**line));
    Paragraph::new(lines.collect::<Vec<_>>())
        .wrap(Wrap { trim: false })
        .block(pane("detail", model.focus == Focus::Detail))
}

/// The pane that the arrows move in has a bold title.
fn pane(title: &str, has_focus: bool) -> Block<'_> {
    let block = Block::bordered();
    if has_focus {
        block.title(Span::styled(
            format!("[{title}]"),
            Style::new().add_modifier(Modifier::BOLD),
        ))
    } else {
        block.title(title)
    }
}

fn foot(model: &Model, has_colour: bool, frame: &mut Frame<'_>, area: Rect) {
    let line = match (&model.prompt, &model.status) {
        (Some(prompt), _) => {
            let sign = prompt.purpose.sign();
            let before = Span::raw(format!("{sign}{}", prompt.before_cursor()));
            // The cursor stays on the screen; the line moves.
            let width = u16::try_from(before.width()).unwrap_or(u16::MAX);
            let hidden = (width + 1).saturating_sub(area.width);
            let place = Position::new(area.x + width - hidden, area.y);
            frame.set_cursor_position(place);
            let line = Paragraph::new(format!("{sign}{}", prompt.text()));
            return frame.render_widget(line.scroll((0, hidden)), area);
        }
        (None, Some(Ok(said))) => Line::raw(&**said),
        (None, Some(Err(problem))) => Line::styled(&**problem, style(Kind::Error, has_colour)),
        (None, None) => Line::raw(HINT),
    };
    frame.render_widget(line, area);
}

const HINT: &str = "? help  / search  f filter  : command  s save  F follow  q quit";

fn style(kind: Kind, has_colour: bool) -> Style {
    if !has_colour {
        return Style::new();
    }
    match kind {
        Kind::Command => Style::new().fg(Color::Cyan),
        Kind::Error => Style::new().fg(Color::Red),
        Kind::Event => Style::new().fg(Color::Yellow),
        Kind::Note => Style::new().fg(Color::Magenta),
        Kind::Reply | Kind::Other => Style::new(),
    }
}
