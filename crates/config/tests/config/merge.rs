//! An existing policy brought up to date.

use std::path::Path;

use palisade_config::{MergeOutcome, merge};
use palisade_core::policy::Owner;

use crate::support::{LEAST, host, snapshot};

/// A file as people leave it: comments, odd order, odd spacing.
const LIVED_IN: &str = r#"# Our host. Ask Ann before you change it.
[limits]
share = 0.5 # was 0.8 before the incident

[[app]]
name = "flyer-crawler" # the first tenant
environment = "production"
processes = [
    # the api is the important one
    "flyer-crawler-api",
    "flyer-crawler-worker", # slow
]

[environments]
# nothing else here
[environments.production]
mode = "enforce"

[[app]]
name = "stock"
environment = "production"
processes = ["stock-api"]
confirm = ["delete"]
# the end
"#;

fn lived_in() -> String {
    format!("# first line\n  revision   =  7   # seven\n{LIVED_IN}")
}

fn merged<'n>(text: &str, names: impl IntoIterator<Item = &'n str>) -> MergeOutcome {
    merge(text, Path::new("palisade.toml"), &snapshot(names)).unwrap()
}

#[test]
fn nothing_unclaimed_leaves_every_byte() {
    let outcome = merged(&lived_in(), ["flyer-crawler-api", "stock-api"]);
    assert!(!outcome.is_changed());
    assert_eq!((outcome.text, outcome.revision), (lived_in(), 7));
    assert_eq!((outcome.added, outcome.left_out), (vec![], vec![]));
}

#[test]
fn every_comment_and_the_order_stay() {
    let names =
        ["flyer-crawler-analytics", "stock-worker", "new-api", "new-worker", "flyer-crawler-api-test"];
    let outcome = merged(&lived_in(), names);
    assert_eq!(outcome.text, MERGED.trim_start(), "\n{}\n", outcome.text);
    let added: Vec<_> =
        outcome.added.iter().map(|added| format!("{} {}", added.scope, added.process)).collect();
    let expected = [
        "flyer-crawler/production flyer-crawler-analytics",
        "flyer-crawler/test flyer-crawler-api-test",
        "new/production new-api",
        "new/production new-worker",
        "stock/production stock-worker",
    ];
    assert_eq!(added, expected);
    let new: Vec<_> = outcome.added.iter().map(|added| added.new_entry).collect();
    assert_eq!(new, [false, true, true, true, false]);
    assert_eq!(outcome.environments.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["test"]);
    assert_eq!(outcome.revision, 8);
}

const MERGED: &str = r#"
# first line
  revision   =  8   # seven
# Our host. Ask Ann before you change it.
[limits]
share = 0.5 # was 0.8 before the incident

[[app]]
name = "flyer-crawler" # the first tenant
environment = "production"
processes = [
    # the api is the important one
    "flyer-crawler-api",
    "flyer-crawler-worker", # slow
    "flyer-crawler-analytics",
]

[environments]
# nothing else here
[environments.production]
mode = "enforce"

[environments.test]
suffix = "-test"

[[app]]
name = "stock"
environment = "production"
processes = ["stock-api", "stock-worker"]
confirm = ["delete"]

[[app]]
name = "flyer-crawler"
environment = "test"
processes = ["flyer-crawler-api-test"]

[[app]]
name = "new"
environment = "production"
processes = ["new-api", "new-worker"]
# the end
"#;

#[test]
fn inline_forms_can_be_added_to() {
    let text = r#"revision = 1
environments = { production = {} }
app = [{ name = "a", environment = "production", processes = ["a-api"] }]
"#;
    let outcome = merged(text, ["a-worker", "b", "b-test"]);
    let expected = r#"revision = 2
environments = { production = {} , test = { suffix = "-test" } }
app = [{ name = "a", environment = "production", processes = ["a-api", "a-worker"] }, { name = "b", environment = "production", processes = ["b"] }, { name = "b", environment = "test", processes = ["b-test"] }]
"#;
    let squeezed = |text: &str| text.replace(' ', "");
    assert_eq!(squeezed(&outcome.text), squeezed(expected), "\n{}", outcome.text);
}

#[test]
fn dotted_environments_can_be_added_to() {
    let outcome = merged("revision = 1\nenvironments.production.mode = \"observe\"\n", ["b-test"]);
    let policy = host(&outcome.text).into_policy();
    assert!(matches!(policy.owner_of("b-test"), Owner::Scope(_)), "{}", outcome.text);
}

#[test]
fn a_policy_without_environments_gets_the_ones_it_needs() {
    let outcome = merged("revision = 1\n", ["a", "a-test"]);
    let policy = host(&outcome.text).into_policy();
    assert_eq!(policy.environments.len(), 2, "{}", outcome.text);
    assert_eq!(policy.apps.len(), 2);
}

#[test]
fn a_new_environment_is_not_added_where_a_name_speaks_against_it() {
    let text = LEAST.replace("[environments.test]\nsuffix = \"-test\"\n", "");
    let text = text.replace("flyer-crawler-worker", "flyer-crawler-test");
    let outcome = merged(&text, ["stock-test"]);
    assert_eq!(outcome.environments, []);
    assert_eq!(outcome.added[0].scope.to_string(), "stock-test/production");
}

#[test]
fn a_suffix_that_the_policy_spells_otherwise_is_left_to_a_person() {
    let text = LEAST.replace("\"-test\"", "\"-tst\"");
    let outcome = merged(&text, ["stock-test"]);
    assert!(!outcome.is_changed());
    assert_eq!(outcome.left_out.len(), 1);
    assert_eq!(outcome.left_out[0].reason, "it ends in -test, but names of test end in -tst here");
}

#[test]
fn a_name_without_a_place_is_left_to_a_person() {
    let text = "revision = 1\n[environments.production]\nsuffix = \"-prod\"\n";
    let outcome = merged(text, ["stock", "a*"]);
    let left: Vec<_> = outcome.left_out.iter().map(|left| left.process.as_str()).collect();
    assert_eq!(left, ["a*", "stock"]);
    assert_eq!(
        outcome.left_out[1].reason,
        "every environment of the policy has a suffix, and it has none of them"
    );
}

#[test]
fn an_invalid_policy_is_not_merged_into() {
    let problems = merge("revision = 0\n", Path::new("palisade.toml"), &snapshot(["a"])).unwrap_err();
    assert_eq!(problems.list().len(), 1);
}

#[test]
fn a_glob_that_already_owns_a_name_keeps_it() {
    let text = LEAST.replace("\"flyer-crawler-api\", \"flyer-crawler-worker\"", "\"flyer-*\"");
    assert!(!merged(&text, ["flyer-crawler-api", "flyer-web"]).is_changed());
    let outcome = merged(&text, ["flyer-web-test"]);
    assert_eq!(outcome.added[0].scope.environment.as_str(), "test");
}

#[test]
fn a_comment_behind_the_last_name_stays_with_that_name() {
    let text = LEAST.replace(
        "[\"flyer-crawler-api\", \"flyer-crawler-worker\"]",
        "[\n  \"flyer-crawler-api\",\n  \"flyer-crawler-worker\" # slow\n]",
    );
    let outcome = merged(&text, ["flyer-crawler-x", "flyer-crawler-y"]);
    let expected = "[\n  \"flyer-crawler-api\",\n  \"flyer-crawler-worker\", # slow\n  \"flyer-crawler-x\",\n  \
                    \"flyer-crawler-y\"\n]";
    assert!(outcome.text.contains(expected), "{}", outcome.text);
}
