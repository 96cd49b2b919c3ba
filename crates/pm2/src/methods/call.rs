//! The calls that this client makes.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use super::table::Method;

/// One call with its arguments. Debug shows the method only, for arguments may hold secrets.
#[derive(Clone, PartialEq)]
pub struct Call {
    method: Method,
    args: Vec<Value>,
}

/// On whose behalf a watch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// Before a process is deleted.
    Delete,
    /// Before a process is stopped.
    Stop,
}

/// The caller's variables that a restart or reload carries into its target; empty for none.
pub type CarriedEnv = BTreeMap<String, String>;

impl Call {
    /// Answers at once.
    #[must_use]
    pub fn ping() -> Self {
        Self::of(Method::Ping, vec![json!({})])
    }

    /// The daemon's version.
    #[must_use]
    pub fn version() -> Self {
        Self::of(Method::GetVersion, vec![json!({})])
    }

    /// The whole list.
    #[must_use]
    pub fn list() -> Self {
        Self::of(Method::GetMonitorData, vec![json!({})])
    }

    /// Ends a process and takes it off the list.
    #[must_use]
    pub fn delete(pm_id: u32) -> Self {
        Self::of(Method::DeleteProcessId, vec![json!(pm_id)])
    }

    /// Ends a process and keeps it on the list.
    #[must_use]
    pub fn stop(pm_id: u32) -> Self {
        Self::of(Method::StopProcessId, vec![json!(pm_id)])
    }

    /// Ends the watch of one process.
    #[must_use]
    pub fn stop_watch(before: Watched, pm_id: u32) -> Self {
        let method = match before {
            Watched::Delete => Method::DeleteProcessId,
            Watched::Stop => Method::StopProcessId,
        };
        Self::of(Method::StopWatch, vec![json!(method.name()), json!(pm_id)])
    }

    /// Ends and starts a process. With an empty `env` it keeps the environment that it has.
    #[must_use]
    pub fn restart(pm_id: u32, env: &CarriedEnv) -> Self {
        Self::of(Method::RestartProcessId, vec![json!({ "id": pm_id, "env": env })])
    }

    /// Like [`Call::restart`], but a cluster's new worker is up before the old one ends.
    #[must_use]
    pub fn reload(pm_id: u32, env: &CarriedEnv) -> Self {
        Self::of(Method::ReloadProcessId, vec![json!({ "id": pm_id, "env": env })])
    }

    /// Starts a process from a configuration, made by [`crate::restore::configuration`] only.
    #[must_use]
    pub(crate) fn prepare(configuration: serde_json::Map<String, Value>) -> Self {
        Self::of(Method::Prepare, vec![Value::Object(configuration)])
    }

    fn of(method: Method, args: Vec<Value>) -> Self {
        debug_assert_eq!(method.check(&args), Ok(()), "a constructor has to fit the table");
        Self { method, args }
    }

    /// What is called.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The request's JSON.
    pub(crate) fn body(&self) -> String {
        json!({ "type": "call", "method": self.method.name(), "args": self.args }).to_string()
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({})", self.method.name())
    }
}
