//! What CI jobs, ssh sessions and checkouts claim of themselves.
//!
//! Every value comes from variables and files that any process may set. Values are cut to [`MAX_CLAIM_BYTES`] and
//! otherwise kept raw: escaping belongs where they are shown.

mod gitlab;
mod workflow;

use std::path::{Path, PathBuf};

use palisade_core::Actor;
use palisade_core::actor::{Claimed, Forge, ProcessRef};
use palisade_core::epoch::{self, Job};

use crate::checkout::{self, Head};
use crate::environment::Environment;
use crate::process;

/// Longest claim that is kept.
pub const MAX_CLAIM_BYTES: usize = 512;

/// Claims, and which ones the surroundings do not make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// The claims.
    pub claimed: Claimed,
    /// Names of claims that this context does not offer. In capitals: a variable that the forge does not set. In
    /// lowercase: a field that could not be filled from elsewhere either.
    pub missing: Vec<String>,
}

/// Collects the claims of a process with these variables and that working folder.
#[must_use]
pub fn collect(environment: &Environment, cwd: Option<&Path>) -> Claims {
    let forge = forge_of(environment);
    let top = checkout_of(environment, forge, cwd);
    let mut claims = Claims::default();
    match forge {
        Some(Forge::GitLab) => gitlab::add(&mut claims, environment, top.as_deref()),
        Some(forge) => {
            claims.add_job(environment, forge);
            claims.add_workflow(environment, top.as_deref());
        }
        None => {}
    }
    claims.claimed.epoch = environment.text(epoch::VARIABLE).map(bounded);
    claims.add_head(top.as_deref());
    claims.add_session(environment);
    claims
}

/// The forge whose runner seems to run this. Every runner also speaks GitHub's dialect and Forgejo's speaks Gitea's,
/// so the order is from the special to the general.
#[must_use]
pub fn forge_of(environment: &Environment) -> Option<Forge> {
    let marks = [
        ("FORGEJO_ACTIONS", Forge::Forgejo),
        ("GITEA_ACTIONS", Forge::Gitea),
        ("GITHUB_ACTIONS", Forge::GitHub),
        ("GITLAB_CI", Forge::GitLab),
    ];
    marks.into_iter().find(|(mark, _)| environment.is_on(mark)).map(|(_, forge)| forge)
}

/// The file of the checkout at `top` that a workflow of this name comes from, if it is exactly one.
#[must_use]
pub fn workflow_file(top: &Path, workflow: &str) -> Option<String> {
    workflow::find(top, workflow)
}

/// The version of the runner, where it tells: GitHub's does not.
#[must_use]
pub fn runner_version(environment: &Environment) -> Option<String> {
    let names = match forge_of(environment)? {
        Forge::Forgejo => ["FORGEJO_ACTIONS_RUNNER_VERSION", "GITEA_ACTIONS_RUNNER_VERSION"],
        Forge::Gitea => ["GITEA_ACTIONS_RUNNER_VERSION"; 2],
        Forge::GitLab => ["CI_RUNNER_VERSION"; 2],
        Forge::GitHub => return None,
    };
    names.iter().find_map(|name| environment.text(name)).map(bounded)
}

/// The job that a caller belongs to: by its own variables, else by those of its nearest parent that has any.
///
/// `sudo`, `env -i` and a login shell take a job's variables away from their children and not from their parents.
/// What an app of `daemon` inherited from the job that once started it does not count.
#[must_use]
pub fn job(actor: &Actor, daemon: Option<ProcessRef>) -> Option<Job> {
    let parents = &actor.observed.ancestors;
    let keeper = parents.iter().find(|parent| parent.command.starts_with(KEEPER));
    let daemon = daemon.or(keeper.map(|parent| parent.process));
    let chain: Vec<ProcessRef> = std::iter::once(actor.observed.process)
        .chain(parents.iter().map(|parent| parent.process))
        .take_while(|process| Some(*process) != daemon)
        .collect();
    let own = Job::of(&actor.claimed);
    let job = own.or_else(|| chain.iter().skip(1).find_map(|parent| job_of_process(*parent)))?;
    let is_below = chain.len() <= parents.len();
    let inherited = is_below && chain.last().is_some_and(|app| is_inherited(&job, *app));
    (!inherited).then_some(job)
}

/// How the short name of a daemon begins that keeps the variables of whoever started it, and hands them on.
const KEEPER: &str = "PM2 v";

/// Whether the variables that name a job are only those that `app`, which a daemon started, has kept of its own
/// start. A runner that is itself an app starts jobs with runs of their own, and those count.
#[must_use]
pub fn is_inherited(job: &Job, app: ProcessRef) -> bool {
    job_of_process(app).is_some_and(|kept| kept.run == job.run)
}

fn job_of_process(process: ProcessRef) -> Option<Job> {
    let environment = process::environment(process.pid);
    forge_of(&environment)?;
    let claims = collect(&environment, process::cwd(process.pid).as_deref());
    // The pieces were read one after another: they are one process's only if it is still the same.
    process::is_alive(process).then(|| Job::of(&claims.claimed))?
}

/// Top folder of the checkout: the job's workspace, else the one around the working folder.
fn checkout_of(environment: &Environment, forge: Option<Forge>, cwd: Option<&Path>) -> Option<PathBuf> {
    let workspace = forge.and_then(|forge| match forge {
        Forge::GitLab => environment.absolute_path("CI_PROJECT_DIR"),
        Forge::GitHub | Forge::Gitea | Forge::Forgejo => environment.absolute_path("GITHUB_WORKSPACE"),
    });
    workspace.filter(|folder| folder.is_dir()).or_else(|| checkout::top_of(cwd?))
}

impl Claims {
    fn add_job(&mut self, environment: &Environment, forge: Forge) {
        let prefixes: &[&str] = match forge {
            Forge::GitHub | Forge::GitLab => &["GITHUB_"],
            Forge::Gitea => &["GITHUB_", "GITEA_"],
            Forge::Forgejo => &["FORGEJO_", "GITHUB_"],
        };
        let mut take = |name: &str| {
            let found = prefixes.iter().find_map(|prefix| environment.text(&format!("{prefix}{name}")));
            if found.is_none() {
                self.missing.push(format!("GITHUB_{name}"));
            }
            found.map(bounded)
        };
        self.claimed = Claimed {
            forge: Some(forge),
            workflow: take("WORKFLOW"),
            repository: take("REPOSITORY"),
            commit: take("SHA"),
            branch: take("REF_NAME"),
            run_id: take("RUN_ID"),
            run_attempt: take("RUN_ATTEMPT"),
            job: take("JOB"),
            // Who started this attempt, which need not be who started the run; older runners tell the latter only.
            actor: take("TRIGGERING_ACTOR").or_else(|| take("ACTOR")),
            event: take("EVENT_NAME"),
            ..Claimed::default()
        };
        self.claimed.runner = environment.text("RUNNER_NAME").map(bounded);
        if self.claimed.runner.is_none() {
            self.missing.push("RUNNER_NAME".to_owned());
        }
    }

    /// Names the workflow's file by GITHUB_WORKFLOW_REF, or where the forge has none by looking for it.
    fn add_workflow(&mut self, environment: &Environment, top: Option<&Path>) {
        let named = environment.text("GITHUB_WORKFLOW_REF");
        if named.is_none() {
            self.missing.push("GITHUB_WORKFLOW_REF".to_owned());
        }
        let file = match (named, top, &self.claimed.workflow) {
            (Some(reference), _, _) => {
                workflow::file_of_reference(&reference, self.claimed.repository.as_deref())
            }
            (None, Some(top), Some(name)) => workflow::find(top, name),
            (None, _, _) => None,
        };
        self.claimed.workflow_sha256 =
            top.zip(file.as_deref()).and_then(|(top, file)| workflow::digest(top, file));
        self.claimed.workflow_file = file.map(bounded);
        if self.claimed.workflow_file.is_none() {
            self.missing.push("workflow_file".to_owned());
        }
        if self.claimed.workflow_sha256.is_none() {
            self.missing.push("workflow_sha256".to_owned());
        }
    }

    /// Fills commit and branch from the checkout where no variable told them.
    fn add_head(&mut self, top: Option<&Path>) {
        let claimed = &mut self.claimed;
        if claimed.commit.is_none() || claimed.branch.is_none() {
            let Head { commit, branch } = top.and_then(checkout::head).unwrap_or_default();
            // The checkout's branch says nothing about another commit than its own.
            if claimed.commit.is_none() {
                claimed.commit = commit;
                claimed.branch = claimed.branch.take().or(branch.map(bounded));
            } else if claimed.commit == commit {
                claimed.branch = branch.map(bounded);
            }
        }
        for (name, value) in [("commit", &claimed.commit), ("branch", &claimed.branch)] {
            if value.is_none() {
                self.missing.push(name.to_owned());
            }
        }
    }

    fn add_session(&mut self, environment: &Environment) {
        let address = |name: &str| environment.text(name)?.split_ascii_whitespace().next().map(str::to_owned);
        self.claimed.ssh_client = address("SSH_CONNECTION").or_else(|| address("SSH_CLIENT")).map(bounded);
        self.claimed.sudo_user = environment.text("SUDO_USER").map(bounded);
    }
}

/// The text, cut to [`MAX_CLAIM_BYTES`] at a character's edge.
pub(crate) fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_CLAIM_BYTES));
    text
}
