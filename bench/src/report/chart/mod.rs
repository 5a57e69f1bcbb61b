//! Charts as SVG, for light and dark screens. Each colour has a variant for dark
//! screens, and the reader's preference selects it.

mod bars;
mod growth;
mod ratios;
mod scale;

use plotters::chart::MeshStyle;
use plotters::prelude::*;

use crate::Failure;

pub(crate) use bars::bars;
pub(crate) use growth::growth;
pub(crate) use ratios::ratios;

/// A colour for a light background, and one for a dark background.
#[derive(Debug, Clone, Copy)]
struct Colour {
    light: RGBColor,
    dark: RGBColor,
}

/// The colour and shape of points of one kind.
#[derive(Debug, Clone, Copy)]
enum Marker {
    Circle,
    Triangle,
    Cross,
}

/// Draws, and returns the text of the SVG.
fn draw(
    size: (u32, u32),
    paint: impl FnOnce(&DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Result<(), Failure>,
) -> Result<String, Failure> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&PAPER.light)?;
        paint(&area)?;
        area.present()?;
    }
    Ok(with_twins(&text))
}

/// Adds a rule that swaps the colours if the reader prefers a dark screen.
/// A CSS rule has priority over an attribute.
fn with_twins(svg: &str) -> String {
    let mut rules = String::new();
    for Colour { light, dark } in ALL {
        let (light, dark) = (hex(light), hex(dark));
        for property in ["fill", "stroke"] {
            let rule = [
                "[", property, "=\"", &light, "\"]{", property, ":", &dark, "}",
            ];
            rules.extend(rule);
        }
    }
    let style = format!("<style>@media (prefers-color-scheme:dark){{{rules}}}</style>\n");
    match svg.find(">\n") {
        Some(end) => format!("{}{style}{}", &svg[..end + 2], &svg[end + 2..]),
        None => svg.to_owned(),
    }
}

/// As the backend writes it.
fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// The lines and texts of a chart's mesh.
fn styled<'m, 'a, 'b, 'd, X, Y>(
    mesh: &'m mut MeshStyle<'a, 'b, X, Y, SVGBackend<'d>>,
) -> &'m mut MeshStyle<'a, 'b, X, Y, SVGBackend<'d>>
where
    X: Ranged,
    Y: Ranged,
{
    mesh.light_line_style(FAINT.light.mix(0.0))
        .bold_line_style(FAINT.light)
        .axis_style(MUTED.light)
        .label_style(text_style(15, INK))
        .axis_desc_style(text_style(16, MUTED))
}

fn text_style(size: u32, colour: Colour) -> TextStyle<'static> {
    ("sans-serif", size)
        .with_color(colour.light)
        .into_text_style(&(1, 1))
}

const fn colour(light: (u8, u8, u8), dark: (u8, u8, u8)) -> Colour {
    Colour {
        light: RGBColor(light.0, light.1, light.2),
        dark: RGBColor(dark.0, dark.1, dark.2),
    }
}

const PAPER: Colour = colour((0xff, 0xff, 0xff), (0x0d, 0x11, 0x17));
const INK: Colour = colour((0x1f, 0x23, 0x28), (0xe6, 0xed, 0xf3));
const FAINT: Colour = colour((0xd1, 0xd9, 0xe0), (0x3d, 0x44, 0x4d));
const MUTED: Colour = colour((0x59, 0x63, 0x6e), (0x91, 0x98, 0xa1));
const SERIES: [Colour; 6] = [
    colour((0x09, 0x69, 0xda), (0x58, 0xa6, 0xff)),
    colour((0xbc, 0x4c, 0x00), (0xf0, 0x88, 0x3e)),
    colour((0x1a, 0x7f, 0x37), (0x3f, 0xb9, 0x50)),
    colour((0x82, 0x50, 0xdf), (0xbc, 0x8c, 0xff)),
    colour((0xcf, 0x22, 0x2e), (0xff, 0x7b, 0x72)),
    colour((0xbf, 0x39, 0x89), (0xf7, 0x78, 0xba)),
];
const ALL: [Colour; 10] = [
    PAPER, INK, FAINT, MUTED, SERIES[0], SERIES[1], SERIES[2], SERIES[3], SERIES[4], SERIES[5],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_that_is_drawn_has_a_twin() {
        let svg = draw((100, 100), |area| {
            area.draw(&Circle::new((5, 5), 3, SERIES[3].light.filled()))?;
            Ok(())
        });
        let svg = svg.unwrap();
        let (rules, drawn) = svg.split_once("</style>").unwrap();
        let colours: Vec<_> = drawn.split("=\"#").skip(1).map(|rest| &rest[..6]).collect();
        assert_eq!(colours, ["FFFFFF", "8250DF"]);
        assert!(rules.contains("[fill=\"#FFFFFF\"]{fill:#0D1117}"));
        assert!(rules.contains("[fill=\"#8250DF\"]{fill:#BC8CFF}"));
    }
}
