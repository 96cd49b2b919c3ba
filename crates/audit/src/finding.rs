//! What contradicts the expectations.

use std::collections::BTreeMap;

use palisade_core::Code;
use serde::Serialize;

use crate::collector::{Collector, Sighting, Tally};
use crate::expect::Expectations;

/// Why something is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Its name says that it belongs to another environment.
    ForeignApp,
    /// Role or address are not those of the app that it claims to be.
    Contradicted,
    /// It logs in with a role that was retired.
    RetiredRole,
    /// It is older than is required, or than another one that is connected too.
    OldBuild,
    /// It changed the schema, and is not expected to.
    Ddl,
    /// Several apps write one guarded table.
    SeveralWriters,
    /// No expectation names it.
    Unexpected,
    /// It gave itself no name.
    Nameless,
    /// It was never seen before.
    FirstSeen,
}

impl Kind {
    /// Its code, with a page about it.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::ForeignApp => Code::ForeignApp,
            Self::Contradicted => Code::ClaimContradicted,
            Self::RetiredRole => Code::RetiredRole,
            Self::OldBuild => Code::OldBuild,
            Self::Ddl => Code::UnexpectedDdl,
            Self::SeveralWriters => Code::SeveralWriters,
            Self::Unexpected => Code::UnexpectedApp,
            Self::Nameless => Code::NamelessApp,
            Self::FirstSeen => Code::FirstSeen,
        }
    }
}

/// One contradiction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of which kind.
    pub kind: Kind,
    /// Its code.
    pub code: Code,
    /// What was seen, and what was expected.
    pub what: String,
    /// The command that would accept it, if there is one.
    pub accept: Option<String>,
    /// How often it was seen.
    #[serde(flatten)]
    pub tally: Tally,
}

impl Finding {
    /// A finding whose number of times is not known yet.
    #[must_use]
    pub fn new(kind: Kind, what: String, accept: Option<String>) -> Self {
        Self { kind, code: kind.code(), what, accept, tally: Tally::default() }
    }
}

/// Findings, the gravest first; equal ones are one.
#[derive(Debug, Default)]
pub struct Findings {
    found: BTreeMap<(Kind, String), Finding>,
}

impl Findings {
    /// Judges everything that was collected.
    #[must_use]
    pub fn of(collector: &Collector, expectations: &Expectations) -> Self {
        let newest = newest(collector.seen().keys());
        let mut findings = Self::default();
        for (sighting, tally) in collector.seen() {
            for mut finding in expectations.judge(sighting, &newest) {
                finding.tally = tally.clone();
                findings.add(finding);
            }
        }
        findings
    }

    /// Adds one.
    pub fn add(&mut self, finding: Finding) {
        let key = (finding.kind, finding.what.clone());
        match self.found.get_mut(&key) {
            Some(known) => {
                known.tally.times += finding.tally.times;
                known.tally.last = finding.tally.last;
            }
            None => {
                self.found.insert(key, finding);
            }
        }
    }

    /// All of them.
    #[must_use]
    pub fn into_list(self) -> Vec<Finding> {
        self.found.into_values().collect()
    }
}

/// The newest epoch of each app that is connected.
fn newest<'a>(seen: impl Iterator<Item = &'a Sighting>) -> BTreeMap<String, u64> {
    let mut newest = BTreeMap::new();
    for sighting in seen {
        if let Sighting::Client(client) = sighting
            && let (base, Some(epoch)) = crate::naming::split_epoch(&client.app)
        {
            let known: &mut u64 = newest.entry(base.to_owned()).or_default();
            *known = epoch.max(*known);
        }
    }
    newest
}
