//! The results as Markdown.

use std::fmt::Write as _;

use crate::stats::{Ratio, Series};

/// One part of the results.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    /// What is compared, and under which circumstances.
    pub(crate) note: String,
    pub(crate) series: Vec<Series>,
    pub(crate) ratios: Vec<Ratio>,
    pub(crate) targets: Vec<Target>,
}

/// A figure that was promised.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) text: &'static str,
    pub(crate) figure: String,
    pub(crate) met: bool,
}

impl Target {
    /// At most `limit`.
    pub(crate) fn at_most(text: &'static str, figure: f64, limit: f64, unit: &str) -> Self {
        Self { text, figure: format!("{}{unit}", number(figure)), met: figure <= limit }
    }

    /// At least `limit`.
    pub(crate) fn at_least(text: &'static str, figure: f64, limit: f64, unit: &str) -> Self {
        Self { text, figure: format!("{}{unit}", number(figure)), met: figure >= limit }
    }
}

/// The whole file.
pub(crate) fn markdown(head: &[String], sections: &[Section]) -> String {
    let mut text = String::from("# Speed, measured\n\n");
    head.iter().for_each(|line| push(&mut text, format_args!("* {line}")));
    push(&mut text, format_args!("\n| target | measured | |\n|---|---|---|"));
    for target in sections.iter().flat_map(|section| &section.targets) {
        let verdict = if target.met { "met" } else { "**not met**" };
        push(&mut text, format_args!("| {} | {} | {verdict} |", target.text, target.figure));
    }
    sections.iter().for_each(|section| self::section(&mut text, section));
    text
}

fn section(text: &mut String, section: &Section) {
    let Section { title, note, series, ratios, .. } = section;
    push(text, format_args!("\n## {title}\n\n{note}\n"));
    push(text, format_args!("| | n | min | median | max |\n|---|---|---|---|---|"));
    for one in series {
        let (min, median, max) = (number(one.min()), number(one.median()), number(one.max()));
        let (name, n, unit) = (&one.name, one.values.len(), one.unit);
        push(text, format_args!("| {name} ({unit}) | {n} | {min} | {median} | {max} |"));
    }
    if ratios.is_empty() {
        return;
    }
    push(text, format_args!("\n| ratio | of medians | min..max of the rounds |\n|---|---|---|"));
    for ratio in ratios {
        let (min, max) = (number(ratio.rounds.min()), number(ratio.rounds.max()));
        push(text, format_args!("| {} | {} | {min}..{max} |", ratio.name, number(ratio.of_medians)));
    }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a String does not fail");
}
