//! A policy drafted from what a daemon runs.

use std::collections::BTreeSet;

use palisade_config::{draft, merge};
use palisade_core::policy::Owner;
use palisade_core::{Pattern, Policy};
use proptest::prelude::*;

use crate::support::{host, snapshot};

/// Each entry as `app/environment: names`, of the policy drafted for these names.
fn entries<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    let policy = drafted(names);
    let entry = |app: &palisade_core::policy::App| {
        let names: Vec<_> = app.processes.iter().map(Pattern::as_str).collect();
        format!("{}: {}", app.scope, names.join(" "))
    };
    policy.apps.iter().map(entry).collect()
}

fn drafted<'n>(names: impl IntoIterator<Item = &'n str>) -> Policy {
    host(&draft(&snapshot(names), "web1")).into_policy()
}

#[test]
fn a_draft_reads_as_a_person_would_write_it() {
    let names = ["stock-alert", "flyer-crawler-api", "flyer-crawler-worker", "flyer-crawler-api-test"];
    let text = draft(&snapshot(names), "web1");
    assert_eq!(text, DRAFT.trim_start(), "\n{text}\n");
}

const DRAFT: &str = r#"
# Palisade's policy of web1: who owns which process, and how far one operation may reach.
#
# Drafted by `palisade init` from the PM2 daemon at /home/deploy/.pm2 on 2026-02-17T10:13:00.123Z.
# The groups are guesses from the names: read them, and move what belongs elsewhere. `palisade config check`
# checks the file, `palisade config schema` gives editors its schema. Project files can only narrow it.

# Raise this with every change: Palisade refuses a policy that is older than the last one it saw.
revision = 1

# `mode` says what guards do with findings: "observe" lets through and records, "enforce" refuses.
# Palisade's own commands always enforce.
[environments.production]
mode = "observe"

# Every process name of test ends with this, and no other environment's does.
[environments.test]
suffix = "-test"
mode = "observe"

[limits]
# The defaults. With more than `all_above` processes on the daemon, one operation may take neither
# all of them nor more than `share`.
all_above = 3
share = 0.8
# Distinct processes that one caller may take down within `window`; unset: as many as the largest app has.
# budget = 5
# Jobs that one caller may change by hand within `window`; unset: 1000, and a person who means more types the sum.
# job_budget = 1000
window = "10m"

# Whose a call at PM2's socket is, is told by the folder that it comes from: those that an app's processes run in,
# and those that its entry names. An entry may also bind a PM2 namespace, and say who alone may deploy the app:
# folder = "/srv/flyer-crawler"
# namespace = "flyer-crawler-prod"
# deployers = [
#     { uid = 1001 },
#     { repository = "torbo/flyer-crawler", workflow = "deploy.yml", branch = "main" },
# ]

[[app]]
name = "flyer-crawler"
environment = "production"
processes = ["flyer-crawler-api", "flyer-crawler-worker"]

[[app]]
name = "flyer-crawler"
environment = "test"
processes = ["flyer-crawler-api-test"]

[[app]]
name = "stock-alert"
environment = "production"
processes = ["stock-alert"]
"#;

#[test]
fn names_that_share_all_but_the_last_word_are_one_app() {
    assert_eq!(
        entries([
            "flyer-crawler-worker",
            "flyer-crawler-api",
            "flyer-crawler-analytics-worker",
            "stock-alert"
        ]),
        [
            "flyer-crawler/production: flyer-crawler-analytics-worker flyer-crawler-api flyer-crawler-worker",
            "stock-alert/production: stock-alert",
        ]
    );
    assert_eq!(entries(["web", "web-api"]), ["web/production: web web-api"]);
    assert_eq!(
        entries(["a-b-c", "a-b-d", "a-e", "a-f"]),
        ["a/production: a-e a-f", "a-b/production: a-b-c a-b-d"],
        "the smaller guess is the safer one"
    );
}

#[test]
fn names_of_one_app_that_is_alone_keep_their_own_name() {
    assert_eq!(entries(["a-b", "a-b-c", "a-d"]), ["a-b/production: a-b a-b-c", "a-d/production: a-d"]);
}

#[test]
fn instances_of_a_cluster_are_one_name() {
    assert_eq!(entries(["api", "api", "api", "other"]), ["api/production: api", "other/production: other"]);
}

#[test]
fn a_process_of_test_belongs_to_the_app_of_its_production_twin() {
    assert_eq!(
        entries(["a-api", "a-worker", "a-api-test", "b-staging", "c-dev"]),
        ["a/production: a-api a-worker", "a/test: a-api-test", "b/staging: b-staging", "c/dev: c-dev"]
    );
}

#[test]
fn modules_of_pm2_are_left_out() {
    let mut snapshot = snapshot(["api", "pm2-logrotate"]);
    snapshot.processes[1].module = true;
    let text = draft(&snapshot, "web1");
    assert!(!text.contains("logrotate"), "{text}");
}

#[test]
fn a_daemon_that_runs_nothing_gets_a_policy_without_apps() {
    assert_eq!(entries([]), [""; 0]);
}

#[test]
fn the_only_app_of_a_host_can_be_deployed_whole() {
    let one = drafted(["a-1", "a-2", "a-3", "a-4", "a-4"]);
    assert_eq!((one.limits.all_above, one.limits.share_per_mille), (5, 1000));
    let text = draft(&snapshot(["a-1", "a-2"]), "web1");
    assert!(text.contains("# This daemon runs one app only"), "{text}");
    let two = drafted(["a-1", "a-2", "a-3", "a-4", "b"]);
    assert_eq!((two.limits.all_above, two.limits.share_per_mille), (3, 800));
}

#[test]
fn a_name_that_is_no_app_name_is_claimed_by_an_app_with_a_made_up_one() {
    let text = draft(&snapshot(["my api", "my/api", "\u{1b}[2J\"", "é"]), "web1\nx = 1");
    let policy = host(&text).into_policy();
    let apps: Vec<_> = policy.apps.iter().map(|app| app.scope.app.as_str()).collect();
    assert_eq!(apps, ["2J", "app", "my-api", "my-api-2"]);
    for name in ["my api", "my/api", "\u{1b}[2J\"", "é"] {
        assert_ne!(policy.owner_of(name), Owner::Unclaimed, "{name:?}");
    }
    let reason =
        "# The app's name is made up: app name \"my api\": may hold letters, digits, '.', '_' and '-' only\n";
    assert!(text.contains(reason), "{text}");
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn a_name_that_no_pattern_can_say_is_left_out_with_the_reason() {
    let text = draft(&snapshot(["a-*", "b*", "", "ok"]), "web1");
    assert_eq!(host(&text).policy().apps.len(), 1);
    for line in [
        "# \"\": it has no name: name it in PM2\n",
        "# \"a-*\": `*` in a process name would be read as a glob: rename the process in PM2\n",
        "# \"b*\": `*` cannot stand in an exact name: rename the process in PM2\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

/// Names as daemons have them, and a few as nobody should.
fn names() -> impl Strategy<Value = Vec<String>> {
    let word = "(api|worker|flyer|crawler|web|test|dev|staging|production|a|b)";
    let usual = format!("{word}(-{word}){{0,3}}");
    let odd = r"[ab*é /\\'#\u{202e}\u{7f}\n\t._-]{0,6}(-test)?";
    let long = "[a-z]{60,70}(-(api|test))?";
    let name = prop_oneof![
        8 => proptest::string::string_regex(&usual).unwrap(),
        2 => proptest::string::string_regex(odd).unwrap(),
        1 => proptest::string::string_regex(long).unwrap(),
    ];
    prop::collection::vec(name, 0..12)
}

fn can_be_named(name: &str) -> bool {
    Pattern::new(name).is_ok_and(|pattern| pattern.is_exact())
}

proptest! {
    #[test]
    fn every_draft_is_a_policy_that_claims_every_name(names in names()) {
        let policy = drafted(names.iter().map(String::as_str));
        for name in names.iter().filter(|name| can_be_named(name)) {
            prop_assert_ne!(policy.owner_of(name), Owner::Unclaimed, "{:?}", name);
        }
        let claimed: BTreeSet<_> = policy.apps.iter().flat_map(|app| &app.processes).collect();
        prop_assert!(claimed.iter().all(|pattern| pattern.is_exact() && names.iter().any(|n| n == pattern.as_str())));
    }

    #[test]
    fn a_draft_has_nothing_to_merge(names in names()) {
        let snapshot = snapshot(names.iter().map(String::as_str));
        let text = draft(&snapshot, "web1");
        let outcome = merge(&text, "palisade.toml".as_ref(), &snapshot).unwrap();
        prop_assert!(!outcome.is_changed(), "{:?}", outcome);
        prop_assert_eq!(outcome.text, text);
    }

    #[test]
    fn a_draft_for_some_names_merged_with_others_claims_all(first in names(), second in names()) {
        let text = draft(&snapshot(first.iter().map(String::as_str)), "web1");
        let later = snapshot(second.iter().map(String::as_str));
        let outcome = merge(&text, "palisade.toml".as_ref(), &later).unwrap();
        let policy = host(&outcome.text).into_policy();
        for name in second.iter().filter(|name| can_be_named(name)) {
            let claimed = policy.owner_of(name) != Owner::Unclaimed;
            let told = outcome.left_out.iter().any(|left| left.process == *name);
            prop_assert!(claimed || told, "{:?}\n{}", name, outcome.text);
        }
        let again = merge(&outcome.text, "palisade.toml".as_ref(), &later).unwrap();
        prop_assert!(!again.is_changed(), "{:?}", again);
    }
}

#[test]
fn a_made_up_name_never_begins_with_what_a_name_may_not_begin_with() {
    for odd in ["._-x ", "-_ ", "_.-.- a", "--"] {
        assert_eq!(entries([odd]).len(), 1, "{odd:?}");
    }
}
