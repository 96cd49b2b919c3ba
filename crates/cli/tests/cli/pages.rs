//! Whole outputs, as a person sees them. Pids, times, ids and paths stand as their kinds.

use std::fs;
use std::process::Stdio;

use palisade_core::Exit;
use palisade_testkit::eventually;

use crate::env::{TestEnv, crawler};
use crate::said::{Said, same};

impl TestEnv {
    #[track_caller]
    fn prints(&self, said: &Said, expected: &str) {
        let text = self.settled(&said.stdout);
        let who = |line: &str| if line.starts_with("  who:") { "  who:      USER" } else { line }.to_owned();
        same(&text.lines().map(who).collect::<Vec<_>>().join("\n"), expected);
    }
}
const STOCK: [&str; 6] = ["pm2", "delete", "--app", "stock-alert", "--environment", "production"];

#[test]
fn a_refusal_says_who_what_which_rule_what_was_not_touched_and_how_to_go_on() {
    let env = TestEnv::new();
    let said = env.palisade(&crawler(&["pm2", "delete", "flyer-crawler-api", "stock-alert"]));
    env.prints(&said.ends(Exit::Refused), r#"
refused: delete of flyer-crawler/production on PM2 7.0.4 (PM2_HOME)
  PAL-101 stock-alert does not belong to flyer-crawler/production but to stock-alert/production
          fix: leave it out: without names, everything of flyer-crawler/production is selected and nothing else
  who:      USER
  touched:  nothing; all 8 processes of this daemon are as they were
  recorded: journal record 1
  more:     palisade explain PAL-101
"#);
    env.assert_untouched_but(&[]);
}

#[test]
fn all_on_a_shared_daemon_is_refused_with_every_reason() {
    let env = TestEnv::new();
    let said = env.palisade(&crawler(&["pm2", "delete", "all"]));
    env.prints(&said.ends(Exit::Refused), r#"
refused: delete of flyer-crawler/production on PM2 7.0.4 (PM2_HOME)
  PAL-102 SAFETY ABORT: delete would take ALL 8 processes of this daemon
          fix: name the processes of one app; if this host is meant for one app, set limits.all_above to 8 or more in its policy
  PAL-101 flyer-crawler-analytics-worker-test (flyer-crawler/test), flyer-crawler-api-test (flyer-crawler/test), flyer-crawler-worker-test (flyer-crawler/test), projectium-site (projectium-site/production), stock-alert (stock-alert/production) do not belong to flyer-crawler/production
          fix: leave them out: without names, everything of flyer-crawler/production is selected and nothing else
  PAL-108 the suffix of flyer-crawler-analytics-worker-test, flyer-crawler-api-test, flyer-crawler-worker-test contradicts the environment production
          fix: ask for the environment that the suffix names, or leave these processes out
  PAL-103 8 of 8 processes (100.0 %) is more than the limit of 80.0 %
          fix: name fewer processes, or raise limits.share in the host's policy
  PAL-113 delete of flyer-crawler/production needs a person's confirmation
          fix: look at the plan with --dry-run, then add --confirm=flyer-crawler
  who:      USER
  touched:  nothing; all 8 processes of this daemon are as they were
  recorded: journal record 1
  more:     palisade explain PAL-102
"#);
    env.assert_untouched_but(&[]);
}

#[test]
fn a_dry_run_shows_what_it_takes_and_what_it_spares() {
    let env = TestEnv::new();
    let said = env.palisade(&crawler(&["pm2", "delete", "--dry-run"]));
    env.prints(
        &said.ends(Exit::Done),
        r#"
delete of flyer-crawler/production: 3 of 8 processes (3 apps)
  - takes  flyer-crawler-api (pm_id 0, online, flyer-crawler/production)
  - takes  flyer-crawler-worker (pm_id 1, online, flyer-crawler/production)
  - takes  flyer-crawler-analytics-worker (pm_id 2, online, flyer-crawler/production)
    spares flyer-crawler-api-test (pm_id 3, online, flyer-crawler/test)
    spares flyer-crawler-worker-test (pm_id 4, online, flyer-crawler/test)
    spares flyer-crawler-analytics-worker-test (pm_id 5, online, flyer-crawler/test)
    spares stock-alert (pm_id 6, online, stock-alert/production)
    spares projectium-site (pm_id 7, online, projectium-site/production)
dry run: nothing was touched
"#,
    );
}

#[test]
fn a_done_delete_names_each_target_the_record_and_the_way_back() {
    let env = TestEnv::new();
    let said = env.palisade(&crawler(&["pm2", "delete"]));
    env.prints(
        &said.clone().ends(Exit::Done),
        r#"
done: delete of flyer-crawler/production: 3 of 3 targets in N ms
  flyer-crawler-api (pm_id 0): deleted
  flyer-crawler-worker (pm_id 1): deleted
  flyer-crawler-analytics-worker (pm_id 2): deleted
  verified: targets as planned, 5 spared processes untouched
  snapshot: SNAPSHOT
  recorded: journal record 2
  undo:     palisade pm2 restore --snapshot SNAPSHOT
"#,
    );
    let talk = env.settled(&said.stderr);
    let plan = talk.split_once("snapshot SNAPSHOT").unwrap().1;
    same(
        plan,
        r#"
8 processes
delete of flyer-crawler/production: 3 of 8 processes (3 apps)
  - takes  flyer-crawler-api (pm_id 0, online, flyer-crawler/production)
  - takes  flyer-crawler-worker (pm_id 1, online, flyer-crawler/production)
  - takes  flyer-crawler-analytics-worker (pm_id 2, online, flyer-crawler/production)
    spares flyer-crawler-api-test (pm_id 3, online, flyer-crawler/test)
    spares flyer-crawler-worker-test (pm_id 4, online, flyer-crawler/test)
    spares flyer-crawler-analytics-worker-test (pm_id 5, online, flyer-crawler/test)
    spares stock-alert (pm_id 6, online, stock-alert/production)
    spares projectium-site (pm_id 7, online, projectium-site/production)
"#,
    );
}

#[test]
fn a_lease_refusal_says_who_holds_it_since_when_and_from_which_run() {
    let env = TestEnv::without_daemon();
    let mut command = env.command(&[&crawler(&["deploy"])[..], &["--", "cat"]].concat());
    command.env("GITHUB_ACTIONS", "true").env("GITHUB_WORKFLOW", "Deploy").env("GITHUB_RUN_ID", "41");
    let mut holder =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the lease is held", || {
        let leases = env.palisade(&["lease", "list"]);
        leases.stdout.contains("flyer-crawler/production").then_some(leases)
    });
    let said = env.palisade(&[&crawler(&["deploy"])[..], &["--", "true"]].concat()).ends(Exit::LeaseHeld);
    drop(holder.stdin.take());
    holder.wait().unwrap();
    let error = env.settled(said.stderr.split_once("error:").unwrap().1);
    let uid = rustix::process::geteuid().as_raw();
    same(
        &error.replace(&format!("uid {uid}"), "uid UID"),
        r#"
[PAL-201] another deployment holds the lease: flyer-crawler/production is held by cat (pid PID, uid UID) since TIME, Deploy run 41, term 1
  fix: try again when it is done, or wait for it with --wait 60s
  more: palisade explain PAL-201
"#,
    );
}

#[test]
fn a_stale_plan_says_what_differs_and_nothing_is_done() {
    let env = TestEnv::new();
    let plan = env.path("plan.json");
    env.palisade(&crawler(&["pm2", "plan", "delete", "--out", &plan])).ends(Exit::Done);
    env.palisade(&crawler(&["pm2", "restart", "flyer-crawler-worker"])).ends(Exit::Done);
    let said = env.palisade(&["pm2", "apply", &plan]);
    env.prints(
        &said.ends(Exit::PlanStale),
        r#"
stale [PAL-112]: the state is not the one that the plan shows
  flyer-crawler-worker (pm_id 1, pid PID) is no longer as planned
  flyer-crawler-worker (pm_id 1, pid PID) would be a target now and was not
  touched:  nothing
  fix:      make a new plan with `palisade pm2 plan`, and look at it
"#,
    );
    env.assert_untouched_but(&["flyer-crawler-worker"]);
    env.palisade(&crawler(&["pm2", "plan", "delete", "--out", &plan])).ends(Exit::Done);
    env.palisade(&["pm2", "apply", &plan]).ends(Exit::Done);
}

#[test]
fn a_severe_act_needs_the_apps_name_and_no_other_word_will_do() {
    let env = TestEnv::new();
    env.prints(
        &env.palisade(&STOCK).ends(Exit::ConfirmationNeeded),
        r#"
refused: delete of stock-alert/production on PM2 7.0.4 (PM2_HOME)
  PAL-113 delete of stock-alert/production needs a person's confirmation
          fix: look at the plan with --dry-run, then add --confirm=stock-alert
  who:      USER
  touched:  nothing; all 8 processes of this daemon are as they were
  recorded: journal record 1
  more:     palisade explain PAL-113
"#,
    );
    let wrong = env.palisade(&[&STOCK[..], &["--confirm=yes"]].concat()).ends(Exit::ConfirmationNeeded);
    assert!(wrong.stdout.contains("yes is not that name"), "{}", wrong.stdout);
    env.assert_untouched_but(&[]);
    let given = env.palisade(&[&STOCK[..], &["--confirm=stock-alert"]].concat());
    env.prints(
        &given.ends(Exit::Done),
        r#"
done: delete of stock-alert/production: 1 of 1 targets in N ms
  stock-alert (pm_id 6): deleted
  verified: targets as planned, 7 spared processes untouched
  snapshot: SNAPSHOT
  recorded: journal record 3
  undo:     palisade pm2 restore --snapshot SNAPSHOT
"#,
    );
    env.assert_untouched_but(&["stock-alert"]);
}

#[test]
fn an_unreachable_daemon_is_an_error_and_never_an_empty_list() {
    let env = TestEnv::without_daemon();
    let said = env.palisade(&["pm2", "list"]).ends(Exit::Unreachable);
    assert_eq!(said.stdout, "");
    same(
        &env.settled(&said.stderr),
        r#"
error: [PAL-005] no PM2 daemon at PM2_HOME/rpc.sock: the socket does not exist
  fix: check PM2_HOME or --pm2-home, and start PM2 with `pm2 resurrect` if it is not meant to be down
  more: palisade explain PAL-005
"#,
    );
    assert_eq!(env.pm2.daemons(), Vec::<u32>::new(), "and none is started");
}

#[test]
fn a_damaged_journal_stops_what_destroys_and_says_where_it_is_damaged() {
    let env = TestEnv::new();
    env.palisade(&crawler(&["pm2", "stop"])).ends(Exit::Done);
    let folder = env.state().join("journal");
    let mut names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let segment = names.find(|path| path.extension().is_some_and(|end| end == "plj")).unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let said = env.palisade(&crawler(&["pm2", "delete", "--quiet"])).ends(Exit::Journal);
    assert_eq!(said.stdout, "");
    same(
        &env.settled(&said.stderr),
        r#"
error: [PAL-801] the operation cannot be recorded, so it is not carried out
  because: the journal is damaged: 00000000000000000000.plj at byte N, record 1: the record's checksum does not match its bytes
  fix: keep the folder as it is: it is evidence; copy it, then compare it with an anchor: palisade journal verify --anchor FILE
  more: palisade explain PAL-801
"#,
    );
    env.assert_untouched_but(&crate::env::CRAWLER_PROCESSES);
}

#[test]
fn a_bad_policy_is_shown_with_file_line_and_caret_and_every_problem_at_once() {
    let env = TestEnv::without_daemon();
    let file = env.write(
        "bad.toml",
        "revision = 1\n\n[environments.production]\nmodus = \"enforce\"\n\n[[app]]\nname = \"shop\"\n\
         environment = \"prodction\"\nprocesses = \"shop-*\"\n",
    );
    let said = env.palisade(&["config", "check", &file]).ends(Exit::Failure);
    assert_eq!(said.stdout, "");
    same(
        &env.settled(&said.stderr),
        r#"
error: [PAL-002] 3 problems in HOME/bad.toml

error[PAL-002]: unknown key `modus`
 --> HOME/bad.toml:4:1
  |
4 | modus = "enforce"
  | ^^^^^ not a key of [environments.production]
  |
  = help: the keys here are: suffix, mode

error[PAL-002]: the file has no environment prodction
 --> HOME/bad.toml:8:15
  |
8 | environment = "prodction"
  |               ^^^^^^^^^^^ not an environment of this file
  |
  = help: did you mean "production"?

error[PAL-002]: `processes` must be a list of strings
 --> HOME/bad.toml:9:13
  |
9 | processes = "shop-*"
  |             ^^^^^^^^ this is a string
  |
  = help: write it like: processes = ["flyer-crawler-api"]
  more: palisade explain PAL-002
"#,
    );
}
