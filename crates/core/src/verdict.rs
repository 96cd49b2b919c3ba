//! Verdicts, and the two types without which nothing destructive runs.
//!
//! [`Permit`] is made by [`crate::Policy::judge`] only; it owns the plan that was judged. [`Permit::arm`] turns
//! it into [`Armed`] against a [`Receipt`], the journal's proof that the intent is durable. Adapters accept
//! [`Armed`] only, so "the intent is on disk before the act" is a type and not a habit.

use serde::{Deserialize, Serialize};

use crate::bypass::BypassId;
use crate::code::Code;
use crate::exit::Exit;
use crate::name::Scope;
use crate::plan::Plan;

/// One ground against an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which rule found it; `palisade explain` has a page.
    pub code: Code,
    /// What was found, in one sentence. Names from outside are escaped.
    pub message: String,
    /// How to go on, in one sentence.
    pub fix: String,
    /// The processes that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
}

/// Findings, and what follows from them under the resource's mode.
#[derive(Debug)]
pub struct Verdict {
    /// All grounds, in the order of the rules.
    pub findings: Vec<Finding>,
    /// What follows.
    pub decision: Decision,
}

impl Verdict {
    /// The verdict with further grounds. Each refuses what the rules alone would permit; what passes although they
    /// object, by its mode or by a bypass, passes still.
    #[must_use]
    pub fn with(mut self, grounds: Vec<Finding>) -> Self {
        if grounds.is_empty() {
            return self;
        }
        self.findings.extend(grounds);
        let findings = self.findings.clone();
        let decision = match self.decision {
            Decision::Permit(Permit { plan, authority: Authority::Judged })
            | Decision::Refuse(Refusal { plan, .. }) => Decision::Refuse(Refusal { plan, findings }),
            Decision::Permit(permit) => Decision::Permit(permit),
        };
        Self { findings: self.findings, decision }
    }
}

/// What follows from the findings.
#[derive(Debug)]
pub enum Decision {
    /// The plan may be carried out.
    Permit(Permit),
    /// It may not. Nothing has been touched.
    Refuse(Refusal),
}

/// A refused plan with its grounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The plan that was refused.
    pub plan: Plan,
    /// At least one.
    pub findings: Vec<Finding>,
}

impl Refusal {
    /// Whether the only ground is that nothing is selected.
    #[must_use]
    pub fn is_only_absence(&self) -> bool {
        self.findings.iter().all(|finding| finding.code == Code::EmptySelection)
    }

    /// 4 when a person's confirmation is all that lacks, else 3.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.findings.iter().all(|finding| finding.code == Code::ConfirmationNeeded) {
            Exit::ConfirmationNeeded
        } else {
            Exit::Refused
        }
    }
}

/// On what ground a permit was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authority {
    /// No rule objected.
    Judged,
    /// A rule objected, and the mode is observe.
    Observed,
    /// The guard was open by this bypass, whatever the rules found.
    Bypassed(BypassId),
}

/// Leave to carry out one plan. Made by the judge only, used once.
#[must_use = "a permit that is dropped allows nothing"]
#[derive(Debug)]
pub struct Permit {
    plan: Plan,
    authority: Authority,
}

impl Permit {
    pub(crate) const fn new(plan: Plan, authority: Authority) -> Self {
        Self { plan, authority }
    }

    /// The plan that was judged.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// On what ground it was given.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Arms the permit with the proof that its intent is durable, under the lease's term.
    pub fn arm(self, intent: Receipt, term: Term) -> Armed {
        Armed { plan: self.plan, authority: self.authority, intent, term }
    }
}

/// Proof that a record is on disk. Only the journal makes one (`cargo xtask tidy` looks).
///
/// The one exception is a restart or reload of one's own app, or any act under a bypass, while the journal cannot be
/// written: its record went to the system log, and the receipt says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Journal { sequence: u64, leaf: String },
    SystemLog,
}

impl Receipt {
    /// For the journal, once the record's bytes are durable.
    #[must_use]
    pub const fn for_durable_record(sequence: u64, leaf: String) -> Self {
        Self { place: Place::Journal { sequence, leaf } }
    }

    /// For the pipeline, once the system log has taken the record of an operation that takes nothing down, or that
    /// a bypass permits.
    #[must_use]
    pub const fn for_system_log() -> Self {
        Self { place: Place::SystemLog }
    }

    /// Number of the record in the journal, from 0; `None` if it went to the system log.
    #[must_use]
    pub const fn sequence(&self) -> Option<u64> {
        match &self.place {
            Place::Journal { sequence, .. } => Some(*sequence),
            Place::SystemLog => None,
        }
    }

    /// The record's leaf hash in hex; `None` if it went to the system log.
    #[must_use]
    pub fn leaf(&self) -> Option<&str> {
        match &self.place {
            Place::Journal { leaf, .. } => Some(leaf),
            Place::SystemLog => None,
        }
    }
}

/// The growing number of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// What the lease is for.
    pub scope: Scope,
    /// Its number, from 1.
    pub number: u64,
}

/// That an act which no [`Plan`] describes, such as one on a database, has its intent recorded. What changes rows asks
/// for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intended {
    intent: Option<Receipt>,
}

impl Intended {
    /// By that record.
    #[must_use]
    pub const fn by(intent: Receipt) -> Self {
        Self { intent: Some(intent) }
    }

    /// For what may be done while no record can be written, and for tests.
    #[must_use]
    pub const fn without_journal() -> Self {
        Self { intent: None }
    }

    /// The record of the intent.
    #[must_use]
    pub const fn intent(&self) -> Option<&Receipt> {
        self.intent.as_ref()
    }
}

/// A judged plan whose intent is durable: the only thing that an adapter carries out.
#[must_use = "an armed plan has a durable intent: carry it out and record the outcome"]
#[derive(Debug)]
pub struct Armed {
    plan: Plan,
    authority: Authority,
    intent: Receipt,
    term: Term,
}

impl Armed {
    /// What is to be done, and nothing else.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// On what ground.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The record of the intent.
    #[must_use]
    pub const fn intent(&self) -> &Receipt {
        &self.intent
    }

    /// The term under which it is done.
    #[must_use]
    pub const fn term(&self) -> &Term {
        &self.term
    }
}
