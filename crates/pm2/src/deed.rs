//! What a call does, to which processes, in terms that a policy can be asked about.

use std::collections::{BTreeMap, BTreeSet};

use crate::methods::Method;
use palisade_core::Operation;
use palisade_core::process::ENVIRONMENT_NAMING_VARIABLES;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::asked::{BadCall, Kind};

/// A call that touches processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// What it does.
    pub deed: Deed,
    /// To which processes.
    pub aims: Vec<Aim>,
    /// Variables that name an environment and that the call carries into its target.
    pub carries: BTreeMap<String, String>,
    /// Namespaces that the process would be in, where the call says so.
    pub namespaces: BTreeSet<String>,
}

/// What is done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// Ended and taken off the list.
    Delete,
    /// Ended.
    Stop,
    /// Sent a signal, which may end it.
    Signal,
    /// Ended and started.
    Restart,
    /// Replaced.
    Reload,
    /// Started where it is on the list already, or once more like it.
    Start,
    /// Started from a configuration.
    Create,
    /// Its watch, counters, monitoring or log files are changed, or it is sent a message.
    Touch,
}

/// Which processes are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aim {
    /// The one with that number.
    Id(u32),
    /// Every one of exactly that name.
    Name(String),
    /// Every one of that name, namespace or script; `all` is every one.
    Address(String),
    /// Every one.
    All,
    /// One that will have that name.
    NewName(String),
    /// The one that has that number now, which ends when another one gets it.
    Slot(u32),
}

impl Deed {
    /// The operation of the core whose rules apply.
    #[must_use]
    pub const fn operation(self) -> Operation {
        match self {
            Self::Delete => Operation::Delete,
            Self::Stop | Self::Signal => Operation::Stop,
            Self::Restart => Operation::Restart,
            Self::Reload | Self::Start | Self::Create | Self::Touch => Operation::Reload,
        }
    }

    /// Whether processes may be down afterwards.
    #[must_use]
    pub const fn takes_down(self) -> bool {
        self.operation().takes_down()
    }

    /// Whether processes of a new number may be there afterwards.
    #[must_use]
    pub const fn creates(self) -> bool {
        matches!(self, Self::Start | Self::Create)
    }
}

/// Makes the arguments of `method`, whose shape was checked, canonical, and says what the call comes to.
pub(crate) fn read(method: Method, args: &mut [Value]) -> Result<Kind, BadCall> {
    let first = args.first_mut().ok_or(BadCall::Body)?;
    match method {
        Method::GetMonitorData
        | Method::GetSystemData
        | Method::GetVersion
        | Method::Ping
        | Method::GetReport => Ok(Kind::Read),
        Method::NotifyByProcessId => notice(method, first),
        Method::DeleteProcessId => by_id(method, Deed::Delete, first),
        Method::StopProcessId => {
            if let Some(id) = first.get_mut("id").map(Value::take) {
                *first = id;
            }
            by_id(method, Deed::Stop, first)
        }
        Method::StartProcessId | Method::DuplicateProcessId => by_id(method, Deed::Start, first),
        Method::ResetMetaProcessId | Method::Monitor | Method::Unmonitor => by_id(method, Deed::Touch, first),
        Method::RestartProcessId => restart(method, Deed::Restart, first),
        Method::ReloadProcessId | Method::SoftReloadProcessId => restart(method, Deed::Reload, first),
        Method::SendSignalToProcessId => by_field(method, Deed::Signal, first, "process_id"),
        Method::SendDataToProcessId => by_field(method, Deed::Touch, first, "id"),
        Method::SendLineToStdin => by_field(method, Deed::Touch, first, "pm_id"),
        Method::SendSignalToProcessName => {
            let name = text(first, "process_name").ok_or(BadCall::Name(method))?;
            Ok(act(Deed::Signal, vec![Aim::Name(name)]))
        }
        Method::MsgProcess => message(method, first),
        Method::StopWatch | Method::StartWatch | Method::ToggleWatch => watch(method, args),
        Method::ReloadLogs => Ok(act(Deed::Touch, vec![Aim::All])),
        Method::Prepare => create(method, first),
        Method::KillMe | Method::NotifyKillPm2 | Method::ProfileCpu | Method::ProfileMem => {
            Ok(Kind::Lifecycle)
        }
    }
}

const fn act(deed: Deed, aims: Vec<Aim>) -> Kind {
    Kind::Act(Act { deed, aims, carries: BTreeMap::new(), namespaces: BTreeSet::new() })
}

fn by_id(method: Method, deed: Deed, value: &mut Value) -> Result<Kind, BadCall> {
    Ok(act(deed, vec![Aim::Id(plain_id(method, value)?)]))
}

fn by_field(method: Method, deed: Deed, value: &mut Value, field: &str) -> Result<Kind, BadCall> {
    Ok(act(deed, vec![Aim::Id(field_id(method, value, field)?)]))
}

fn field_id(method: Method, value: &mut Value, field: &str) -> Result<u32, BadCall> {
    plain_id(method, value.get_mut(field).ok_or(BadCall::Id(method))?)
}

/// A whole number, or its canonical decimal text, which becomes the number.
fn plain_id(method: Method, value: &mut Value) -> Result<u32, BadCall> {
    let id = match &*value {
        Value::Number(number) => number.as_u64().and_then(|id| u32::try_from(id).ok()),
        Value::String(text) => text.parse::<u32>().ok().filter(|id| id.to_string() == *text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let id = id.ok_or(BadCall::Id(method))?;
    *value = Value::from(id);
    Ok(id)
}

/// It tells subscribers of an act and touches no process. `pm2 startOrReload` gives a name for the number, which
/// the daemon would look up among the fields of an object; it gets a number that no process has, and says so.
fn notice(method: Method, value: &mut Value) -> Result<Kind, BadCall> {
    let Some(id) = value.get_mut("id") else { return Err(BadCall::Id(method)) };
    if id.is_string() && plain_id(method, id).is_err() {
        *id = Value::from(u32::MAX);
    }
    plain_id(method, id).map(|_| Kind::Read)
}

fn text(value: &Value, field: &str) -> Option<String> {
    value.get(field)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// What `env.current_conf` holds is laid over the target's own settings, its number and name among them.
fn restart(method: Method, deed: Deed, value: &mut Value) -> Result<Kind, BadCall> {
    let id = field_id(method, value, "id")?;
    let mut aims = vec![Aim::Id(id)];
    let Some(env) = value.get_mut("env") else { return Err(BadCall::Id(method)) };
    let mut carries = named_environments(env);
    let mut namespaces = BTreeSet::new();
    if let Some(settings) = env.get_mut("current_conf") {
        if settings.get("pm_id").is_some() && field_id(method, settings, "pm_id")? != id {
            return Err(BadCall::Id(method));
        }
        if settings.get("name").is_some() {
            aims.push(Aim::NewName(text(settings, "name").ok_or(BadCall::Name(method))?));
        }
        namespaces = namespaces_of(method, settings)?;
        carries.extend(named_environments(settings));
        carries.extend(settings.get("env").map(named_environments).unwrap_or_default());
    }
    Ok(Kind::Act(Act { deed, aims, carries, namespaces }))
}

/// The namespace in a configuration, if it names one.
fn namespaces_of(method: Method, settings: &Value) -> Result<BTreeSet<String>, BadCall> {
    match settings.get("namespace") {
        None | Some(Value::Null) => Ok(BTreeSet::new()),
        Some(_) => Ok([text(settings, "namespace").ok_or(BadCall::Name(method))?].into()),
    }
}

fn named_environments(env: &Value) -> BTreeMap<String, String> {
    let named = |name: &&str| Some(((*name).to_owned(), env.get(*name)?.as_str()?.to_owned()));
    ENVIRONMENT_NAMING_VARIABLES.iter().filter_map(named).collect()
}

fn message(method: Method, value: &mut Value) -> Result<Kind, BadCall> {
    let aim = match (value.get("id").is_some(), value.get("name").is_some()) {
        (true, false) => Aim::Id(field_id(method, value, "id")?),
        (false, true) => Aim::Address(text(value, "name").ok_or(BadCall::Name(method))?),
        (true, true) | (false, false) => return Err(BadCall::Name(method)),
    };
    Ok(act(Deed::Touch, vec![aim]))
}

/// The first argument says how the second is read: as a number, or not at all.
fn watch(method: Method, args: &mut [Value]) -> Result<Kind, BadCall> {
    let [on_behalf, value] = args else { return Err(BadCall::Watch(method)) };
    match on_behalf.as_str() {
        Some("deleteAll" | "stopAll") if value.is_object() => Ok(act(Deed::Touch, vec![Aim::All])),
        Some(
            "deleteProcessId"
            | "stopProcessId"
            | "startProcessId"
            | "restartProcessId"
            | "reloadProcessId"
            | "softReloadProcessId",
        ) => by_id(method, Deed::Touch, value),
        Some(_) | None => Err(BadCall::Watch(method)),
    }
}

/// The daemon lays `env` over the configuration before it looks at name and number, so both places count.
fn create(method: Method, value: &mut Value) -> Result<Kind, BadCall> {
    let mut aims = vec![Aim::NewName(text(value, "name").ok_or(BadCall::Name(method))?)];
    let mut namespaces = namespaces_of(method, value)?;
    if value.get("pm_id").is_some() {
        aims.push(Aim::Slot(field_id(method, value, "pm_id")?));
    }
    if let Some(env) = value.get_mut("env") {
        if env.get("name").is_some() {
            aims.push(Aim::NewName(text(env, "name").ok_or(BadCall::Name(method))?));
        }
        if env.get("pm_id").is_some() {
            aims.push(Aim::Slot(field_id(method, env, "pm_id")?));
        }
        namespaces.extend(namespaces_of(method, env)?);
    }
    if namespaces.is_empty() {
        namespaces.insert("default".to_owned());
    }
    Ok(Kind::Act(Act { deed: Deed::Create, aims, carries: BTreeMap::new(), namespaces }))
}
