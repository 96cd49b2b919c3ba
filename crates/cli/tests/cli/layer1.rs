//! Layer 1: what a record says of its caller, on each kind of runner, over ssh and in a bare shell.
//!
//! A deployment writes the same facts as an operation and needs no daemon.

use std::process::Command;

use palisade_core::Exit;
use palisade_core::canonical::sha256_hex;
use serde_json::{Value, json};

use crate::env::{TestEnv, crawler};
use crate::said::Said;

const WORKFLOW: &str = "name: Deploy to production\non: push\njobs: {}\n";
const COMMIT: &str = "1111111111111111111111111111111111111111";

/// What every runner sets.
const JOB: [(&str, &str); 9] = [
    ("GITHUB_ACTIONS", "true"),
    ("GITHUB_WORKFLOW", "Deploy to production"),
    ("GITHUB_REPOSITORY", "projectium/flyer-crawler"),
    ("GITHUB_SHA", COMMIT),
    ("GITHUB_REF_NAME", "main"),
    ("GITHUB_RUN_ID", "8841"),
    ("GITHUB_JOB", "deploy"),
    ("GITHUB_ACTOR", "torben"),
    ("GITHUB_EVENT_NAME", "push"),
];

/// Runs a deployment with these variables and gives the actor that its first record names.
fn actor(env: &TestEnv, variables: &[(&str, &str)]) -> Value {
    env.palisade_with(&crawler(&["deploy"]), variables).ends(Exit::Usage);
    env.palisade_with(&[&crawler(&["deploy"])[..], &["--", "true"]].concat(), variables).ends(Exit::Done);
    env.events("deployment-started")[0]["actor"].clone()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().map(|names| names.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

fn with_workflow(folder: &str) -> TestEnv {
    let env = TestEnv::without_daemon();
    std::fs::create_dir_all(env.path(folder)).unwrap();
    std::fs::create_dir_all(env.path(".git")).unwrap();
    env.write(&format!("{folder}/deploy-to-prod.yml"), WORKFLOW);
    env.write(&format!("{folder}/other.yml"), "name: Other\n");
    env
}

/// The claims of [`JOB`], with the workflow's file in that folder.
fn claims(forge: &str, folder: &str) -> Value {
    json!({
        "forge": forge,
        "workflow": "Deploy to production",
        "workflow_file": format!("{folder}/deploy-to-prod.yml"),
        "workflow_sha256": sha256_hex(WORKFLOW.as_bytes()),
        "repository": "projectium/flyer-crawler",
        "commit": COMMIT,
        "branch": "main",
        "run_id": "8841",
        "job": "deploy",
        "actor": "torben",
        "event": "push",
    })
}

fn and(mut claims: Value, more: &[(&str, &str)]) -> Value {
    for (name, value) in more {
        claims[*name] = json!(value);
    }
    claims
}

#[test]
fn a_gitea_run_is_recorded_with_the_workflow_file_of_its_checkout() {
    let env = with_workflow(".gitea/workflows");
    let job = [&JOB[..], &[("GITEA_ACTIONS", "true"), ("GITHUB_RUN_ATTEMPT", "2")]].concat();
    let actor = actor(&env, &job);
    let expected = and(claims("gitea", ".gitea/workflows"), &[("run_attempt", "2")]);
    assert_eq!(actor["claimed"], expected);
    let missing = names(&actor["missing"]);
    for name in ["GITHUB_WORKFLOW_REF", "RUNNER_NAME", "GITHUB_TRIGGERING_ACTOR"] {
        assert!(missing.contains(&name), "{name} is said to be missing: {missing:?}");
    }
    assert!(!missing.contains(&"workflow_sha256"), "{missing:?}");
}

#[test]
fn a_forgejo_run_is_told_from_a_gitea_one_and_its_own_variables_come_first() {
    let env = with_workflow(".forgejo/workflows");
    let job = [
        &JOB[..],
        &[("GITEA_ACTIONS", "true"), ("FORGEJO_ACTIONS", "true"), ("FORGEJO_RUN_ATTEMPT", "1")],
        &[("RUNNER_NAME", "runner-7")],
    ]
    .concat();
    let actor = actor(&env, &job);
    let more = [("run_attempt", "1"), ("runner", "runner-7")];
    assert_eq!(actor["claimed"], and(claims("forgejo", ".forgejo/workflows"), &more));
}

#[test]
fn a_github_run_names_its_workflow_file_by_reference_and_who_triggered_the_attempt() {
    let env = with_workflow(".github/workflows");
    let reference = "projectium/flyer-crawler/.github/workflows/deploy-to-prod.yml@refs/heads/main";
    let job = [
        &JOB[..],
        &[("GITHUB_WORKFLOW_REF", reference), ("GITHUB_RUN_ATTEMPT", "3")],
        &[("GITHUB_TRIGGERING_ACTOR", "sandra"), ("RUNNER_NAME", "hosted-1")],
    ]
    .concat();
    let actor = actor(&env, &job);
    let more = [("run_attempt", "3"), ("actor", "sandra"), ("runner", "hosted-1")];
    assert_eq!(actor["claimed"], and(claims("github", ".github/workflows"), &more));
    let missing = names(&actor["missing"]);
    assert!(!missing.iter().any(|name| name.starts_with("GITHUB_")), "{missing:?}");
}

#[test]
fn an_ssh_session_is_recorded_with_the_other_end_and_claims_no_forge() {
    let env = TestEnv::without_daemon();
    let actor =
        actor(&env, &[("SSH_CONNECTION", "203.0.113.9 50122 198.51.100.4 22"), ("SUDO_USER", "torben")]);
    assert_eq!(actor["claimed"], json!({ "ssh_client": "203.0.113.9", "sudo_user": "torben" }));
}

#[test]
fn a_bare_shell_claims_nothing_and_what_is_not_there_is_said() {
    let env = TestEnv::without_daemon();
    let actor = actor(&env, &[]);
    assert_eq!(actor["claimed"], json!({}));
    let missing = names(&actor["missing"]);
    assert!(missing.contains(&"commit") && missing.contains(&"branch"), "{missing:?}");
    let observed = &actor["observed"];
    assert_eq!(observed["cwd"], env.home().display().to_string());
    assert!(observed["uid"].is_u64() && observed["process"]["start_ticks"].is_u64(), "{observed}");
}

#[test]
fn observed_facts_do_not_follow_what_the_caller_claims() {
    let env = TestEnv::without_daemon();
    let lies = [("USER", "mallory"), ("LOGNAME", "mallory"), ("PWD", "/nowhere"), ("HOSTNAME", "elsewhere")];
    let lied = actor(&env, &lies);
    let honest = env.palisade(&[&crawler(&["deploy"])[..], &["--", "true"]].concat());
    honest.ends(Exit::Done);
    let honest = env.events("deployment-started")[1]["actor"].clone();
    for fact in ["uid", "gid", "user", "cwd", "host", "session", "ancestors"] {
        assert_eq!(lied["observed"][fact], honest["observed"][fact], "{fact}");
    }
    assert!(!lied.to_string().contains("mallory"), "{lied}");
}

#[test]
fn the_chain_of_parents_names_the_script_that_called() {
    let env = TestEnv::without_daemon();
    let palisade = env!("CARGO_BIN_EXE_palisade");
    let words = crawler(&["deploy"]).join(" ");
    let script = env.write("deploy-to-prod.sh", &format!("{palisade} {words} -- true\nexit $?\n"));
    let mut command = Command::new("sh");
    command.arg(&script).arg("--token=hunter2");
    env.surround(&mut command);
    Said::from(command.output().unwrap()).ends(Exit::Done);
    let actor = &env.events("deployment-started")[0]["actor"];
    let nearest = &actor["observed"]["ancestors"][0];
    assert_eq!(nearest["script"], script);
    assert!(!actor.to_string().contains("hunter2"), "arguments are left out: {actor}");
}

#[test]
fn outside_a_deployment_an_operation_is_charged_to_its_run_or_its_session() {
    let env = TestEnv::new();
    let refused = crawler(&["pm2", "stop", "stock-alert"]);
    let run = [&JOB[..], &[("GITHUB_RUN_ATTEMPT", "2")]].concat();
    env.palisade_with(&refused, &run).ends(Exit::Refused);
    env.palisade(&refused).ends(Exit::Refused);
    let records = env.events("refused");
    assert_eq!(records[0]["actor"]["tree"], "ci:projectium/flyer-crawler:8841:deploy:2");
    let session = records[1]["actor"]["tree"].as_str().unwrap();
    let number = records[1]["actor"]["observed"]["session"].as_u64().unwrap();
    assert!(session.starts_with(&format!("session:{number}:")), "{session}");
}
