//! What GitLab's runner tells. It has no name for a workflow: the path of its configuration stands for one.

use std::path::Path;

use palisade_core::actor::{Claimed, Forge};

use crate::environment::Environment;

use super::{Claims, bounded, workflow};

/// Where GitLab looks for a pipeline unless told otherwise.
const DEFAULT_FILE: &str = ".gitlab-ci.yml";

pub(super) fn add(claims: &mut Claims, environment: &Environment, top: Option<&Path>) {
    let missing = &mut claims.missing;
    let mut take = |name: &str| {
        let found = environment.text(name).map(bounded);
        if found.is_none() {
            missing.push(name.to_owned());
        }
        found
    };
    let configured = take("CI_CONFIG_PATH").unwrap_or_else(|| DEFAULT_FILE.to_owned());
    // `FILE@GROUP/PROJECT` and an address are of elsewhere, so no file of this checkout is named.
    let is_here = !configured.contains('@') && !configured.contains("://");
    let workflow_file = is_here.then(|| configured.clone());
    claims.claimed = Claimed {
        forge: Some(Forge::GitLab),
        workflow: Some(configured),
        workflow_sha256: top
            .zip(workflow_file.as_deref())
            .and_then(|(top, file)| workflow::digest(top, file)),
        workflow_file,
        repository: take("CI_PROJECT_PATH"),
        commit: take("CI_COMMIT_SHA"),
        branch: take("CI_COMMIT_REF_NAME"),
        run_id: take("CI_PIPELINE_ID"),
        job: take("CI_JOB_NAME"),
        actor: take("GITLAB_USER_LOGIN"),
        event: take("CI_PIPELINE_SOURCE"),
        runner: take("CI_RUNNER_DESCRIPTION"),
        ..Claimed::default()
    };
    // A job that is tried again gets another id within the same pipeline, and no number.
    missing.push("run_attempt".to_owned());
    for (name, value) in [
        ("workflow_file", &claims.claimed.workflow_file),
        ("workflow_sha256", &claims.claimed.workflow_sha256),
    ] {
        if value.is_none() {
            missing.push(name.to_owned());
        }
    }
}
