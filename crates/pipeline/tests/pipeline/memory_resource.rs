//! A daemon in memory: enough of one to be operated and to go wrong.

use palisade_core::actor::ProcessRef;
use palisade_core::outcome::{TargetOutcome, TargetResult};
use palisade_core::process::{DaemonIdentity, ExecMode, Pin, Process, Status};
use palisade_core::snapshot::{Snapshot, SnapshotId};
use palisade_core::verification::After;
use palisade_core::{Armed, Operation, Plan, Timestamp};
use palisade_pipeline::{Fault, FaultKind, Resource, Values};

/// Processes by name, and what has been asked of the daemon, in order.
pub(crate) struct Daemon {
    pub(crate) processes: Vec<Process>,
    pub(crate) calls: Vec<&'static str>,
    /// Looked at when a call arrives: what was durable by then.
    pub(crate) on_execute: Option<Box<dyn FnMut() + Send>>,
    /// Called when the values are kept: the last step before the intent.
    pub(crate) on_keep: Option<Box<dyn FnMut() + Send>>,
    pub(crate) dead: bool,
    pub(crate) dies_after_execute: bool,
}

impl Daemon {
    pub(crate) fn with(names: &[&str]) -> Self {
        let processes = (0..).zip(names).map(|(pm_id, name)| process(pm_id, name)).collect();
        Self {
            processes,
            calls: Vec::new(),
            on_execute: None,
            on_keep: None,
            dead: false,
            dies_after_execute: false,
        }
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.processes.iter().map(|process| process.pin.name.as_str()).collect()
    }

    fn identity() -> DaemonIdentity {
        DaemonIdentity {
            process: ProcessRef { pid: 77, start_ticks: 1 },
            uid: 1000,
            boot_id: "boot".into(),
            version: "7.0.4".into(),
            home: "/home/deploy/.pm2".into(),
            socket: "/home/deploy/.pm2/rpc.sock".into(),
        }
    }

    fn reached(&self) -> Result<(), Fault> {
        if !self.dead {
            return Ok(());
        }
        Err(Fault {
            kind: FaultKind::Unreachable,
            message: "the daemon in memory is dead".into(),
            fix: "none".into(),
            source: None,
        })
    }

    fn list(&self, id: SnapshotId, taken_at: Timestamp) -> Snapshot {
        Snapshot { id, taken_at, daemon: Self::identity(), processes: self.processes.clone(), bundle: None }
    }
}

fn process(pm_id: u32, name: &str) -> Process {
    Process {
        pin: Pin {
            pm_id,
            name: name.into(),
            unique_id: format!("uuid-{pm_id}"),
            process: Some(ProcessRef { pid: 500 + pm_id, start_ticks: 1 }),
        },
        status: Status::Online,
        namespace: "default".into(),
        exec_mode: ExecMode::Fork,
        watch: false,
        module: false,
        restarts: 0,
        cwd: None,
        script: None,
        environment: std::collections::BTreeMap::new(),
        environment_names: std::collections::BTreeMap::new(),
    }
}

impl Resource for Daemon {
    async fn identify(&mut self) -> Result<DaemonIdentity, Fault> {
        self.calls.push("identify");
        self.reached()?;
        Ok(Self::identity())
    }

    async fn snapshot(&mut self, id: SnapshotId, at: Timestamp) -> Result<Snapshot, Fault> {
        self.calls.push("snapshot");
        self.reached()?;
        Ok(self.list(id, at))
    }

    fn values(&mut self, _snapshot: &Snapshot) -> Option<Values> {
        self.calls.push("keep values");
        if let Some(on_keep) = &mut self.on_keep {
            on_keep();
        }
        None
    }

    async fn execute(&mut self, armed: &Armed) -> Vec<TargetOutcome> {
        self.calls.push("execute");
        if let Some(on_execute) = &mut self.on_execute {
            on_execute();
        }
        let mut outcomes = Vec::new();
        for target in &armed.plan().targets {
            let uuid = &target.pin.unique_id;
            match armed.plan().operation {
                Operation::Delete => self.processes.retain(|process| process.pin.unique_id != *uuid),
                Operation::Stop | Operation::Restart | Operation::Reload | Operation::Restore => {
                    for process in self.processes.iter_mut().filter(|process| process.pin.unique_id == *uuid)
                    {
                        process.pin.process = Some(ProcessRef { pid: 900, start_ticks: 2 });
                    }
                }
            }
            outcomes.push(TargetOutcome { pin: target.pin.clone(), result: TargetResult::Done });
        }
        self.dead = self.dies_after_execute;
        outcomes
    }

    async fn after(&mut self, _plan: &Plan, at: Timestamp) -> Result<After, Fault> {
        self.calls.push("after");
        self.reached()?;
        let snapshot = self.list(SnapshotId::new(at, "after"), at);
        Ok(After { snapshot, survivors: Vec::new(), vanished: Vec::new(), restored: Vec::new() })
    }
}
