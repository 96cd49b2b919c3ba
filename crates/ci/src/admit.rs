//! Whether a job may begin: what a runner's job-started hook decides, from facts that others have gathered.

use palisade_core::actor::{Claimed, Forge};
use palisade_core::epoch::{self, Job, Ratchet};
use palisade_core::text::Shown;
use palisade_core::{Code, Finding};

/// The first version of Gitea's runner that looks again at a reusable workflow which it has a copy of.
const REFRESHES_SINCE: [u64; 3] = [1, 0, 1];

/// The newest commit of the job's branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// This one.
    Is(String),
    /// It could not be learned, for this reason.
    Unknown(String),
}

/// The minimums of this host, as far as this user may see them.
#[derive(Debug)]
pub enum Minimums<'a> {
    /// These.
    Known(&'a Ratchet),
    /// They belong to another user, whose guard judges each call.
    Elsewhere,
    /// They should be readable and are not.
    Unreadable(String),
}

/// What is known of a job before its first step.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What it claims.
    pub claimed: &'a Claimed,
    /// Version of the runner, where it tells.
    pub runner_version: Option<&'a str>,
    /// The minimums.
    pub minimums: Minimums<'a>,
    /// The newest commit of its branch.
    pub head: Head,
    /// Copies of reusable workflows by branch or tag that the runner keeps.
    pub copies: Vec<String>,
    /// Whether this runs as a hook, before the first step.
    pub is_hook: bool,
}

/// What follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission {
    /// Grounds against the job; it may begin where there is none.
    pub refusals: Vec<Finding>,
    /// Grounds to look, which refuse only where that was asked for.
    pub warnings: Vec<Finding>,
    /// What was not checked, and why.
    pub notes: Vec<String>,
}

impl Admission {
    /// The admission where every warning refuses.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.refusals.append(&mut self.warnings);
        self
    }
}

/// Judges a job. `None` if nothing claims one.
#[must_use]
pub fn judge(facts: &Facts<'_>) -> Option<Admission> {
    let job = Job::of(facts.claimed)?;
    let mut admission = Admission::default();
    admission.epoch(facts, &job);
    admission.commit(facts);
    admission.runner(facts);
    Some(admission)
}

impl Admission {
    fn epoch(&mut self, facts: &Facts<'_>, job: &Job) {
        let ratchet = match &facts.minimums {
            Minimums::Known(ratchet) => ratchet,
            Minimums::Elsewhere => {
                self.notes.push(
                    "epochs: the minimums belong to another user, whose firewall judges each call".to_owned(),
                );
                return;
            }
            Minimums::Unreadable(why) => return self.refusals.push(epoch::unreadable(job, why)),
        };
        // GitHub's runner gives its hooks none of the workflow's variables; those of Gitea and Forgejo do.
        let sees_variables = !(facts.is_hook && job.forge == Some(Forge::GitHub));
        if !sees_variables && job.epoch.is_none() {
            self.notes.push(
                "epochs: a hook on GitHub does not see the workflow's variables; the first step that changes something is \
                 judged"
                    .to_owned(),
            );
            return;
        }
        self.refusals.extend(ratchet.objection(job));
    }

    fn commit(&mut self, facts: &Facts<'_>) {
        let claimed = facts.claimed;
        let is_repeated = claimed.run_attempt.as_deref().is_some_and(|attempt| attempt != "1");
        let (Some(commit), Some(branch)) = (&claimed.commit, &claimed.branch) else {
            self.notes.push("commit: the job tells no commit or no branch".to_owned());
            return;
        };
        let short = |commit: &str| Shown(commit.get(..12).unwrap_or(commit)).to_string();
        let branch = Shown(branch);
        match &facts.head {
            Head::Is(head) if head == commit => {}
            Head::Is(head) if is_repeated => self.warnings.push(finding(
                Code::RepeatedRun,
                format!(
                    "this is a further attempt of an old run: commit {} is no longer the head of {branch}, which is {}",
                    short(commit),
                    short(head)
                ),
                "start a new run on the branch instead of running the old one again",
            )),
            Head::Is(head) => {
                let by = match claimed.event.as_deref() {
                    Some("schedule") => "a schedule brings the commit that it was stored with",
                    Some("workflow_dispatch") => "somebody chose this commit or branch",
                    Some(_) | None => "something was pushed since",
                };
                self.warnings.push(finding(
                    Code::OldCommit,
                    format!("commit {} is not the head of {branch}, which is {}: {by}", short(commit), short(head)),
                    "wait for the run of the head, or start one there",
                ));
            }
            Head::Unknown(why) => {
                self.notes.push(format!("commit: the head of {branch} is not known: {}", Shown(why)));
                if is_repeated {
                    self.warnings.push(finding(
                        Code::RepeatedRun,
                        format!("this is a further attempt of a run of commit {}", short(commit)),
                        "start a new run on the branch instead of running the old one again",
                    ));
                }
            }
        }
    }

    fn runner(&mut self, facts: &Facts<'_>) {
        if facts.claimed.forge != Some(Forge::Gitea) {
            return;
        }
        let Some(text) = facts.runner_version else {
            self.notes.push("runner: it does not tell its version".to_owned());
            return;
        };
        let Some(version) = version(text) else {
            self.notes.push(format!("runner: {} is no version that can be compared", Shown(text)));
            return;
        };
        if version >= REFRESHES_SINCE {
            return;
        }
        let copies = match facts.copies.as_slice() {
            [] => "none are there now".to_owned(),
            copies => {
                let shown: Vec<String> = copies.iter().take(5).map(|copy| Shown(copy).to_string()).collect();
                format!("{} are there now: {}", copies.len(), shown.join(", "))
            }
        };
        let mut finding = finding(
            Code::CachingRunner,
            format!(
                "runner {} keeps the first copy of a reusable workflow's branch for ever ({copies})",
                Shown(text)
            ),
            "install runner 1.0.1 or newer and remove its copies in ~/.cache/act, or pin `uses:` to commits",
        );
        finding.subjects.clone_from(&facts.copies);
        self.warnings.push(finding);
    }
}

/// `v1.0.1`, `1.0.1+build`, `v1.0.1-3-gabc`: its three numbers.
fn version(text: &str) -> Option<[u64; 3]> {
    let core = text.trim_start_matches('v').split(['-', '+']).next()?;
    let mut numbers = core.split('.').map(str::parse);
    let version = [numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?];
    numbers.next().is_none().then_some(version)
}

fn finding(code: Code, message: String, fix: &str) -> Finding {
    Finding { code, message, fix: fix.to_owned(), subjects: Vec::new() }
}
