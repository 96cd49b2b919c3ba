//! `palisade ci`: what a checkout's workflows carry, and what is known of a job.

use palisade_core::Exit;
use serde_json::json;

use crate::env::TestEnv;

const DEPLOY: &str = "# Deploys.\nname: Deploy\non: push\n\njobs:\n  deploy:\n    runs-on: self-hosted\n    steps:\n      - run: ./deploy.sh # all of it\n";

/// A host whose HOME is a checkout with two workflows.
fn checkout() -> TestEnv {
    let env = TestEnv::without_daemon();
    for folder in [".git/refs/heads", ".gitea/workflows"] {
        std::fs::create_dir_all(env.path(folder)).unwrap();
    }
    env.write(".git/HEAD", "ref: refs/heads/main\n");
    env.write(".git/refs/heads/main", "1111111111111111111111111111111111111111\n");
    let remote = "[core]\n\tbare = false\n[remote \"origin\"]\n\tfetch = +x\n\turl = ssh://git@git.example:22/acme/shop.git\n";
    env.write(".git/config", remote);
    env.write(".gitea/workflows/deploy.yml", DEPLOY);
    env.write(".gitea/workflows/test.yml", "on: push\njobs:\n  a:\n    steps: []\n");
    env
}

#[test]
fn an_epoch_is_written_checked_and_raised_from_the_checkout() {
    let env = checkout();
    let file = env.path(".gitea/workflows/deploy.yml");
    let text = || std::fs::read_to_string(&file).unwrap();
    let dry = env.palisade(&["ci", "epoch", "write", &file, "--dry-run"]).ends(Exit::Done);
    assert!(dry.stdout.contains("would get epoch 1") && text() == DEPLOY, "{}", dry.stdout);
    let said = env.palisade(&["ci", "epoch", "write", &file, "--to", "7"]).ends(Exit::Done);
    assert!(said.stdout.contains("deploy.yml:6: first epoch 7"), "{}", said.stdout);
    assert_eq!(text(), DEPLOY.replace("jobs:\n", "env:\n  PALISADE_EPOCH: \"7\"\n\njobs:\n"));

    let check = ["ci", "epoch", "check"];
    let none = env.palisade(&check).ends(Exit::Done);
    assert!(none.stdout.contains("no minimum"), "{}", none.stdout);
    let raise = env.palisade(&["ci", "epoch", "raise", "--workflow", ".gitea/workflows/deploy.yml"]);
    assert!(raise.ends(Exit::Done).stdout.contains("Deploy of acme/shop: 7"));
    let kept = env.palisade(&["ci", "epoch", "list", "--json"]).ends(Exit::Done).json();
    assert_eq!(
        (&kept[0]["repository"], &kept[0]["workflow"], &kept[0]["file"]),
        (&json!("acme/shop"), &json!("Deploy"), &json!(".gitea/workflows/deploy.yml"))
    );
    env.palisade(&check).ends(Exit::Done);
    env.palisade(&["ci", "epoch", "raise", "--workflow", "Deploy", "--to", "8"]).ends(Exit::Done);
    let old = env.palisade(&check).ends(Exit::Refused);
    assert!(old.stdout.contains("PAL-701") && old.stdout.contains("--to 8"), "{}", old.stdout);
    let document = env.palisade(&["ci", "epoch", "check", "--json"]).ends(Exit::Refused).json();
    assert_eq!(document["workflows"][0]["required"], 8, "{document}");
    assert_eq!(document["workflows"][1]["finding"], json!(null), "test.yml has no minimum: {document}");

    let lower = env.palisade(&["ci", "epoch", "write", &file, "--to", "6"]).ends(Exit::Failure);
    assert!(lower.stderr.contains("never falls"), "{}", lower.stderr);
    assert!(
        lower.stderr.contains("without --to the epoch that is there is raised by one"),
        "{}",
        lower.stderr
    );
    env.palisade(&["ci", "epoch", "write", &file]).ends(Exit::Done);
    env.palisade(&check).ends(Exit::Done);
}

#[test]
fn a_workflow_that_cannot_be_read_is_named_and_hides_none_of_the_others() {
    let env = checkout();
    env.write(".gitea/workflows/broken.yml", "on: push\njobs: [\n");
    let check = ["ci", "epoch", "check"];
    let said = env.palisade(&check).ends(Exit::Failure);
    for part in ["unreadable: .gitea/workflows/broken.yml", "fix: mend the file", "deploy.yml", "no minimum"]
    {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
    assert!(!said.stderr.contains("every workflow may run"), "{}", said.stderr);
    let document = env.palisade(&["ci", "epoch", "check", "--json"]).ends(Exit::Failure).json();
    assert_eq!(document["workflows"].as_array().map(Vec::len), Some(3), "{document}");
    assert!(document["workflows"][0]["unreadable"].is_string(), "{document}");
    env.palisade(&["ci", "epoch", "raise", "--workflow", "Deploy", "--to", "8"]).ends(Exit::Done);
    env.palisade(&check).ends(Exit::Refused);
}

#[test]
fn a_raise_without_number_and_file_is_a_wrong_command_line() {
    let env = checkout();
    for workflow in ["Deploy", "test.yml", "Nowhere"] {
        let said = env.palisade(&["ci", "epoch", "raise", "--workflow", workflow]).ends(Exit::Usage);
        assert!(said.stderr.contains("--to EPOCH"), "{workflow}: {}", said.stderr);
    }
    let every = env.palisade(&["ci", "epoch", "raise", "--every-workflow"]).ends(Exit::Usage);
    assert!(every.stderr.contains("--to EPOCH"), "{}", every.stderr);
}

#[test]
fn a_file_that_is_no_workflow_is_left_alone_with_every_other_one() {
    let env = checkout();
    let bad = env.write("notes.yml", "a: b: c\n");
    let good = env.path(".gitea/workflows/deploy.yml");
    let said = env.palisade(&["ci", "epoch", "write", &good, &bad]).ends(Exit::Failure);
    assert!(said.stderr.contains("notes.yml: line 1"), "{}", said.stderr);
    assert_eq!(std::fs::read_to_string(&good).unwrap(), DEPLOY);
    let elsewhere = TestEnv::without_daemon();
    elsewhere.palisade(&["ci", "epoch", "check"]).ends(Exit::Usage);
}

#[test]
fn the_context_of_a_job_says_what_runs_and_what_is_missing_and_why() {
    let env = checkout();
    let variables = [
        ("GITHUB_ACTIONS", "true"),
        ("GITEA_ACTIONS", "true"),
        ("GITEA_ACTIONS_RUNNER_VERSION", "v0.2.11"),
        ("GITHUB_REPOSITORY", "acme/shop"),
        ("GITHUB_WORKFLOW", "Deploy"),
        ("GITHUB_RUN_ID", "91"),
        ("GITHUB_EVENT_NAME", "schedule"),
        ("PALISADE_EPOCH", "6"),
    ];
    let file = env.path(".gitea/workflows/deploy.yml");
    env.palisade(&["ci", "epoch", "write", &file, "--to", "7"]).ends(Exit::Done);
    let said = env.palisade_with(&["ci", "context"], &variables).ends(Exit::Done);
    for line in [
        "forge                       Gitea Actions",
        "file                        .gitea/workflows/deploy.yml",
        "epoch                       6",
        "branch                      main",
        "runner version              v0.2.11",
        "missing  GITHUB_WORKFLOW_REF: only GitHub sets it",
    ] {
        assert!(said.stdout.contains(line), "{line}\n{}", said.stdout);
    }
    assert!(said.stderr.contains("what runs is another version"), "{}", said.stderr);
    let document = env.palisade_with(&["ci", "context", "--json"], &variables).ends(Exit::Done).json();
    assert_eq!(
        (&document["checkout_epoch"], &document["differs_from_checkout"]),
        (&json!("7"), &json!(true))
    );
    assert_eq!(document["claimed"]["forge"], "gitea");
    assert_eq!(document["claimed"]["workflow_sha256"].as_str().map(str::len), Some(64));
    let person = env.palisade(&["ci", "context"]).ends(Exit::Done);
    assert!(person.stderr.contains("no CI job"), "{}", person.stderr);
}

#[test]
fn lint_names_file_line_code_and_fix_and_fails_on_errors_only() {
    let env = checkout();
    let clean = env.palisade(&["ci", "lint"]).ends(Exit::Done);
    assert!(clean.stderr.contains("0 errors, 0 warnings"), "{}", clean.stderr);
    assert!(clean.stderr.contains("not looked at: ./deploy.sh"), "{}", clean.stderr);

    env.write("deploy.sh", "set -e\npm2 delete all\n");
    let said = env.palisade(&["ci", "lint"]).ends(Exit::Refused);
    for text in [
        "deploy.sh:2: error PAL-705 `pm2 delete all` takes every process",
        "  fix: name the app's own processes",
        "  called from: .gitea/workflows/deploy.yml:9",
        ".gitea/workflows/deploy.yml:6: warning PAL-711",
        ".gitea/workflows/deploy.yml:6: warning PAL-712",
    ] {
        assert!(said.stdout.contains(text), "{text}\n{}", said.stdout);
    }
    let document =
        env.palisade(&["ci", "lint", ".gitea/workflows/deploy.yml", "--json"]).ends(Exit::Refused).json();
    assert_eq!(document["findings"].as_array().map(Vec::len), Some(3), "{document}");

    env.write("deploy.sh", "# palisade: accept PAL-705 a daemon of its own\npm2 delete all\n");
    let accepted = env.palisade(&["ci", "lint"]).ends(Exit::Done);
    assert!(accepted.stderr.contains("0 errors, 2 warnings, 1 accepted"), "{}", accepted.stderr);
    TestEnv::without_daemon().palisade(&["ci", "lint"]).ends(Exit::Usage);
    env.palisade(&["ci", "lint", "/no/such/file"]).ends(Exit::Usage);
}

/// Runs git in `folder` as nobody in particular.
fn git(folder: &str, words: &[&str]) -> String {
    let mut command = std::process::Command::new("git");
    command.arg("-C").arg(folder).args(["-c", "user.name=a", "-c", "user.email=a@b.example"]).args(words);
    let said = command.env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
    assert!(said.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_job_of_an_old_commit_is_warned_of_and_strictly_refused() {
    let env = TestEnv::without_daemon();
    let repository = env.path("acme/shop");
    std::fs::create_dir_all(&repository).unwrap();
    git(&repository, &["init", "--quiet", "--initial-branch=main"]);
    git(&repository, &["commit", "--quiet", "--allow-empty", "--message=one"]);
    let old = git(&repository, &["rev-parse", "HEAD"]);
    git(&repository, &["commit", "--quiet", "--allow-empty", "--message=two"]);
    let head = git(&repository, &["rev-parse", "HEAD"]);
    let server = format!("file://{}", env.home().display());
    let job = |commit: &str, attempt: &str, branch: &str| {
        let pairs = [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_REPOSITORY", "acme/shop"),
            ("GITHUB_WORKFLOW", "Deploy"),
            ("GITHUB_SERVER_URL", &server),
            ("GITHUB_SHA", commit),
            ("GITHUB_REF_NAME", branch),
            ("GITHUB_RUN_ATTEMPT", attempt),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    };
    let admit = |words: &[&str], variables: Vec<(String, String)>| {
        let words = [&["ci", "admit", "--json"], words].concat();
        let mut command = env.command(&words);
        crate::said::Said::from(command.envs(variables).output().unwrap())
    };
    let warned = |said: &crate::said::Said| said.json()["warnings"][0]["code"].as_str().map(str::to_owned);

    let current = admit(&[], job(&head, "2", "main")).ends(Exit::Done);
    assert_eq!((warned(&current), &current.json()["result"]), (None, &json!("admitted")));
    assert_eq!(warned(&admit(&[], job(&old, "1", "main")).ends(Exit::Done)).as_deref(), Some("PAL-716"));
    assert_eq!(warned(&admit(&[], job(&old, "2", "main")).ends(Exit::Done)).as_deref(), Some("PAL-717"));
    let strict = admit(&["--strict"], job(&old, "1", "main")).ends(Exit::Refused).json();
    assert_eq!(strict["refusals"][0]["code"], "PAL-716", "{strict}");

    for (words, branch, why) in [
        (vec!["--offline"], "main", "--offline was given"),
        (vec![], "gone", "no branch of that name"),
        (vec!["--remote", "file:///no/such/repository"], "main", "cannot be read"),
        (vec!["--remote", "ext::sh -c true"], "main", "cannot be read"),
        (vec!["--remote=--upload-pack=true"], "main", "cannot be read"),
    ] {
        let said = admit(&words, job(&old, "1", branch)).ends(Exit::Done).json();
        assert!(said["not_checked"].to_string().contains(why), "{words:?}: {said}");
    }
    let person = env.palisade(&["ci", "admit"]).ends(Exit::Usage);
    assert!(person.stderr.contains("no CI job"), "{}", person.stderr);
}
