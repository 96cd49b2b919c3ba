//! What stands in a file: one struct per section, each value checked by itself and kept with its span.
//!
//! Rules that look at two values at once are in [`crate::ownership`] for a host file and in [`crate::narrow`]
//! for a project file.

use std::ops::Range;
use std::time::Duration;

use palisade_core::deployer::{Deployer, Folder, Namespace};
use palisade_core::policy::Mode;
use palisade_core::text::{Shown, nearest};
use palisade_core::{AppName, EnvironmentName, Operation, Pattern, Scope};
use toml::Spanned;
use toml::de::DeTable;

use crate::deployers;
use crate::keys;
use crate::notify::{self, WrittenNotify};
use crate::problem::Problem;
use crate::section::Section;

/// Which kind of file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The host's policy: complete.
    Host,
    /// A project's file: whatever it wants to narrow.
    Project,
}

/// The whole file.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) revision: Option<Spanned<u64>>,
    pub(crate) environments: Vec<WrittenEnvironment>,
    pub(crate) apps: Vec<WrittenApp>,
    pub(crate) protected: Vec<Spanned<Pattern>>,
    pub(crate) limits: WrittenLimits,
    pub(crate) notify: WrittenNotify,
}

/// `[environments.NAME]`.
#[derive(Debug)]
pub(crate) struct WrittenEnvironment {
    pub(crate) name: Spanned<EnvironmentName>,
    pub(crate) suffix: Option<Spanned<String>>,
    pub(crate) mode: Option<Spanned<Mode>>,
}

/// `[[app]]`, with a name and an environment that are at least possible.
#[derive(Debug)]
pub(crate) struct WrittenApp {
    pub(crate) scope: Scope,
    /// Span of the app's name.
    pub(crate) name: Range<usize>,
    /// Span of the environment's name.
    pub(crate) environment: Range<usize>,
    /// `None` where a project file leaves them as they are.
    pub(crate) processes: Option<Vec<Spanned<Pattern>>>,
    pub(crate) confirm: Vec<Spanned<Operation>>,
    pub(crate) mode: Option<Spanned<Mode>>,
    /// `None` where they are not written.
    pub(crate) folders: Option<Vec<Spanned<Folder>>>,
    pub(crate) namespace: Option<Spanned<Namespace>>,
    /// `None` where they are not written.
    pub(crate) deployers: Option<Vec<Spanned<Deployer>>>,
}

/// `[limits]`.
#[derive(Debug, Default)]
pub(crate) struct WrittenLimits {
    pub(crate) all_above: Option<Spanned<u32>>,
    pub(crate) share_per_mille: Option<Spanned<u16>>,
    pub(crate) budget: Option<Spanned<u32>>,
    pub(crate) job_budget: Option<Spanned<u32>>,
    pub(crate) window: Option<Spanned<Duration>>,
}

/// The largest revision: what every JSON reader takes for a whole number.
pub(crate) const MAX_REVISION: i64 = (1 << 53) - 1;

impl Written {
    /// Reads `text`. A mistake of syntax hides everything else, hence is reported alone.
    pub(crate) fn read(text: &str, kind: Kind, found: &mut Vec<Problem>) -> Self {
        let document = match DeTable::parse(text) {
            Ok(document) => document,
            Err(error) => {
                found.push(syntax_problem(text, &error));
                return Self::default();
            }
        };
        let top = Section::open("this file", 0..0, document.get_ref(), keys::TOP, found);
        if kind == Kind::Host {
            top.require("revision", found);
        }
        Self {
            revision: top.integer("revision", found).and_then(|value| revision(&value, found)),
            environments: read_environments(&top, found),
            apps: read_apps(&top, kind, found),
            protected: top.texts("protected", found).map(|list| patterns(&list, found)).unwrap_or_default(),
            limits: top.table("limits", found).map(|table| read_limits(&table, found)).unwrap_or_default(),
            notify: notify::read(&top, kind, found),
        }
    }
}

fn syntax_problem(text: &str, error: &toml::de::Error) -> Problem {
    let span = error.span().unwrap_or(text.len()..text.len());
    let (message, fix) = ("this is not TOML", "put this line right first; other problems show up after it");
    Problem::invalid(span, message, error.message(), fix)
}

fn read_environments(top: &Section<'_>, found: &mut Vec<Problem>) -> Vec<WrittenEnvironment> {
    let tables = top.named_tables("environments", found);
    let mut environments = Vec::new();
    for (name, table) in tables {
        let shown = format!("[environments.{}]", Shown(name.get_ref()));
        let section = Section::open(shown, name.span(), table, keys::ENVIRONMENT, found);
        let suffix = section.text("suffix", found).and_then(|text| suffix(&text, found));
        let mode = section.text("mode", found).and_then(|text| mode(&text, found));
        if let Some(name) = named(&name, EnvironmentName::new, found) {
            environments.push(WrittenEnvironment { name, suffix, mode });
        }
    }
    environments
}

fn read_apps(top: &Section<'_>, kind: Kind, found: &mut Vec<Problem>) -> Vec<WrittenApp> {
    let tables = top.list_of_tables("app", found);
    tables.into_iter().filter_map(|table| read_app(&table, kind, found)).collect()
}

fn read_app(table: &Spanned<&DeTable<'_>>, kind: Kind, found: &mut Vec<Problem>) -> Option<WrittenApp> {
    let section = Section::open("this [[app]]", table.span(), table.get_ref(), keys::APP, found);
    section.require("name", found);
    section.require("environment", found);
    if kind == Kind::Host {
        section.require("processes", found);
    }
    let name = section.text("name", found).and_then(|text| named(&text, AppName::new, found));
    let environment =
        section.text("environment", found).and_then(|text| named(&text, EnvironmentName::new, found));
    let processes = section.texts("processes", found).map(|list| {
        refuse_empty(&list, found);
        patterns(&list, found)
    });
    let confirm = section.texts("confirm", found).map(|list| operations(&list, found)).unwrap_or_default();
    let mode = section.text("mode", found).and_then(|text| mode(&text, found));
    let folders = deployers::folders(&section, found);
    let namespace = deployers::namespace(&section, found);
    let deployers = deployers::deployers(&section, found);
    let (name, environment) = (name?, environment?);
    let (name_span, environment_span) = (name.span(), environment.span());
    Some(WrittenApp {
        scope: Scope::new(name.into_inner(), environment.into_inner()),
        name: name_span,
        environment: environment_span,
        processes,
        confirm,
        mode,
        folders,
        namespace,
        deployers,
    })
}

fn read_limits(table: &Spanned<&DeTable<'_>>, found: &mut Vec<Problem>) -> WrittenLimits {
    let section = Section::open("[limits]", table.span(), table.get_ref(), keys::LIMITS, found);
    WrittenLimits {
        all_above: section.integer("all_above", found).and_then(|value| count(&value, "all_above", 0, found)),
        share_per_mille: section.number("share", found).and_then(|value| share(&value, found)),
        budget: section.integer("budget", found).and_then(|value| count(&value, "budget", 1, found)),
        job_budget: section
            .integer("job_budget", found)
            .and_then(|value| count(&value, "job_budget", 1, found)),
        window: section.text("window", found).and_then(|text| window(&text, found)),
    }
}

fn revision(value: &Spanned<i64>, found: &mut Vec<Problem>) -> Option<Spanned<u64>> {
    let fits = (1..=MAX_REVISION).contains(value.get_ref());
    if !fits {
        found.push(Problem::invalid(
            value.span(),
            format!("`revision` must be 1 to {MAX_REVISION}"),
            "out of range",
            "begin with revision = 1 and raise it with every change",
        ));
    }
    Some(Spanned::new(value.span(), u64::try_from(*value.get_ref()).ok().filter(|_| fits)?))
}

fn count(value: &Spanned<i64>, key: &str, least: u32, found: &mut Vec<Problem>) -> Option<Spanned<u32>> {
    let count = u32::try_from(*value.get_ref()).ok().filter(|count| *count >= least);
    if count.is_none() {
        found.push(Problem::invalid(
            value.span(),
            format!("`{key}` must be {least} to {}", u32::MAX),
            "out of range",
            format!("write a number of processes, {least} or more"),
        ));
    }
    Some(Spanned::new(value.span(), count?))
}

/// A share as thousandths. Finer shares are refused, for rounding up would widen.
fn share(value: &Spanned<f64>, found: &mut Vec<Problem>) -> Option<Spanned<u16>> {
    let exact = value.get_ref() * 1000.0;
    let per_mille = (0..=1000_u16).find(|per_mille| (f64::from(*per_mille) - exact).abs() < 1e-6);
    if per_mille.is_none() {
        found.push(Problem::invalid(
            value.span(),
            "`share` must be 0 to 1, with at most three decimals",
            "not such a number",
            "0.8 means: at most 80 % of the daemon's processes in one operation",
        ));
    }
    Some(Spanned::new(value.span(), per_mille?))
}

pub(crate) fn window(text: &Spanned<&str>, found: &mut Vec<Problem>) -> Option<Spanned<Duration>> {
    let parsed = humantime::parse_duration(text.get_ref());
    let (message, label) = match parsed {
        Ok(window) if !window.is_zero() => return Some(Spanned::new(text.span(), window)),
        Ok(_) => {
            ("`window` must be longer than nothing".to_owned(), "a budget over no time never counts".into())
        }
        Err(error) => ("`window` must be a duration".to_owned(), error.to_string()),
    };
    let fix = "write a number and a unit: \"10m\", \"90s\", \"1h 30m\"";
    found.push(Problem::invalid(text.span(), message, label, fix));
    None
}

fn suffix(text: &Spanned<&str>, found: &mut Vec<Problem>) -> Option<Spanned<String>> {
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'))
    };
    let words = text.get_ref().strip_prefix('-');
    if words.is_some_and(|words| words.split('-').all(is_word)) {
        return Some(Spanned::new(text.span(), (*text.get_ref()).to_owned()));
    }
    found.push(Problem::invalid(
        text.span(),
        format!("the suffix {:?} is not a hyphen and a word", Shown(text.get_ref()).to_string()),
        "must look like \"-test\"",
        "write what every process name of this environment ends with, with its hyphen",
    ));
    None
}

fn mode(text: &Spanned<&str>, found: &mut Vec<Problem>) -> Option<Spanned<Mode>> {
    let known = [("observe", Mode::Observe), ("enforce", Mode::Enforce)];
    one_of(text, "mode", &known, found)
}

fn operations(list: &Spanned<Vec<Spanned<&str>>>, found: &mut Vec<Problem>) -> Vec<Spanned<Operation>> {
    let known = OPERATIONS.map(|operation| (operation.as_str(), operation));
    list.get_ref().iter().filter_map(|text| one_of(text, "operation", &known, found)).collect()
}

/// What `confirm` may name.
pub(crate) const OPERATIONS: [Operation; 5] =
    [Operation::Delete, Operation::Stop, Operation::Restart, Operation::Reload, Operation::Restore];

pub(crate) fn one_of<T: Copy>(
    text: &Spanned<&str>,
    what: &str,
    known: &[(&str, T)],
    found: &mut Vec<Problem>,
) -> Option<Spanned<T>> {
    if let Some((_, value)) = known.iter().find(|(word, _)| word == text.get_ref()) {
        return Some(Spanned::new(text.span(), *value));
    }
    let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
    let all = words.join(", ");
    let fix = match nearest(text.get_ref(), words.iter().copied()) {
        Some(word) => format!("did you mean \"{word}\"? Known are: {all}"),
        None => format!("use one of: {all}"),
    };
    found.push(Problem::invalid(
        text.span(),
        format!("{:?} is no {what}", Shown(text.get_ref()).to_string()),
        format!("not a known {what}"),
        fix,
    ));
    None
}

fn named<T, E: std::fmt::Display>(
    text: &Spanned<&str>,
    new: impl FnOnce(&str) -> Result<T, E>,
    found: &mut Vec<Problem>,
) -> Option<Spanned<T>> {
    match new(text.get_ref()) {
        Ok(name) => Some(Spanned::new(text.span(), name)),
        Err(error) => {
            let fix = "use 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or a digit";
            found.push(Problem::invalid(text.span(), error.to_string(), "not a name", fix));
            None
        }
    }
}

fn refuse_empty(list: &Spanned<Vec<Spanned<&str>>>, found: &mut Vec<Problem>) {
    if list.get_ref().is_empty() {
        found.push(Problem::invalid(
            list.span(),
            "`processes` is empty",
            "an app has to own at least one process",
            "name its processes, or take the whole entry out",
        ));
    }
}

fn patterns(list: &Spanned<Vec<Spanned<&str>>>, found: &mut Vec<Problem>) -> Vec<Spanned<Pattern>> {
    let mut patterns: Vec<Spanned<Pattern>> = Vec::new();
    for text in list.get_ref() {
        let first = patterns.iter().find(|earlier| earlier.get_ref().as_str() == *text.get_ref());
        match (Pattern::new(text.get_ref()), first) {
            (Ok(_), Some(first)) => found.push(listed_twice(text, first.span())),
            (Ok(pattern), None) => patterns.push(Spanned::new(text.span(), pattern)),
            (Err(error), _) => {
                let fix = "write a whole process name, or `*` for whole words between hyphens: \"flyer-*\"";
                found.push(Problem::invalid(text.span(), error.to_string(), "not a pattern", fix));
            }
        }
    }
    patterns
}

fn listed_twice(text: &Spanned<&str>, first: Range<usize>) -> Problem {
    let message = format!("{:?} is listed twice", Shown(text.get_ref()).to_string());
    Problem::invalid(text.span(), message, "again", "take one of them out").because_of(first, "first here")
}
