//! The workflows of `packaging/ci`: their steps, in order, with the variables that each forge's runner sets.
//!
//! No forge's runner is at hand here. What runs is what stands in the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use palisade_ci::workflow;
use palisade_ci::yaml::{self, Node};
use palisade_core::Exit;

use crate::env::TestEnv;

const COMMIT: &str = "1111111111111111111111111111111111111111";

fn packaged(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/ci").join(file);
    std::fs::read_to_string(path).unwrap()
}

/// Variables of a job of `acme/shop`, as recorded from each runner.
fn variables(forge: &str) -> Vec<(&'static str, &'static str)> {
    let common = [
        ("CI", "true"),
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_REPOSITORY", "acme/shop"),
        ("GITHUB_WORKFLOW", "Deploy to production"),
        ("GITHUB_SHA", COMMIT),
        ("GITHUB_REF_NAME", "main"),
        ("GITHUB_RUN_ID", "91"),
        ("GITHUB_RUN_ATTEMPT", "1"),
        ("GITHUB_JOB", "deploy"),
        ("GITHUB_EVENT_NAME", "push"),
        ("GITHUB_ACTOR", "ada"),
    ];
    match forge {
        "gitlab" => vec![
            ("CI", "true"),
            ("GITLAB_CI", "true"),
            ("CI_PROJECT_PATH", "acme/shop"),
            ("CI_CONFIG_PATH", ".gitlab-ci.yml"),
            ("CI_COMMIT_SHA", COMMIT),
            ("CI_COMMIT_REF_NAME", "main"),
            ("CI_PIPELINE_ID", "91"),
            ("CI_JOB_NAME", "deploy"),
            ("CI_PIPELINE_SOURCE", "push"),
            ("CI_RUNNER_VERSION", "17.5.0"),
        ],
        "gitea" => {
            let own = [("GITEA_ACTIONS", "true"), ("GITEA_ACTIONS_RUNNER_VERSION", "v3.0.0")];
            common.into_iter().chain(own).collect()
        }
        "forgejo" => {
            let own = [
                ("GITEA_ACTIONS", "true"),
                ("FORGEJO_ACTIONS", "true"),
                ("FORGEJO_ACTIONS_RUNNER_VERSION", "v9.0.3"),
            ];
            common.into_iter().chain(own).collect()
        }
        _ => common.into_iter().chain([("RUNNER_NAME", "host-1")]).collect(),
    }
}

/// A host with the policy of app `shop`, whose HOME is the checkout.
struct Host {
    env: TestEnv,
    tools: PathBuf,
}

impl Host {
    fn new() -> Self {
        let env = TestEnv::without_daemon();
        env.write_policy(
            "revision = 1\n[environments.production]\n[[app]]\nname = \"shop\"\nenvironment = \"production\"\nprocesses = [\"shop-*\"]\n",
        );
        let tools = PathBuf::from(env.path("tools"));
        std::fs::create_dir_all(&tools).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_palisade"), tools.join("palisade")).unwrap();
        let host = Self { env, tools };
        host.script("deploy.sh", "#!/bin/sh\necho ran >> \"$HOME/ran\"\n");
        host
    }

    fn script(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.env.write(name, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn require(&self, workflow: &str, epoch: &str) {
        let words =
            ["ci", "epoch", "raise", "--repository", "acme/shop", "--workflow", workflow, "--to", epoch];
        self.env.palisade(&words).ends(Exit::Done);
    }

    /// Runs scripts as a runner does, each in a shell of its own, until one fails; gives its exit status.
    fn run(&self, scripts: &[String], variables: &BTreeMap<String, String>) -> (Option<i32>, String) {
        let mut said = String::new();
        for script in scripts {
            let mut command = Command::new("bash");
            command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script]);
            self.env.surround(&mut command);
            command.envs(variables);
            #[expect(clippy::disallowed_methods, reason = "the shell's tools are found by the caller's PATH")]
            let path = std::env::var("PATH").unwrap();
            command.env("PATH", format!("{}:{path}", self.tools.display()));
            let output = command.output().unwrap();
            said.push_str(&String::from_utf8_lossy(&output.stdout));
            said.push_str(&String::from_utf8_lossy(&output.stderr));
            if !output.status.success() {
                return (output.status.code(), said);
            }
        }
        (Some(0), said)
    }

    fn has_deployed(&self) -> bool {
        Path::new(&self.env.path("ran")).exists()
    }
}

fn surroundings(forge: &str, own: &[(String, String)]) -> BTreeMap<String, String> {
    let recorded = variables(forge).into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    recorded.chain(own.iter().cloned()).collect()
}

#[test]
fn each_forges_workflow_deploys_and_is_refused_once_it_is_old() {
    for (forge, file, name) in [
        ("github", "github/deploy.yml", "Deploy to production"),
        ("gitea", "gitea/deploy.yml", "Deploy to production"),
        ("forgejo", "forgejo/deploy.yml", "Deploy to production"),
        ("gitlab", "gitlab/.gitlab-ci.yml", ".gitlab-ci.yml"),
    ] {
        let host = Host::new();
        let job = workflow::read(file, &packaged(file)).unwrap().jobs().remove(0);
        let scripts: Vec<String> = job.scripts.iter().map(|script| script.text.clone()).collect();
        assert_eq!(scripts.len(), 3, "{file}");
        let variables = surroundings(forge, &job.variables);

        host.require(name, "1");
        let (exit, said) = host.run(&scripts, &variables);
        assert_eq!(exit, Some(0), "{forge}: {said}");
        assert!(said.contains("admitted: workflow") && said.contains("registered:"), "{forge}: {said}");
        assert!(host.has_deployed(), "{forge}: {said}");

        std::fs::remove_file(host.env.path("ran")).unwrap();
        host.require(name, "2");
        let (exit, said) = host.run(&scripts, &variables);
        assert_eq!(exit, Some(3), "{forge}: {said}");
        assert!(said.contains("PAL-701") && !host.has_deployed(), "{forge}: {said}");
        // An old version that does not even ask is refused by the deployment itself.
        let (exit, said) = host.run(&scripts[2..], &variables);
        assert_eq!((exit, host.has_deployed()), (Some(3), false), "{forge}: {said}");
    }
}

#[test]
fn the_composite_action_deploys_and_is_refused_once_its_workflow_is_old() {
    let host = Host::new();
    let action = yaml::parse(&packaged("action.yml")).unwrap().unwrap();
    let steps = action.get("runs").and_then(|runs| runs.get("steps")).unwrap();
    let text = |step: &Node| step.get("run").unwrap().text().unwrap().to_owned();
    let scripts: Vec<String> = steps.items().iter().map(text).collect();
    let inputs = [
        ("app", "shop"),
        ("environment", "production"),
        ("wait", "1s"),
        ("run", "./deploy.sh && test -n \"$CI\""),
    ];
    // What a runner does with the step's `env:`.
    let filled = |(name, value): &(Node, Node)| {
        let mut value = value.text().unwrap().to_owned();
        for (input, given) in inputs {
            value = value.replace(&format!("${{{{ inputs.{input} }}}}"), given);
        }
        (name.text().unwrap().to_owned(), value)
    };
    let mut own: Vec<(String, String)> =
        steps.items()[2].get("env").unwrap().entries().iter().map(filled).collect();
    own.push(("PALISADE_EPOCH".to_owned(), "4".to_owned()));
    let variables = surroundings("gitea", &own);
    host.require("Deploy to production", "4");
    let (exit, said) = host.run(&scripts, &variables);
    assert_eq!((exit, host.has_deployed()), (Some(0), true), "{said}");
    host.require("Deploy to production", "5");
    let (exit, said) = host.run(&scripts, &variables);
    assert_eq!(exit, Some(3), "{said}");
}

#[test]
fn over_ssh_the_job_is_known_by_the_variables_that_are_handed_on() {
    let host = Host::new();
    // A new session on the same machine, with no variables but those of a login.
    let home = host.env.home().display().to_string();
    let login = format!(
        "#!/bin/sh\nshift\nexec env -i PATH=\"$PATH\" HOME='{home}' XDG_CONFIG_HOME='{home}/config' \
         XDG_STATE_HOME='{home}/state' setsid --wait sh -c \"$*\"\n"
    );
    host.script("tools/ssh", &login);
    let job = workflow::read("ssh/deploy.yml", &packaged("ssh/deploy.yml")).unwrap().jobs().remove(0);
    let script = job.scripts[0].text.replace("/srv/shop/deploy.sh", &host.env.path("deploy.sh"));
    assert!(job.scripts[0].text.contains("/srv/shop/deploy.sh"));
    let variables = surroundings("github", &job.variables);
    host.require("Deploy to production", "1");
    let (exit, said) = host.run(std::slice::from_ref(&script), &variables);
    assert_eq!((exit, host.has_deployed()), (Some(0), true), "{said}");
    assert_eq!(
        host.env.events("deployment-started")[0]["actor"]["claimed"]["workflow"],
        "Deploy to production"
    );
    host.require("Deploy to production", "2");
    let (exit, said) = host.run(&[script], &variables);
    assert_eq!(exit, Some(3), "{said}");
}

#[test]
fn the_packaged_workflows_have_no_dangerous_shape() {
    let host = Host::new();
    for (file, at) in [
        ("github/deploy.yml", ".github/workflows"),
        ("gitea/deploy.yml", ".gitea/workflows"),
        ("forgejo/deploy.yml", ".forgejo/workflows"),
        ("ssh/deploy.yml", "elsewhere/.github/workflows"),
        ("gitlab/.gitlab-ci.yml", "."),
    ] {
        std::fs::create_dir_all(host.env.path(at)).unwrap();
        let name = file.rsplit('/').next().unwrap();
        let path = host.env.write(&format!("{at}/{name}"), &packaged(file));
        let said = host.env.palisade(&["ci", "lint", &path]).ends(Exit::Done);
        assert!(said.stderr.contains("0 errors, 0 warnings"), "{file}: {}{}", said.stdout, said.stderr);
    }
}

#[test]
fn the_hook_refuses_a_stale_job_and_registers_a_current_one() {
    let host = Host::new();
    host.require("Deploy to production", "7");
    let hook = packaged("hooks/job-started.sh").replace("/usr/bin/palisade", env!("CARGO_BIN_EXE_palisade"));
    let hook = vec![format!("bash -e {}", host.script("job-started.sh", &hook))];
    let of = |forge: &str, epoch: Option<&str>| {
        let mut own = vec![
            ("PALISADE_APP".to_owned(), "shop".to_owned()),
            ("PALISADE_ENVIRONMENT".to_owned(), "production".to_owned()),
        ];
        own.extend(epoch.map(|epoch| ("PALISADE_EPOCH".to_owned(), epoch.to_owned())));
        surroundings(forge, &own)
    };
    let (exit, said) = host.run(&hook, &of("gitea", Some("6")));
    assert_eq!(exit, Some(3), "{said}");
    assert!(said.contains("PAL-701") && said.contains("fix:"), "{said}");
    assert!(!Path::new(&host.env.state().join("registrations")).exists());

    let (exit, said) = host.run(&hook, &of("gitea", Some("7")));
    assert_eq!(exit, Some(0), "{said}");
    let file = std::fs::read_dir(host.env.state().join("registrations")).unwrap().next().unwrap().unwrap();
    let own = format!("{}-", std::process::id());
    assert!(file.file_name().to_string_lossy().starts_with(&own), "the runner is this test: {file:?}");
    // GitHub's runner gives its hooks no variables of the workflow.
    let (exit, said) = host.run(&hook, &of("github", None));
    assert_eq!(exit, Some(0), "{said}");
    assert!(said.contains("does not see the workflow's variables"), "{said}");
    let judged: Vec<bool> =
        host.env.events("job-judged").iter().map(|record| record["data"]["admitted"] == true).collect();
    assert_eq!(judged, [false, true, true]);
}

#[test]
fn a_job_is_announced_to_the_firewall_where_it_has_a_control_socket() {
    let host = Host::new();
    let socket = PathBuf::from(host.env.path("control.sock"));
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let firewall = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stream.try_clone().unwrap()), &mut line)
            .unwrap();
        std::io::Write::write_all(&mut stream, b"\"done\"\n").unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    });
    let socket = socket.display().to_string();
    let words =
        ["ci", "admit", "--offline", "--app", "shop", "--environment", "production", "--control", &socket];
    let said = host.env.palisade_with(&words, &variables("forgejo")).ends(Exit::Done);
    assert!(said.stdout.contains("registered: processes below pid"), "{}{}", said.stdout, said.stderr);
    let asked = firewall.join().unwrap();
    assert_eq!((&asked["pid"], &asked["scope"]["app"]), (&std::process::id().into(), &"shop".into()));
    assert_eq!((&asked["run"]["run_id"], &asked["run"]["attempt"]), (&"91".into(), &"1".into()));
    assert!(!host.env.state().join("registrations").exists());

    let said = host.env.palisade_with(&words, &variables("forgejo")).ends(Exit::Done);
    assert!(said.stderr.contains("was not registered"), "nobody listens any more: {}", said.stderr);
}
