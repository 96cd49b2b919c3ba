//! Brings an existing policy up to date with what its daemon runs, without touching what stands there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use palisade_core::policy::{Environment, Owner, Policy};
use palisade_core::{AppName, EnvironmentName, Scope, Snapshot};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value, value};

use crate::draft::REST;
use crate::group::{self, AppNames};
use crate::host::parse_host;
use crate::problem::Problems;

/// What [`merge`] made of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeOutcome {
    /// The file's text; the given one, byte by byte, if nothing was added.
    pub text: String,
    /// The revision of that text.
    pub revision: u64,
    /// Environments that were added, each with its suffix.
    pub environments: Vec<EnvironmentName>,
    /// Process names that are claimed now.
    pub added: Vec<Addition>,
    /// Process names that are still claimed by nobody.
    pub left_out: Vec<LeftOut>,
}

/// A process name that found an owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Addition {
    /// Its owner.
    pub scope: Scope,
    /// The name.
    pub process: String,
    /// Whether the owner's entry is new in the file.
    pub new_entry: bool,
}

/// A process name that could not be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The name.
    pub process: String,
    /// Why.
    pub reason: String,
}

impl MergeOutcome {
    /// Whether the text differs from the one that was given.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        !self.added.is_empty() || !self.environments.is_empty()
    }
}

/// Claims in `text`, the policy at `path`, every process of `snapshot` that nobody claims.
///
/// Comments and order stay. When something was added, the revision grows by one.
///
/// # Errors
/// The problems of `text`; also those of the result, if the file is written in a way that cannot be added to.
pub fn merge(text: &str, path: &Path, snapshot: &Snapshot) -> Result<MergeOutcome, Problems> {
    let policy = parse_host(text, path)?.into_policy();
    let plan = Plan::of(policy, snapshot);
    let mut outcome = MergeOutcome {
        text: text.to_owned(),
        revision: plan.revision,
        environments: plan.new_environments,
        added: plan.added,
        left_out: plan.left_out,
    };
    if outcome.is_changed() {
        outcome.revision += 1;
        outcome.text = edited(text, &outcome);
        parse_host(&outcome.text, path)?;
    }
    Ok(outcome)
}

/// What has to be added to a policy.
struct Plan {
    revision: u64,
    new_environments: Vec<EnvironmentName>,
    added: Vec<Addition>,
    left_out: Vec<LeftOut>,
}

impl Plan {
    fn of(mut policy: Policy, snapshot: &Snapshot) -> Self {
        let revision = policy.revision;
        let names: BTreeSet<&str> = snapshot.countable().map(|process| process.pin.name.as_str()).collect();
        let mut left_out = Vec::new();
        let nameable: BTreeSet<&str> =
            names.into_iter().filter(|name| is_nameable(name, &mut left_out)).collect();
        let new_environments = add_environments(&mut policy, &nameable);
        // Asked again with the new environments: their suffixes may take names from globs.
        let unclaimed = unclaimed(&policy, &nameable);
        let mut placed = Vec::new();
        for name in unclaimed {
            match environment_of(&policy, name) {
                Ok(environment) => placed.push((name, environment)),
                Err(reason) => {
                    left_out.push(LeftOut { process: name.to_owned(), reason: reason.to_string() });
                }
            }
        }
        let added = additions(&policy, placed);
        Self { revision, new_environments, added, left_out }
    }
}

/// The app of each name in its environment.
fn additions(policy: &Policy, placed: Vec<(&str, EnvironmentName)>) -> Vec<Addition> {
    let known: BTreeSet<AppName> = policy.apps.iter().map(|app| app.scope.app.clone()).collect();
    let groups = group::apps_of(
        &placed.iter().map(|(name, environment)| base_in(policy, environment, name)).collect(),
        &known.iter().map(AppName::as_str).collect(),
    );
    let mut app_names = AppNames::with(known.iter().cloned());
    let addition = |(name, environment): (&str, EnvironmentName)| {
        let group = groups.get(base_in(policy, &environment, name)).copied().unwrap_or(name);
        let scope = Scope::new(app_names.of(group), environment);
        let new_entry = !policy.apps.iter().any(|app| app.scope == scope);
        Addition { scope, process: name.to_owned(), new_entry }
    };
    placed.into_iter().map(addition).collect()
}

fn is_nameable(name: &str, left_out: &mut Vec<LeftOut>) -> bool {
    let reason = group::unnameable(name);
    let nameable = reason.is_none();
    left_out.extend(reason.map(|reason| LeftOut { process: name.to_owned(), reason }));
    nameable
}

fn unclaimed<'s>(policy: &Policy, names: &BTreeSet<&'s str>) -> Vec<&'s str> {
    names.iter().copied().filter(|name| policy.owner_of(name) == Owner::Unclaimed).collect()
}

/// Adds the environments that unclaimed names ask for, where nothing in the policy speaks against it.
fn add_environments(policy: &mut Policy, names: &BTreeSet<&str>) -> Vec<EnvironmentName> {
    let mut new = Vec::new();
    for name in unclaimed(policy, names) {
        let wanted = match group::split_environment(name) {
            _ if policy.environment_by_suffix(name).is_some() => None,
            Some((_, word)) if !has(policy, word) && is_free(policy, word) => Some((word, Some(word))),
            _ if rest_of(policy).is_none() && !has(policy, REST) => Some((REST, None)),
            _ => None,
        };
        if let Some((word, suffix)) = wanted
            && let Ok(environment) = EnvironmentName::new(word)
        {
            let suffix = suffix.map(|suffix| format!("-{suffix}"));
            policy.environments.insert(environment.clone(), Environment { suffix, ..Environment::default() });
            new.push(environment);
        }
    }
    new
}

fn has(policy: &Policy, environment: &str) -> bool {
    policy.environments.keys().any(|name| name.as_str() == environment)
}

/// Whether no pattern of the policy would contradict the new suffix `-word`.
fn is_free(policy: &Policy, word: &str) -> bool {
    let suffix = format!("-{word}");
    !policy.apps.iter().flat_map(|app| &app.processes).any(|pattern| pattern.as_str().ends_with(&suffix))
}

/// The environment of names without a suffix.
fn rest_of(policy: &Policy) -> Option<&EnvironmentName> {
    let free = || policy.environments.iter().filter(|(_, settings)| settings.suffix.is_none());
    let (name, _) = free().find(|(name, _)| name.as_str() == REST).or_else(|| free().next())?;
    Some(name)
}

/// Why an unclaimed name belongs to no environment of the policy.
#[derive(Debug, thiserror::Error)]
enum Homeless {
    #[error("it ends in -{word}, but names of {word} end in {suffix} here")]
    OtherSuffix { word: &'static str, suffix: String },
    #[error("every environment of the policy has a suffix, and it has none of them")]
    NoSuffix,
}

/// The environment that an unclaimed name belongs to.
fn environment_of(policy: &Policy, name: &str) -> Result<EnvironmentName, Homeless> {
    if let Some(environment) = policy.environment_by_suffix(name) {
        return Ok(environment.clone());
    }
    if let Some((_, word)) = group::split_environment(name)
        && let Some((environment, settings)) =
            policy.environments.iter().find(|(environment, _)| environment.as_str() == word)
    {
        return match &settings.suffix {
            None => Ok(environment.clone()),
            Some(suffix) => Err(Homeless::OtherSuffix { word, suffix: suffix.clone() }),
        };
    }
    rest_of(policy).cloned().ok_or(Homeless::NoSuffix)
}

/// The name without its environment's suffix, or without the word at its end that names the environment.
fn base_in<'n>(policy: &Policy, environment: &EnvironmentName, name: &'n str) -> &'n str {
    let by_suffix = policy.suffix_of(environment).and_then(|suffix| name.strip_suffix(suffix));
    let by_word = group::split_environment(name).filter(|(_, word)| *word == environment.as_str());
    by_suffix.or(by_word.map(|(base, _)| base)).unwrap_or(name)
}

/// `text` with everything that `outcome` adds.
fn edited(text: &str, outcome: &MergeOutcome) -> String {
    let mut document: DocumentMut = text.parse().expect("a text that was checked as a policy is TOML");
    for environment in &outcome.environments {
        insert_environment(&mut document, environment);
    }
    let mut by_scope = BTreeMap::<&Scope, Vec<&Addition>>::new();
    for addition in &outcome.added {
        by_scope.entry(&addition.scope).or_default().push(addition);
    }
    for (scope, additions) in by_scope {
        let names = additions.iter().map(|addition| addition.process.as_str());
        if additions.iter().any(|addition| addition.new_entry) {
            insert_entry(&mut document, scope, names.collect());
        } else {
            extend_entry(&mut document, scope, names);
        }
    }
    if let Some(Item::Value(revision)) = document.get_mut("revision") {
        let decor = revision.decor().clone();
        *revision = i64::try_from(outcome.revision).unwrap_or(i64::MAX).into();
        *revision.decor_mut() = decor;
    }
    document.to_string()
}

fn insert_environment(document: &mut DocumentMut, environment: &EnvironmentName) {
    let suffix = (environment.as_str() != REST).then(|| format!("-{environment}"));
    let environments = document.entry("environments").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let inline = match environments {
        Item::Table(table) => table.is_dotted(),
        Item::Value(_) | Item::None | Item::ArrayOfTables(_) => true,
    };
    let mut table = Table::new();
    table.extend(suffix.map(|suffix| ("suffix", suffix)));
    let item = if inline { value(table.into_inline_table()) } else { Item::Table(table) };
    if let Some(environments) = environments.as_table_like_mut() {
        environments.insert(environment.as_str(), item);
    }
}

fn insert_entry(document: &mut DocumentMut, scope: &Scope, names: Vec<&str>) {
    let mut entry = Table::new();
    entry.insert("name", value(scope.app.as_str()));
    entry.insert("environment", value(scope.environment.as_str()));
    entry.insert("processes", value(names.into_iter().collect::<Array>()));
    let apps = document.entry("app").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    match apps {
        Item::ArrayOfTables(tables) => tables.push(entry),
        Item::Value(Value::Array(list)) => list.push(entry.into_inline_table()),
        Item::Value(_) | Item::Table(_) | Item::None => {}
    }
}

fn extend_entry<'n>(document: &mut DocumentMut, scope: &Scope, names: impl Iterator<Item = &'n str>) {
    let is_it = |entry: &dyn toml_edit::TableLike| {
        let text = |key: &str| entry.get(key).and_then(Item::as_str);
        text("name") == Some(scope.app.as_str()) && text("environment") == Some(scope.environment.as_str())
    };
    let processes = match document.get_mut("app") {
        Some(Item::ArrayOfTables(tables)) => tables
            .iter_mut()
            .find(|entry| is_it(*entry))
            .and_then(|entry| entry.get_mut("processes"))
            .and_then(Item::as_array_mut),
        Some(Item::Value(Value::Array(list))) => list
            .iter_mut()
            .filter_map(Value::as_inline_table_mut)
            .find(|entry| is_it(*entry))
            .and_then(|entry| entry.get_mut("processes"))
            .and_then(Value::as_array_mut),
        Some(Item::Value(_) | Item::Table(_) | Item::None) | None => None,
    };
    if let Some(processes) = processes {
        names.for_each(|name| push_like_the_first(processes, name));
    }
}

/// Adds an element that stands as the first one does: on its own line, or on the same.
fn push_like_the_first(list: &mut Array, name: &str) {
    let first = list.iter().next().and_then(|first| first.decor().prefix()?.as_str());
    let indent = first.and_then(|prefix| prefix.rsplit_once('\n')).map(|(_, indent)| indent.to_owned());
    let mut element = Value::from(name);
    element.decor_mut().set_prefix(match indent {
        Some(indent) => format!("{}\n{indent}", take_last_comment(list)),
        None => " ".to_owned(),
    });
    list.push_formatted(element);
}

/// What stands behind the last element on its line: it is about that element, and has to stay with it.
fn take_last_comment(list: &mut Array) -> String {
    let trailing = list.trailing().as_str().unwrap_or_default().to_owned();
    let (comment, rest) = trailing.split_once('\n').unwrap_or(("", &trailing));
    list.set_trailing(format!("\n{rest}"));
    let last = list.len().checked_sub(1).and_then(|last| list.get_mut(last));
    let suffix = last.map(|last| {
        let suffix = last.decor().suffix().and_then(|suffix| suffix.as_str()).unwrap_or_default().to_owned();
        last.decor_mut().set_suffix("");
        suffix.trim_end().to_owned()
    });
    format!("{}{comment}", suffix.unwrap_or_default())
}
