//! What every command starts from: who calls, which policy is in force, where the state is.

use std::path::{Path, PathBuf};

use palisade_config::HostPolicy;
use palisade_core::record::Act;
use palisade_core::{Actor, Exit, Policy};
use palisade_host::environment::Environment;
use palisade_host::state::{Locations, StateDirectory};
use palisade_host::{context, random};
use palisade_pipeline::act::{Begun, Site};

use crate::args::ScopeArgs;
use crate::failure::Failure;

/// The file name of a project's own, narrower policy.
const PROJECT_FILE: &str = "palisade.toml";

/// The surroundings of one command.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) environment: Environment,
    pub(crate) policy_path: PathBuf,
    pub(crate) state: StateDirectory,
    uid: u32,
}

impl Session {
    pub(crate) fn open() -> Result<Self, Failure> {
        let environment = Environment::of_this_process();
        let uid = rustix::process::geteuid().as_raw();
        let locations = Locations::default();
        let policy_path = locations.policy_path(&environment, uid)?;
        let state = locations.state(&environment, uid)?;
        Ok(Self { environment, policy_path, state, uid })
    }

    /// Effective user id of this process.
    pub(crate) const fn uid(&self) -> u32 {
        self.uid
    }

    /// Who calls.
    pub(crate) fn actor(&self) -> Result<Actor, Failure> {
        context::observe(&self.environment).map_err(|error| {
            Failure::new(Exit::Failure, error.to_string())
                .caused_by(&error)
                .hint("Palisade needs /proc to tell who calls")
        })
    }

    /// The policy in force: the host's file, narrowed by the project's where there is one.
    pub(crate) fn policy(&self) -> Result<HostPolicy, Failure> {
        let host = palisade_config::load(&self.policy_path)?;
        match self.project_file() {
            Some(path) => Ok(palisade_config::load_project(host, &path)?),
            None => Ok(host),
        }
    }

    /// The host's own policy, whatever a project narrows: what guards judge by.
    pub(crate) fn host_policy(&self) -> Result<HostPolicy, Failure> {
        Ok(palisade_config::load(&self.policy_path)?)
    }

    /// Records what is about to be done at `place`, which names a database without secrets.
    pub(crate) fn begin(&self, act: Act, place: &str, details: Vec<String>) -> Result<Begun, Failure> {
        let policy = self.host_policy().ok().map(|host| host.reference().clone());
        let site = Site { state: &self.state, policy, actor: self.actor()? };
        Ok(site.begin(random::operation_id()?, act, place, details)?)
    }

    /// The policy, or `None` where there is none yet: for commands that only look.
    pub(crate) fn policy_if_any(&self) -> Result<Option<Policy>, Failure> {
        if self.policy_path.exists() { self.policy().map(|host| Some(host.into_policy())) } else { Ok(None) }
    }

    /// As [`Self::policy_if_any`], for commands that act: one that is there and cannot be read is an error, for its limits
    /// and modes are not those of none.
    pub(crate) fn policy_unless_absent(&self) -> Result<Option<Policy>, Failure> {
        if palisade_config::is_absent(&self.policy_path) {
            return Ok(None);
        }
        self.policy().map(|host| Some(host.into_policy()))
    }

    /// The nearest `palisade.toml` at or above the working folder that is not the host's own.
    pub(crate) fn project_file(&self) -> Option<PathBuf> {
        let cwd = std::env::current_dir().ok()?;
        let host = self.policy_path.canonicalize().ok();
        let is_project = |path: &PathBuf| path.is_file() && path.canonicalize().ok() != host;
        cwd.ancestors().map(|folder: &Path| folder.join(PROJECT_FILE)).find(is_project)
    }

    /// The scope that was asked for, by flag or variable. There is no default.
    pub(crate) fn scope(&self, args: &ScopeArgs) -> Result<palisade_core::Scope, Failure> {
        let lacking = |what: &str, variable: &str| {
            Failure::usage(format!("no {what} was given; there is no default {what}"))
                .hint(format!("add --{what} NAME, or set {variable}"))
        };
        let from = |variable: &str| self.environment.text(variable).filter(|value| !value.is_empty());
        let bad = |error: palisade_core::name::NameError| Failure::usage(error.to_string());
        let app = match (&args.app, from("PALISADE_APP")) {
            (Some(app), _) => app.clone(),
            (None, Some(name)) => palisade_core::AppName::new(&name).map_err(bad)?,
            (None, None) => return Err(lacking("app", "PALISADE_APP")),
        };
        let environment = match (&args.environment, from("PALISADE_ENVIRONMENT")) {
            (Some(environment), _) => environment.clone(),
            (None, Some(name)) => palisade_core::EnvironmentName::new(&name).map_err(bad)?,
            (None, None) => return Err(lacking("environment", "PALISADE_ENVIRONMENT")),
        };
        Ok(palisade_core::Scope::new(app, environment))
    }
}
