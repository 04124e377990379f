//! What was measured, against what was aimed at.

use std::fmt::{self, Write as _};

use super::samples::Samples;

/// What a ratio, or a figure, has to keep to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// It is no more than this.
    AtMost(f64),
    /// It is no less than this.
    AtLeast(f64),
}

impl Target {
    fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtMost(most) => figure <= most,
            Self::AtLeast(least) => figure >= least,
        }
    }

    /// By how many parts of itself it is missed.
    fn missed_by(self, figure: f64) -> f64 {
        match self {
            Self::AtMost(most) => figure / most - 1.0,
            Self::AtLeast(least) => 1.0 - figure / least,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}

/// One line of the table of targets.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// Ours, as people read it.
    pub ours: String,
    /// What it is compared with, as people read it.
    pub base: String,
    /// What has to keep to the target: mostly how many times the base ours is.
    pub figure: f64,
    /// What it has to keep to.
    pub target: Target,
}

impl Row {
    /// Whether the target is reached.
    pub fn holds(&self) -> bool {
        self.target.holds(self.figure)
    }
}

/// How a cost grows with something.
#[derive(Debug, Clone)]
pub struct Growth {
    /// The name of the plot's file, without its extension.
    pub name: &'static str,
    /// What grows.
    pub title: &'static str,
    /// The horizontal axis.
    pub along: &'static str,
    /// The vertical axis, with its unit.
    pub cost: &'static str,
    /// What is compared: each a name and its points.
    pub series: Vec<(String, Vec<(f64, f64)>)>,
    /// What bounds it.
    pub bound: &'static str,
}

/// The machine, and what ran on it.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Each a name and a value.
    pub facts: Vec<(&'static str, String)>,
}

/// Everything that one run measured.
#[derive(Debug, Clone)]
pub struct Report {
    /// Where it was measured.
    pub setting: Setting,
    /// The targets.
    pub rows: Vec<Row>,
    /// How costs grow.
    pub growths: Vec<Growth>,
}

impl Report {
    /// The document, whose plots are in `plots`, a folder beside it. `prose` is what people have
    /// to say to it.
    pub fn markdown(&self, plots: &str, prose: &str) -> String {
        let mut text = String::from(
            "# Performance\n\n\
             This page is written by `cargo run --release -p kami-tests --bin drive`, which starts \
             the real server\nand a native one, and measures both with the same client, by turns. \
             Times are medians unless they\nsay otherwise. Compare ratios; the figures are those of \
             one small machine.\n\n",
        );
        self.write(&mut text, plots, prose).expect("there is room in memory");
        text
    }

    fn write(&self, text: &mut String, plots: &str, prose: &str) -> fmt::Result {
        writeln!(text, "| where and when | |\n|---|---|")?;
        for (name, value) in &self.setting.facts {
            writeln!(text, "| {name} | {value} |")?;
        }
        writeln!(text, "\n## Targets\n")?;
        writeln!(text, "| what | ours | compared with | ratio | target | |")?;
        writeln!(text, "|---|---|---|---|---|---|")?;
        for row in &self.rows {
            let Row { what, ours, base, figure, target } = row;
            let verdict = match row.holds() {
                true => "holds".to_owned(),
                false => format!("**missed** by {:.0} %", target.missed_by(*figure) * 100.0),
            };
            writeln!(text, "| {what} | {ours} | {base} | {figure:.2} | {target} | {verdict} |")?;
        }
        writeln!(text, "\n{}", prose.trim_end())?;
        if !self.growths.is_empty() {
            writeln!(text, "\n## How costs grow")?;
        }
        for growth in &self.growths {
            growth.write(text, plots)?;
        }
        Ok(())
    }
}

impl Growth {
    fn write(&self, text: &mut String, plots: &str) -> fmt::Result {
        let Self { name, title, along, cost, series, bound } = self;
        writeln!(text, "\n### {title}\n")?;
        writeln!(text, "![{title}]({plots}/{name}.svg)\n")?;
        write!(text, "| {along} |")?;
        series.iter().try_for_each(|(name, _)| write!(text, " {name}, {cost} |"))?;
        writeln!(text, "\n|---|{}", "---|".repeat(series.len()))?;
        let places = series.first().map_or(&[][..], |(_, points)| points);
        for (at, (x, _)) in places.iter().enumerate() {
            write!(text, "| {x} |")?;
            for (_, points) in series {
                match points.get(at) {
                    Some((_, y)) => write!(text, " {} |", three_digits(*y))?,
                    None => write!(text, " |")?,
                }
            }
            writeln!(text)?;
        }
        writeln!(text, "\n{bound}")
    }
}

fn three_digits(value: f64) -> String {
    let digits = match value {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

/// The median and the 99th percentile, as people read them.
pub fn shown(samples: &Samples) -> String {
    use super::samples::Shown;

    format!("{} (p99 {})", Shown(samples.median()), Shown(samples.p99()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_target_says_by_how_much() {
        let row = |figure, target| Row {
            what: "a call".to_owned(),
            ours: "3 µs".to_owned(),
            base: "2 µs".to_owned(),
            figure,
            target,
        };
        let report = Report {
            setting: Setting { facts: vec![("date", "today".to_owned())] },
            rows: vec![
                row(1.5, Target::AtMost(1.2)),
                row(1.5, Target::AtMost(1.5)),
                row(3.0, Target::AtLeast(4.0)),
            ],
            growths: Vec::new(),
        };
        let text = report.markdown("plots", "Prose.");
        let verdicts: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("| a call | ")).collect();
        assert_eq!(
            verdicts,
            [
                "3 µs | 2 µs | 1.50 | ≤ 1.2 | **missed** by 25 % |",
                "3 µs | 2 µs | 1.50 | ≤ 1.5 | holds |",
                "3 µs | 2 µs | 3.00 | ≥ 4 | **missed** by 25 % |",
            ]
        );
    }
}
