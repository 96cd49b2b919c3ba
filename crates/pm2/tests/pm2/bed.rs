//! A real daemon with the resource that is under test, and what every test needs around them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use palisade_core::actor::{Actor, Claimed, Observed, ProcessRef, Tree};
use palisade_core::outcome::{TargetOutcome, TargetResult};
use palisade_core::policy::{Limits, Mode};
use palisade_core::process::DaemonIdentity;
use palisade_core::request::{OperationId, Selection};
use palisade_core::snapshot::SnapshotId;
use palisade_core::verification::{After, Verification};
use palisade_core::{
    AppName, Armed, Decision, EnvironmentName, Ledger, Operation, Plan, Policy, Receipt, Request, Scope,
    Snapshot, Term, Timestamp,
};
use palisade_host::Environment;
use palisade_pipeline::{Fault, Resource as _};
use palisade_pm2::bundle::Bundles;
use palisade_pm2::{Client, Location, Pm2};
use palisade_testkit::{App, PATIENCE, Scratch};
use serde_json::json;

/// Runs a future on a runtime of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a current-thread runtime needs nothing").block_on(future)
}

/// The daemon at `home`.
pub(crate) fn location(home: &Path) -> Location {
    Location::find(Some(home), &Environment::default()).expect("test homes are absolute")
}

/// A client of that daemon.
pub(crate) async fn connect(home: &Path) -> Client {
    Client::connect(&home.join("rpc.sock"), PATIENCE).await.expect("the daemon runs")
}

/// A daemon with a folder for bundles.
pub(crate) struct Bed {
    pub(crate) pm2: palisade_testkit::Pm2,
    pub(crate) folder: Scratch,
}

impl Bed {
    pub(crate) fn new(pm2: palisade_testkit::Pm2) -> Self {
        Self { pm2, folder: Scratch::new() }
    }

    /// An app whose own folder, and nothing else, is watched.
    pub(crate) fn watched(&self, name: &str) -> App {
        let folder = self.pm2.home().join(name);
        std::fs::create_dir_all(&folder).expect("the home is ours");
        let app = App::node(name).set("script", json!(self.pm2.home().join("idle.js")));
        app.set("cwd", json!(folder)).set("watch", json!(true))
    }

    pub(crate) fn bundles(&self) -> Bundles {
        Bundles::new(self.folder.join("bundles"))
    }

    pub(crate) fn resource(&self) -> Pm2 {
        Pm2::new(location(self.pm2.home()), self.bundles())
    }

    pub(crate) async fn snapshot(&self) -> Snapshot {
        let id = SnapshotId::new(moment(), "test");
        let mut resource = self.resource();
        let mut snapshot = resource.snapshot(id, moment()).await.expect("the daemon runs");
        let values = resource.values(&snapshot).expect("it was just taken");
        (values.write)().expect("the folder can be written");
        snapshot.bundle = Some(values.bundle);
        snapshot
    }

    /// Identifies the daemon and looks at it, as the pipeline does before anything else.
    pub(crate) async fn identified(&self) -> Result<DaemonIdentity, Fault> {
        let mut resource = self.resource();
        let daemon = resource.identify().await?;
        resource.snapshot(SnapshotId::new(moment(), "test"), moment()).await?;
        Ok(daemon)
    }

    /// The plan that `operation` on `names` gives now, armed.
    pub(crate) async fn armed(&self, operation: Operation, names: &[&str]) -> Armed {
        self.armed_from(operation, names, &self.snapshot().await)
    }

    /// The plan that `operation` on `names` gave when `before` was taken, armed.
    pub(crate) fn armed_from(&self, operation: Operation, names: &[&str], before: &Snapshot) -> Armed {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        arm(&request(operation, Selection::Names(names)), before)
    }

    /// What `operation` on `names` comes to.
    pub(crate) async fn run(&self, operation: Operation, names: &[&str]) -> Vec<TargetOutcome> {
        let armed = self.armed(operation, names).await;
        self.resource().execute(&armed).await
    }

    /// Brings back what `source` shows and the daemon lacks, and gives the resource that did it.
    pub(crate) async fn restore(&self, source: &Snapshot) -> (Pm2, Armed, Vec<TargetOutcome>) {
        let bundle =
            self.bundles().read(source.bundle.as_deref().unwrap_or_default()).expect("it was written");
        let armed = self.armed_restore(source).await;
        let mut resource = self.resource().restore_from(bundle);
        let outcomes = resource.execute(&armed).await;
        (resource, armed, outcomes)
    }

    /// The plan that brings back what `source` shows and the daemon lacks now, armed.
    pub(crate) async fn armed_restore(&self, source: &Snapshot) -> Armed {
        let selection = Selection::Missing { snapshot: source.id.clone(), names: None };
        let request = Request { source: Some(source.clone()), ..request(Operation::Restore, selection) };
        arm(&request, &self.snapshot().await)
    }

    /// What is seen after `plan`.
    pub(crate) async fn after(&self, plan: &Plan) -> After {
        self.resource().after(plan, moment()).await.expect("the daemon runs")
    }

    /// The comparison that the pipeline makes after `armed` came to `outcomes`.
    pub(crate) async fn verify(
        &self,
        armed: &Armed,
        outcomes: &[TargetOutcome],
        before: &Snapshot,
    ) -> Verification {
        Verification::of(armed.plan(), outcomes, before, &self.after(armed.plan()).await, &BTreeSet::new())
    }
}

fn moment() -> Timestamp {
    Timestamp::from_unix_ms(1_771_323_180_123)
}

fn request(operation: Operation, selection: Selection) -> Request {
    Request {
        id: OperationId::new(moment(), [7; 10]),
        operation,
        scope: scope(),
        selection,
        carries: None,
        source: None,
        tolerates_absence: false,
        confirmed: None,
        actor: actor(),
    }
}

/// A request that carries variables into its targets.
pub(crate) fn carrying(operation: Operation, names: &[&str]) -> Request {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Request { carries: Some(BTreeMap::new()), ..request(operation, Selection::Names(names)) }
}

/// Arms a request: no rule can object in observe, and the receipt is a test's own.
pub(crate) fn arm(request: &Request, before: &Snapshot) -> Armed {
    let policy = Policy {
        revision: 1,
        environments: BTreeMap::new(),
        apps: Vec::new(),
        protected: Vec::new(),
        limits: Limits::default(),
        notify: Default::default(),
    };
    let plan = Plan::draw(request, before, &policy);
    match policy.judge(Mode::Observe, request, plan, &Ledger::default(), moment()).decision {
        Decision::Permit(permit) => {
            permit.arm(Receipt::for_durable_record(0, String::new()), Term { scope: scope(), number: 1 })
        }
        Decision::Refuse(refusal) => panic!("refused in observe: {refusal:?}"),
    }
}

fn scope() -> Scope {
    let name = |name| AppName::new(name).expect("a plain name");
    Scope::new(name("flyer-crawler"), EnvironmentName::new("production").expect("a plain name"))
}

fn actor() -> Actor {
    let process = ProcessRef { pid: 1, start_ticks: 1 };
    Actor {
        observed: Observed {
            uid: 0,
            gid: 0,
            user: None,
            process,
            session: 1,
            cwd: None,
            cgroup: None,
            host: "test".to_owned(),
            machine_id: None,
            ancestors: Vec::new(),
        },
        claimed: Claimed::default(),
        missing: Vec::new(),
        tree: Tree::session(process),
    }
}

/// The results, without pins.
pub(crate) fn results(outcomes: &[TargetOutcome]) -> Vec<&TargetResult> {
    outcomes.iter().map(|outcome| &outcome.result).collect()
}

/// Whether every target was done, and there was one.
pub(crate) fn all_done(outcomes: &[TargetOutcome]) -> bool {
    !outcomes.is_empty() && outcomes.iter().all(|outcome| outcome.result == TargetResult::Done)
}

/// In a build with ablation, switches off the check that PALISADE_ABLATE names: the canonical test must then fail.
pub(crate) fn ablate() {
    #[cfg(feature = "ablation")]
    #[expect(clippy::disallowed_methods, reason = "the test is the edge here")]
    if let Ok(name) = std::env::var("PALISADE_ABLATE") {
        palisade_core::ablation::switch_off(&name).expect("a check of this name");
    }
}
