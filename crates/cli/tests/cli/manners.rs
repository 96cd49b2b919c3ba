//! Manners: data on standard output, talk on standard error, colour only where it is wanted, help everywhere.

use std::fs;
use std::process::{Command, Stdio};

use palisade_core::Exit;
use palisade_testkit::App;
use serde_json::Value;

use crate::env::{CRAWLER_PROCESSES, TestEnv, crawler};
use crate::said::Said;

/// Words of every kind of answer: data, a plan, a refusal, an error, a wrong command line.
fn answers(plan: &str) -> Vec<(Vec<&str>, Exit)> {
    vec![
        (vec!["pm2", "list"], Exit::Done),
        (vec!["pm2", "snapshot"], Exit::Done),
        (vec!["pm2", "snapshots"], Exit::Done),
        (crawler(&["pm2", "delete", "--dry-run"]), Exit::Done),
        (crawler(&["pm2", "plan", "stop", "--out", plan]), Exit::Done),
        (crawler(&["pm2", "stop", "no-such-process", "--ignore-not-found"]), Exit::Done),
        (crawler(&["pm2", "stop", "stock-alert"]), Exit::Refused),
        (vec!["pm2", "stop"], Exit::Usage),
        (crawler(&["pm2", "stop", ""]), Exit::Usage),
        (crawler(&["pm2", "stop", "--no-such-flag"]), Exit::Usage),
        (vec!["pm2", "apply", "/no/such/plan"], Exit::Failure),
        (vec!["pm2", "runbook"], Exit::Done),
        (vec!["pm2", "reconcile"], Exit::Done),
        (vec!["pm2", "list", "--pm2-home", "/no/such/home"], Exit::Unreachable),
        (vec!["lease", "list"], Exit::Done),
        (vec!["init", "--dry-run"], Exit::Done),
        (vec!["config", "check"], Exit::Done),
        (vec!["config", "check", "/no/such/policy"], Exit::Failure),
        (vec!["config", "show"], Exit::Done),
        (vec!["config", "schema"], Exit::Done),
        (vec!["journal", "stat"], Exit::Done),
        (vec!["journal", "verify"], Exit::Done),
        (vec!["journal", "show", "no-such-record"], Exit::Usage),
        (vec!["explain", "PAL-101"], Exit::Done),
        (vec!["explain", "PAL-999"], Exit::Usage),
        (crawler(&["pm2", "stop"]), Exit::Done),
        (crawler(&["pm2", "restart"]), Exit::Done),
        (crawler(&["pm2", "delete"]), Exit::Done),
        (vec!["pm2", "restore"], Exit::Done),
    ]
}

#[test]
fn with_json_standard_output_is_exactly_one_document_whatever_comes() {
    let env = TestEnv::new();
    let plan = env.path("plan.json");
    for (words, exit) in answers(&plan) {
        let said = env.palisade(&[&words[..], &["--json"]].concat()).ends(exit);
        assert_eq!(said.stdout.lines().count(), 1, "palisade {words:?} --json: {}", said.stdout);
        let document = said.json();
        if exit != Exit::Done {
            assert_eq!(document["exit"], exit.number(), "{words:?}: {document}");
        }
    }
    let findings = env.palisade(&["doctor", "--json"]);
    assert!(findings.json().is_array(), "{}", findings.stdout);
}

#[test]
fn without_a_terminal_nothing_is_coloured_unless_asked_for() {
    let env = TestEnv::new();
    let plan = env.path("plan.json");
    for (words, exit) in answers(&plan) {
        let said = env.palisade(&words).ends(exit);
        assert!(!is_coloured(&said), "{words:?}: {said:?}");
    }
    let delete = crawler(&["pm2", "delete", "--dry-run"]);
    for variables in [[("NO_COLOR", "1")], [("TERM", "dumb")], [("CLICOLOR", "0")]] {
        assert!(!is_coloured(&env.palisade_with(&delete, &variables)), "{variables:?}");
    }
    let refused = crawler(&["pm2", "delete", "stock-alert"]);
    let always = env.palisade(&[&refused[..], &["--color", "always"]].concat()).ends(Exit::Refused);
    assert!(always.stdout.contains("\u{1b}[1m\u{1b}[31mrefused:"), "{:?}", always.stdout);
    let error = env.palisade(&["pm2", "stop", "--color", "always"]).ends(Exit::Usage);
    assert!(error.stderr.contains("\u{1b}["), "{:?}", error.stderr);
    let never =
        env.palisade_with(&[&refused[..], &["--color", "never"]].concat(), &[("CLICOLOR_FORCE", "1")]);
    assert!(!is_coloured(&never), "{never:?}");
}

fn is_coloured(said: &Said) -> bool {
    said.stdout.contains('\u{1b}') || said.stderr.contains('\u{1b}')
}

#[test]
fn quiet_leaves_the_data_and_says_nothing_else() {
    let env = TestEnv::new();
    let said = env.palisade(&crawler(&["pm2", "delete", "--dry-run", "--quiet"])).ends(Exit::Done);
    assert_eq!(said.stderr, "");
    assert!(said.stdout.contains("dry run: nothing was touched"), "{}", said.stdout);
    let error = env.palisade(&["pm2", "delete", "--quiet"]).ends(Exit::Usage);
    assert!(error.stderr.starts_with("error:"), "errors are said all the same: {}", error.stderr);
}

/// The subcommands that a help page lists.
fn listed_in(help: &str) -> Vec<String> {
    let Some(commands) = help.split("Commands:\n").nth(1) else { return Vec::new() };
    let entries = commands.lines().take_while(|line| !line.is_empty());
    // A line that goes on from the one above begins further to the right.
    let entries = entries.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    let names = entries.filter_map(|rest| rest.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_subcommand_has_a_help_page_and_no_command_line_is_needed_for_it() {
    let env = TestEnv::without_daemon();
    let mut open: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(words) = open.pop() {
        let mut line: Vec<&str> = words.iter().map(String::as_str).collect();
        line.push("--help");
        let help = env.palisade(&line).ends(Exit::Done);
        assert!(help.stdout.contains("Usage: palisade"), "{line:?}: {}", help.stdout);
        assert_eq!(help.stderr, "", "{line:?}");
        open.extend(listed_in(&help.stdout).into_iter().map(|name| [&words[..], &[name]].concat()));
        seen += 1;
    }
    assert!(seen > 30, "{seen} pages");
}

#[test]
fn a_misspelt_word_is_answered_with_the_one_that_was_meant() {
    let env = TestEnv::new();
    for (words, meant) in [
        (vec!["pm3", "list"], "'pm2'"),
        (vec!["pm2", "delet"], "'delete'"),
        (crawler(&["pm2", "delete", "--dry-rum"]), "'--dry-run'"),
    ] {
        let said = env.palisade(&words).ends(Exit::Usage);
        assert!(said.stderr.contains(meant), "{words:?}: {}", said.stderr);
    }
    let app = ["pm2", "delete", "--app", "flyer-crawller", "--environment", "production"];
    let said = env.palisade(&app).ends(Exit::Refused);
    assert!(said.stdout.contains("did you mean flyer-crawler?"), "{}", said.stdout);
    let process = crawler(&["pm2", "delete", "flyer-crawler-apo"]);
    let said = env.palisade(&process).ends(Exit::Refused);
    assert!(said.stdout.contains("did you mean flyer-crawler-api?"), "{}", said.stdout);
}

#[test]
fn without_a_scope_or_with_an_empty_name_nothing_is_tried() {
    let env = TestEnv::new();
    for (words, flag) in [
        (vec!["pm2", "delete"], "--app"),
        (vec!["pm2", "stop", "--app", "flyer-crawler"], "--environment"),
        (vec!["deploy", "--environment", "production", "--", "true"], "--app"),
    ] {
        let said = env.palisade(&words).ends(Exit::Usage);
        assert!(said.stderr.contains(flag), "{words:?} names {flag}: {}", said.stderr);
    }
    for words in [crawler(&["pm2", "delete", ""]), crawler(&["pm2", "delete", "--name", ""])] {
        let said = env.palisade(&words).ends(Exit::Usage);
        assert!(said.stderr.contains("an empty selection never means all"), "{}", said.stderr);
    }
    let empty = ["pm2", "delete", "--app", "", "--environment", "production"];
    env.palisade(&empty).ends(Exit::Usage);
    let scope = [("PALISADE_APP", ""), ("PALISADE_ENVIRONMENT", "")];
    env.palisade_with(&["pm2", "delete"], &scope).ends(Exit::Usage);
    assert!(!env.state().exists(), "a wrong command line leaves nothing behind");
    env.assert_untouched_but(&[]);
}

#[test]
fn the_scope_may_come_from_variables_and_a_flag_wins_over_them() {
    let env = TestEnv::new();
    let test = [("PALISADE_APP", "flyer-crawler"), ("PALISADE_ENVIRONMENT", "test")];
    let said = env.palisade_with(&["pm2", "delete", "--dry-run"], &test).ends(Exit::Done);
    assert!(said.stdout.starts_with("delete of flyer-crawler/test: 3 of 8"), "{}", said.stdout);
    let words = ["pm2", "delete", "--dry-run", "--environment", "production"];
    let said = env.palisade_with(&words, &test).ends(Exit::Done);
    assert!(said.stdout.starts_with("delete of flyer-crawler/production: 3 of 8"), "{}", said.stdout);
}

#[test]
fn control_characters_in_a_name_are_escaped_wherever_it_is_shown() {
    let evil = "flyer-crawler-x\u{1b}[2K\rdone: all is well\u{7}";
    let env = TestEnv::with(&[App::sleep(evil), App::sleep("stock-alert")]);
    let plan = env.path("plan.json");
    let words: Vec<Vec<&str>> = vec![
        vec!["pm2", "list"],
        crawler(&["pm2", "delete", "--dry-run"]),
        crawler(&["pm2", "plan", "delete", "--out", &plan]),
        vec!["pm2", "delete", "--app", "projectium-site", "--environment", "production", evil],
        crawler(&["pm2", "delete"]),
        vec!["pm2", "runbook"],
        vec!["pm2", "restore"],
        vec!["journal", "tail"],
        vec!["journal", "show", "1"],
        vec!["init", "--dry-run"],
    ];
    for words in words {
        if words[0] == "init" {
            fs::remove_file(env.policy()).unwrap();
        }
        let said = env.palisade(&words);
        let shown = format!("{}{}", said.stdout, said.stderr);
        let raw = |c: char| c.is_control() && c != '\n';
        assert!(!shown.contains(raw), "{words:?}: {shown:?}");
        assert!(shown.contains("all is well"), "{words:?} shows the name: {shown}");
    }
}

#[test]
fn completions_load_in_bash_and_know_the_commands() {
    let env = TestEnv::without_daemon();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = env.palisade(&["completions", shell]).ends(Exit::Done);
        assert!(said.stdout.contains("reconcile"), "{shell}");
    }
    let script = env.palisade(&["completions", "bash"]).stdout;
    let file = env.write("palisade.bash", &script);
    let loaded = Command::new("bash").args(["-n", &file]).output().unwrap();
    assert!(loaded.status.success() && loaded.stderr.is_empty(), "{loaded:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let env = TestEnv::without_daemon();
    for words in [&["explain"][..], &["completions", "bash"], &["config", "schema"], &["explain", "PAL-101"]]
    {
        let mut command = env.command(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), &ended.stderr[..]), (Some(0), &b""[..]), "{words:?}");
    }
}

#[test]
fn a_dry_run_changes_nothing_at_all() {
    let env = TestEnv::new();
    let said = env.palisade(&crawler(&["pm2", "delete", "--dry-run", "--json"])).ends(Exit::Done).json();
    let targets = said["plan"]["targets"].as_array().unwrap();
    let mut names: Vec<&str> =
        targets.iter().map(|target: &Value| target["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    let mut crawlers = CRAWLER_PROCESSES;
    crawlers.sort_unstable();
    assert_eq!(names, crawlers);
    env.assert_untouched_but(&[]);
    assert!(!env.state().exists(), "not even a folder");
}
