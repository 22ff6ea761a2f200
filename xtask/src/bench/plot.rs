//! Plots of the results, as SVG: all series that share a title, with a legend above the axes.
//!
//! The background is white, so that a plot can be read on a dark page too. Without fonts of its own: a browser has them.

use std::error::Error;
use std::ops::Range;

use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::{Circle, DrawingArea, IntoDrawingArea, IntoLogRange, PathElement, SVGBackend};
use plotters::series::LineSeries;
use plotters::style::{BLACK, Color, IntoFont, RGBColor, ShapeStyle, TextStyle, WHITE};

use super::measured::Series;

/// In pixels, as all sizes here.
const WIDTH: u32 = 900;
/// Of the axes and what is in them.
const HEIGHT: u32 = 440;
const TITLE: i32 = 44;
const LEGEND_ROW: i32 = 22;
const LEFT: i32 = 24;

/// Told apart by the colour-blind too; used in turn.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(90, 90, 90),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Outcome = Result<(), Box<dyn Error>>;

/// What the plot with this title is called in its directory.
pub(super) fn file_name(title: &str) -> String {
    let letters = title.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { ' ' });
    let words = letters.collect::<String>().to_ascii_lowercase();
    format!("{}.svg", words.split_whitespace().collect::<Vec<_>>().join("-"))
}

/// Draws the series of one plot. They have the same axes.
pub(super) fn svg(title: &str, series: &[&Series]) -> Result<String, String> {
    let mut out = String::new();
    draw(&mut out, title, series).map_err(|error| format!("plot \"{title}\": {error}"))?;
    Ok(out)
}

fn draw(out: &mut String, title: &str, series: &[&Series]) -> Outcome {
    let Some(first) = series.first() else { return Err("it has no series".into()) };
    let above = TITLE + LEGEND_ROW * i32::try_from(series.len())?;
    let root = SVGBackend::with_string(out, (WIDTH, HEIGHT + above.unsigned_abs())).into_drawing_area();
    root.fill(&WHITE)?;
    let (head, body) = root.split_vertically(above);
    legend(&head, title, series)?;
    let of = |values: fn(&Series) -> &[f64]| series.iter().flat_map(move |one| values(one).iter().copied());
    let (x, y) = (Extent::of(of(|one| &one.x)), Extent::of(of(|one| &one.y)));
    match (first.log_x, first.log_y) {
        (true, true) => chart(&body, x.decades().log_scale(), y.decades().log_scale(), series),
        (true, false) => chart(&body, x.decades().log_scale(), y.with_zero(), series),
        (false, true) => chart(&body, x.alone(), y.decades().log_scale(), series),
        (false, false) => chart(&body, x.alone(), y.with_zero(), series),
    }?;
    root.present()?;
    Ok(())
}

/// The title, and a row for each series: no curve runs behind them.
fn legend(area: &Area<'_>, title: &str, series: &[&Series]) -> Outcome {
    area.draw_text(title, &text(20), (LEFT, 14))?;
    let mut top = TITLE;
    for (one, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let middle = top + LEGEND_ROW / 2;
        area.draw(&PathElement::new([(LEFT, middle), (LEFT + 30, middle)], line(*colour)))?;
        area.draw(&Circle::new((LEFT + 15, middle), 3, colour.filled()))?;
        area.draw_text(&one.name, &text(15), (LEFT + 40, top + 3))?;
        top += LEGEND_ROW;
    }
    Ok(())
}

fn chart<X, Y>(area: &Area<'_>, x: X, y: Y, series: &[&Series]) -> Outcome
where
    X: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
    Y: AsRangedCoord<Value = f64, CoordDescType: ValueFormatter<f64>>,
{
    let Some(first) = series.first() else { return Ok(()) };
    // Between powers of ten they show where 2 to 9 are; between equal steps they are only noise.
    let light = |logarithmic| if logarithmic { 10 } else { 1 };
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(36)
        .x_label_area_size(52)
        .y_label_area_size(76)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc(&*first.x_name)
        .y_desc(&*first.y_name)
        .x_label_formatter(&|value| tick(*value))
        .y_label_formatter(&|value| tick(*value))
        .x_max_light_lines(light(first.log_x))
        .y_max_light_lines(light(first.log_y))
        .axis_desc_style(text(16))
        .label_style(text(14))
        .bold_line_style(BLACK.mix(0.2))
        .light_line_style(BLACK.mix(0.06))
        .draw()?;
    for (one, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let points = || one.x.iter().copied().zip(one.y.iter().copied());
        chart.draw_series(LineSeries::new(points(), line(*colour)))?;
        // A series of one point has no line.
        chart.draw_series(points().map(|point| Circle::new(point, 3, colour.filled())))?;
    }
    Ok(())
}

fn text(size: i32) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size).into_font())
}

fn line(colour: RGBColor) -> ShapeStyle {
    colour.stroke_width(2)
}

/// A number at an axis: `64`, `1.5 k`, `16 M`.
fn tick(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        1e9.. => (value / 1e9, " G"),
        1e6.. => (value / 1e6, " M"),
        1e3.. => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let mut decimals = 2;
    while scaled.abs() < 10_f64.powi(1 - decimals) && decimals < 9 && scaled != 0.0 {
        decimals += 1;
    }
    let text = format!("{scaled:.0$}", usize::try_from(decimals).unwrap_or_default());
    // What a sum of steps makes of zero may have a sign.
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let text = if matches!(text, "" | "-" | "-0") { "0" } else { text };
    format!("{text}{unit}")
}

/// From the smallest to the largest of some values.
#[derive(Clone, Copy)]
struct Extent {
    min: f64,
    max: f64,
}

impl Extent {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let nothing = Self { min: f64::INFINITY, max: f64::NEG_INFINITY };
        values.fold(nothing, |Self { min, max }, value| Self { min: min.min(value), max: max.max(value) })
    }

    /// An axis cannot have the same value at both ends.
    fn alone(self) -> Range<f64> {
        if self.min < self.max { self.min..self.max } else { self.min - 1.0..self.max + 1.0 }
    }

    /// With zero, so that heights can be compared, and room above.
    fn with_zero(self) -> Range<f64> {
        let Range { start, end } = Self { min: self.min.min(0.0), max: self.max.max(0.0) }.alone();
        start..end + (end - start) * 0.05
    }

    /// Whole powers of ten. One that is missed by an error of rounding is one.
    fn decades(self) -> Range<f64> {
        const NEAR: f64 = 1e-9;
        let (first, last) = ((self.min.log10() + NEAR).floor(), (self.max.log10() - NEAR).ceil());
        10_f64.powf(first)..10_f64.powf(last.max(first + 1.0))
    }
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;
    use quick_xml::events::Event;

    use super::*;

    fn series(name: &str, x: &[f64], y: &[f64], log_x: bool, log_y: bool) -> Series {
        let (x, y) = (x.to_vec(), y.to_vec());
        let [plot, x_name, y_name] = ["a plot", "payload, bytes", "MB/s"].map(str::to_owned);
        Series { plot, name: name.to_owned(), x_name, y_name, x, y, log_x, log_y, exponent: false }
    }

    /// All texts of a document that every element of which is closed.
    fn texts(svg: &str) -> Vec<String> {
        let mut reader = Reader::from_str(svg);
        let (mut texts, mut open, mut elements) = (Vec::new(), 0, 0);
        loop {
            match reader.read_event().unwrap() {
                Event::Start(element) => {
                    // A browser refuses the whole picture for one attribute that it cannot read.
                    assert!(element.attributes().all(|attribute| attribute.is_ok()));
                    (open, elements) = (open + 1, elements + 1);
                    texts.push(String::new());
                }
                Event::Empty(element) => assert!(element.attributes().all(|attribute| attribute.is_ok())),
                Event::End(_) => open -= 1,
                Event::Text(text) => {
                    if let Some(last) = texts.last_mut() {
                        last.push_str(&text.decode().unwrap());
                    }
                }
                Event::GeneralRef(entity) => {
                    texts.last_mut().unwrap().push_str(&format!("&{};", entity.decode().unwrap()));
                }
                Event::Eof => break,
                _ => {}
            }
        }
        assert!(elements > 0 && open == 0, "{svg}");
        texts.iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect()
    }

    #[test]
    fn a_plot_is_well_formed_and_names_its_title_its_axes_and_its_series() {
        for (log_x, log_y) in [(true, true), (true, false), (false, true), (false, false)] {
            let one = series("handler", &[64.0, 1024.0, 16_777_216.0], &[90.0, 800.0, 4000.0], log_x, log_y);
            let two = series("a < b & \"c\"", &[64.0], &[50.0], log_x, log_y);
            let svg = svg("throughput & payload", &[&one, &two]).unwrap();
            assert!(svg.starts_with("<svg "), "{svg}");
            let texts = texts(&svg);
            for text in ["throughput &amp; payload", "payload, bytes", "MB/s", "handler"] {
                assert!(texts.iter().any(|found| found == text), "{text} is not among {texts:?}");
            }
            assert!(texts.iter().any(|found| found.starts_with("a &lt; b &amp; ")), "{texts:?}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            // Each has its colour, in the legend and in the axes.
            assert!([0, 1].iter().all(|at| {
                let RGBColor(red, green, blue) = COLOURS[*at];
                svg.matches(&format!("#{red:02X}{green:02X}{blue:02X}")).count() >= 3
            }));
        }
    }

    #[test]
    fn a_logarithmic_axis_shows_powers_of_ten() {
        let one = series("n", &[64.0, 1_000_000.0], &[1.0, 2.0], true, false);
        let texts = texts(&svg("t", &[&one]).unwrap());
        for text in ["10", "100", "1 k", "10 k", "100 k", "1 M"] {
            assert!(texts.iter().any(|found| found == text), "{text} is not among {texts:?}");
        }
    }

    #[test]
    fn one_point_and_the_same_value_everywhere_can_be_drawn() {
        for logarithmic in [true, false] {
            let one = series("n", &[10.0], &[10.0], logarithmic, logarithmic);
            let level = series("m", &[10.0, 10.0], &[10.0, 10.0], logarithmic, logarithmic);
            let svg = svg("t", &[&one, &level]).unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        let nothing = series("n", &[0.0], &[0.0], false, false);
        assert_eq!(texts(&svg("t", &[&nothing]).unwrap()).iter().filter(|text| *text == "n").count(), 1);
    }

    #[test]
    fn the_same_series_give_the_same_picture() {
        let one = series("n", &[1.0, 2.0], &[3.0, 4.0], false, true);
        assert_eq!(svg("t", &[&one]), svg("t", &[&one]));
    }

    #[test]
    fn axes_are_labelled_briefly() {
        let shown = [0.0, -0.000_000_000_01, 64.0, 1500.0, 16e6, 2e9, 0.004, 0.25, 10.5, -3.0].map(tick);
        assert_eq!(shown, ["0", "0", "64", "1.5 k", "16 M", "2 G", "0.004", "0.25", "10.5", "-3"]);
        assert_eq!(Extent { min: 64.0, max: 100_000.0 }.decades(), 10.0..100_000.0);
        assert_eq!(Extent { min: 2.0, max: 100.0 / (100.0 - 99.9) }.decades(), 1.0..1000.0);
        assert_eq!(Extent { min: 10.0, max: 10.0 }.decades(), 10.0..100.0);
        assert_eq!(Extent { min: 2.0, max: 4.0 }.with_zero(), 0.0..4.2);
    }

    #[test]
    fn a_file_is_named_after_its_title() {
        assert_eq!(file_name("Cost: message / subscriptions (ns)"), "cost-message-subscriptions-ns.svg");
    }
}
