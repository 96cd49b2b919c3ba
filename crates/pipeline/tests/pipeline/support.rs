//! A host in a scratch folder.

use std::collections::BTreeMap;
use std::time::Duration;

use palisade_core::policy::{App, Environment, Limits};
use palisade_core::{
    AppName, EnvironmentName, Operation, Pattern, Plan, Policy, Record, Request, Scope, Selection,
};
use palisade_host::state::StateDirectory;
use palisade_host::{Environment as Variables, context, random};
use palisade_pipeline::{Context, Error, Report, run};

use crate::memory_resource::Daemon;

/// A state folder and a policy for two apps.
#[derive(Debug)]
pub(crate) struct Host {
    folder: tempfile::TempDir,
    pub(crate) policy: Policy,
}

pub(crate) fn scope(app: &str) -> Scope {
    Scope::new(AppName::new(app).unwrap(), EnvironmentName::new("production").unwrap())
}

/// In a build with ablation, switches off the check that PALISADE_ABLATE names: the canonical test must then fail.
pub(crate) fn ablate() {
    #[cfg(feature = "ablation")]
    #[expect(clippy::disallowed_methods, reason = "the test is the edge here")]
    if let Ok(name) = std::env::var("PALISADE_ABLATE") {
        palisade_core::ablation::switch_off(&name).unwrap();
    }
}

impl Host {
    pub(crate) fn new() -> Self {
        let app = |name: &str| App::new(scope(name), vec![Pattern::new(&format!("{name}-*")).unwrap()]);
        let policy = Policy {
            revision: 7,
            environments: BTreeMap::from([(
                EnvironmentName::new("production").unwrap(),
                Environment::default(),
            )]),
            apps: vec![app("shop"), app("blog")],
            protected: Vec::new(),
            limits: Limits::default(),
            notify: Default::default(),
        };
        Self { folder: tempfile::tempdir().unwrap(), policy }
    }

    pub(crate) fn state(&self) -> StateDirectory {
        StateDirectory::at(self.folder.path().join("state"))
    }

    pub(crate) fn request(operation: Operation, app: &str, selection: Selection) -> Request {
        Request {
            id: random::operation_id().unwrap(),
            operation,
            scope: scope(app),
            selection,
            carries: None,
            source: None,
            tolerates_absence: false,
            confirmed: None,
            actor: context::observe(&Variables::default()).unwrap(),
        }
    }

    pub(crate) fn run(&self, daemon: &mut Daemon, request: Request) -> Result<Report, Error> {
        self.run_as(daemon, request, false, None)
    }

    pub(crate) fn run_as(
        &self,
        daemon: &mut Daemon,
        request: Request,
        dry_run: bool,
        expected: Option<&Plan>,
    ) -> Result<Report, Error> {
        let state = self.state();
        let context = Context {
            policy: &self.policy,
            host_policy: &self.policy.reference(),
            state: &state,
            wait: Duration::ZERO,
            dry_run,
            expected,
            progress: &mut |_step| {},
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(daemon, request, context))
    }

    /// Every record, oldest first.
    pub(crate) fn records(&self) -> Vec<Record> {
        let folder = self.state().journal();
        if palisade_journal::signed_head(&folder).unwrap().is_none() {
            return Vec::new();
        }
        let entries = palisade_journal::Reader::open(&folder).unwrap();
        entries.map(|entry| entry.unwrap().record().unwrap()).collect()
    }

    /// The kinds of all records, oldest first.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let kind =
            |record: &Record| serde_json::to_value(record).unwrap()["event"].as_str().unwrap().to_owned();
        self.records().iter().map(kind).collect()
    }
}
