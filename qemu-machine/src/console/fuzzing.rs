//! Checks for any bytes from a guest: the noise filter, and the terminal.
#![allow(clippy::missing_panics_doc)]

use std::ops::ControlFlow;

use super::noise::Filter;
use super::screen::Terminal;
use crate::fuzzing::CUTS;
use crate::spec::{Noise, ScreenSize};

/// The filter's result does not depend on the pieces of the stream. Each run is
/// a part of the stream, in order, at the reported position.
///
/// The first byte of the input selects the noise to skip.
pub fn noise(input: &[u8]) {
    let Some((&mode, stream)) = input.split_first() else {
        return;
    };
    // No piece is ever empty.
    if stream.is_empty() {
        return;
    }
    let noise = Noise {
        escapes: mode & 1 == 0,
        kernel_lines: mode & 2 == 0,
    };
    let whole = filtered(noise, stream, &CUTS[0](stream));
    for cut in &CUTS[1..] {
        assert_eq!(filtered(noise, stream, &cut(stream)), whole);
    }
    let (before, all) = whole;
    // At most the beginning of a kernel's line is held back.
    assert!(before.len() + 40 > all.len());
    if mode & 3 == 3 {
        assert_eq!(all.len(), stream.len());
    }
    // No escape is left, and no beginning of a kernel's line.
    let escapes = [0x1b, 0x0e, 0x0f];
    let is_left = |place: &usize| escapes.contains(&stream[*place]);
    assert!(!noise.escapes || !all.iter().any(is_left));
}

/// The positions of the bytes that pass the filter, before the end and with it.
fn filtered(noise: Noise, stream: &[u8], pieces: &[&[u8]]) -> (Vec<usize>, Vec<usize>) {
    const FROM: u64 = 1 << 40;
    let mut filter = Filter::new(noise, FROM);
    let mut places: Vec<usize> = Vec::new();
    let mut keep = |run: &[u8], at: u64| {
        let start = usize::try_from(at - FROM).expect("it is in the stream");
        assert_eq!(&stream[start..start + run.len()], run);
        assert!(places.last().is_none_or(|&last| last < start));
        assert!(!run.is_empty());
        places.extend(start..start + run.len());
        ControlFlow::<()>::Continue(())
    };
    for piece in pieces {
        assert!(filter.push(piece, &mut keep).is_continue());
    }
    let mut rest: Vec<(Vec<u8>, u64)> = Vec::new();
    let _ = filter.finish(|run, at| {
        rest.push((run.to_vec(), at));
        ControlFlow::<()>::Continue(())
    });
    for (run, at) in &rest {
        let _ = keep(run, *at);
    }
    let before = places.len() - rest.iter().map(|(run, _)| run.len()).sum::<usize>();
    (places[..before].to_vec(), places)
}

/// A terminal accepts any stream, and shows the same for any pieces of it.
///
/// The first byte of the input selects the size.
pub fn terminal(input: &[u8]) {
    let Some((&mode, stream)) = input.split_first() else {
        return;
    };
    let size = ScreenSize {
        columns: [2, 3, 20, 80][usize::from(mode & 3)],
        rows: [2, 3, 24, 1][usize::from(mode >> 2 & 3)],
    };
    let shown = CUTS.map(|cut| {
        let terminal = Terminal::new(size);
        for piece in cut(stream) {
            terminal.show(piece);
        }
        let screen = terminal.screen();
        let (text, cursor) = (screen.text(), screen.cursor());
        assert!(cursor.row < size.rows.max(2) && cursor.column < size.columns);
        (
            text,
            cursor,
            screen.highlighted(),
            screen.cursor_is_hidden(),
        )
    });
    assert!(shown.iter().all(|it| *it == shown[0]), "{shown:?}");
}
