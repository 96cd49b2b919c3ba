//! `palisade job` and `palisade queue`, on both stores.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use palisade_core::Exit;
use palisade_jobs::{Error as JobsError, JobStore as _};
use palisade_store::Store;
use palisade_testkit::{Postgres, Scratch, eventually, process};
use serde_json::Value;

use crate::env::{TestEnv, ended};
use crate::said::Said;

fn id(said: &Said) -> String {
    said.stdout.trim().to_owned()
}

fn state(env: &TestEnv, job: &str) -> Value {
    env.palisade(&["job", "show", job, "--json"]).ends(Exit::Done).json()["state"].clone()
}

#[test]
fn a_job_is_enqueued_listed_changed_by_hand_and_explained() {
    let env = TestEnv::without_daemon();
    let run = |words: &[&str]| env.palisade(words).ends(Exit::Done);
    let job = id(&run(&["job", "enqueue", "--queue", "mail", "--payload", r#"{"to":"a"}"#, "--delay", "1h"]));
    assert!(env.state().join("jobs.db").exists(), "the default store is a file in the state folder");
    let listed = run(&["job", "list", "--queue", "mail"]).stdout;
    assert!(listed.contains("scheduled") && listed.contains("mail"), "{listed}");
    assert_eq!(state(&env, &job), "scheduled");
    let cancelled = run(&["job", "cancel", &job, "--reason", "wrong \u{1b}[2J day"]).stdout;
    assert!(
        cancelled.contains("1 now cancelled") && cancelled.contains("palisade job resume"),
        "{cancelled}"
    );
    assert!(run(&["job", "list"]).stdout.contains(r"wrong \u{1b}[2J day"));
    let waited = env.palisade(&["job", "wait", &job]).ends(Exit::Failure).stdout;
    assert!(waited.contains("cancelled"), "{waited}");
    run(&["job", "resume", &job]);
    assert_eq!(state(&env, &job), "scheduled");
    run(&["job", "hold", &job]);
    run(&["job", "release", &job]);
    let explained = run(&["explain", "job", &job]).stdout;
    let told = ["enqueued", "cancelled: wrong", "resumed", "held: held by hand", "released", "(machine "];
    for word in told {
        assert!(explained.contains(word), "{word}: {explained}");
    }
    assert_eq!(run(&["job", "logs", &job, "--no-follow"]).stdout.lines().count(), 5);
    let unfit = env.palisade(&["job", "retry", &job]).ends(Exit::Refused);
    assert!(
        ["PAL-504", "takes what is dead", "fix: what "].iter().all(|part| unfit.stderr.contains(part)),
        "{}",
        unfit.stderr
    );
}

#[test]
fn every_verb_of_jobs_and_queues_answers_with_one_document() {
    let env = TestEnv::without_daemon();
    for (words, key) in [
        ("job enqueue --queue mail", "jobs"),
        ("job list", "jobs"),
        ("job show 1", "state"),
        ("job hold 1", "answers"),
        ("job release 1", "answers"),
        ("job cancel 1", "answers"),
        ("job wait 1", "state"),
        ("job resume 1", "answers"),
        ("job retry 1", "message"),
        ("job logs 1 --no-follow", "events"),
        ("explain job 1", "events"),
        ("queue pause mail", "changes"),
        ("queue resume mail", "changes"),
        ("queue set mail concurrency 3", "changes"),
        ("queue list", "queues"),
        ("queue history mail", "changes"),
        ("queue schedule set nightly --queue mail --cron @daily", "schedule"),
        ("queue schedule list", "schedules"),
        ("queue schedule remove nightly", "result"),
    ] {
        let words: Vec<&str> = words.split(' ').chain(["--json"]).collect();
        let document = env.palisade(&words).json();
        assert!(!document[key].is_null(), "{words:?}: {document}");
    }
}

#[test]
fn what_was_typed_wrong_is_named_with_its_rule() {
    let env = TestEnv::without_daemon();
    env.palisade(&["job", "enqueue", "--queue", "mail"]).ends(Exit::Done);
    for (words, exit, parts) in [
        ("job enqueue --queue mail --at tomorrow", Exit::Usage, ["'tomorrow'", "such as 2026-"]),
        ("job list --state runing", Exit::Usage, ["\"runing\"", "scheduled, ready, running"]),
        ("job list --queue mial", Exit::Done, ["queue mial never had", "did you mean mail?"]),
        ("job cancel --queue mail --state dead", Exit::Refused, ["PAL-105", "states that have some"]),
        ("queue set mail --concurrency -1", Exit::Usage, ["'-1'", "0..="]),
        ("queue set mail self-fence 20s", Exit::Usage, ["PAL-505", "not above beat-every 20s"]),
        ("queue set mail beat-every 500000000years", Exit::Usage, ["PAL-505", "at most 36500 days"]),
        ("job enqueue --queue mail --delay 500years", Exit::Usage, ["PAL-507", "at most 36500 days"]),
        ("queue set mail --backoff 2h", Exit::Usage, ["PAL-505", "above backoff-most 1h"]),
        ("queue set mail beat-every 500ms reap-after 2s", Exit::Usage, ["reap-after 2s", "at least 3s"]),
        (
            "queue schedule set n --queue mail --cron @daily --payload {",
            Exit::Usage,
            ["no JSON", "fix: quote it"],
        ),
        ("worker --queue mail --checkpoints s3:// -- true", Exit::Usage, ["\"s3://\"", "write s3://BUCKET"]),
    ] {
        let said = env.palisade(&words.split(' ').collect::<Vec<_>>()).ends(exit).stderr;
        assert!(parts.iter().all(|part| said.contains(part)), "{words}: {said}");
    }
}

#[test]
fn the_lines_of_the_readme_run_as_they_stand() {
    let env = TestEnv::without_daemon();
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let block = readme.split_once("## Durable jobs").unwrap().1.split_once("```sh\n").unwrap().1;
    let lines: Vec<&str> = block.split_once("```").unwrap().0.lines().collect();
    let [enqueue, worker, explain] = lines[..] else { panic!("{lines:?}") };
    let script = env.write("backfill.sh", "#!/bin/sh\ngrep -q 2026-02-17 \"$PALISADE_PAYLOAD_FILE\"\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_palisade")).parent().unwrap();
    let sh = |line: &str| {
        let mut command = Command::new("sh");
        env.surround(&mut command);
        command.args(["-c", &format!("PATH={}:$PATH; {line}", bin.display())]);
        command
    };
    let said = |line: &str| Said::from(sh(line).output().unwrap()).ends(Exit::Done).stdout;
    assert_eq!(said(enqueue).trim(), "1");
    let mut working =
        sh(&format!("exec {worker}")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the job is done", || (state(&env, "1") == "succeeded").then_some(()));
    process::terminate(working.id());
    assert!(working.wait().unwrap().success());
    let explained = said(explain);
    assert!(explained.contains("completed") && explained.contains("backfill"), "{explained}");
}

#[test]
fn keys_make_one_job_and_lines_make_many() {
    let env = TestEnv::without_daemon();
    let keyed = ["job", "enqueue", "--queue", "mail", "--unique-key", "user 7"];
    let first = id(&env.palisade(&keyed).ends(Exit::Done));
    let again = env.palisade(&keyed).ends(Exit::Done).stdout;
    assert!(again.starts_with(&first) && again.contains("no second one"), "{again}");
    let mut child = env
        .command(&["job", "enqueue", "--queue", "mail", "--lines", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"1\n\n[2]\n{\"n\":3}\n").unwrap();
    let said = Said::from(child.wait_with_output().unwrap()).ends(Exit::Done);
    assert_eq!(said.json()["jobs"].as_array().unwrap().len(), 3);
    let bad = env.palisade(&["job", "enqueue", "--queue", "mail", "--payload", "{to:1}"]).ends(Exit::Usage);
    assert!(bad.stderr.contains("no JSON"), "{}", bad.stderr);
}

#[test]
fn a_file_of_payloads_makes_all_its_jobs_or_none() {
    let env = TestEnv::without_daemon();
    let file = env.state().join("days.jsonl");
    let enqueue = |text: &str| {
        std::fs::create_dir_all(env.state()).unwrap();
        std::fs::write(&file, text).unwrap();
        env.palisade(&["job", "enqueue", "--queue", "days", "--payloads", file.to_str().unwrap(), "--json"])
    };
    let many: String = (0..12_000).map(|n| format!("{{\"day\":{n}}}\n")).collect();
    let bad = enqueue(&format!("{many}{{day}}\n")).ends(Exit::Usage);
    assert!(bad.stderr.contains("line 12001 of") && bad.stderr.contains("no job was made"), "{}", bad.stderr);
    assert!(bad.stderr.contains("fix: mend that line"), "{}", bad.stderr);
    let long = enqueue(&format!("{many}\n\"{}\"\n", "x".repeat(1024 * 1024))).ends(Exit::Usage);
    assert!(long.stderr.contains("line 12002") && long.stderr.contains("PAL-507"), "{}", long.stderr);
    let none = env.palisade(&["job", "list", "--json"]).ends(Exit::Done).json();
    assert_eq!(none["jobs"].as_array().unwrap().len(), 0);
    enqueue(" \n\n").ends(Exit::Usage);
    let made = enqueue(&many).ends(Exit::Done).json();
    assert_eq!(made["jobs"].as_array().unwrap().len(), 12_000);
    let last = made["jobs"][11_999]["id"].to_string();
    let shown = env.palisade(&["job", "show", &last, "--json"]).ends(Exit::Done).json();
    assert_eq!(shown["payload"]["day"], 11_999);
}

#[test]
fn many_jobs_are_changed_only_after_a_person_typed_the_queue() {
    let env = TestEnv::without_daemon();
    for _ in 0..7 {
        env.palisade(&["job", "enqueue", "--queue", "mail"]).ends(Exit::Done);
    }
    let cancel = ["job", "cancel", "--queue", "mail"];
    let with = |more: &[&str]| env.palisade(&[&cancel[..], more].concat());
    let planned = with(&["--dry-run"]).ends(Exit::Done);
    assert!(
        planned.stderr.contains("cancel 7 jobs") && planned.stderr.contains("and 2 more"),
        "{}",
        planned.stderr
    );
    let refused = with(&[]).ends(Exit::ConfirmationNeeded);
    assert!(refused.stderr.contains("--confirm mail"), "{}", refused.stderr);
    with(&["--confirm", "male"]).ends(Exit::ConfirmationNeeded);
    let budget = with(&["--confirm", "mail", "--most", "6"]).ends(Exit::Refused);
    assert!(budget.stderr.contains("PAL-509"), "{}", budget.stderr);
    let ready = env.palisade(&["job", "list", "--queue", "mail", "--state", "ready", "--json"]).json();
    assert_eq!(ready["jobs"].as_array().unwrap().len(), 7);
    let done = with(&["--confirm", "mail"]).ends(Exit::Done).stdout;
    assert!(done.contains("7 now cancelled") && done.contains("journal record"), "{done}");
    let empty = with(&["--confirm", "mail"]).ends(Exit::Refused);
    assert!(empty.stderr.contains("PAL-105"), "{}", empty.stderr);
    let none = env.palisade(&["job", "cancel"]).ends(Exit::Usage);
    assert!(none.stderr.contains("never means all"), "{}", none.stderr);
    env.palisade(&["job", "cancel", "--state", "ready"]).ends(Exit::Usage);
    let records = env.events("jobs-changed");
    let phases: Vec<_> = records.iter().map(|record| record["data"]["phase"].clone()).collect();
    assert_eq!(phases, ["begun", "done"]);
    assert_eq!(records[0]["data"]["jobs"], 7);

    // Without an intent that is written down nothing is changed; only a pause, which starts nothing, goes on.
    let job = id(&env.palisade(&["job", "enqueue", "--queue", "mail"]).ends(Exit::Done));
    let segment = env.state().join("journal/00000000000000000000.plj");
    let mut bytes = fs::read(&segment).unwrap();
    let of_the_last_record = bytes.len() - 40;
    bytes[of_the_last_record] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let stopped = env.palisade(&["job", "cancel", &job]).ends(Exit::Journal);
    assert!(stopped.stderr.contains("nothing was changed"), "{}", stopped.stderr);
    assert_eq!(state(&env, &job), "ready");
    env.palisade(&["queue", "set", "mail", "--retention", "1day"]).ends(Exit::Journal);
    env.palisade(&["queue", "pause", "mail"]).ends(Exit::Done);
    env.palisade(&["queue", "resume", "mail"]).ends(Exit::Journal);
}

#[test]
fn deeds_by_hand_add_up_over_commands_within_the_policys_window() {
    let env = TestEnv::without_daemon();
    let many: String = (0..1_003).map(|n| format!("{n}\n")).collect();
    let file = env.write("many.jsonl", &many);
    let made = env.palisade(&["job", "enqueue", "--queue", "mail", "--payloads", &file, "--json"]);
    let ids: Vec<String> = made.ends(Exit::Done).json()["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["id"].to_string())
        .collect();
    let deed = |word: &str, jobs: &[String], more: &[&str]| {
        let jobs: Vec<&str> = jobs.iter().map(String::as_str).collect();
        env.palisade(&[&["job", word], jobs.as_slice(), more].concat())
    };
    // One command is the business of its own rules; the next one adds to it.
    deed("hold", &ids[..1_000], &[]).ends(Exit::Done);
    let asked = deed("cancel", &ids[1_000..1_001], &[]).ends(Exit::ConfirmationNeeded);
    for word in ["PAL-509", "1000 of 1000 jobs were changed", "would make it 1001", "--total 1001"] {
        assert!(asked.stderr.contains(word), "{word}: {}", asked.stderr);
    }
    assert_eq!(state(&env, &ids[1_000]), "ready");
    deed("cancel", &ids[1_000..1_001], &["--total", "1000"]).ends(Exit::ConfirmationNeeded);
    deed("cancel", &ids[1_000..1_001], &["--total", "1001"]).ends(Exit::Done);
    // What undoes is never kept back, and does not count.
    deed("release", &ids[..1_000], &[]).ends(Exit::Done);
    deed("resume", &ids[1_000..1_001], &[]).ends(Exit::Done);
    // A number of the policy is nobody's to type away.
    let policy = fs::read_to_string(env.policy()).unwrap();
    env.write_policy(&format!("{policy}\n[limits]\njob_budget = 1002\n"));
    deed("cancel", &ids[1_001..1_002], &[]).ends(Exit::Done);
    let refused = deed("cancel", &ids[1_002..], &["--total", "1003"]).ends(Exit::Refused);
    assert!(refused.stderr.contains("limits.job_budget"), "{}", refused.stderr);
    assert_eq!(state(&env, &ids[1_002]), "ready");
    let first = &env.events("jobs-changed")[0];
    assert_eq!((first["data"]["deed"].as_str(), first["data"]["jobs"].as_u64()), (Some("hold"), Some(1_000)));
}

#[test]
fn deeds_at_the_same_instant_do_not_come_to_more_than_the_budget() {
    let env = TestEnv::without_daemon();
    let policy = fs::read_to_string(env.policy()).unwrap();
    env.write_policy(&format!("{policy}\n[limits]\njob_budget = 3\n"));
    let payloads = env.write("jobs.jsonl", &"1\n".repeat(8));
    let made = env.palisade(&["job", "enqueue", "--queue", "mail", "--payloads", &payloads, "--json"]);
    let made = made.ends(Exit::Done).json();
    let ids = made["jobs"].as_array().unwrap().iter().map(|job| job["id"].to_string());
    let all: Vec<_> = ids.map(|job| env.spawn(&["job", "hold", &job])).collect();
    let (mut done, mut refused) = (0, 0);
    for said in all.into_iter().map(ended) {
        match said.exit {
            Some(0) => done += 1,
            _ => {
                assert!(said.stderr.contains("PAL-509"), "{}", said.stderr);
                refused += 1;
            }
        }
    }
    assert_eq!((done, refused), (3, 5));
}

#[test]
fn a_worker_of_a_queue_that_was_never_seen_says_so_and_starts() {
    let env = TestEnv::without_daemon();
    env.palisade(&["job", "enqueue", "--queue", "mail"]).ends(Exit::Done);
    let work = |queue: &str| {
        let words = ["worker", "--queue", queue, "--until-empty", "--no-reaper", "--", "true"];
        env.palisade(&words).ends(Exit::Done).stderr
    };
    let said = work("mial");
    assert!(said.contains("queue mial never had a job or a rule: did you mean mail?"), "{said}");
    let said = work("mail");
    assert!(!said.contains("never had"), "{said}");
}

#[test]
fn limits_and_modes_of_a_policy_that_cannot_be_read_are_not_those_of_none() {
    let env = TestEnv::without_daemon();
    let job = id(&env.palisade(&["job", "enqueue", "--queue", "mail"]).ends(Exit::Done));
    fs::remove_file(env.policy()).unwrap();
    std::os::unix::fs::symlink(env.state().join("gone"), env.policy()).unwrap();
    for words in [&["job", "cancel", &job][..], &["worker", "--queue", "mail", "--until-empty", "--", "true"]]
    {
        let refused = env.palisade(words);
        assert!(refused.stderr.contains("palisade.toml"), "{words:?}: {}", refused.stderr);
        assert_eq!(state(&env, &job), "ready", "{words:?}");
    }
    // There is none: the rules that hold without one.
    fs::remove_file(env.policy()).unwrap();
    env.palisade(&["job", "cancel", &job]).ends(Exit::Done);
}

#[test]
fn a_host_without_a_policy_has_its_deeds_in_a_journal() {
    let env = TestEnv::without_daemon();
    fs::remove_file(env.policy()).unwrap();
    let job = id(&env.palisade(&["job", "enqueue", "--queue", "mail"]).ends(Exit::Done));
    let done = env.palisade(&["job", "hold", &job]).ends(Exit::Done).stdout;
    assert!(done.contains("journal record 1"), "{done}");
    env.palisade(&["queue", "set", "mail", "--retention", "1day"]).ends(Exit::Done);
    let records = env.records();
    assert_eq!(records.len(), 4);
    assert!(records.iter().all(|record| record.get("policy").is_none()), "none was ever in force");
    env.palisade(&["journal", "verify"]).ends(Exit::Done);
    let listed = env.palisade(&["journal", "tail"]).ends(Exit::Done).stdout;
    assert!(listed.contains("hold"), "{listed}");
    // Where it cannot be written nothing is done, as on every host.
    let journal = env.state().join("journal");
    fs::rename(&journal, env.state().join("away")).unwrap();
    fs::write(&journal, "").unwrap();
    let refused = env.palisade(&["job", "release", &job]).ends(Exit::Journal);
    assert!(refused.stderr.contains("nothing was changed"), "{}", refused.stderr);
    assert_eq!(state(&env, &job), "held");
}

#[test]
fn rules_of_a_queue_are_set_shown_and_refused_where_they_do_not_fit() {
    let env = TestEnv::without_daemon();
    let set = |more: &[&str]| env.palisade(&[&["queue", "set", "backfill"], more].concat());
    let planned = set(&["--reap-after", "90m", "--dry-run"]).ends(Exit::Done).stdout;
    assert!(planned.contains("reap-after 1h -> 1h 30m") && planned.contains("self-fence"), "{planned}");
    let done = set(&["--reap-after", "90m", "--concurrency", "4", "--on-silence", "hold"]).ends(Exit::Done);
    assert!(done.stdout.contains("revision 2"), "{}", done.stdout);
    let unsound = set(&["--reap-after", "30s"]).ends(Exit::Usage);
    assert!(
        unsound.stderr.contains("PAL-505") && unsound.stderr.contains("three beats"),
        "{}",
        unsound.stderr
    );
    set(&["--concurrency", "4"]).ends(Exit::Usage);
    let sure = env.palisade(&["queue", "pause", "backfill"]).ends(Exit::Done);
    assert!(!sure.stderr.contains("never had a job"), "{}", sure.stderr);
    let mistyped = env.palisade(&["queue", "history", "backfil"]).ends(Exit::Done).stderr;
    assert!(
        mistyped.contains("queue backfil never had a job or a rule: did you mean backfill?"),
        "{mistyped}"
    );
    let set_of = |queue: &str| {
        let words = ["queue", "set", queue, "--concurrency", "4", "--dry-run"];
        env.palisade(&words).ends(Exit::Done).stderr
    };
    assert!(set_of("backfil").contains("did you mean backfill?"));
    assert_eq!(set_of("newsletter"), "");
    for state in [&["--payload", "1"][..], &["--payload", "2"], &["--payload", "3", "--delay", "1h"]] {
        env.palisade(&[&["job", "enqueue", "--queue", "backfill"], state].concat()).ends(Exit::Done);
    }
    let listed = env.palisade(&["queue", "list"]).ends(Exit::Done).stdout;
    assert!(listed.contains("paused") && listed.contains("1h 30m") && listed.contains("hold"), "{listed}");
    let cells = |line: usize| -> Vec<&str> {
        listed.lines().nth(line).unwrap_or_default().split_whitespace().take(7).collect()
    };
    assert_eq!(cells(0)[1..6], ["ready", "running", "later", "held", "dead"], "{listed}");
    assert_eq!(cells(1), ["backfill", "paused", "2", "0", "1", "0", "0"], "{listed}");
    let again = env.palisade(&["queue", "pause", "backfill"]).ends(Exit::Done).stdout;
    assert!(again.contains("already"), "{again}");
    env.palisade(&["queue", "resume", "backfill"]).ends(Exit::Done);
    let queue = env.palisade(&["queue", "list", "--json"]).json()["queues"][0].clone();
    assert_eq!((&queue["revision"], &queue["paused"]), (&4.into(), &false.into()));
    assert_eq!(queue["jobs"], serde_json::json!({ "ready": 2, "scheduled": 1 }));
}

#[test]
fn a_schedule_is_set_listed_and_taken_away() {
    let env = TestEnv::without_daemon();
    let set = |cron: &str, zone: &str| {
        let words =
            ["queue", "schedule", "set", "nightly", "--queue", "mail", "--cron", cron, "--zone", zone];
        env.palisade(&words)
    };
    assert!(set("30 4 * * *", "Europe/Berlin").ends(Exit::Done).stdout.contains("ticks next at 2"));
    let listed = env.palisade(&["queue", "schedule", "list"]).ends(Exit::Done).stdout;
    assert!(listed.contains("30 4 * * *") && listed.contains("Europe/Berlin"), "{listed}");
    assert!(set("30 4 * *", "UTC").ends(Exit::Usage).stderr.contains("five fields"));
    let never = set("30 4 31 2,4 *", "UTC").ends(Exit::Usage).stderr;
    assert!(never.contains("PAL-507") && never.contains("never ticks"), "{never}");
    assert!(set("30 4 29 2 *", "UTC").ends(Exit::Done).stdout.contains("-02-29T04:30"));
    assert!(set("30 4 * * *", "Mars").ends(Exit::Usage).stderr.contains("PAL-507"));
    let removed = env.palisade(&["queue", "schedule", "remove", "nightly"]).ends(Exit::Done).stdout;
    assert!(removed.contains("recorded: journal record"), "{removed}");
    env.palisade(&["queue", "schedule", "remove", "nightly"]).ends(Exit::Failure);
}

#[test]
fn a_job_that_is_not_there_is_an_error() {
    let env = TestEnv::without_daemon();
    for words in [&["job", "show", "4711"][..], &["job", "cancel", "4711"], &["explain", "job", "4711"]] {
        let said = env.palisade(words).ends(Exit::Failure);
        assert!(said.stderr.contains("PAL-508"), "{}", said.stderr);
    }
    env.palisade(&["job", "show", "all"]).ends(Exit::Usage);
}

#[test]
fn a_database_of_another_environment_is_refused() {
    let (home, server) = (Scratch::new(), Postgres::start("18"));
    server.sql("postgres", "CREATE DATABASE jobs");
    let url = server.admin("jobs");
    let run = |words: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
        command.args(words).env_clear().env("HOME", home.path()).env("DATABASE_URL", &url);
        Said::from(command.envs(variables.iter().copied()).output().unwrap())
    };
    let enqueue = ["job", "enqueue", "--queue", "mail"];
    run(&enqueue, &[]).ends(Exit::Done);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let open = |environment| runtime.block_on(Store::open_as(&url, environment)).unwrap();
    // A client that is connected, and has to connect anew.
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'jobs'";
    let anew = |store: &Store| {
        server.sql("postgres", cut);
        eventually("a new connection is made", || match runtime.block_on(store.queues()) {
            Err(JobsError::Unreachable { .. } | JobsError::Unknown { .. }) => None,
            answer => Some(answer.map(|queues| queues.len())),
        })
    };
    let unstamped = open(None);
    assert!(matches!(anew(&unstamped), Ok(1)));
    run(&["db", "stamp", "--environment", "production"], &[("PALISADE_DATABASE_URL", &url)]).ends(Exit::Done);
    for variables in [&[][..], &[("PALISADE_ENVIRONMENT", "test")]] {
        let said = run(&enqueue, variables).ends(Exit::Refused);
        assert!(said.stderr.contains("PAL-510") && said.stderr.contains("production"), "{}", said.stderr);
        assert!(
            !said.stderr.contains("hunter2") && !said.stderr.contains(palisade_testkit::postgres::PASSWORD)
        );
    }
    run(&enqueue, &[("PALISADE_ENVIRONMENT", "production")]).ends(Exit::Done);
    let listed = run(&["job", "list", "--environment", "production", "--json"], &[]).ends(Exit::Done).json();
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(server.sql("jobs", "SELECT count(*) FROM palisade_jobs.job"), "2");

    let refused = |store: &Store, word: &str| match anew(store) {
        Err(JobsError::Refused(said)) => assert!(said.contains(word), "{said}"),
        other => panic!("it was let in: {other:?}"),
    };
    refused(&unstamped, "production");
    let production = open(Some("production"));
    server.sql("postgres", cut);
    server.sql("postgres", "ALTER DATABASE jobs RENAME TO earlier");
    server.sql("postgres", "CREATE DATABASE jobs");
    refused(&production, "leads to database");
}

#[test]
fn a_threshold_that_is_asked_for_lengthens_only() {
    let env = TestEnv::without_daemon();
    let run = |words: &[&str]| env.palisade(words).ends(Exit::Done);
    run(&["queue", "set", "work", "beat-every", "25s", "reap-after", "60m"]);
    run(&["queue", "set", "work", "--reap-after", "90m"]);
    let history = run(&["queue", "history", "work"]).stdout;
    let lines: Vec<&str> = history.lines().collect();
    assert!(
        lines.len() == 2 && lines[1].contains("reap-after 1h -> 1h 30m") && lines[1].contains("(machine "),
        "{history}"
    );
    for (words, said) in [
        (&["reap-after", "30s"][..], "three beats"),
        (&["reap-after"][..], "--reap-after"),
        (&["reap-aftr", "60m"][..], "a similar argument exists: '--reap-after'"),
        (&["nonsense", "1"][..], "palisade queue set --help"),
        (&["reap-after", "60m", "--beat-every", "5s"][..], "not both"),
    ] {
        let refused = env.palisade(&[&["queue", "set", "work"][..], words].concat()).ends(Exit::Usage);
        assert!(refused.stderr.contains(said), "{words:?}: {}", refused.stderr);
    }
    let worker = |asked: &str| {
        env.palisade(&["worker", "--queue", "work", "--until-empty", "--reap-after", asked, "--", "true"])
    };
    let refused = worker("59s").ends(Exit::Usage).stderr;
    assert!(refused.contains("PAL-551"), "{refused}");
    let others = [
        &["job", "enqueue", "--queue", "work", "--reap-after", "59s"][..],
        &["reaper", "run", "--dry-run", "--reap-after", "59s"],
    ];
    for words in others {
        let refused = env.palisade(words).ends(Exit::Usage).stderr;
        assert!(refused.contains("PAL-551") && refused.contains("queue work"), "{words:?}: {refused}");
    }
    let ignored = worker("10m").ends(Exit::Done).stderr;
    assert!(ignored.contains("a client may only lengthen it"), "{ignored}");
    assert!(!worker("2h").ends(Exit::Done).stderr.contains("lengthen"));
}
