//! Plots for people: one panel per quantity, seconds from left to right, as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 130.0;
/// Around a panel: left for the scale, above for the title.
const LEFT: f64 = 80.0;
const ABOVE: f64 = 26.0;
const BELOW: f64 = 14.0;

/// A quantity, by the second.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) values: Vec<f64>,
}

/// Draws the panels below each other; `marks` are moments that all of them show. Scales begin at zero.
pub(super) fn svg(title: &str, panels: &[Panel], marks: &[usize]) -> String {
    let (width, step) = (LEFT + WIDTH + 20.0, ABOVE + HEIGHT + BELOW);
    let height = ABOVE + step * panels.len() as f64;
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#fff"/>
<text x="{LEFT}" y="17" font-size="14">{title}</text>
"##
    );
    for (number, panel) in panels.iter().enumerate() {
        let top = ABOVE + step * number as f64 + ABOVE;
        // Writing to a string does not fail.
        let _ = draw(&mut out, panel, marks, top);
    }
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, Panel { title, values }: &Panel, marks: &[usize], top: f64) -> std::fmt::Result {
    let bottom = top + HEIGHT;
    let end = values.len().saturating_sub(1).max(1) as f64;
    let most = values.iter().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE) * 1.05;
    let x = |second: usize| LEFT + WIDTH * second as f64 / end;
    let y = |value: f64| bottom - HEIGHT * value / most;
    writeln!(out, r#"<text x="{LEFT}" y="{:.1}">{title}</text>"#, top - 6.0)?;
    writeln!(
        out,
        r##"<rect x="{LEFT}" y="{top:.1}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>"##
    )?;
    for share in [0.0, 0.5, 1.0] {
        let value = most / 1.05 * share;
        let decimals = usize::from(most < 10.0);
        writeln!(
            out,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{value:.decimals$}</text>"#,
            LEFT - 6.0,
            y(value) + 4.0
        )?;
    }
    for at in marks.iter().filter(|at| **at < values.len()) {
        let x = x(*at);
        writeln!(
            out,
            r##"<line x1="{x:.1}" y1="{top:.1}" x2="{x:.1}" y2="{bottom:.1}" stroke="#e5c07b" stroke-width="0.7"/>"##
        )?;
    }
    write!(out, r##"<polyline fill="none" stroke="#2f6db3" stroke-width="1.2" points=""##)?;
    for (second, value) in values.iter().enumerate() {
        write!(out, "{:.1},{:.1} ", x(second), y(*value))?;
    }
    writeln!(out, r#""/>"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_has_a_point_for_each_value_and_a_line_for_each_mark_inside() {
        let panels = [Panel { title: "threads", values: vec![0.0, 5.0, 10.0] }];
        let svg = svg("a run", &panels, &[1, 7]);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
        let (_, points) = svg.split_once("points=\"").unwrap();
        let points: Vec<&str> = points.split('"').next().unwrap().split_whitespace().collect();
        assert_eq!(points.len(), 3);
        // From the lower left corner to the right, nearly at the top.
        let (lower, upper) = (ABOVE + ABOVE + HEIGHT, ABOVE + ABOVE + HEIGHT - HEIGHT / 1.05);
        assert_eq!(points[0], format!("{LEFT:.1},{lower:.1}"));
        assert_eq!(points[2], format!("{:.1},{upper:.1}", LEFT + WIDTH));
        assert_eq!(svg.matches("<line ").count(), 1);
        assert!(svg.contains(">10</text>") && svg.contains(">threads</text>"), "{svg}");
    }

    #[test]
    fn nothing_can_be_drawn() {
        let svg = svg("nothing", &[Panel { title: "memory", values: Vec::new() }], &[0]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
