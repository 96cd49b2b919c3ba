use std::path::Path;

use palisade_core::actor::{Claimed, Forge};
use palisade_core::canonical::sha256_hex;
use palisade_host::Environment;
use palisade_host::claims::{Claims, MAX_CLAIM_BYTES, collect, forge_of};
use tempfile::TempDir;

use crate::checkout::checkout;

const COMMIT: &str = "1111111111111111111111111111111111111111";
const OTHER: &str = "2222222222222222222222222222222222222222";
const DEPLOY: &str = "name: Deploy to production\non: push\n";

/// What the runners of all three forges set.
const COMMON: [(&str, &str); 11] = [
    ("CI", "true"),
    ("GITHUB_ACTIONS", "true"),
    ("GITHUB_WORKFLOW", "Deploy to production"),
    ("GITHUB_REPOSITORY", "octo/site"),
    ("GITHUB_SHA", COMMIT),
    ("GITHUB_REF", "refs/heads/main"),
    ("GITHUB_REF_NAME", "main"),
    ("GITHUB_RUN_ID", "91"),
    ("GITHUB_JOB", "deploy"),
    ("GITHUB_ACTOR", "ada"),
    ("GITHUB_EVENT_NAME", "push"),
];
const GITHUB: [(&str, &str); 5] = [
    ("GITHUB_RUN_ATTEMPT", "2"),
    ("GITHUB_TRIGGERING_ACTOR", "bob"),
    ("GITHUB_WORKFLOW_REF", "octo/site/.github/workflows/deploy.yml@refs/heads/main"),
    ("GITHUB_WORKFLOW_SHA", COMMIT),
    ("RUNNER_NAME", "runner-7"),
];
const GITEA: [(&str, &str); 3] =
    [("GITEA_ACTIONS", "true"), ("GITEA_ACTIONS_RUNNER_VERSION", "v2.1.0"), ("GITHUB_RUN_ATTEMPT", "1")];
const FORGEJO: [(&str, &str); 4] = [
    ("FORGEJO_ACTIONS", "true"),
    ("GITEA_ACTIONS", "true"),
    ("FORGEJO_SHA", OTHER),
    ("FORGEJO_RUN_ID", "92"),
];

/// Claims of a job with these variables, in a checkout with these files.
fn job(checkout: &TempDir, own: &[(&str, &str)]) -> Claims {
    let workspace = ("GITHUB_WORKSPACE", checkout.path().to_str().unwrap());
    let variables = COMMON.iter().chain(own).copied().chain([workspace]);
    collect(&variables.collect(), Some(Path::new("/")))
}

fn claims(variables: &[(&str, &str)], cwd: Option<&Path>) -> Claims {
    collect(&variables.iter().copied().collect(), cwd)
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn common(forge: Forge, workflow_file: &str) -> Claimed {
    Claimed {
        forge: Some(forge),
        workflow: text("Deploy to production"),
        workflow_file: text(workflow_file),
        workflow_sha256: Some(sha256_hex(DEPLOY.as_bytes())),
        repository: text("octo/site"),
        commit: text(COMMIT),
        branch: text("main"),
        run_id: text("91"),
        job: text("deploy"),
        actor: text("ada"),
        event: text("push"),
        ..Claimed::default()
    }
}

#[test]
fn a_github_job_names_everything() {
    let folder = checkout(&[(".github/workflows/deploy.yml", DEPLOY)]);
    let found = job(&folder, &GITHUB);
    let expected = Claimed {
        run_attempt: text("2"),
        actor: text("bob"),
        runner: text("runner-7"),
        ..common(Forge::GitHub, ".github/workflows/deploy.yml")
    };
    assert_eq!(found, Claims { claimed: expected, missing: Vec::new() });
}

#[test]
fn a_gitea_job_lacks_the_workflows_reference_so_its_file_is_looked_for() {
    let folder =
        checkout(&[(".gitea/workflows/prod.yaml", DEPLOY), (".gitea/workflows/test.yaml", "name: Test\n")]);
    let found = job(&folder, &GITEA);
    let expected = Claimed { run_attempt: text("1"), ..common(Forge::Gitea, ".gitea/workflows/prod.yaml") };
    assert_eq!(found.claimed, expected);
    assert_eq!(found.missing, ["GITHUB_TRIGGERING_ACTOR", "RUNNER_NAME", "GITHUB_WORKFLOW_REF"]);
}

#[test]
fn a_forgejo_job_speaks_in_its_own_name_first() {
    let folder = checkout(&[(".forgejo/workflows/prod.yml", DEPLOY), (".github/workflows/prod.yml", DEPLOY)]);
    let found = job(&folder, &FORGEJO);
    let expected = Claimed {
        commit: text(OTHER),
        run_id: text("92"),
        ..common(Forge::Forgejo, ".forgejo/workflows/prod.yml")
    };
    assert_eq!(found.claimed, expected);
    let missing = ["GITHUB_RUN_ATTEMPT", "GITHUB_TRIGGERING_ACTOR", "RUNNER_NAME", "GITHUB_WORKFLOW_REF"];
    assert_eq!(found.missing, missing);
}

#[test]
fn forges_are_told_apart_from_the_special_to_the_general() {
    for (marks, forge) in [
        (&["FORGEJO_ACTIONS", "GITEA_ACTIONS", "GITHUB_ACTIONS"][..], Some(Forge::Forgejo)),
        (&["GITEA_ACTIONS", "GITHUB_ACTIONS"], Some(Forge::Gitea)),
        (&["GITHUB_ACTIONS"], Some(Forge::GitHub)),
        (&["CI"], None),
        (&[], None),
    ] {
        let environment = marks.iter().map(|mark| (*mark, "true")).collect::<Environment>();
        assert_eq!(forge_of(&environment), forge, "{marks:?}");
    }
    assert_eq!(forge_of(&Environment::from_iter([("GITEA_ACTIONS", "false"), ("GITHUB_ACTIONS", "")])), None);
}

#[test]
fn a_workflow_is_found_by_file_name_or_path_where_it_has_no_name() {
    for called in ["deploy.yml", ".gitea/workflows/deploy.yml"] {
        let folder = checkout(&[(".gitea/workflows/deploy.yml", "on: push\n")]);
        let found = job(&folder, &[&GITEA[..], &[("GITHUB_WORKFLOW", called)]].concat());
        assert_eq!(found.claimed.workflow_file.as_deref(), Some(".gitea/workflows/deploy.yml"), "{called}");
        assert_eq!(found.claimed.workflow_sha256, Some(sha256_hex(b"on: push\n")));
    }
}

#[test]
fn a_workflow_that_is_absent_or_there_twice_is_said_to_be_missing() {
    let absent =
        checkout(&[(".gitea/workflows/test.yml", "name: Test\n"), (".gitea/workflows/README.md", DEPLOY)]);
    let twice = checkout(&[(".gitea/workflows/a.yml", DEPLOY), (".gitea/workflows/b.yml", DEPLOY)]);
    let empty = checkout(&[]);
    for folder in [absent, twice, empty] {
        let found = job(&folder, &GITEA);
        assert_eq!((found.claimed.workflow_file, found.claimed.workflow_sha256), (None, None));
        for name in ["workflow_file", "workflow_sha256"] {
            assert!(found.missing.iter().any(|missing| missing == name), "{:?}", found.missing);
        }
    }
}

#[test]
fn a_named_workflow_that_the_checkout_lacks_has_a_path_and_no_digest() {
    let found = job(&checkout(&[]), &GITHUB);
    assert_eq!(found.claimed.workflow_file.as_deref(), Some(".github/workflows/deploy.yml"));
    assert_eq!(found.missing, ["workflow_sha256"]);
}

#[test]
fn a_reference_that_leads_out_of_the_checkout_is_not_read() {
    let reference = [("GITHUB_WORKFLOW_REF", "octo/site/../../../etc/passwd@refs/heads/main")];
    let found = job(&checkout(&[]), &[&GITHUB[..], &reference].concat());
    assert_eq!((found.claimed.workflow_file, found.claimed.workflow_sha256), (None, None));
    assert_eq!(found.missing, ["workflow_file", "workflow_sha256"]);
}

#[test]
fn commit_and_branch_come_from_the_checkout_where_no_variable_tells_them() {
    let folder =
        checkout(&[(".git/HEAD", "ref: refs/heads/main\n"), (".git/refs/heads/main", OTHER), ("a/b", "")]);
    let shell = claims(&[], Some(&folder.path().join("a")));
    let expected = Claimed { commit: text(OTHER), branch: text("main"), ..Claimed::default() };
    assert_eq!(shell, Claims { claimed: expected, missing: Vec::new() });
    let workspace = folder.path().to_str().unwrap();
    let bare = claims(&[("GITEA_ACTIONS", "true"), ("GITHUB_WORKSPACE", workspace)], None);
    assert_eq!((bare.claimed.commit, bare.claimed.branch), (text(OTHER), text("main")));
    assert!(bare.missing.iter().any(|missing| missing == "GITHUB_SHA"), "{:?}", bare.missing);
}

#[test]
fn the_checkouts_branch_is_not_given_to_another_commit() {
    let folder = checkout(&[(".git/HEAD", "ref: refs/heads/main\n"), (".git/refs/heads/main", OTHER)]);
    for (commit, branch) in [(COMMIT, None), (OTHER, text("main"))] {
        let found = job(&folder, &[("GITHUB_SHA", commit), ("GITHUB_REF_NAME", "")]);
        assert_eq!((found.claimed.commit, found.claimed.branch), (text(commit), branch));
    }
}

#[test]
fn an_ssh_session_tells_the_other_ends_address_and_sudo_its_caller() {
    for (variables, address, user) in [
        (
            &[("SSH_CONNECTION", "203.0.113.9 51000 10.0.0.2 22"), ("SSH_CLIENT", "x")][..],
            "203.0.113.9",
            None,
        ),
        (&[("SSH_CLIENT", "2001:db8::7 51000 22")], "2001:db8::7", None),
        (
            &[("SSH_CONNECTION", "203.0.113.9 1 10.0.0.2 22"), ("SUDO_USER", "ada")],
            "203.0.113.9",
            text("ada"),
        ),
    ] {
        let found = claims(variables, None).claimed;
        assert_eq!((found.ssh_client, found.sudo_user), (text(address), user), "{variables:?}");
    }
}

#[test]
fn a_bare_shell_or_tmux_claims_nothing_and_says_what_it_lacks() {
    for variables in
        [&[("TERM", "xterm"), ("GITHUB_RUN_ID", "91")][..], &[("TMUX", "/tmp/tmux-0/default,1,0")]]
    {
        let found = claims(variables, Some(Path::new("/")));
        assert_eq!(found.claimed, Claimed::default(), "{variables:?}");
        assert_eq!(found.missing, ["commit", "branch"]);
    }
}

#[test]
fn a_claim_is_cut_at_a_characters_edge_and_keeps_its_control_characters() {
    let long = format!("x{}", "é".repeat(MAX_CLAIM_BYTES));
    let found = job(&checkout(&[]), &[("GITHUB_ACTOR", &long), ("GITHUB_JOB", "a\u{1b}[2J\nb")]);
    let actor = found.claimed.actor.unwrap();
    assert_eq!(actor.len(), MAX_CLAIM_BYTES - 1);
    assert!(long.starts_with(&actor));
    assert_eq!(found.claimed.job.as_deref(), Some("a\u{1b}[2J\nb"));
}

/// What GitLab's runner sets, as its documentation lists it.
const GITLAB: [(&str, &str); 11] = [
    ("CI", "true"),
    ("GITLAB_CI", "true"),
    ("CI_CONFIG_PATH", ".gitlab-ci.yml"),
    ("CI_PROJECT_PATH", "octo/site"),
    ("CI_COMMIT_SHA", COMMIT),
    ("CI_COMMIT_REF_NAME", "main"),
    ("CI_PIPELINE_ID", "93"),
    ("CI_JOB_NAME", "deploy"),
    ("GITLAB_USER_LOGIN", "ada"),
    ("CI_PIPELINE_SOURCE", "push"),
    ("CI_RUNNER_DESCRIPTION", "runner-7"),
];

#[test]
fn a_gitlab_job_is_known_by_its_own_variables() {
    let folder = checkout(&[(".gitlab-ci.yml", DEPLOY)]);
    let project = [("CI_PROJECT_DIR", folder.path().to_str().unwrap()), ("PALISADE_EPOCH", "7")];
    let variables: Vec<_> = GITLAB.into_iter().chain(project).collect();
    let found = claims(&variables, Some(Path::new("/")));
    let expected = Claimed {
        workflow: text(".gitlab-ci.yml"),
        run_id: text("93"),
        runner: text("runner-7"),
        epoch: text("7"),
        ..common(Forge::GitLab, ".gitlab-ci.yml")
    };
    assert_eq!(found, Claims { claimed: expected, missing: vec!["run_attempt".to_owned()] });
}

#[test]
fn a_gitlab_pipeline_from_elsewhere_names_no_file_of_this_checkout() {
    let folder = checkout(&[(".gitlab-ci.yml", DEPLOY)]);
    for elsewhere in ["ci.yml@octo/pipelines", "https://ci.example/site.yml"] {
        let mut variables: Vec<_> =
            GITLAB.into_iter().filter(|(name, _)| *name != "CI_CONFIG_PATH").collect();
        variables.push(("CI_CONFIG_PATH", elsewhere));
        let found = claims(&variables, Some(folder.path()));
        assert_eq!((found.claimed.workflow.as_deref(), found.claimed.workflow_file), (Some(elsewhere), None));
        assert!(found.missing.iter().any(|name| name == "workflow_file"), "{:?}", found.missing);
    }
}

#[test]
fn an_epoch_is_claimed_with_the_job_and_cut_like_every_claim() {
    let folder = checkout(&[(".github/workflows/deploy.yml", DEPLOY)]);
    let found = job(&folder, &[("PALISADE_EPOCH", "7")]);
    assert_eq!(found.claimed.epoch.as_deref(), Some("7"));
    let long = "9".repeat(MAX_CLAIM_BYTES + 1);
    let found = job(&folder, &[("PALISADE_EPOCH", &long)]);
    assert_eq!(found.claimed.epoch.map(|epoch| epoch.len()), Some(MAX_CLAIM_BYTES));
    assert_eq!(job(&folder, &[]).claimed.epoch, None);
}

/// A sleeping process with these variables and, as its child, one without any; gives the child's pid.
fn parent_and_child(variables: &[(&str, &str)]) -> (std::process::Child, u32) {
    let script = "env -i sleep 1000 & echo $!; wait";
    let mut parent = std::process::Command::new("sh")
        .args(["-c", script])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(variables.iter().copied())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut said = std::io::BufReader::new(parent.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    (parent, line.trim().parse().unwrap())
}

#[test]
fn a_child_without_variables_belongs_to_its_parents_job_and_an_app_of_the_daemon_to_none() {
    let variables = [
        ("GITHUB_ACTIONS", "true"),
        ("GITEA_ACTIONS", "true"),
        ("GITHUB_REPOSITORY", "octo/site"),
        ("GITHUB_WORKFLOW", "Deploy"),
        ("PALISADE_EPOCH", "5"),
    ];
    let (mut parent, child) = parent_and_child(&variables);
    let actor = palisade_host::context::observe_process(child, &Environment::default()).unwrap();
    let found = palisade_host::claims::job(&actor, None);
    let daemon = palisade_host::process::stat(parent.id()).unwrap().process;
    let below_the_daemon = palisade_host::claims::job(&actor, Some(daemon));
    let child = rustix::process::Pid::from_raw(i32::try_from(child).unwrap()).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
    parent.wait().unwrap();

    let found = found.unwrap();
    assert_eq!((found.forge, found.epoch.as_deref()), (Some(Forge::Gitea), Some("5")));
    assert_eq!((found.repository.as_deref(), found.workflow.as_deref()), (Some("octo/site"), Some("Deploy")));
    assert_eq!(below_the_daemon, None);
}

/// A chain of sleeping shells, each with the run that is given for it, the first one outermost; gives their pids.
fn chain_of_runs(runs: &[Option<&str>]) -> (std::process::Child, Vec<u32>) {
    // The last one waits in the shell that has said its number: while a process becomes another, its variables are away.
    let mut script = "echo $$; read -r end".to_owned();
    for run in runs.iter().rev() {
        let variables = run.map_or(String::new(), |run| {
            format!(
                "GITHUB_ACTIONS=true GITHUB_REPOSITORY=octo/site GITHUB_WORKFLOW=Deploy GITHUB_RUN_ID={run}"
            )
        });
        let quoted = script.replace('\'', "'\\''");
        script = format!("echo $$; env -i PATH=/usr/bin:/bin {variables} sh -c '{quoted}'; :");
    }
    let mut top = std::process::Command::new("sh")
        .args(["-c", &script])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let said = std::io::BufReader::new(top.stdout.take().unwrap());
    let lines = std::io::BufRead::lines(said).take(runs.len() + 1);
    let pids = lines.map(|line| line.unwrap().parse().unwrap()).collect();
    (top, pids)
}

#[test]
fn an_app_of_the_daemon_is_no_job_and_a_runner_that_is_an_app_has_jobs() {
    for (runs, expected) in [
        (vec![Some("1")], None),
        (vec![Some("1"), Some("1")], None),
        (vec![Some("1"), None], None),
        (vec![None, Some("2")], Some("2")),
        (vec![None, None, Some("2"), None], Some("2")),
        (vec![Some("1"), Some("2")], Some("2")),
        (vec![None], None),
    ] {
        let (mut top, pids) = chain_of_runs(&runs);
        let last = *pids.last().unwrap();
        let own = palisade_host::process::environment(last);
        let actor = palisade_host::context::observe_process(last, &own).unwrap();
        let daemon = palisade_host::process::stat(top.id()).unwrap().process;
        let found = palisade_host::claims::job(&actor, Some(daemon));
        for pid in pids.iter().rev() {
            let pid = rustix::process::Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap_or_default();
        }
        top.wait().unwrap();
        assert_eq!(found.and_then(|job| job.run).as_deref(), expected, "{runs:?}");
    }
}
