//! Points of a plot, as lines of a table and as a chart.

use std::fmt::Write as _;

use super::html::escape;
use super::peer::Spread;
use super::svg::{Axis, Line, SIZE, drawing, number, stroke};

/// The first line of the CSV file.
pub(crate) const HEADER: &str = "plot,size,unit,precision,side,median,least,most,runs,peak_gib\n";

/// Colors as in the reports of `hint-rl`.
const STYLE: &str = "svg { --c0: #2f5fc4; --c1: #d0701a; --c2: #128a7d; --c3: #8550bd; font-family: sans-serif; } \
     polyline { fill: none; stroke-width: 1.8; } polygon { fill-opacity: 0.12; stroke: none; } \
     text { fill: #444; font-size: 11px; } .title { font-size: 14px; } .grid { stroke: #ddd; }";

/// Height of the title with the unit below it, and of a line of the legend.
const HEAD: f64 = 44.0;
const ENTRY: f64 = 18.0;

/// The places of numbers on both axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    /// To the base 2: a power law is a straight line.
    Logarithmic,
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logarithmic => value.log2(),
        }
    }

    fn axis(self, name: &str) -> Axis<'_> {
        let text: fn(f64) -> String = match self {
            Self::Linear => number,
            Self::Logarithmic => |place: f64| number(place.exp2()),
        };
        Axis { name, text }
    }
}

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plot {
    /// The name of its file.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What grows.
    pub(crate) over: &'static str,
    /// Unit of the numbers.
    pub(crate) unit: &'static str,
    pub(crate) scale: Scale,
}

/// The numbers of a side at a size.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) size: usize,
    pub(crate) precision: String,
    pub(crate) side: &'static str,
    pub(crate) spread: Spread,
    pub(crate) runs: usize,
    /// Most memory of the process so far.
    pub(crate) peak_gib: f64,
}

impl Plot {
    /// A row of the printed table.
    pub(crate) fn row(&self, point: &Point) -> String {
        let Point { size, precision, side, spread, peak_gib, .. } = point;
        let [median, least, most] = [spread.median, spread.least, spread.most].map(|value| {
            // Three digits of small numbers.
            if value < 1.0 { format!("{value:.3}") } else { format!("{value:.2}") }
        });
        let (name, unit) = (self.name, self.unit);
        format!(
            "| {name} | {size} | {precision} | {side} | {median} | {least} to {most} | {unit} | {peak_gib:.2} |"
        )
    }

    /// The CSV file `former`, which begins with [`HEADER`], with these points in place of its lines of this plot.
    pub(crate) fn replaced(&self, former: &str, points: &[Point]) -> String {
        let mut csv = HEADER.to_owned();
        for line in former.lines().skip(1) {
            if line.split(',').next() != Some(self.name) {
                csv.push_str(line);
                csv.push('\n');
            }
        }
        for Point { size, precision, side, spread, runs, peak_gib } in points {
            let Spread { median, least, most } = spread;
            // Writing to a string cannot fail.
            let _ = writeln!(
                csv,
                "{},{size},{},{precision},{side},{median},{least},{most},{runs},{peak_gib}",
                self.name, self.unit
            );
        }
        csv
    }

    /// The chart as an SVG file: medians as lines, the range from least to most around them. The legend names sides and
    /// precisions, and the description has the command.
    pub(crate) fn svg(&self, points: &[Point], processor: &str, command: &str) -> String {
        let mut lines = Vec::<Line>::new();
        for point in points {
            let name = format!("{}, {}", point.side, point.precision);
            let at = lines.iter().position(|line| line.name == name).unwrap_or_else(|| {
                lines.push(Line { name, points: Vec::new(), band: Vec::new() });
                lines.len() - 1
            });
            let place = |value| self.scale.place(value);
            let Spread { median, least, most } = point.spread;
            lines[at].points.push((place(point.size as f64), place(median)));
            lines[at].band.push((place(least), place(most)));
        }
        let drawn = drawing([self.scale.axis(self.over), self.scale.axis(self.unit)], &lines);
        let (width, inner) = SIZE;
        let height = HEAD + inner + ENTRY * (lines.len() as f64 + 0.5);
        let (title, unit, processor) = (escape(self.title), escape(self.unit), escape(processor));
        let command = escape(command);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\n\
             <desc>{command}</desc>\n<style>{STYLE}</style>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
             <text class=\"title\" x=\"10\" y=\"20\">{title}</text>\n\
             <text x=\"10\" y=\"38\">{unit}; {processor}</text>\n<g transform=\"translate(0 {HEAD})\">{drawn}</g>\n"
        );
        let mut below = HEAD + inner;
        for (at, line) in lines.iter().enumerate() {
            below += ENTRY;
            let _ = writeln!(
                svg,
                "<g transform=\"translate(52 {below})\"><polyline {} points=\"0,-4 26,-4\"/><text x=\"32\">{}</text></g>",
                stroke(at),
                escape(&line.name)
            );
        }
        svg + "</svg>\n"
    }
}
