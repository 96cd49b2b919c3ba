//! Shows that each check is needed: a build with the feature `ablation` can switch one off at run time.
//!
//! Without the feature [`is_off`] is `false` at compile time and no switch exists.

/// Checks that can be switched off, one at a time, to see their own test fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// A target belongs to another scope.
    ForeignTarget,
    /// A plan takes every process.
    AllProcesses,
    /// A plan takes too large a share.
    Share,
    /// A protected name.
    Protected,
    /// Nothing is selected.
    EmptySelection,
    /// The app or environment is not in the policy.
    UnknownScope,
    /// A target that no scope claims.
    Unclaimed,
    /// A suffix that contradicts the environment.
    Suffix,
    /// Too many distinct processes within the window.
    Budget,
    /// Variables of another environment would be carried.
    CarriedVariables,
    /// A person has not confirmed.
    Confirmation,
    /// Spared processes are compared after the act.
    VerifySpared,
    /// A target's identity is compared right before the act.
    TargetPin,
    /// The daemon's identity is compared right before the act.
    DaemonPin,
    /// The intent is durable before the act.
    DurableIntent,
    /// Values never reach a snapshot.
    Redaction,
    /// A lease per scope.
    Lease,
    /// The policy's revision never goes back.
    RevisionRatchet,
    /// A project file may only narrow.
    Narrowing,
    /// A record's checksum and tree are compared on reading.
    JournalIntegrity,
    /// A workflow's epoch is compared with the minimum.
    Epoch,
    /// The firewall: evidence picks none but an app that is open to the caller.
    EvidenceBoundary,
    /// The firewall: a command line is judged whole before its first act.
    WholeLine,
    /// The firewall: after a refusal a tree takes nothing down for a while.
    TreeWindow,
    /// The firewall: number and types of a call's arguments.
    CallShape,
    /// The firewall: a start that carries a number takes down who has it.
    TakenSlot,
    /// The firewall: the environment that a restart would put into its target.
    InjectedEnvironment,
    /// The firewall: a stale CI job changes nothing.
    StaleCall,
    /// The firewall: without a judge, in enforce, calls may read and change nothing.
    ReadsOnly,
    /// The firewall: values of environments are not shown to another user's caller.
    ReplyRedaction,
    /// The firewall: who belongs to no app changes nothing.
    Unidentified,
    /// The firewall: the daemon is ended, marked or profiled by nobody.
    LifecycleCall,
    /// The firewall: a process starts in its own app's namespace only.
    CrossedNamespace,
}

impl Check {
    /// Every check, with the name that switches it off.
    pub const ALL: [(Self, &'static str); 33] = [
        (Self::ForeignTarget, "foreign-target"),
        (Self::AllProcesses, "all-processes"),
        (Self::Share, "share"),
        (Self::Protected, "protected"),
        (Self::EmptySelection, "empty-selection"),
        (Self::UnknownScope, "unknown-scope"),
        (Self::Unclaimed, "unclaimed"),
        (Self::Suffix, "suffix"),
        (Self::Budget, "budget"),
        (Self::CarriedVariables, "carried-variables"),
        (Self::Confirmation, "confirmation"),
        (Self::VerifySpared, "verify-spared"),
        (Self::TargetPin, "target-pin"),
        (Self::DaemonPin, "daemon-pin"),
        (Self::DurableIntent, "durable-intent"),
        (Self::Redaction, "redaction"),
        (Self::Lease, "lease"),
        (Self::RevisionRatchet, "revision-ratchet"),
        (Self::Narrowing, "narrowing"),
        (Self::JournalIntegrity, "journal-integrity"),
        (Self::Epoch, "epoch"),
        (Self::EvidenceBoundary, "evidence-boundary"),
        (Self::WholeLine, "whole-line"),
        (Self::TreeWindow, "tree-window"),
        (Self::CallShape, "call-shape"),
        (Self::TakenSlot, "taken-slot"),
        (Self::InjectedEnvironment, "injected-environment"),
        (Self::StaleCall, "stale-call"),
        (Self::ReadsOnly, "reads-only"),
        (Self::ReplyRedaction, "reply-redaction"),
        (Self::Unidentified, "unidentified"),
        (Self::LifecycleCall, "lifecycle-call"),
        (Self::CrossedNamespace, "crossed-namespace"),
    ];
}

#[cfg(feature = "ablation")]
static OFF: std::sync::OnceLock<Check> = std::sync::OnceLock::new();

/// Switches the check called `name` off for the rest of this process.
///
/// # Errors
/// The name, if no check is called so or another one is off already.
#[cfg(feature = "ablation")]
pub fn switch_off(name: &str) -> Result<(), UnknownCheck> {
    let unknown = || UnknownCheck(name.to_owned());
    let (check, _) = Check::ALL.into_iter().find(|(_, known)| *known == name).ok_or_else(unknown)?;
    if *OFF.get_or_init(|| check) == check { Ok(()) } else { Err(unknown()) }
}

/// No such check, or another one is switched off already.
#[cfg(feature = "ablation")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot switch off {0:?}: no such check, or another one is off already")]
pub struct UnknownCheck(String);

/// Whether `check` is switched off. Always `false` without the feature.
#[cfg(feature = "ablation")]
#[must_use]
pub fn is_off(check: Check) -> bool {
    OFF.get() == Some(&check)
}

/// Whether `check` is switched off. Always `false` without the feature.
#[cfg(not(feature = "ablation"))]
#[must_use]
#[inline(always)]
pub const fn is_off(check: Check) -> bool {
    let _never: Check = check;
    false
}
