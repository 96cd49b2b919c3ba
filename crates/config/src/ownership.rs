//! Rules of a host file that look at several values: whose a process is must have one answer.

use std::collections::{BTreeMap, BTreeSet};

use palisade_core::text::{Shown, nearest};
use palisade_core::{EnvironmentName, Pattern, Scope};
use toml::Spanned;

use crate::deployers;
use crate::problem::Problem;
use crate::written::{Written, WrittenApp};

/// A scope's claim to a pattern.
type Claim<'w> = (&'w Scope, &'w Spanned<Pattern>);

/// The suffixes of a file's environments.
type Suffixes<'w> = BTreeMap<&'w EnvironmentName, Option<&'w str>>;

/// Notes everything about `written` that would leave a process with two owners, or with none that can be meant.
pub(crate) fn check(written: &Written, found: &mut Vec<Problem>) {
    let suffixes: Suffixes<'_> = written
        .environments
        .iter()
        .map(|environment| {
            let suffix = environment.suffix.as_ref().map(|suffix| suffix.get_ref().as_str());
            (environment.name.get_ref(), suffix)
        })
        .collect();
    equal_suffixes(written, found);
    duplicate_scopes(&written.apps, found);
    unknown_environments(&written.apps, &suffixes, found);
    deployers::shared(&written.apps, found);
    let claims: Vec<Claim<'_>> = written
        .apps
        .iter()
        .flat_map(|app| app.processes.iter().flatten().map(move |pattern| (&app.scope, pattern)))
        .collect();
    found.extend(claims.iter().filter_map(|claim| suffix_contradiction(*claim, &suffixes)));
    let bound: BTreeSet<&Scope> =
        written.apps.iter().filter(|app| app.namespace.is_some()).map(|app| &app.scope).collect();
    equal_names(&claims, &bound, found);
    overlapping_globs(&claims, &suffixes, found);
}

fn equal_suffixes(written: &Written, found: &mut Vec<Problem>) {
    let mut seen = BTreeMap::new();
    for environment in &written.environments {
        let Some(suffix) = &environment.suffix else { continue };
        if let Some((first, span)) = seen.get(suffix.get_ref()) {
            let problem = Problem::invalid(
                suffix.span(),
                format!("{} and {first} have the same suffix", environment.name.get_ref()),
                "the same suffix",
                "a suffix tells environments apart: give each its own",
            );
            found.push(problem.because_of(Clone::clone(span), "first here"));
        } else {
            seen.insert(suffix.get_ref(), (environment.name.get_ref(), suffix.span()));
        }
    }
}

/// Notes every second entry for one scope.
pub(crate) fn duplicate_scopes(apps: &[WrittenApp], found: &mut Vec<Problem>) {
    let mut seen = BTreeMap::new();
    for app in apps {
        if let Some(first) = seen.get(&app.scope) {
            let problem = Problem::invalid(
                app.name.clone(),
                format!("a second entry for {}", app.scope),
                "again",
                "put the processes of both into one [[app]]",
            );
            found.push(problem.because_of(Clone::clone(first), "first here"));
        } else {
            seen.insert(&app.scope, app.name.clone());
        }
    }
}

fn unknown_environments(apps: &[WrittenApp], suffixes: &Suffixes<'_>, found: &mut Vec<Problem>) {
    for app in apps.iter().filter(|app| !suffixes.contains_key(&app.scope.environment)) {
        let environment = &app.scope.environment;
        let known = || suffixes.keys().map(|name| name.as_str());
        let fix = match nearest(environment.as_str(), known()) {
            Some(word) => format!("did you mean \"{word}\"?"),
            None => format!("add [environments.{environment}], or use one of: {}", listed(known())),
        };
        found.push(Problem::invalid(
            app.environment.clone(),
            format!("the file has no environment {environment}"),
            "not an environment of this file",
            fix,
        ));
    }
}

fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

/// A pattern that does not end in its environment's suffix, or ends in another's, can never be meant.
fn suffix_contradiction((scope, pattern): Claim<'_>, suffixes: &Suffixes<'_>) -> Option<Problem> {
    let text = pattern.get_ref().as_str();
    let own = suffixes.get(&scope.environment).copied().flatten();
    if let Some(suffix) = own.filter(|suffix| !text.ends_with(suffix)) {
        return Some(Problem::invalid(
            pattern.span(),
            format!("{:?} does not end in {suffix:?}, the suffix of {}", shown(text), scope.environment),
            format!("belongs to no {} process", scope.environment),
            "add the suffix, or move the name to the environment that it belongs to",
        ));
    }
    let ends = suffixes.iter().filter_map(|(name, suffix)| Some((*name, (*suffix)?)));
    let (other, suffix) =
        ends.filter(|(_, suffix)| text.ends_with(suffix)).max_by_key(|(_, suffix)| suffix.len())?;
    (*other != scope.environment).then(|| {
        Problem::invalid(
            pattern.span(),
            format!("{:?} ends in {suffix:?}, the suffix of {other}, but is listed for {scope}", shown(text)),
            format!("a name of {other}"),
            format!("move it to the entry of {}/{other}", scope.app),
        )
    })
}

fn shown(text: &str) -> String {
    Shown(text).to_string()
}

/// Two scopes may share a name where each is `bound` to a namespace of its own, which then decides.
fn equal_names(claims: &[Claim<'_>], bound: &BTreeSet<&Scope>, found: &mut Vec<Problem>) {
    let mut seen = BTreeMap::<&Pattern, Claim<'_>>::new();
    for (scope, pattern) in claims.iter().filter(|(_, pattern)| pattern.get_ref().is_exact()) {
        match seen.get(pattern.get_ref()) {
            Some((first, _)) if bound.contains(first) && bound.contains(scope) => {}
            Some((first, earlier)) if *first != *scope => {
                let problem = Problem::invalid(
                    pattern.span(),
                    format!("both {first} and {scope} claim {:?}", shown(pattern.get_ref().as_str())),
                    format!("claimed for {scope}"),
                    "a process has one owner: take it out of one of the two, or give each a `namespace` of its own",
                );
                found.push(problem.because_of(earlier.span(), format!("claimed for {first}")));
            }
            Some(_) => {}
            None => {
                seen.insert(pattern.get_ref(), (scope, pattern));
            }
        }
    }
}

fn overlapping_globs(claims: &[Claim<'_>], suffixes: &Suffixes<'_>, found: &mut Vec<Problem>) {
    let globs: Vec<_> = claims.iter().filter(|(_, pattern)| !pattern.get_ref().is_exact()).collect();
    for (index, (scope, pattern)) in globs.iter().enumerate() {
        let clashes = |(other, earlier): &&&Claim<'_>| {
            other != scope
                && !separated(other, scope, suffixes)
                && earlier.get_ref().overlaps(pattern.get_ref())
        };
        if let Some((other, earlier)) = globs[..index].iter().find(clashes) {
            let problem = Problem::invalid(
                pattern.span(),
                format!(
                    "{:?} of {scope} and {:?} of {other} can own one name",
                    shown(pattern.get_ref().as_str()),
                    shown(earlier.get_ref().as_str())
                ),
                format!("claimed for {scope}"),
                "make one of them longer, or list exact names: an exact name beats a glob",
            );
            found.push(problem.because_of(earlier.span(), format!("claimed for {other}")));
        }
    }
}

/// Whether suffixes keep the globs of two scopes apart, as `Policy::owner_of` judges.
fn separated(one: &Scope, other: &Scope, suffixes: &Suffixes<'_>) -> bool {
    let has_suffix = |scope: &Scope| suffixes.get(&scope.environment).copied().flatten().is_some();
    one.environment != other.environment && (has_suffix(one) || has_suffix(other))
}
