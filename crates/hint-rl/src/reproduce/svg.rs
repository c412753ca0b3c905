//! Line charts as SVG.

use std::fmt::Write as _;

use super::html::escape;

/// A line with its name.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
    /// The lower and the upper end of the interval of each point; empty without intervals.
    pub(super) band: Vec<(f64, f64)>,
}

/// An axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis<'a> {
    pub(super) name: &'a str,
    /// The text of a place on it.
    pub(super) text: fn(f64) -> String,
}

impl<'a> From<&'a str> for Axis<'a> {
    fn from(name: &'a str) -> Self {
        Self { name, text: number }
    }
}

/// Width and height of a chart, in its own units.
pub(super) const SIZE: (f64, f64) = (560.0, 300.0);
const MARGIN: (f64, f64, f64, f64) = (14.0, 12.0, 40.0, 52.0);
/// Colors of the report's style.
const COLORS: usize = 7;
const DASHES: [&str; 4] = ["", "6 3", "2 3", "9 3 2 3"];

/// A chart of lines, with a legend, for the page. Nothing without points.
pub(super) fn chart(title: &str, axes: (&str, &str), lines: &[Line]) -> String {
    let drawn = drawing([axes.0.into(), axes.1.into()], lines);
    if drawn.is_empty() {
        return drawn;
    }
    let mut svg = format!(
        "<figure><h3>{}</h3><svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">{drawn}</svg>\
         <p class=\"legend\">{}: ",
        escape(title),
        SIZE.0,
        SIZE.1,
        escape(title),
        escape(axes.1)
    );
    for (at_line, line) in lines.iter().enumerate().filter(|(_, line)| !line.points.is_empty()) {
        // Writing to a string cannot fail.
        let _ = write!(
            svg,
            "<span><svg viewBox=\"0 0 26 8\" width=\"26\" height=\"8\"><polyline {} points=\"0,4 26,4\"/></svg> {}</span> ",
            stroke(at_line),
            escape(&line.name)
        );
    }
    svg + "</p></figure>"
}

/// Axes and lines of a chart of [`SIZE`], as the content of an `svg` element. Nothing without points.
pub(super) fn drawing(axes: [Axis<'_>; 2], lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let bounds = |values: &dyn Fn() -> Vec<f64>| {
        let values = values();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low, if high > low { high } else { low + 1.0 })
    };
    if points().next().is_none() {
        return String::new();
    }
    let x = bounds(&|| points().map(|(x, _)| x).collect());
    let ends = || lines.iter().flat_map(|line| &line.band).flat_map(|(low, high)| [*low, *high]);
    let (low, high) = bounds(&|| points().map(|(_, y)| y).chain(ends()).collect());
    let y = (low.min(0.0), high);
    let (top, right, bottom, left) = MARGIN;
    let at = |(px, py): (f64, f64)| {
        let across = left + (px - x.0) / (x.1 - x.0) * (SIZE.0 - left - right);
        let down = SIZE.1 - bottom - (py - y.0) / (y.1 - y.0) * (SIZE.1 - top - bottom);
        (across, down)
    };
    let mut svg = String::new();
    for tick in 0..=4 {
        let share = f64::from(tick) / 4.0;
        let (value, from) = (y.0 + share * (y.1 - y.0), x.0 + share * (x.1 - x.0));
        let (_, down) = at((x.0, value));
        let (across, _) = at((from, y.0));
        let end = SIZE.0 - right;
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{end}\" y1=\"{down:.1}\" y2=\"{down:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text x=\"{across:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            left - 6.0,
            down + 4.0,
            (axes[1].text)(value),
            SIZE.1 - bottom + 16.0,
            (axes[0].text)(from)
        );
    }
    for (at_line, line) in lines.iter().enumerate().filter(|(_, line)| !line.points.is_empty()) {
        let path = |points: &mut dyn Iterator<Item = (f64, f64)>| {
            let point = |point| {
                let (across, down) = at(point);
                format!("{across:.1},{down:.1}")
            };
            points.map(point).collect::<Vec<_>>().join(" ")
        };
        let band = || line.points.iter().zip(&line.band);
        if !line.band.is_empty() {
            let upper = band().map(|((x, _), (_, high))| (*x, *high));
            let lower = band().rev().map(|((x, _), (low, _))| (*x, *low));
            let color = at_line % COLORS;
            let around = path(&mut upper.chain(lower));
            let _ = write!(svg, "<polygon style=\"fill:var(--c{color})\" points=\"{around}\"/>");
        }
        let path = path(&mut line.points.iter().copied());
        let _ = write!(
            svg,
            "<polyline {} points=\"{path}\"><title>{}</title></polyline>",
            stroke(at_line),
            escape(&line.name)
        );
    }
    let (middle, below, name) = (SIZE.0 / 2.0, SIZE.1 - 6.0, escape(axes[0].name));
    let _ = write!(
        svg,
        "<text x=\"{middle:.0}\" y=\"{below:.0}\" text-anchor=\"middle\">{name}</text>"
    );
    svg
}

/// The attributes of the line at this place.
pub(super) fn stroke(at: usize) -> String {
    let dash = DASHES[at / COLORS % DASHES.len()];
    format!("style=\"stroke:var(--c{})\" stroke-dasharray=\"{dash}\"", at % COLORS)
}

/// A number in few digits.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 10_000.0 => format!("{:.0}k", value / 1000.0),
        size if size >= 10.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_shows_every_line_with_points_and_escapes_names() {
        let line = |name: &str, points: &[(f64, f64)]| Line {
            name: name.to_owned(),
            points: points.to_vec(),
            band: Vec::new(),
        };
        let lines =
            [line("a<b", &[(0.0, 0.0), (1.0, 0.5)]), line("empty", &[]), line("c", &[(0.0, 1.0)])];
        let svg = chart("title", ("step", "accuracy"), &lines);
        assert_eq!(svg.matches("<polyline").count(), 4, "a line and its legend for each of two");
        assert!(svg.contains("a&lt;b") && !svg.contains("empty"));
        // The largest value is at the top, the smallest at the bottom.
        assert!(svg.contains("points=\"52.0,260.0 548.0,137.0\""), "{svg}");
        assert_eq!(chart("title", ("x", "y"), &lines[1..2]), "");
    }

    #[test]
    fn an_axis_shows_its_places_by_a_text_of_its_own() {
        let points = vec![(0.0, 1.0), (8.0, 0.5)];
        let line = Line { name: "a".to_owned(), points, band: Vec::new() };
        let powers = Axis { name: "rows", text: |place| number(place.exp2()) };
        let svg = drawing([powers, "ms".into()], &[line]);
        for text in [">1.00<", ">4.00<", ">16<", ">64<", ">256<", ">rows<", ">0.50<"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
        assert!(!svg.contains("<svg"), "it goes into an element of the caller");
    }

    #[test]
    fn a_band_goes_along_the_upper_ends_and_back_along_the_lower_ones() {
        let points = vec![(0.0, 0.5), (1.0, 0.5)];
        let line = Line { name: "a".to_owned(), points, band: vec![(0.0, 1.0), (0.25, 0.75)] };
        let svg = chart("title", ("step", "accuracy"), &[line]);
        assert!(svg.contains("<polygon style=\"fill:var(--c0)\" points=\"52.0,14.0 548.0,75.5 548.0,198.5 52.0,260.0\"/>"), "{svg}");
    }
}
