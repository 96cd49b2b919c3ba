//! Where each value of a policy comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use palisade_core::deployer::Folder;
use palisade_core::policy::{App, Limits, Mode, Policy};
use palisade_core::text::escaped;
use palisade_core::{EnvironmentName, Operation, Pattern, Scope};
use serde::Serialize;

/// One value of a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// `revision`.
    Revision,
    /// `suffix` of an environment.
    Suffix(EnvironmentName),
    /// `mode` of an environment.
    EnvironmentMode(EnvironmentName),
    /// `limits.all_above`.
    AllAbove,
    /// `limits.share`.
    Share,
    /// `limits.budget`.
    Budget,
    /// `limits.job_budget`.
    JobBudget,
    /// `limits.window`.
    Window,
    /// One pattern of `protected`.
    Protected(Pattern),
    /// One pattern of an app's `processes`.
    Process(Scope, Pattern),
    /// One operation of an app's `confirm`.
    Confirm(Scope, Operation),
    /// `mode` of an app.
    AppMode(Scope),
    /// One folder of an app's `folder`.
    Folder(Scope, Folder),
    /// `namespace` of an app.
    Namespace(Scope),
    /// One entry of an app's `deployers`, from 0.
    Deployer(Scope, usize),
    /// `notify.command`.
    NotifyCommand,
    /// `notify.webhook`.
    NotifyWebhook,
    /// `notify.webhook_file`.
    NotifyWebhookFile,
    /// `notify.signing_key_file`.
    NotifyKeyFile,
    /// `notify.ca_file`.
    NotifyCaFile,
    /// `notify.about`.
    NotifyAbout,
    /// `notify.window`.
    NotifyWindow,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revision => f.write_str("revision"),
            Self::Suffix(environment) => write!(f, "environments.{environment}.suffix"),
            Self::EnvironmentMode(environment) => write!(f, "environments.{environment}.mode"),
            Self::AllAbove => f.write_str("limits.all_above"),
            Self::Share => f.write_str("limits.share"),
            Self::Budget => f.write_str("limits.budget"),
            Self::JobBudget => f.write_str("limits.job_budget"),
            Self::Window => f.write_str("limits.window"),
            Self::Protected(_) => f.write_str("protected"),
            Self::Process(scope, _) => write!(f, "app.{scope}.processes"),
            Self::Confirm(scope, _) => write!(f, "app.{scope}.confirm"),
            Self::AppMode(scope) => write!(f, "app.{scope}.mode"),
            Self::Folder(scope, _) => write!(f, "app.{scope}.folder"),
            Self::Namespace(scope) => write!(f, "app.{scope}.namespace"),
            Self::Deployer(scope, _) => write!(f, "app.{scope}.deployers"),
            Self::NotifyCommand => f.write_str("notify.command"),
            Self::NotifyWebhook => f.write_str("notify.webhook"),
            Self::NotifyWebhookFile => f.write_str("notify.webhook_file"),
            Self::NotifyKeyFile => f.write_str("notify.signing_key_file"),
            Self::NotifyCaFile => f.write_str("notify.ca_file"),
            Self::NotifyAbout => f.write_str("notify.about"),
            Self::NotifyWindow => f.write_str("notify.window"),
        }
    }
}

/// Where a value was set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "from")]
pub enum Origin {
    /// Nowhere: it is Palisade's own.
    #[default]
    Default,
    /// In the host's policy.
    Host {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
    },
    /// In a project file, which narrowed the host's value.
    Project {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path, line) = match self {
            Self::Default => return f.pad("default"),
            Self::Host { path, line } => ("", path, line),
            Self::Project { path, line } => ("project ", path, line),
        };
        f.pad(&format!("{kind}{}:{line}", escaped(&path.to_string_lossy())))
    }
}

/// Origins of the values that were set; a value that is not in here is a default.
pub(crate) type Origins = BTreeMap<Key, Origin>;

/// One value with everything that `palisade config show --origin` says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Path of the key, such as `limits.all_above`. A list has one row per element.
    pub key: String,
    /// The value as it would be written, or in words where nothing is set.
    pub value: String,
    /// What the value counts or names.
    pub unit: &'static str,
    /// The value when nobody sets it.
    pub default: String,
    /// Where it was set.
    pub origin: Origin,
}

/// A mode as files write it.
pub(crate) const fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    }
}

/// Thousandths as files write them: 800 is `0.8`.
pub(crate) fn share_text(per_mille: u16) -> String {
    (f64::from(per_mille) / 1000.0).to_string()
}

pub(crate) fn budget_text(budget: Option<u32>) -> String {
    budget.map_or_else(|| "as many as the largest scope has".to_owned(), |budget| budget.to_string())
}

pub(crate) fn job_budget_text(budget: Option<u32>) -> String {
    budget.unwrap_or(Limits::JOBS).to_string()
}

pub(crate) fn window_text(limits: &Limits) -> String {
    humantime::format_duration(limits.window).to_string()
}

const NONE: &str = "none";
const REQUIRED: &str = "none, must be set";

/// Every value of `policy`, set or not, in the order of a file.
pub(crate) fn rows(policy: &Policy, origins: &Origins) -> Vec<Row> {
    let row = |key: Key, value: String, unit: &'static str, default: String| Row {
        key: key.to_string(),
        value,
        unit,
        default,
        origin: origins.get(&key).cloned().unwrap_or_default(),
    };
    let mut rows = vec![row(Key::Revision, policy.revision.to_string(), "number", REQUIRED.to_owned())];
    for (name, environment) in &policy.environments {
        let suffix = environment.suffix.clone().unwrap_or_else(|| NONE.to_owned());
        rows.push(row(Key::Suffix(name.clone()), suffix, "end of names", NONE.to_owned()));
        let (mode, default) = (mode_word(environment.mode), mode_word(Mode::default()));
        rows.push(row(Key::EnvironmentMode(name.clone()), mode.to_owned(), "mode", default.to_owned()));
    }
    let (limits, defaults) = (&policy.limits, Limits::default());
    let (above, default) = (limits.all_above.to_string(), defaults.all_above.to_string());
    rows.push(row(Key::AllAbove, above, "processes", default));
    let (share, default) = (share_text(limits.share_per_mille), share_text(defaults.share_per_mille));
    rows.push(row(Key::Share, share, "share of the daemon's processes", default));
    let (budget, default) = (budget_text(limits.budget), budget_text(defaults.budget));
    rows.push(row(Key::Budget, budget, "processes per caller and window", default));
    let (jobs, default) = (job_budget_text(limits.job_budget), job_budget_text(defaults.job_budget));
    rows.push(row(Key::JobBudget, jobs, "jobs per caller and window", default));
    rows.push(row(Key::Window, window_text(limits), "duration", window_text(&defaults)));
    let protected =
        policy.protected.iter().map(|pattern| (Key::Protected(pattern.clone()), pattern.to_string()));
    rows.extend(list_rows("protected".to_owned(), protected.collect(), "process names", NONE, origins));
    rows.extend(crate::notify::rows(&policy.notify, origins));
    for app in &policy.apps {
        rows.extend(app_rows(app, policy, origins));
    }
    rows
}

fn app_rows(app: &App, policy: &Policy, origins: &Origins) -> Vec<Row> {
    let scope = &app.scope;
    let processes = app.processes.iter();
    let processes =
        processes.map(|pattern| (Key::Process(scope.clone(), pattern.clone()), pattern.to_string()));
    let confirm = app.confirm.iter();
    let confirm = confirm.map(|operation| (Key::Confirm(scope.clone(), *operation), operation.to_string()));
    let title = |key: &str| format!("app.{scope}.{key}");
    let mut rows = list_rows(title("processes"), processes.collect(), "process names", REQUIRED, origins);
    rows.extend(list_rows(title("confirm"), confirm.collect(), "operations", NONE, origins));
    let inherited = policy.environments.get(&scope.environment).map(|environment| environment.mode);
    let inherited = mode_word(inherited.unwrap_or_default());
    let of_environment = origins.get(&Key::EnvironmentMode(scope.environment.clone()));
    rows.push(Row {
        key: title("mode"),
        value: app.mode.map_or(inherited, mode_word).to_owned(),
        unit: "mode",
        default: format!("{inherited}, as the environment"),
        // An app without a mode of its own has its environment's, from wherever that is.
        origin: origins.get(&Key::AppMode(scope.clone())).or(of_environment).cloned().unwrap_or_default(),
    });
    rows.extend(deployer_rows(app, origins));
    rows
}

/// Who deploys an app, and from where.
fn deployer_rows(app: &App, origins: &Origins) -> Vec<Row> {
    let scope = &app.scope;
    let title = |key: &str| format!("app.{scope}.{key}");
    let folders = app.folders.iter();
    let folders = folders.map(|folder| (Key::Folder(scope.clone(), folder.clone()), folder.to_string()));
    let default = "those of its processes";
    let mut rows = list_rows(title("folder"), folders.collect(), "folders", default, origins);
    rows.push(Row {
        key: title("namespace"),
        value: app.namespace.as_ref().map_or_else(|| NONE.to_owned(), ToString::to_string),
        unit: "PM2 namespace",
        default: NONE.to_owned(),
        origin: origins.get(&Key::Namespace(scope.clone())).cloned().unwrap_or_default(),
    });
    let deployers = app.deployers.iter().enumerate();
    let deployers = deployers.map(|(index, entry)| (Key::Deployer(scope.clone(), index), entry.to_string()));
    let default = "whoever may connect";
    rows.extend(list_rows(title("deployers"), deployers.collect(), "callers", default, origins));
    rows
}

/// One row per element, or one that says that there is none.
fn list_rows(
    title: String,
    elements: Vec<(Key, String)>,
    unit: &'static str,
    default: &str,
    origins: &Origins,
) -> Vec<Row> {
    let row = |value: String, origin: Origin| {
        let (key, default) = (title.clone(), default.to_owned());
        Row { key, value, unit, default, origin }
    };
    if elements.is_empty() {
        return vec![row(NONE.to_owned(), Origin::Default)];
    }
    let element = |(key, value): (Key, String)| row(value, origins.get(&key).cloned().unwrap_or_default());
    elements.into_iter().map(element).collect()
}
