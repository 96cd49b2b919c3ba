//! Exit codes: each is produced, and each refusal and fault has a page.

use std::fs;
use std::process::{Child, Stdio};

use palisade_core::{Code, Exit};
use palisade_testkit::{App, eventually, process};

use crate::env::{TestEnv, crawler, ended};
use crate::said::Said;

/// Words that end with `exit` on this host.
fn produce(env: &TestEnv, exit: Exit) -> Said {
    match exit {
        Exit::Done => env.palisade(&crawler(&["pm2", "delete", "--dry-run"])),
        Exit::Failure => env.palisade(&["pm2", "restore", "--snapshot", "20260101000000000-00000000"]),
        Exit::Usage => env.palisade(&["pm2", "delete"]),
        Exit::Refused => env.palisade(&crawler(&["pm2", "delete", "stock-alert"])),
        Exit::ConfirmationNeeded => {
            env.palisade(&["pm2", "delete", "--app", "stock-alert", "--environment", "production"])
        }
        Exit::PlanStale => {
            let plan = env.path("plan.json");
            env.palisade(&crawler(&["pm2", "plan", "delete", "--out", &plan])).ends(Exit::Done);
            env.palisade(&crawler(&["pm2", "restart", "flyer-crawler-worker"])).ends(Exit::Done);
            env.palisade(&["pm2", "apply", &plan])
        }
        Exit::VerificationFailed => bystander_dies(env),
        Exit::Unreachable => env.palisade(&["pm2", "list", "--pm2-home", &env.path("no-such-home")]),
        Exit::Journal => with_damaged_journal(env),
        Exit::LeaseHeld => while_held(env),
    }
}

/// Something else on the daemon changes while an operation runs.
fn bystander_dies(env: &TestEnv) -> Said {
    let child = env.spawn(&crawler(&["pm2", "delete", "flyer-crawler-api"]));
    eventually("the daemon begins to stop the target", || {
        let list = env.palisade(&["pm2", "list", "--json"]).ends(Exit::Done);
        list.stdout.contains("\"stopping\"").then_some(())
    });
    process::kill(env.pid_of("projectium-site"));
    ended(child)
}

fn with_damaged_journal(env: &TestEnv) -> Said {
    let folder = env.state().join("journal");
    let segment = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "plj"))
        .unwrap();
    let intact = fs::read(&segment).unwrap();
    let mut damaged = intact.clone();
    damaged[intact.len() / 2] ^= 1;
    fs::write(&segment, damaged).unwrap();
    let said = env.palisade(&["journal", "verify"]);
    fs::write(&segment, intact).unwrap();
    said
}

fn while_held(env: &TestEnv) -> Said {
    let mut command = env.command(&[&crawler(&["deploy"])[..], &["--", "cat"]].concat());
    let mut holder: Child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the lease is held", || {
        let leases = env.palisade(&["lease", "list"]).ends(Exit::Done);
        leases.stdout.contains("flyer-crawler/production").then_some(())
    });
    let said = env.palisade(&crawler(&["pm2", "stop"]));
    drop(holder.stdin.take());
    holder.wait().unwrap();
    said
}

#[test]
fn every_exit_code_is_produced_by_a_real_run() {
    let others = ["flyer-crawler-worker", "stock-alert"].map(App::sleep);
    // One that PM2 does not start again.
    let mortal = App::sleep("projectium-site").set("autorestart", serde_json::json!(false));
    let env = TestEnv::with(&[&[App::stubborn("flyer-crawler-api", 3_000), mortal][..], &others].concat());
    for exit in Exit::ALL {
        produce(&env, exit).ends(exit);
    }
    env.palisade(&["journal", "verify"]).ends(Exit::Done);
}

#[test]
fn the_table_of_exit_codes_is_in_the_help() {
    let env = TestEnv::without_daemon();
    let help = env.palisade(&["--help"]).ends(Exit::Done).stdout;
    let table = help.split("Exit codes:").nth(1).unwrap();
    for exit in Exit::ALL {
        assert!(table.contains(&format!(" {} ", exit.number())), "{exit:?} is not in {table}");
    }
}

#[test]
fn every_code_has_a_page_of_its_own() {
    let env = TestEnv::without_daemon();
    for code in Code::ALL {
        let said = env.palisade(&["explain", &code.to_string()]).ends(Exit::Done);
        let title = format!("# {code}: ");
        assert!(said.stdout.starts_with(&title), "{code}: {}", said.stdout);
        let document = env.palisade(&["explain", &code.to_string(), "--json"]).ends(Exit::Done).json();
        assert_eq!(document["page"].as_str().unwrap().trim_end(), said.stdout.trim_end());
    }
    let list = env.palisade(&["explain"]).ends(Exit::Done).stdout;
    assert_eq!(list.lines().count(), Code::ALL.len());
    for typed in ["pal-101", "101"] {
        assert!(env.palisade(&["explain", typed]).ends(Exit::Done).stdout.starts_with("# PAL-101"));
    }
}

#[test]
fn an_unknown_code_is_a_usage_error_that_names_the_nearest() {
    let env = TestEnv::without_daemon();
    let said = env.palisade(&["explain", "PAL-191"]).ends(Exit::Usage);
    assert!(said.stderr.contains("did you mean PAL-1"), "{}", said.stderr);
    env.palisade(&["explain", "nonsense"]).ends(Exit::Usage);
}
