//! What an `[[app]]` says of who deploys it: `folder`, `namespace` and `deployers`.

use std::collections::BTreeMap;

use palisade_core::deployer::{Deployer, Folder, Namespace};
use palisade_core::text::Shown;
use toml::Spanned;
use toml::de::DeTable;

use crate::keys;
use crate::problem::Problem;
use crate::section::Section;
use crate::written::WrittenApp;

/// The folders of an app, if any are written.
pub(crate) fn folders(section: &Section<'_>, found: &mut Vec<Problem>) -> Option<Vec<Spanned<Folder>>> {
    let texts = section.text_or_texts("folder", found)?;
    if texts.get_ref().is_empty() {
        let (label, fix) = ("a list of no folders", "name a folder, or take the line out");
        found.push(Problem::invalid(texts.span(), "`folder` is empty", label, fix));
    }
    Some(texts.get_ref().iter().filter_map(|text| folder(text, found)).collect())
}

fn folder(text: &Spanned<&str>, found: &mut Vec<Problem>) -> Option<Spanned<Folder>> {
    let checked = Folder::new(text.get_ref());
    if let Err(error) = &checked {
        found.push(Problem::invalid(
            text.span(),
            error.to_string(),
            "not a folder of one app",
            "write the app's own folder, such as \"/srv/flyer-crawler\"",
        ));
    }
    Some(Spanned::new(text.span(), checked.ok()?))
}

/// The namespace of an app, if one is written.
pub(crate) fn namespace(section: &Section<'_>, found: &mut Vec<Problem>) -> Option<Spanned<Namespace>> {
    let text = section.text("namespace", found)?;
    let checked = Namespace::new(text.get_ref());
    if let Err(error) = &checked {
        found.push(Problem::invalid(
            text.span(),
            error.to_string(),
            "not a namespace of one app",
            "write one of this app and environment alone, such as \"flyer-crawler-prod\"",
        ));
    }
    Some(Spanned::new(text.span(), checked.ok()?))
}

/// Who deploys an app, if it is written.
pub(crate) fn deployers(section: &Section<'_>, found: &mut Vec<Problem>) -> Option<Vec<Spanned<Deployer>>> {
    if !section.has("deployers") {
        return None;
    }
    let before = found.len();
    let tables = section.list_of_tables("deployers", found);
    if tables.is_empty() && found.len() == before {
        let (label, fix) =
            ("nobody", "name who deploys the app, or take the line out: then whoever connects");
        found.push(Problem::invalid(section.span_of("deployers"), "`deployers` is empty", label, fix));
    }
    Some(tables.iter().filter_map(|table| deployer(table, found)).collect())
}

fn deployer(table: &Spanned<&DeTable<'_>>, found: &mut Vec<Problem>) -> Option<Spanned<Deployer>> {
    let section =
        Section::open("an entry of `deployers`", table.span(), table.get_ref(), keys::DEPLOYER, found);
    let before = found.len();
    let mut text = |key: &str| section.text(key, found).and_then(|text| word(key, &text, found));
    let entry = Deployer {
        cgroup: text("cgroup"),
        socket: text("socket"),
        repository: text("repository"),
        workflow: text("workflow"),
        branch: text("branch"),
        unit: text("unit"),
        uid: number(&section, "uid", found),
        gid: number(&section, "gid", found),
        folder: section.text("folder", found).and_then(|text| folder(&text, found)).map(Spanned::into_inner),
    };
    if entry == Deployer::default() && found.len() == before && table.get_ref().is_empty() {
        found.push(Problem::invalid(
            table.span(),
            "an entry of `deployers` names nobody",
            "empty: it would let everybody in",
            "name at least one of uid, gid, cgroup, socket, repository, workflow, branch, folder, unit",
        ));
    }
    (entry != Deployer::default()).then(|| Spanned::new(table.span(), entry))
}

/// Paths are absolute, and nothing is empty: an empty value would hold for a caller of which nothing is known.
fn word(key: &str, text: &Spanned<&str>, found: &mut Vec<Problem>) -> Option<String> {
    let value = *text.get_ref();
    let is_path = matches!(key, "cgroup" | "socket");
    let rule = match value {
        "" => "must not be empty",
        "/" if is_path => "must not be `/`, which holds for everybody",
        value if is_path && !value.starts_with('/') => "must be an absolute path",
        value if value.chars().any(char::is_control) => "must hold no control characters",
        value => return Some(value.to_owned()),
    };
    let example = keys::DEPLOYER.iter().find(|spec| spec.name == key).map_or("", |spec| spec.example);
    let fix = format!("write it like: {example}");
    found.push(Problem::invalid(text.span(), format!("`{key}` {rule}"), "names nobody", fix));
    None
}

fn number(section: &Section<'_>, key: &str, found: &mut Vec<Problem>) -> Option<u32> {
    let value = section.integer(key, found)?;
    // The highest number means "no user" to the kernel.
    let number = u32::try_from(*value.get_ref()).ok().filter(|number| *number != u32::MAX);
    if number.is_none() {
        found.push(Problem::invalid(
            value.span(),
            format!("`{key}` must be 0 to {}", u32::MAX - 1),
            "out of range",
            format!("write the number that `id` shows, such as {key} = 1001"),
        ));
    }
    number
}

/// Notes a folder or a namespace that two scopes of `apps` call their own: it would pick neither.
pub(crate) fn shared(apps: &[WrittenApp], found: &mut Vec<Problem>) {
    let mut folders = BTreeMap::new();
    let mut namespaces = BTreeMap::new();
    for app in apps {
        for folder in app.folders.iter().flatten() {
            let (text, span) = (folder.get_ref().as_str(), folder.span());
            if let Some((first, at)) = folders.insert(text, (&app.scope, span.clone())) {
                found.push(twice("the folder", text, (&app.scope, span), (first, at)));
            }
        }
        if let Some(namespace) = &app.namespace {
            let (text, span) = (namespace.get_ref().as_str(), namespace.span());
            if let Some((first, at)) = namespaces.insert(text, (&app.scope, span.clone())) {
                found.push(twice("the namespace", text, (&app.scope, span), (first, at)));
            }
        }
    }
}

type Claim<'w> = (&'w palisade_core::Scope, std::ops::Range<usize>);

fn twice(what: &str, text: &str, (scope, span): Claim<'_>, (first, at): Claim<'_>) -> Problem {
    let shown = Shown(text).to_string();
    let (message, fix) = if first == scope {
        (format!("{what} {shown:?} is listed twice for {scope}"), "take one of them out")
    } else {
        (
            format!("{what} {shown:?} cannot belong to both {first} and {scope}"),
            "give each its own: what two share tells neither apart",
        )
    };
    Problem::invalid(span, message, format!("of {scope}"), fix).because_of(at, format!("of {first}"))
}
