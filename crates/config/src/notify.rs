//! `[notify]`: who is told of refusals, bypasses and gaps.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use palisade_core::Code;
use palisade_core::notice::{Kind as About, Receivers, Webhook};
use serde_json::{Value, json};
use toml::Spanned;

use crate::keys;
use crate::origin::{Key, Origins, Row};
use crate::problem::Problem;
use crate::section::Section;
use crate::written::{Kind, one_of, window};

/// `[notify]`, each value checked by itself.
#[derive(Debug, Default)]
pub(crate) struct WrittenNotify {
    pub(crate) command: Option<Spanned<Vec<String>>>,
    pub(crate) webhook: Option<Spanned<Webhook>>,
    pub(crate) webhook_file: Option<Spanned<PathBuf>>,
    pub(crate) signing_key_file: Option<Spanned<PathBuf>>,
    pub(crate) ca_file: Option<Spanned<PathBuf>>,
    pub(crate) about: Option<Spanned<BTreeSet<About>>>,
    pub(crate) window: Option<Spanned<Duration>>,
}

/// Reads the section. A project file has none: whoever is told of a refusal is not for the refused to say.
pub(crate) fn read(top: &Section<'_>, kind: Kind, found: &mut Vec<Problem>) -> WrittenNotify {
    let Some(table) = top.table("notify", found) else { return WrittenNotify::default() };
    if kind == Kind::Project {
        let (message, label) = ("a project file names nobody who is told", "this section is the host's");
        let fix = "take [notify] out of this file; the host's policy has one";
        let problem = Problem::invalid(table.span(), message, label, fix);
        found.push(Problem { code: Code::PolicyWidened, ..problem });
        return WrittenNotify::default();
    }
    let section = Section::open("[notify]", table.span(), table.get_ref(), keys::NOTIFY, found);
    let written = WrittenNotify {
        command: command(&section, found),
        webhook: webhook(&section, found),
        webhook_file: path(&section, "webhook_file", found),
        signing_key_file: path(&section, "signing_key_file", found),
        ca_file: path(&section, "ca_file", found),
        about: about(&section, found),
        window: section.text("window", found).and_then(|text| window(&text, found)),
    };
    if written.webhook.is_some() && written.webhook_file.is_some() {
        found.push(Problem::invalid(
            section.span_of("webhook_file"),
            "`webhook` and `webhook_file` are both written",
            "which of them counts?",
            "take one of them out",
        ));
    }
    written
}

fn command(section: &Section<'_>, found: &mut Vec<Problem>) -> Option<Spanned<Vec<String>>> {
    let words = section.texts("command", found)?;
    let is_program = words.get_ref().first().is_some_and(|word| word.get_ref().starts_with('/'));
    if !is_program {
        found.push(Problem::invalid(
            words.span(),
            "`command` is a program and its arguments",
            "its first word is no absolute path",
            "write it like: command = [\"/usr/local/bin/tell-us\", \"--urgent\"]; no shell reads it",
        ));
        return None;
    }
    let all = words.get_ref().iter().map(|word| (*word.get_ref()).to_owned()).collect();
    Some(Spanned::new(words.span(), all))
}

fn webhook(section: &Section<'_>, found: &mut Vec<Problem>) -> Option<Spanned<Webhook>> {
    let text = section.text("webhook", found)?;
    match Webhook::new(text.get_ref()) {
        Ok(webhook) => Some(Spanned::new(text.span(), webhook)),
        Err(error) => {
            let fix = "write the address that your chat or alert service gave you";
            found.push(Problem::invalid(text.span(), error.to_string(), "not such an address", fix));
            None
        }
    }
}

fn path(section: &Section<'_>, key: &str, found: &mut Vec<Problem>) -> Option<Spanned<PathBuf>> {
    let text = section.text(key, found)?;
    if text.get_ref().starts_with('/') {
        return Some(Spanned::new(text.span(), PathBuf::from(text.get_ref())));
    }
    found.push(Problem::invalid(
        text.span(),
        format!("`{key}` must be an absolute path"),
        "depends on the working folder",
        "write the whole path, such as \"/etc/palisade/webhook\"",
    ));
    None
}

fn about(section: &Section<'_>, found: &mut Vec<Problem>) -> Option<Spanned<BTreeSet<About>>> {
    let words = section.texts("about", found)?;
    let known: Vec<(&str, About)> = CHOICES.into_iter().map(|about| (about.as_str(), about)).collect();
    let each = words.get_ref().iter();
    let chosen =
        each.filter_map(|word| one_of(word, "kind of notice", &known, found)).map(Spanned::into_inner);
    let chosen = chosen.collect();
    Some(Spanned::new(words.span(), chosen))
}

/// What `about` may name.
const CHOICES: [About; 5] = [About::Refused, About::Observed, About::Bypass, About::Gap, About::Fault];

/// The rows of `config show --origin`. Of a webhook only the host is shown.
pub(crate) fn rows(receivers: &Receivers, origins: &Origins) -> Vec<Row> {
    let defaults = Receivers::default();
    let row = |key: Key, value: Option<String>, unit: &'static str, default: &str| Row {
        key: key.to_string(),
        value: value.unwrap_or_else(|| default.to_owned()),
        unit,
        default: default.to_owned(),
        origin: origins.get(&key).cloned().unwrap_or_default(),
    };
    let shown = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let command = (!receivers.command.is_empty()).then(|| receivers.command.join(" "));
    let span = |window| humantime::format_duration(window).to_string();
    vec![
        row(Key::NotifyCommand, command, "program and arguments", "none"),
        row(Key::NotifyWebhook, receivers.webhook.as_ref().map(ToString::to_string), "address", "none"),
        row(Key::NotifyWebhookFile, shown(&receivers.webhook_file), "file", "none"),
        row(Key::NotifyKeyFile, shown(&receivers.signing_key_file), "file", "none"),
        row(Key::NotifyCaFile, shown(&receivers.ca_file), "file", "those of the system"),
        row(Key::NotifyAbout, Some(words(&receivers.about)), "kinds of notices", &words(&defaults.about)),
        row(Key::NotifyWindow, Some(span(receivers.window)), "duration", &span(defaults.window)),
    ]
}

fn words(about: &BTreeSet<About>) -> String {
    let words: Vec<&str> = about.iter().map(|about| about.as_str()).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

/// The section in the JSON Schema.
pub(crate) fn schema() -> Value {
    let path = |what: &str| json!({ "description": what, "type": "string", "pattern": "^/." });
    json!({
        "description": "Who is told of refusals, bypasses and gaps.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "command": {
                "description": "A program and its arguments; it gets each notice as JSON on its standard input.",
                "type": "array", "minItems": 1, "items": { "type": "string" },
            },
            "webhook": {
                "description": "Where each notice is posted: https, or http on this machine.",
                "type": "string", "pattern": "^https?://", "maxLength": 2048,
            },
            "webhook_file": path("A private file that holds such an address, for one that is a secret."),
            "signing_key_file": path("A private file with the key that posts are signed by."),
            "ca_file": path("Certificates of the authorities that a webhook's is checked by."),
            "about": {
                "description": "Which kinds are told.",
                "type": "array", "uniqueItems": true, "items": { "enum": CHOICES.map(About::as_str) },
                "default": Receivers::default().about,
            },
            "window": {
                "description": "Equal notices within this span are counted, such as 1m.",
                "type": "string", "default": "1m",
            },
        },
    })
}
