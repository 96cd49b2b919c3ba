//! What the journal holds: decisions, each with its principal. Never a secret, never updated.

use serde::{Deserialize, Serialize};

use crate::actor::{Actor, ProcessRef};
use crate::bypass::{Bypass, BypassId};
use crate::code::Code;
use crate::epoch::{Epoch, Subject};
use crate::name::{QueueName, Scope};
use crate::outcome::{Outcome, TargetOutcome};
use crate::plan::Target;
use crate::policy::PolicyRef;
use crate::process::DaemonIdentity;
use crate::request::{Operation, OperationId, Selection};
use crate::snapshot::SnapshotId;
use crate::time::Timestamp;
use crate::verdict::{Authority, Finding, Term};
use crate::verification::Verification;

/// The format of a record; a reader refuses higher ones.
pub const FORMAT: u32 = 1;

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub v: u32,
    /// Wall clock of the writer.
    pub at: Timestamp,
    /// Milliseconds since boot of the writer's machine, suspended time included.
    pub boot_ms: u64,
    /// Id of that boot.
    pub boot_id: String,
    /// The operation that it belongs to: an intent and its outcome share it.
    pub op: OperationId,
    /// Who.
    pub actor: Actor,
    /// The policy that was in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyRef>,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "kebab-case")]
pub enum Event {
    /// The first record, or a policy with another content than the last.
    PolicyChanged(PolicyChanged),
    /// An operation was refused; nothing was touched.
    Refused(Refused),
    /// An operation is about to be carried out.
    Intent(Intent),
    /// What came of an intent.
    Outcome(OutcomeRecord),
    /// A deployment began: its scope's lease is held.
    DeploymentStarted(DeploymentStarted),
    /// It ended.
    DeploymentEnded(DeploymentEnded),
    /// An intent without outcome was settled by looking at what is there.
    Reconciled(OutcomeRecord),
    /// An incomplete last record was cut off after a crash.
    Recovered(Recovered),
    /// Equal refusals that were not written one by one.
    Repeated(Repeated),
    /// A firewall judged one call.
    Called(Called),
    /// A guard was opened by `palisade off`. It ends at the moment that it names.
    BypassBegan(Bypass),
    /// A bypass was ended before its time.
    BypassEnded(BypassEnded),
    /// An administrator acts on a guard, its policy or its daemon, or has acted.
    Administered(Administered),
    /// The lowest epoch that a workflow may run with was raised.
    EpochRaised(EpochRaised),
    /// A deployment was refused before its command ran.
    DeploymentRefused(DeploymentRefused),
    /// A runner's hook looked at a job before its first step.
    JobJudged(JobJudged),
    /// For a while a firewall could not judge.
    Gap(Gap),
    /// Somebody who should have been told was not.
    NoticeUndelivered(NoticeUndelivered),
    /// A person changes jobs or the rules of a queue, or has changed them.
    JobsChanged(JobsChanged),
}

/// What a person does to jobs or to a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobsChanged {
    /// What, in one word: `cancel`, `hold`, `release`, `resume`, `retry`, `set`.
    pub deed: String,
    /// Whether it is about to begin, or how it ended.
    pub phase: Phase,
    /// The store, without secrets.
    pub store: String,
    /// The queue, where it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// So many jobs.
    pub jobs: u64,
    /// The numbers of the first ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<i64>,
    /// What was asked for or done, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

impl JobsChanged {
    /// Whether it counts in the budget of its caller. What gives jobs back, and so undoes, does not.
    #[must_use]
    pub fn is_charged(&self) -> bool {
        matches!(self.deed.as_str(), "cancel" | "hold" | "retry")
    }
}

/// Another policy came into force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyChanged {
    /// The last one recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PolicyRef>,
    /// The one in force from here on.
    pub to: PolicyRef,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What was asked for.
    pub operation: Operation,
    /// In whose name.
    pub scope: Scope,
    /// To which processes.
    pub selection: Selection,
    /// The daemon.
    pub daemon: DaemonIdentity,
    /// Names that would have been touched.
    pub targets: Vec<String>,
    /// Processes on the daemon.
    pub total: usize,
    /// The grounds.
    pub findings: Vec<Finding>,
}

/// One call at a firewall that is worth a record: refused, objected to, or about to take something down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    /// The method, as the daemon names it.
    pub method: String,
    /// What the firewall did with it.
    pub ruling: Ruling,
    /// The app and environment that the caller was taken for; `None` if it could not be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// What that rests on, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// The daemon.
    pub daemon: DaemonIdentity,
    /// Names that the call is about.
    pub targets: Vec<String>,
    /// Whether processes are down afterwards: what budgets count.
    pub takes_down: bool,
    /// Processes on the daemon.
    pub total: usize,
    /// The grounds; empty if nothing objects.
    pub findings: Vec<Finding>,
    /// The bypass by which it passed in spite of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bypass: Option<BypassId>,
    /// How long the firewall took to decide, in microseconds: from the question to the ruling, without the wait for the daemon's
    /// list, which is read while it arrives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_us: Option<u64>,
}

/// A bypass that was ended before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BypassEnded {
    /// Which one.
    pub id: BypassId,
}

/// What an administrator did, or is about to do, beside judged operations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Administered {
    /// What.
    pub act: Act,
    /// Whether it is about to begin, or how it ended.
    pub phase: Phase,
    /// The home of the daemon that it is about; for a database, which one, and which table of it.
    pub home: String,
    /// What was found or done, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// An act of an administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// A guard is put in front of the daemon.
    GuardInstall,
    /// It is taken away.
    GuardRemove,
    /// The mode of apps is changed.
    GuardMode,
    /// The daemon is ended with its apps.
    DaemonKill,
    /// The daemon is replaced by one of another version, its apps come back.
    DaemonUpdate,
    /// The daemon did not run; a firewall started it and brought its apps back.
    DaemonStart,
    /// The list is saved for the next start.
    Save,
    /// PM2's own file of that list was changed past the guard.
    DumpEdit,
    /// Log files are emptied.
    Flush,
    /// Jobs of a table are taken from silent workers, in one pass.
    Reap,
    /// Wrongly taken jobs are given back.
    Undo,
    /// An app, a role or a build is shut out of a database.
    Quarantine,
    /// It is let in again.
    QuarantineLift,
    /// A step of replacing a role of a database by another.
    Rotate,
    /// An app is given a key of a database.
    Key,
    /// The lowest epoch of an app's builds is changed in a database.
    Epoch,
    /// A table begins or ceases to ask for an identity.
    RequireIdentity,
    /// A database is stamped, or its stamp accepted or taken away.
    Stamp,
    /// A role is bound to an environment, or to none.
    Bind,
    /// A guard is put behind a table, or its rules are changed.
    TableInstall,
    /// It is taken away.
    TableRemove,
    /// Its mode is changed.
    TableMode,
    /// The guards of a database are brought to the form of this build.
    TableUpgrade,
    /// The login trigger of a database is made, changed or taken away.
    LoginTrigger,
    /// A database of its own is made beside another one.
    Fork,
}

impl Act {
    /// In words.
    #[must_use]
    pub const fn said(self) -> &'static str {
        match self {
            Self::GuardInstall => "install of the guard of PM2",
            Self::GuardRemove => "removal of the guard of PM2",
            Self::GuardMode => "change of the mode of the guard of PM2",
            Self::DaemonKill => "end of PM2 and its apps",
            Self::DaemonUpdate => "update of PM2",
            Self::DaemonStart => "start of PM2",
            Self::Save => "save of the list of PM2",
            Self::DumpEdit => "edit of PM2's dump past the guard",
            Self::Flush => "flush of logs of PM2",
            Self::Reap => "reap",
            Self::Undo => "undo",
            Self::Quarantine => "quarantine",
            Self::QuarantineLift => "lift of a quarantine",
            Self::Rotate => "rotation of a role",
            Self::Key => "key for an app",
            Self::Epoch => "change of a minimum epoch",
            Self::RequireIdentity => "change of who needs an identity",
            Self::Stamp => "stamp",
            Self::Bind => "binding of a role",
            Self::TableInstall => "install of the guard of a table",
            Self::TableRemove => "removal of the guard of a table",
            Self::TableMode => "change of the mode of the guard of a table",
            Self::TableUpgrade => "upgrade of the guards of a database",
            Self::LoginTrigger => "change of the login trigger",
            Self::Fork => "fork of a database",
        }
    }
}

/// How far an act of an administrator is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It is about to begin.
    Begun,
    /// It came out as planned.
    Done,
    /// It did not.
    Failed,
}

/// What a firewall did with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ruling {
    /// Nothing objects; it is handed to the daemon.
    Passed,
    /// Rules object, and the mode is observe: it is handed to the daemon.
    Observed,
    /// It never reached the daemon.
    Refused,
    /// Rules object in enforce, and a bypass is in force: it is handed to the daemon.
    Bypassed,
}

/// An operation about to be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// What will be done.
    pub operation: Operation,
    /// In whose name.
    pub scope: Scope,
    /// To which daemon.
    pub daemon: DaemonIdentity,
    /// Under which term.
    pub term: Term,
    /// Which process carries it out: for an order that is the guard's. Records of earlier versions do not say; there it is
    /// the one that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor: Option<ProcessRef>,
    /// On what ground.
    pub authority: Authority,
    /// The snapshot that was taken before.
    pub snapshot: SnapshotId,
    /// SHA-256 of the restore bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// SHA-256 of the plan.
    pub plan: String,
    /// What will be touched.
    pub targets: Vec<Target>,
    /// Names that will be spared.
    pub spared: Vec<String>,
}

/// What came of an intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// The sum.
    pub outcome: Outcome,
    /// Each target.
    pub targets: Vec<TargetOutcome>,
    /// The comparison with the prediction; `None` where nothing could be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// Milliseconds from the durable intent to here.
    pub took_ms: u64,
}

/// A deployment began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentStarted {
    /// Whose lease it holds, under which term.
    pub term: Term,
    /// The command's program. Its arguments may hold secrets and are left out.
    pub program: String,
}

/// A deployment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentEnded {
    /// Whose lease it held.
    pub term: Term,
    /// Exit status of the command, or `None` if a signal ended it, or it never ran.
    pub exit: Option<i32>,
    /// Its command could not be started, and nothing ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_started: bool,
}

/// The lowest epoch that a workflow may run with was raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRaised {
    /// Of which workflows.
    pub subject: Subject,
    /// The minimum before; `None` for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Epoch>,
    /// The minimum from here on.
    pub to: Epoch,
}

/// A deployment that did not begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentRefused {
    /// In whose name.
    pub scope: Scope,
    /// The command's program. Its arguments may hold secrets and are left out.
    pub program: String,
    /// The grounds.
    pub findings: Vec<Finding>,
}

/// A job before its first step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobJudged {
    /// Whether it may run.
    pub admitted: bool,
    /// Grounds against it, or warnings where it may run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// An incomplete last record was cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// Bytes that were dropped.
    pub dropped_bytes: u64,
    /// The record number at which the journal goes on.
    pub at_sequence: u64,
}

/// Equal records that were counted and not written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeated {
    /// How many.
    pub count: u64,
    /// The operation of the one that was written.
    pub first: OperationId,
    /// When the last of them came.
    pub last_at: Timestamp,
}

/// A while in which a firewall had no judge, or one that did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
    /// Changes that were handed to the daemon unjudged: in observe, or under a bypass.
    pub passed: u64,
    /// Changes that were refused unjudged.
    pub refused: u64,
    /// Requests of whatever kind that nobody looked at, because bytes passed as they came: in observe.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unread: u64,
    /// What was the matter, in one sentence.
    pub reason: String,
}

impl Gap {
    /// The gap as one sentence.
    #[must_use]
    pub fn told(&self) -> String {
        let Self { from, to, passed, refused, unread, reason } = self;
        format!(
            "nobody judged from {from} to {to}: {passed} changes passed, {refused} were refused, {unread} requests passed \
             unread ({reason})"
        )
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it by reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A receiver of notices that did not take one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeUndelivered {
    /// Which one: `command`, or the webhook's host.
    pub receiver: String,
    /// The code of the notice.
    pub code: Code,
    /// On which resource.
    pub resource: String,
    /// How many tries there were.
    pub tries: u32,
    /// Whether there will be none after them.
    pub given_up: bool,
    /// What came of the last one.
    pub reason: String,
}
