//! `palisade ci lint`: dangerous shapes in the workflows of a checkout.

use std::path::{Path, PathBuf};

use palisade_ci::lint::{self, Finding, Report, Severity};
use palisade_core::Exit;
use palisade_core::text::{Shown, escaped};
use palisade_host::checkout::top_of;
use serde_json::json;

use super::checkout;
use crate::args::ci::LintArgs;
use crate::failure::Failure;
use crate::output::{BAD, FAINT, GOOD, Output, STRONG, styled};

pub(crate) fn lint(output: Output, args: &LintArgs) -> Result<Exit, Failure> {
    let (top, paths) = chosen(&args.paths)?;
    let read = |path: &str| checkout::text(&top.join(path)).ok();
    let report = lint::lint(&paths, &read);
    let exit = if report.errors() > 0 { Exit::Refused } else { Exit::Done };
    output.document(&json!({
        "exit": exit.number(), "top": top, "workflows": paths, "findings": report.findings, "unread": report.unread,
    }))?;
    for finding in report.findings.iter().filter(|finding| finding.accepted.is_none()) {
        for line in told(finding) {
            output.data(line)?;
        }
    }
    tell(output, &report);
    Ok(exit)
}

/// The top folder and the workflows below it. None at all is an error, never "all is well".
fn chosen(given: &[PathBuf]) -> Result<(PathBuf, Vec<String>), Failure> {
    let current = std::env::current_dir()?;
    let first = given.first().map_or(current.as_path(), PathBuf::as_path);
    let first = first.canonicalize().map_err(|error| {
        Failure::usage(format!("cannot open {}: {error}", first.display()))
            .hint("name a workflow or a folder")
    })?;
    let beside = if first.is_dir() { first.as_path() } else { first.parent().unwrap_or(&first) };
    let top = top_of(beside).unwrap_or_else(|| beside.to_owned());
    let mut files = Vec::new();
    for path in given {
        files.extend(if path.is_dir() { checkout::workflows(path) } else { vec![path.clone()] });
    }
    if given.is_empty() {
        files = checkout::workflows(&top);
    }
    let below = |path: &PathBuf| {
        let shown = checkout::shown(Some(&top), path);
        if Path::new(&shown).is_absolute() || shown.starts_with("..") {
            return Err(Failure::usage(format!("{} is not in {}", path.display(), top.display()))
                .hint("look at one checkout at a time"));
        }
        Ok(shown)
    };
    let paths: Vec<String> = files.iter().map(below).collect::<Result<_, _>>()?;
    if paths.is_empty() {
        return Err(Failure::usage("there is no workflow here")
            .hint("go into a checkout, or name files such as .gitea/workflows/deploy.yml"));
    }
    Ok((top, paths))
}

fn told(finding: &Finding) -> Vec<String> {
    let word = match finding.severity {
        Severity::Error => styled(BAD, "error"),
        Severity::Warning => styled(STRONG, "warning"),
    };
    let place = format!("{}:{}", Shown(&finding.spot.file), finding.spot.line);
    let mut lines = vec![
        format!("{place}: {word} {} {}", finding.code, escaped(&finding.message)),
        format!("  fix: {}", escaped(&finding.fix)),
    ];
    if !finding.via.is_empty() {
        let via: Vec<String> =
            finding.via.iter().map(|spot| format!("{}:{}", Shown(&spot.file), spot.line)).collect();
        lines.push(styled(FAINT, format!("  called from: {}", via.join(" > "))));
    }
    lines
}

fn tell(output: Output, report: &Report) {
    let count = |severity| {
        let open = |finding: &&Finding| finding.severity == severity && finding.accepted.is_none();
        report.findings.iter().filter(open).count()
    };
    let accepted = report.findings.iter().filter(|finding| finding.accepted.is_some()).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let style = if errors == 0 { GOOD } else { BAD };
    let sum = format!("{errors} errors, {warnings} warnings, {accepted} accepted");
    output.talk(format_args!("{} in {} workflows", styled(style, sum), report.workflows));
    if !report.unread.is_empty() {
        let names: Vec<String> = report.unread.iter().map(|name| Shown(name).to_string()).collect();
        output.talk(format_args!("called and not in this checkout, so not looked at: {}", names.join(", ")));
    }
}
