//! The daemon's list, read into redacted [`Process`]es.
//!
//! PM2 gives every app's whole environment twice: flattened among its own settings, and nested under `env`. Only
//! the nested one is the set of variables, and only their names leave this module, with salted fingerprints; the
//! flattened ones are never looked at. `Redactor` is the one place where a value becomes something to show.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_core::ablation::{self, Check};
use palisade_core::process::{ENVIRONMENT_NAMING_VARIABLES, ExecMode, Pin, Process, Status};
use palisade_core::redact::{Fingerprint, Fingerprints, Salt};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Time that PM2 gives a process to end, unless told otherwise.
const KILL_TIMEOUT_MS: u64 = 1600;

/// Time that PM2 gives a worker to come up, unless told otherwise.
const LISTEN_TIMEOUT_MS: u64 = 3000;

/// PM2's own variable among those of an app: a copy of its UUID, new with every start.
pub(crate) const UNIQUE_ID: &str = "unique_id";

/// One entry of the list.
pub struct Listed {
    /// The entry without values. Its pin has no operating-system process yet: that is the process table's to say.
    pub process: Process,
    /// The process id that PM2 gives; `None` while it does not run.
    pub pid: Option<u32>,
    /// How long PM2 may take to end and start it, by its settings.
    pub patience: Duration,
    raw: Box<RawValue>,
}

impl Listed {
    /// PM2's own entry (`pm2_env`), values and all: for the restore bundle and nothing else.
    #[must_use]
    pub fn secret_configuration(&self) -> &RawValue {
        &self.raw
    }
}

/// Where an entry's output goes, among all its settings.
#[derive(Debug, Deserialize)]
struct Logs {
    #[serde(default)]
    pm_out_log_path: Option<PathBuf>,
    #[serde(default)]
    pm_err_log_path: Option<PathBuf>,
    #[serde(default)]
    pm_log_path: Option<PathBuf>,
}

impl Listed {
    /// The files that its output goes to: those that are named by absolute paths.
    #[must_use]
    pub fn log_files(&self) -> Vec<PathBuf> {
        let Ok(logs) = serde_json::from_str::<Logs>(self.raw.get()) else { return Vec::new() };
        let named = [logs.pm_out_log_path, logs.pm_err_log_path, logs.pm_log_path].into_iter().flatten();
        named.filter(|path| path.is_absolute() && path.as_path() != Path::new("/dev/null")).collect()
    }
}

/// Shows no values.
impl std::fmt::Debug for Listed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listed")
            .field("pin", &self.process.pin)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// The whole list.
#[derive(Debug)]
pub struct Listing {
    /// Every entry, in the daemon's order.
    pub entries: Vec<Listed>,
    /// Names of cluster workers that a reload has replaced and that still end. They have no number of their own
    /// any more, so nothing can be done to them.
    pub retiring: Vec<String>,
}

/// The list cannot be read. Nothing of it was used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It is not as this version knows it.
    #[error("the daemon's list is not as expected")]
    Malformed(#[source] Shapeless),
    /// A process is run in a way that this version does not know.
    #[error("process {name:?} has the exec_mode {mode:?}, which this version does not know")]
    ExecMode {
        /// Its name, escaped.
        name: String,
        /// What PM2 says, escaped.
        mode: String,
    },
}

/// Where the JSON stopped making sense. The parser's own message is left out, for it may quote a value.
#[derive(Debug, thiserror::Error)]
#[error("unexpected JSON ({category}) at line {line}, column {column}")]
pub struct Shapeless {
    category: &'static str,
    line: usize,
    column: usize,
}

impl From<serde_json::Error> for Shapeless {
    fn from(error: serde_json::Error) -> Self {
        let category = match error.classify() {
            serde_json::error::Category::Io => "io",
            serde_json::error::Category::Syntax => "syntax",
            serde_json::error::Category::Data => "data",
            serde_json::error::Category::Eof => "end",
        };
        Self { category, line: error.line(), column: error.column() }
    }
}

#[derive(Deserialize)]
struct RawEntry<'a> {
    name: String,
    pm_id: Value,
    #[serde(default)]
    pid: Option<u32>,
    #[serde(borrow)]
    pm2_env: &'a RawValue,
}

/// PM2's own settings of a process. The flattened variables beside them are skipped unread.
#[derive(Deserialize)]
struct Settings<'a> {
    status: String,
    #[serde(default)]
    unique_id: Option<String>,
    #[serde(default)]
    created_at: Option<u64>,
    #[serde(default)]
    namespace: Option<String>,
    exec_mode: String,
    #[serde(default)]
    watch: Value,
    #[serde(default)]
    pmx_module: Value,
    #[serde(default)]
    restart_time: Option<u64>,
    #[serde(default)]
    pm_cwd: Option<String>,
    #[serde(default)]
    pm_exec_path: Option<String>,
    #[serde(default)]
    kill_timeout: Value,
    #[serde(default)]
    listen_timeout: Value,
    #[serde(borrow, default)]
    env: Option<BTreeMap<String, &'a RawValue>>,
}

impl Listing {
    /// Reads the answer to `getMonitorData`. Fingerprints are made under `salt`.
    ///
    /// # Errors
    /// If it is no such answer, or holds a process that this version cannot judge.
    pub fn parse(json: &str, salt: &Salt) -> Result<Self, ListError> {
        Self::redacted(json, Redactor::new(Some(salt)))
    }

    /// As [`Listing::parse`], without any fingerprint: for a look that compares no variables, several times as fast.
    ///
    /// # Errors
    /// As [`Listing::parse`].
    pub fn parse_without_fingerprints(json: &str) -> Result<Self, ListError> {
        Self::redacted(json, Redactor::new(None))
    }

    fn redacted<'a>(json: &'a str, mut redactor: Redactor<'a>) -> Result<Self, ListError> {
        let raw: Vec<RawEntry<'_>> = serde_json::from_str(json).map_err(malformed)?;
        let mut listing = Self { entries: Vec::with_capacity(raw.len()), retiring: Vec::new() };
        for entry in raw {
            match number(&entry.pm_id) {
                Some(pm_id) => listing.entries.push(listed(pm_id, entry, &mut redactor)?),
                None => listing.retiring.push(entry.name),
            }
        }
        Ok(listing)
    }

    /// The entry with that number.
    #[must_use]
    pub fn by_pm_id(&self, pm_id: u32) -> Option<&Listed> {
        self.entries.iter().find(|entry| entry.process.pin.pm_id == pm_id)
    }
}

fn malformed(error: serde_json::Error) -> ListError {
    ListError::Malformed(error.into())
}

/// An entry's number; `None` for a cluster worker that a reload has replaced.
pub(crate) fn number(pm_id: &Value) -> Option<u32> {
    pm_id.as_u64().and_then(|id| u32::try_from(id).ok())
}

fn listed<'a>(pm_id: u32, entry: RawEntry<'a>, redactor: &mut Redactor<'a>) -> Result<Listed, ListError> {
    let settings: Settings<'_> = serde_json::from_str(entry.pm2_env.get()).map_err(malformed)?;
    let exec_mode = match settings.exec_mode.as_str() {
        "fork_mode" | "fork" => ExecMode::Fork,
        "cluster_mode" | "cluster" => ExecMode::Cluster,
        other => {
            let (name, mode) = (escaped(&entry.name), escaped(other));
            return Err(ListError::ExecMode { name, mode });
        }
    };
    let (environment, environment_names) = redactor.redacted(settings.env.unwrap_or_default());
    let timeout = |value: &Value, default| value.as_u64().unwrap_or(default);
    let patience = timeout(&settings.kill_timeout, KILL_TIMEOUT_MS)
        .saturating_add(timeout(&settings.listen_timeout, LISTEN_TIMEOUT_MS));
    let unique_id = unique_id(settings.unique_id, settings.created_at);
    let process = Process {
        pin: Pin { pm_id, name: entry.name, unique_id, process: None },
        status: Status::from(settings.status),
        namespace: settings.namespace.unwrap_or_else(|| "default".to_owned()),
        exec_mode,
        watch: is_set(&settings.watch),
        module: is_set(&settings.pmx_module),
        restarts: settings.restart_time.unwrap_or_default(),
        cwd: settings.pm_cwd,
        script: settings.pm_exec_path,
        environment,
        environment_names,
    };
    Ok(Listed {
        process,
        pid: entry.pid.filter(|pid| *pid > 0),
        patience: Duration::from_millis(patience),
        raw: entry.pm2_env.to_owned(),
    })
}

/// Entries from before PM2 had UUIDs lack one; their time of creation then tells two of them apart.
pub(crate) fn unique_id(given: Option<String>, created_at: Option<u64>) -> String {
    given.unwrap_or_else(|| format!("created-at-{}", created_at.unwrap_or_default()))
}

/// `watch` and `pmx_module` are absent, a boolean, or the paths to watch.
pub(crate) const fn is_set(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

/// Fingerprints of one list. Most apps of a daemon share most of their variables, so equal ones are made once.
struct Redactor<'a> {
    /// `None` makes no fingerprints.
    salt: Option<&'a Salt>,
    known: HashMap<(String, &'a str), Fingerprint>,
}

impl<'a> Redactor<'a> {
    fn new(salt: Option<&'a Salt>) -> Self {
        Self { salt, known: HashMap::new() }
    }

    /// What may be shown of variables: names with fingerprints, and the values of those few that name an
    /// environment.
    fn redacted(
        &mut self,
        variables: BTreeMap<String, &'a RawValue>,
    ) -> (Fingerprints, BTreeMap<String, String>) {
        let (mut fingerprints, mut named) = (Fingerprints::new(), BTreeMap::new());
        for (name, value) in variables.into_iter().filter(|(name, _)| name != UNIQUE_ID) {
            let names_an_environment = ENVIRONMENT_NAMING_VARIABLES.contains(&name.as_str());
            if names_an_environment || ablation::is_off(Check::Redaction) {
                named.insert(name.clone(), text(value));
            }
            let Some(salt) = self.salt else { continue };
            let make = || salt.fingerprint(&name, &text(value));
            let fingerprint = self.known.entry((name.clone(), value.get())).or_insert_with(make).clone();
            fingerprints.insert(name, fingerprint);
        }
        (fingerprints, named)
    }
}

/// A variable's value as the app sees it: PM2 keeps numbers and booleans as such.
fn text(value: &RawValue) -> String {
    serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

fn escaped(text: &str) -> String {
    palisade_core::text::escaped(text).into_owned()
}
