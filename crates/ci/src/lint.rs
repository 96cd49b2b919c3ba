//! Dangerous shapes of a checkout's workflows, and which of them somebody has accepted with a reason.

use std::collections::{BTreeMap, BTreeSet};

use palisade_core::Code;
use serde::Serialize;

use crate::accept::Acceptances;
use crate::epoch;
use crate::walk::{Origin, Shape, Spot, Walk};
use crate::workflow::{self, Dialect, Job, Script, Uses, Workflow};

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It should be mended.
    Warning,
    /// It must be mended or accepted.
    Error,
}

/// One dangerous shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which rule found it.
    pub code: Code,
    /// How much it weighs.
    pub severity: Severity,
    /// Where it stands.
    #[serde(flatten)]
    pub spot: Spot,
    /// What was found, in one sentence.
    pub message: String,
    /// How to go on, in one sentence.
    pub fix: String,
    /// The lines that lead there, from the workflow on; without the place itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub via: Vec<Spot>,
    /// The reason for which somebody accepted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
}

/// What a look at some workflows came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Every finding, by file and line.
    pub findings: Vec<Finding>,
    /// Workflows that were read.
    pub workflows: usize,
    /// Scripts that they name and that are not in the checkout: nothing is known of them.
    pub unread: BTreeSet<String>,
}

impl Report {
    /// Findings that must be mended or accepted and are not.
    #[must_use]
    pub fn errors(&self) -> usize {
        let open = |finding: &&Finding| finding.severity == Severity::Error && finding.accepted.is_none();
        self.findings.iter().filter(open).count()
    }
}

/// Looks at the workflows at these paths; `read` gives the text of a file of the checkout by its path below the top.
pub fn lint(paths: &[String], read: &dyn Fn(&str) -> Option<String>) -> Report {
    let mut linter = Linter { read, found: BTreeMap::new(), unread: BTreeSet::new() };
    for path in paths {
        linter.file(path);
    }
    linter.report(paths)
}

/// A finding before anybody was asked whether it is accepted: what it is, and all ways that lead there.
type Found = BTreeMap<(Spot, Code, String), (Severity, String, Vec<Spot>)>;

struct Linter<'a> {
    read: &'a dyn Fn(&str) -> Option<String>,
    found: Found,
    unread: BTreeSet<String>,
}

impl Linter<'_> {
    fn file(&mut self, path: &str) {
        let top = Spot { file: path.to_owned(), line: 1 };
        let Some(text) = (self.read)(path) else {
            let message = "the file cannot be read: it is gone, larger than 1 MiB, or no text".to_owned();
            self.add(Code::UnreadableWorkflow, Severity::Error, vec![top], message, "look at the file");
            return;
        };
        match workflow::read(path, &text) {
            Ok(workflow) => self.workflow(path, &workflow),
            Err(error) => {
                let line = match &error {
                    workflow::Error::Unreadable(unreadable) => unreadable.line.max(1),
                    workflow::Error::NotAWorkflow => 1,
                };
                let spot = Spot { line, ..top };
                let fix = "mend the file, or move it out of the folder of workflows";
                self.add(Code::UnreadableWorkflow, Severity::Error, vec![spot], error.to_string(), fix);
            }
        }
    }

    fn workflow(&mut self, path: &str, workflow: &Workflow) {
        let mut deploys = None;
        for job in workflow.jobs() {
            for uses in &job.uses {
                self.uses(path, workflow.dialect, uses);
            }
            if self.job(path, &job) && deploys.is_none() {
                deploys = Some(job.line);
            }
        }
        for include in workflow.includes() {
            self.uses(path, workflow.dialect, &include);
        }
        if let Some(line) = deploys {
            self.epoch(path, workflow, line);
        }
    }

    /// Looks at one job, and says whether it deploys.
    fn job(&mut self, path: &str, job: &Job) -> bool {
        let variables = job.variables.iter().cloned().collect();
        let mut walk = Walk::new(self.read, variables);
        for script in &job.scripts {
            follow(&mut walk, path, script);
        }
        let walked = walk.walked;
        self.unread.extend(walked.unread);
        for Shape { code, message, fix, spots } in walked.shapes {
            if code != Code::PipedInstaller || walked.deploys {
                self.add(code, Severity::Error, spots, message, fix);
            }
        }
        if walked.deploys && !job.is_serial {
            let spot = Spot { file: path.to_owned(), line: job.line };
            let message = format!("job {} deploys, and two of its runs may do so at once", job.id);
            let fix = "add `concurrency:` with a group per app and environment (GitLab: `resource_group:`); `palisade deploy` \
                       has a lease besides";
            self.add(Code::NoConcurrency, Severity::Warning, vec![spot], message, fix);
        }
        walked.deploys
    }

    fn epoch(&mut self, path: &str, workflow: &Workflow, deploys_at: usize) {
        let fix = format!("palisade ci epoch write {path}");
        let (severity, line, message) = match epoch::read(workflow) {
            None => {
                let message =
                    "this workflow deploys and carries no epoch: an old version of it could not be told";
                (Severity::Warning, deploys_at, message.to_owned())
            }
            Some(literal) => match literal.epoch() {
                Ok(_) => return,
                Err(error) => {
                    (Severity::Error, literal.line, format!("PALISADE_EPOCH is no literal: {error}"))
                }
            },
        };
        let spot = Spot { file: path.to_owned(), line };
        self.add(Code::NoLiteralEpoch, severity, vec![spot], message, &fix);
    }

    fn uses(&mut self, path: &str, dialect: Dialect, uses: &Uses) {
        if is_pinned(&uses.what) {
            return;
        }
        let spot = Spot { file: path.to_owned(), line: uses.line };
        let what = &uses.what;
        // Runners of Gitea before 1.0.1 clone a reusable workflow once and never look again.
        let is_cached = path.contains(".gitea/") || path.contains(".forgejo/");
        let (code, severity, message) = match (uses.is_workflow, dialect) {
            (true, Dialect::Actions) if is_cached => (
                Code::UnpinnedWorkflow,
                Severity::Error,
                format!(
                    "{what} is not pinned to a commit, and runners keep the first copy of a branch they see"
                ),
            ),
            (true, Dialect::Actions | Dialect::GitLab) => (
                Code::UnpinnedWorkflow,
                Severity::Warning,
                format!("{what} is not pinned to a commit: what runs is whatever it is then"),
            ),
            (false, Dialect::Actions | Dialect::GitLab) => (
                Code::UnpinnedAction,
                Severity::Warning,
                format!("{what} is not pinned to a commit: whoever moves the tag runs code here"),
            ),
        };
        self.add(
            code,
            severity,
            vec![spot],
            message,
            "name the whole commit: OWNER/NAME@0123456789abcdef.. # v4",
        );
    }

    fn add(&mut self, code: Code, severity: Severity, mut spots: Vec<Spot>, message: String, fix: &str) {
        let Some(spot) = spots.pop() else { return };
        let found = self.found.entry((spot, code, message)).or_insert((severity, fix.to_owned(), Vec::new()));
        let new: Vec<Spot> = spots.into_iter().filter(|spot| !found.2.contains(spot)).collect();
        found.2.extend(new);
    }

    fn report(self, paths: &[String]) -> Report {
        let mut acceptances = Acceptances::new(self.read);
        let mut findings = Vec::new();
        for ((spot, code, message), (severity, fix, via)) in self.found {
            let accepted = acceptances.of(code, &spot, &via);
            findings.push(Finding { code, severity, spot, message, fix, via, accepted });
        }
        for path in paths {
            acceptances.look_at(path);
        }
        findings.extend(acceptances.idle().into_iter().map(|(spot, message)| Finding {
            code: Code::IdleAcceptance,
            severity: Severity::Warning,
            spot,
            message,
            fix: "write `# palisade: accept PAL-nnn REASON` on the line of the finding or the one above, or take it out"
                .to_owned(),
            via: Vec::new(),
            accepted: None,
        }));
        findings.sort_by(|one, two| (&one.spot, one.code).cmp(&(&two.spot, two.code)));
        Report { findings, workflows: paths.len(), unread: self.unread }
    }
}

fn follow(walk: &mut Walk<'_>, path: &str, script: &Script) {
    let folder = script.folder.clone().unwrap_or_default();
    let spots = vec![Spot { file: path.to_owned(), line: script.line }];
    let origin = Origin { spots, keeps_lines: script.keeps_lines, folder };
    let shell = script.shell.as_deref().unwrap_or("sh").split_whitespace().next().unwrap_or_default();
    match shell {
        "python" | "python3" | "node" => walk.program(&script.text, &origin),
        _ => walk.shell(&script.text, &origin),
    }
}

/// A part of this checkout, a whole commit, or an image by its digest.
fn is_pinned(what: &str) -> bool {
    if what.starts_with("./") || what.starts_with("../") {
        return true;
    }
    let is_hex =
        |text: &str| matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pin = what.rsplit('@').next().unwrap_or_default();
    is_hex(pin.strip_prefix("sha256:").unwrap_or(pin)) && what.contains('@')
}
