//! Pictures as SVG, for a page that has its own colours.
//!
//! Guarantees: each has a title that a screen reader speaks; every colour is the value of an [`Ink`], which the style sheet turns
//! into another one where the page is dark; and a picture scales with the page. Leaves to others: the table beside it.

use maud::{Markup, PreEscaped, html};
use plotters::coord::Shift;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

mod axis;
mod bars;
mod calendar;
mod space;
mod ticks;

pub use bars::{Bar, across, by_day};
pub use calendar::{calendar, key};
pub use space::{Frame, days, space};
pub use ticks::date_of;

/// Coordinates are whole numbers: so many of them make one pixel of the page.
const SCALE: u32 = 4;

/// plotters divides the size of a font by this.
const FONT: f64 = 1.24;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Fault = DrawingAreaErrorKind<std::io::Error>;

/// Size in pixels of the page.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

/// What a colour is for. The values are those of the light page, after Okabe and Ito's palette, which colour-blind people tell
/// apart; `page.css` has those of the dark one under the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    Text,
    Grid,
    Now,
    Main,
    Band,
    Forecast,
    Full,
    Ready,
    Failed,
    Partly,
    Offline,
}

impl Ink {
    #[cfg(test)]
    pub const ALL: [Ink; 11] = [
        Ink::Text,
        Ink::Grid,
        Ink::Now,
        Ink::Main,
        Ink::Band,
        Ink::Forecast,
        Ink::Full,
        Ink::Ready,
        Ink::Failed,
        Ink::Partly,
        Ink::Offline,
    ];

    /// The colour that stands in the picture.
    pub const fn rgb(self) -> RGBColor {
        match self {
            Ink::Text => RGBColor(0x57, 0x60, 0x6a),
            Ink::Grid => RGBColor(0xe2, 0xe6, 0xea),
            Ink::Now => RGBColor(0x8c, 0x95, 0x9f),
            Ink::Main => RGBColor(0x00, 0x72, 0xb2),
            Ink::Band => RGBColor(0xb9, 0xdc, 0xf2),
            Ink::Forecast => RGBColor(0xd5, 0x5e, 0x00),
            Ink::Full => RGBColor(0xa3, 0x3f, 0x00),
            Ink::Ready => RGBColor(0xd3, 0xe8, 0xe0),
            Ink::Failed => RGBColor(0x7b, 0x3f, 0x98),
            Ink::Partly => RGBColor(0xf5, 0xb9, 0x3d),
            Ink::Offline => RGBColor(0xa8, 0x55, 0x00),
        }
    }
}

const fn px(pixels: u32) -> i32 {
    (pixels * SCALE).cast_signed()
}

fn stroke(ink: Ink, pixels: f64) -> ShapeStyle {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few pixels
    ShapeStyle { color: ink.rgb().into(), filled: false, stroke_width: (pixels * f64::from(SCALE)).round() as u32 }
}

/// Text of so many pixels, anchored so.
fn text(pixels: f64, ink: Ink, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    let font = ("sans-serif", pixels * f64::from(SCALE) * FONT).into_font();
    font.color(&ink.rgb()).pos(Pos::new(horizontal, vertical))
}

/// A picture with a title; `class` is for the style sheet.
fn picture(size: Size, class: &str, title: &str, draw: impl FnOnce(&Area<'_>) -> Result<(), Fault>) -> Markup {
    let (width, height) = (size.width * SCALE, size.height * SCALE);
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
    let drawn = draw(&area).and_then(|()| area.present());
    drop(area);
    // Its own first and last tags give a size that can't follow the page.
    let inner = svg.split_once('>').and_then(|(_, rest)| rest.rsplit_once("</svg>"));
    match (drawn, inner) {
        (Ok(()), Some((inner, _))) => html! {
            svg class=(class) role="img" aria-label=(title) viewBox={ "0 0 " (width) " " (height) } {
                title { (title) }
                (PreEscaped(inner.replace('\n', "")))
            }
        },
        (Err(error), _) => html! { p { "no picture: " (error) } },
        (Ok(()), None) => html! { p { "no picture" } },
    }
}

/// The same picture twice: for a page as wide as a desk's, and for a phone's, where a smaller one could not be read.
fn both(draw: impl Fn(bool) -> Markup) -> Markup {
    html! {
        div.wide { (draw(true)) }
        div.narrow { (draw(false)) }
    }
}
