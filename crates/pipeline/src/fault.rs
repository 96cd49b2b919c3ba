//! Failures on purpose, at every step. Only in builds with the feature `ablation`.

/// The steps at which a test may make the process fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The daemon has been identified.
    Identified,
    /// The lease is held.
    Leased,
    /// The snapshot has been taken.
    Snapshot,
    /// The plan has been judged and permitted.
    Judged,
    /// The restore bundle and the snapshot are on disk.
    Kept,
    /// The intent is durable.
    Intended,
    /// The act has been carried out.
    Executed,
    /// The state after the act has been looked at.
    Verified,
    /// The outcome is durable.
    Recorded,
}

impl Step {
    /// Every step with its name, in order.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Identified, "identified"),
        (Self::Leased, "leased"),
        (Self::Snapshot, "snapshot"),
        (Self::Judged, "judged"),
        (Self::Kept, "kept"),
        (Self::Intended, "intended"),
        (Self::Executed, "executed"),
        (Self::Verified, "verified"),
        (Self::Recorded, "recorded"),
    ];
}

#[cfg(feature = "ablation")]
static ARMED: std::sync::OnceLock<Step> = std::sync::OnceLock::new();

/// Makes this process end, as by `kill -9`, when it reaches the step called `name`. False if there is no such step.
#[cfg(feature = "ablation")]
#[must_use]
pub fn end_at(name: &str) -> bool {
    let step = Step::ALL.into_iter().find(|(_, known)| *known == name);
    step.is_some_and(|(step, _)| ARMED.set(step).is_ok())
}

/// Ends the process if a test armed this step.
#[cfg(feature = "ablation")]
pub(crate) fn reached(step: Step) {
    if ARMED.get() == Some(&step) {
        // SIGKILL does not come back.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .unwrap_or_default();
    }
}

/// Nothing, in a release.
#[cfg(not(feature = "ablation"))]
#[inline(always)]
pub(crate) const fn reached(step: Step) {
    let _nowhere: Step = step;
}
