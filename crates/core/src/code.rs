//! Codes of refusals and faults. Each has a page under `docs/errors/`.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $title:literal;)*) => {
        /// A code, written `PAL-nnn`. Numbers are never reused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number behind `PAL-`.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$variant => $number,)* }
            }

            /// What it means, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

codes! {
    /// No host policy was found.
    PolicyMissing = 1, "no host policy";
    /// The policy is not valid.
    PolicyInvalid = 2, "invalid policy";
    /// A project file, variable or flag would widen the host's policy.
    PolicyWidened = 3, "a project file may only narrow the host's policy";
    /// The policy's revision is below the last one recorded.
    PolicyRolledBack = 4, "the policy's revision went back";
    /// The resource does not answer.
    Unreachable = 5, "the resource cannot be reached";
    /// Two daemons serve one home.
    TwoDaemons = 6, "two PM2 daemons on one PM2_HOME";
    /// The daemon that answers is not the one that was planned for.
    DaemonChanged = 7, "the daemon is not the one that was planned for";
    /// The daemon speaks a protocol that this version does not know.
    UnknownProtocol = 8, "the daemon's protocol is not known";
    /// A database bears no stamp.
    StampMissing = 9, "the database bears no stamp";
    /// A database belongs to another environment.
    StampOther = 10, "the database belongs to another environment";
    /// A stamp came with a copy.
    StampCopied = 11, "the stamp was made for another database: this is a copy";
    /// A stamp was signed by nobody who counts.
    StampUnsigned = 12, "the stamp is not signed by a key that counts here";
    /// The beacon of a database is stale.
    BeaconStale = 13, "the beacon of the database is stale";
    /// A proof of identity does not count.
    ProofRefused = 14, "a proof of identity does not count";
    /// The key file of an app cannot be used.
    AppKeyUnusable = 15, "the key file of an app cannot be used";
    /// A database cannot be forked this way.
    ForkBarred = 16, "the database cannot be forked this way";

    /// A target belongs to another scope.
    ForeignTarget = 101, "a target belongs to another app or environment";
    /// The plan takes every process of the daemon.
    AllProcesses = 102, "the plan takes ALL processes";
    /// The plan takes too large a share of the daemon.
    Share = 103, "the plan takes too large a share of all processes";
    /// A target is protected.
    Protected = 104, "a target is protected";
    /// Nothing is selected.
    EmptySelection = 105, "nothing is selected";
    /// The app or the environment is not in the policy.
    UnknownScope = 106, "unknown app or environment";
    /// A target is claimed by nobody.
    Unclaimed = 107, "a target is claimed by no app";
    /// A name's suffix contradicts the environment.
    Suffix = 108, "a suffix contradicts the environment";
    /// Too many processes within the window.
    Budget = 109, "too many distinct processes within the window";
    /// Variables of another environment would be carried into a target.
    CarriedVariables = 110, "variables of another environment would be carried";
    /// A target is no longer the process that was planned for.
    TargetChanged = 111, "a target is no longer the process that was planned for";
    /// The plan no longer fits the state.
    PlanStale = 112, "the plan is stale";
    /// A person has to confirm.
    ConfirmationNeeded = 113, "a person has to confirm";
    /// What followed is not what was planned.
    VerificationFailed = 114, "the state after the act is not as planned";
    /// A restored process differs from the bundle.
    RestoreDiffers = 115, "a restored process differs from its bundle";
    /// The snapshot or its bundle is not there.
    SnapshotMissing = 116, "no such snapshot or restore bundle";

    /// Somebody else holds the lease.
    LeaseHeld = 201, "another deployment holds the lease";

    /// A running job is left while its heartbeat is not old enough.
    BeatNotOld = 301, "a running job may not be taken: its heartbeat is not old enough";
    /// Too many running jobs within the window.
    TableBudget = 302, "too many running jobs left their state within the window";
    /// A table with running jobs would be truncated.
    RunningTruncated = 303, "a table with running jobs may not be truncated";
    /// A heartbeat was set back.
    BeatSetBack = 304, "a heartbeat may not be set back";
    /// A heartbeat lies in the future.
    BeatInFuture = 305, "a heartbeat lies in the future";
    /// The key of a running job would change.
    RunningKeyChanged = 306, "the key of a running job may not change";
    /// The guard cannot read a column that it needs.
    GuardUnreadable = 307, "the guard cannot read a column that it needs";
    /// Another database answered.
    OtherDatabase = 311, "another database answered than the one that was expected";
    /// The table cannot be guarded.
    TableUnfit = 312, "the table cannot be guarded this way";
    /// The role may not do that.
    RoleUnfit = 313, "the role may not install or change this guard";
    /// The table is busy.
    TableBusy = 314, "the table is too busy to change its guard";
    /// No such guard.
    GuardMissing = 315, "the table has no guard";
    /// A guard is not what was installed.
    GuardDamaged = 316, "a guard is missing, disabled or changed";
    /// A guarded table asks for an identity.
    IdentityRequired = 321, "the table asks for an identity, and the transaction has none";
    /// The term of a lease is over.
    TermOver = 322, "the term of the lease is over";
    /// A build below the minimum epoch.
    BuildBelowMinimum = 323, "the build is older than the minimum epoch of its app";
    /// Somebody in quarantine.
    Quarantined = 324, "an app, role or build in quarantine";
    /// A client of another environment claims a job.
    ForeignWorker = 335, "a client of another environment may not claim a job";

    /// An app is connected that no expectation names.
    UnexpectedApp = 345, "an app is connected that is not expected";
    /// A client gave itself no name.
    NamelessApp = 346, "a client gave itself no name";
    /// An app's name says that it belongs to another environment.
    ForeignApp = 347, "an app of another environment is connected";
    /// Role or address are not those of the claimed app.
    ClaimContradicted = 348, "role or address contradict the name that a client claims";
    /// A build is older than required.
    OldBuild = 349, "an old build of an app is connected";
    /// Several apps write one guarded table.
    SeveralWriters = 350, "several apps write one guarded table";
    /// The schema was changed by somebody who is not expected to.
    UnexpectedDdl = 351, "the schema was changed by somebody who is not expected to";
    /// The log of a server cannot be read.
    LogUnreadable = 352, "the server's log cannot be read";
    /// An app is seen for the first time.
    FirstSeen = 353, "an app is seen for the first time";
    /// A role that was retired is still used.
    RetiredRole = 354, "a retired role is still used";
    /// A step of a rotation would hit somebody, or would stop nobody.
    RotationBarred = 355, "a step of a rotation is barred as things are";
    /// Somebody has a right that voids a guard.
    GuardVoidable = 356, "somebody has a right that voids a guard";
    /// The guards of a database were made by a build of another format.
    GuardOfAnotherFormat = 357, "the guards were made by a build of another format";

    /// A firewall could not tell which app a caller belongs to.
    UnidentifiedCaller = 401, "the caller could not be told to belong to an app";
    /// Two kinds of evidence name two apps.
    ContradictingEvidence = 402, "evidence about the caller contradicts itself";
    /// A call would end or mark the daemon itself.
    LifecycleCall = 403, "the daemon itself may not be ended through its firewall";
    /// The caller's tree was refused within the window.
    RefusedBefore = 404, "this caller was refused before within the window";
    /// A call that the daemon must never be given.
    BadCall = 405, "a call that the daemon must not be given";
    /// Nobody could judge a call.
    JudgeAbsent = 411, "the firewall's judge does not answer";

    /// A bypass cannot be written or ended.
    BypassUnusable = 421, "a bypass can be neither begun nor ended";
    /// An app names its deployers, and the caller is none of them.
    NoDeployer = 431, "the caller is no deployer of the app";
    /// A start would put a process outside its app's namespace, or into another's.
    CrossesNamespace = 432, "a process would cross a namespace that is bound to an app";
    /// A request over the control socket that is not carried out.
    NotRegistered = 433, "a process tree was not registered";
    /// A notice did not reach its receiver.
    NoticeUndelivered = 441, "a notice did not reach its receiver";
    /// A person tries whether notices arrive.
    NoticeTest = 442, "a test of whether notices arrive";
    /// A guard was opened by a bypass.
    GuardOpened = 443, "a guard was opened by a bypass";
    /// For a while nobody judged.
    GuardGap = 444, "for a while nobody judged calls";
    /// Nobody is named who would be told.
    NobodyToTell = 445, "the policy names nobody who would be told";
    /// Somebody wrote a dump that would not bring back what runs.
    DumpLost = 446, "PM2's dump has lost processes that run";

    /// The claim of an attempt is spent.
    ClaimSpent = 531, "the claim is spent";
    /// A worker's beat was not acknowledged.
    BeatMissed = 532, "a beat of a worker was not acknowledged";
    /// No checkpoint of a job can be used.
    CheckpointsBad = 533, "no checkpoint of the job can be used";
    /// Checkpoints cannot be stored or read now.
    CheckpointLate = 534, "checkpoints cannot be stored or read now";
    /// The store does not take a worker.
    WorkerRefused = 535, "the store does not take this worker";
    /// A worker's program cannot be started.
    HandlerUnstarted = 536, "the worker's program cannot be started";

    /// A workflow is older than the epoch that is required.
    StaleWorkflow = 701, "the workflow is an older version than is required";
    /// A workflow carries no epoch where one is required.
    NoEpoch = 702, "the workflow carries no epoch";
    /// The minimums of epochs cannot be read.
    EpochsUnreadable = 703, "the epochs of this host cannot be read";
    /// A minimum would fall.
    EpochWouldFall = 704, "an epoch's minimum never falls";
    /// A script names `all`.
    ScriptTakesAll = 705, "a script takes every process of the daemon";
    /// A script selects by a regular expression.
    ScriptRegex = 706, "a script selects processes by a regular expression";
    /// A script believes in `--namespace`.
    ScriptNamespace = 707, "a script trusts a namespace that does not narrow";
    /// A script ends or replaces the daemon.
    ScriptEndsDaemon = 708, "a script ends the daemon of everybody";
    /// An action is named by a tag or branch.
    UnpinnedAction = 709, "an action is not pinned to a commit";
    /// A reusable workflow is named by a tag or branch.
    UnpinnedWorkflow = 710, "a reusable workflow is not pinned to a commit";
    /// Two deployments may run at once.
    NoConcurrency = 711, "a deployment does not wait for another of its kind";
    /// A workflow that deploys has no literal epoch.
    NoLiteralEpoch = 712, "a workflow that deploys carries no literal epoch";
    /// A deployment runs what it has just fetched.
    PipedInstaller = 713, "a deployment runs code straight from the network";
    /// A workflow cannot be read.
    UnreadableWorkflow = 714, "a workflow cannot be read";
    /// An acceptance without a reason, or of nothing.
    IdleAcceptance = 715, "a finding is accepted without a reason, or is not there";
    /// A job runs a commit that its branch has left behind.
    OldCommit = 716, "a job's commit is not the head of its branch";
    /// A job is a further attempt of an old run.
    RepeatedRun = 717, "a job is a further attempt of an old run";
    /// A runner keeps copies of reusable workflows.
    CachingRunner = 718, "the runner keeps old copies of reusable workflows";

    /// Something is in the way of an install or a removal.
    GuardBarred = 422, "a guard can be neither installed nor removed as things are";
    /// A step of an install or a removal failed.
    GuardStep = 423, "a step of an install or a removal failed";

    /// The answer of a store was lost.
    AnswerLost = 501, "the answer was lost: it may or may not be written";
    /// A worker that a store does not know.
    UnknownWorker = 502, "the worker is not known here, or said goodbye";
    /// Tables of another version.
    StoreVersion = 503, "the store is of another version";
    /// A job from whose state this does not lead on.
    JobUnfit = 504, "the job's state does not allow that";
    /// Rules of a queue that contradict each other.
    QueueUnsound = 505, "the rules of a queue do not fit together";
    /// Somebody else was faster.
    QueueChanged = 506, "the rules of the queue were changed meanwhile";
    /// What no store takes.
    JobInvalid = 507, "a job cannot be enqueued like this";
    /// No such job.
    JobMissing = 508, "there is no such job";
    /// More jobs than one command may change.
    JobBudget = 509, "too many jobs by hand";
    /// The store refused what was asked.
    StoreRefused = 510, "the store refused it";

    /// A client asks for a threshold below three beats.
    ThresholdShort = 551, "a threshold was asked for that is below three beats";
    /// What is recorded breaks a promise.
    HistoryBroken = 552, "what is recorded breaks a promise";
    /// Too many are silent or stuck at once.
    ReaperHeld = 553, "the reaper takes nobody: too many are silent or stuck at once";
    /// Its worker beats, and it does not get on.
    JobStuck = 554, "a job makes no progress";

    /// The journal is damaged.
    JournalDamaged = 801, "the journal is damaged";
    /// The journal cannot be written.
    JournalUnwritable = 802, "the journal cannot be written";
    /// An intent has no outcome.
    OutcomeUnknown = 803, "an earlier operation has no recorded outcome";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("PAL-{:03}", self.number()))
    }
}

/// The text is no code of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a code of this version: codes look like PAL-101")]
pub struct UnknownCode(String);

impl std::str::FromStr for Code {
    type Err = UnknownCode;

    /// Reads `PAL-101`, `pal-101` or `101`.
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        let digits = text.trim().trim_start_matches(|c: char| !c.is_ascii_digit());
        let number = digits.parse::<u16>().ok();
        let found = Self::ALL.iter().copied().find(|code| Some(code.number()) == number);
        found.ok_or_else(|| UnknownCode(text.to_owned()))
    }
}

impl TryFrom<String> for Code {
    type Error = UnknownCode;
    fn try_from(text: String) -> Result<Self, UnknownCode> {
        text.parse()
    }
}

impl From<Code> for String {
    fn from(code: Code) -> Self {
        code.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_survive_a_round_trip() {
        let mut numbers: Vec<_> = Code::ALL.iter().map(|code| code.number()).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(code.to_string().parse(), Ok(*code));
        }
        assert!("PAL-999".parse::<Code>().is_err());
    }
}
