//! A project file may only narrow.

use std::path::Path;

use palisade_config::{HostPolicy, Problems, narrow};
use palisade_core::policy::{Mode, Owner};
use palisade_core::{Code, Operation, Policy};

use crate::support::{host, messages};

const HOST: &str = r#"revision = 4
protected = ["pm2-logrotate"]
[limits]
all_above = 3
share = 0.8
budget = 5
window = "10m"
[environments.production]
mode = "enforce"
[environments.test]
suffix = "-test"
[[app]]
name = "flyer"
environment = "production"
processes = ["flyer-*", "scheduler"]
confirm = ["delete"]
[[app]]
name = "flyer"
environment = "test"
processes = ["flyer-*-test"]
[[app]]
name = "stock"
environment = "production"
processes = ["stock-*", "flyer-stock"]
mode = "observe"
"#;

/// The least of a project's entry for `flyer/production`.
const FLYER: &str = "[[app]]\nname = \"flyer\"\nenvironment = \"production\"\n";

fn laid_over(project: &str) -> Result<HostPolicy, Problems> {
    narrow(host(HOST), project, Path::new("/srv/flyer/palisade.toml"))
}

fn accepted(project: &str) -> Policy {
    match laid_over(project) {
        Ok(narrowed) => narrowed.into_policy(),
        Err(problems) => panic!("not accepted:\n{problems}\n---\n{project}"),
    }
}

fn refused(project: &str) -> Problems {
    match laid_over(project) {
        Ok(_) => panic!("accepted:\n{project}"),
        Err(problems) => problems,
    }
}

/// An older host file, from the time before `stock` moved in and limits were lowered.
const OLDER: &str = r#"revision = 1
[limits]
all_above = 10
share = 1.0
[environments.production]
[[app]]
name = "flyer"
environment = "production"
processes = ["flyer-*", "stock-api"]
"#;

#[test]
fn canonical_narrowing_an_older_wider_file_is_refused() {
    switch_off_what_the_build_is_asked_to();
    let Err(problems) = laid_over(OLDER) else {
        panic!("an older, wider file was laid over the host's policy")
    };
    assert_eq!(problems.code(), Code::PolicyWidened);
    let expected = [
        "`limits.all_above` is 10 here and 3 in the host's policy",
        "`limits.share` is 1 here and 0.8 in the host's policy",
        "\"stock-api\" does not belong to flyer/production in the host's policy",
    ];
    assert_eq!(messages(&problems), expected);
}

/// In a build for ablation the environment names one check to switch off.
fn switch_off_what_the_build_is_asked_to() {
    #[cfg(feature = "ablation")]
    {
        #[expect(
            clippy::disallowed_methods,
            reason = "a test of an ablation build is told its check by a variable"
        )]
        let check = std::env::var("PALISADE_ABLATE");
        if let Ok(check) = check {
            palisade_core::ablation::switch_off(&check).unwrap();
        }
    }
}

#[test]
fn an_empty_project_file_changes_nothing() {
    assert_eq!(laid_over("").unwrap(), host(HOST));
}

#[test]
fn the_hosts_own_text_as_a_project_file_changes_nothing() {
    assert_eq!(laid_over(HOST).unwrap(), host(HOST));
    assert_eq!(laid_over(&HOST.replace("revision = 4", "revision = 1")).unwrap(), host(HOST));
}

#[test]
fn the_host_file_itself_is_not_read_again() {
    let host = host(HOST);
    let path = host.path().to_owned();
    assert_eq!(narrow(host.clone(), "not even TOML", &path).unwrap(), host);
}

#[test]
fn narrower_values_take_the_hosts_place() {
    let policy =
        accepted("[limits]\nall_above = 2\nshare = 0.5\nbudget = 1\njob_budget = 1000\nwindow = \"1h\"\n");
    assert_eq!((policy.limits.all_above, policy.limits.share_per_mille), (2, 500));
    assert_eq!((policy.limits.budget, policy.limits.window.as_secs()), (Some(1), 3600));
    assert_eq!(
        policy.limits.job_budget,
        Some(1_000),
        "the host has no number, and nobody may go over this one"
    );
    assert_eq!(policy.revision, 4);

    let policy = accepted("protected = [\"flyer-db\"]\n");
    assert!(policy.is_protected("flyer-db") && policy.is_protected("pm2-logrotate"));

    let policy = accepted(&format!("{FLYER}confirm = [\"stop\"]\n"));
    assert!(policy.apps[0].confirm.contains(&Operation::Stop));
    assert!(policy.apps[0].confirm.contains(&Operation::Delete), "the host's own confirmation is kept");

    let policy = accepted("[[app]]\nname = \"stock\"\nenvironment = \"production\"\nmode = \"enforce\"\n");
    assert_eq!(policy.apps[2].mode, Some(Mode::Enforce));

    let policy = accepted("[environments.test]\nmode = \"enforce\"\n");
    assert!(policy.environments.values().all(|environment| environment.mode == Mode::Enforce));
}

#[test]
fn a_project_may_own_less_than_the_host_gives_it() {
    let policy = accepted(&format!("{FLYER}processes = [\"flyer-api\", \"scheduler\"]\n"));
    let owner = |name: &str| policy.owner_of(name);
    assert_eq!(owner("flyer-api"), Owner::Scope(policy.apps[0].scope.clone()));
    assert_eq!(owner("flyer-worker"), Owner::Unclaimed);
    assert_eq!(owner("flyer-stock"), Owner::Scope(policy.apps[2].scope.clone()));

    let policy = accepted(&format!("{FLYER}processes = [\"flyer-*\"]\n"));
    assert_eq!(policy.owner_of("scheduler"), Owner::Unclaimed);
}

#[test]
fn whatever_would_widen_is_refused() {
    let table = [
        ("[limits]\nall_above = 4\n", "`limits.all_above` is 4 here and 3 in the host's policy"),
        ("[limits]\nshare = 0.801\n", "`limits.share` is 0.801 here and 0.8 in the host's policy"),
        ("[limits]\nbudget = 6\n", "`limits.budget` is 6 here and 5 in the host's policy"),
        ("[limits]\njob_budget = 1001\n", "`limits.job_budget` is 1001 here and 1000 in the host's policy"),
        ("[limits]\nwindow = \"9m\"\n", "`limits.window` is 9m here and 10m in the host's policy"),
        (
            "[environments.production]\nmode = \"observe\"\n",
            "`environments.production.mode` is observe here and enforce in the host's policy",
        ),
        (
            "[environments.production]\nsuffix = \"-prod\"\n",
            "`environments.production.suffix` is \"-prod\" here and none in the host's policy",
        ),
        (
            "[environments.test]\nsuffix = \"-tst\"\n",
            "`environments.test.suffix` is \"-tst\" here and \"-test\" in the host's policy",
        ),
        ("[environments.staging]\n", "the host's policy has no environment staging"),
        (
            "[[app]]\nname = \"flier\"\nenvironment = \"production\"\n",
            "the host's policy has no flier/production",
        ),
        ("[[app]]\nname = \"stock\"\nenvironment = \"test\"\n", "the host's policy has no stock/test"),
    ];
    for (project, message) in table {
        let problems = refused(project);
        assert_eq!(messages(&problems), [message], "{project}");
        assert_eq!(problems.code(), Code::PolicyWidened);
    }
}

#[test]
fn an_entry_that_would_widen_is_refused() {
    let table = [
        (
            "mode = \"observe\"\n",
            "`app.flyer/production.mode` is observe here and enforce in the host's policy",
        ),
        (
            "processes = [\"stock-api\", \"scheduler\"]\n",
            "\"stock-api\" does not belong to flyer/production in the host's policy",
        ),
        (
            "processes = [\"flyer-stock\", \"scheduler\"]\n",
            "\"flyer-stock\" does not belong to flyer/production in the host's policy",
        ),
        (
            "processes = [\"flyer-api-test\", \"scheduler\"]\n",
            "\"flyer-api-test\" does not belong to flyer/production in the host's policy",
        ),
        (
            "processes = [\"nobodys\", \"scheduler\"]\n",
            "\"nobodys\" does not belong to flyer/production in the host's policy",
        ),
        (
            "processes = [\"flyer-crawler-*\", \"scheduler\"]\n",
            "\"flyer-crawler-*\" does not belong to flyer/production in the host's policy",
        ),
    ];
    for (line, message) in table {
        let problems = refused(&format!("{FLYER}{line}"));
        assert_eq!(messages(&problems), [message], "{line}");
        assert_eq!(problems.code(), Code::PolicyWidened);
    }
}

#[test]
fn a_name_that_is_left_out_must_not_fall_to_a_neighbour() {
    let project = "[[app]]\nname = \"stock\"\nenvironment = \"production\"\nprocesses = [\"stock-*\"]\n";
    let expected = "without \"flyer-stock\" in stock/production that process would fall to flyer/production";
    assert_eq!(messages(&refused(project)), [expected]);
}

#[test]
fn a_budget_needs_one_of_the_host_to_be_lower_than() {
    let host = host(&HOST.replace("budget = 5\n", ""));
    let problems = narrow(host, "[limits]\nbudget = 1\n", Path::new("p.toml")).unwrap_err();
    let expected = "`limits.budget` is 1 here and as many as the largest scope has in the host's policy";
    assert_eq!(messages(&problems), [expected]);
}

#[test]
fn mistakes_and_widening_are_told_together() {
    let problems = refused(&format!("{FLYER}colour = \"x\"\n{FLYER}[limits]\nshare = 1.0\nbudget = 0\n"));
    assert_eq!(problems.code(), Code::PolicyWidened);
    let expected = [
        "unknown key `colour`",
        "a second entry for flyer/production",
        "`limits.share` is 1 here and 0.8 in the host's policy",
        "`budget` must be 1 to 4294967295",
    ];
    assert_eq!(messages(&problems), expected);
}

#[test]
fn an_older_wider_file_is_shown_with_both_values() {
    let rendered = refused(OLDER).to_string();
    assert_eq!(rendered.trim(), OLDER_RENDERED.trim(), "\n{rendered}\n");
}

const OLDER_RENDERED: &str = r#"
error[PAL-003]: `limits.all_above` is 10 here and 3 in the host's policy
 --> /srv/flyer/palisade.toml:3:13
  |
3 | all_above = 10
  |             ^^ the host has 3 (/etc/palisade/palisade.toml:4)
  |
  = help: write 3 or less or leave it out: a project file may only narrow the host's policy

error[PAL-003]: `limits.share` is 1 here and 0.8 in the host's policy
 --> /srv/flyer/palisade.toml:4:9
  |
4 | share = 1.0
  |         ^^^ the host has 0.8 (/etc/palisade/palisade.toml:5)
  |
  = help: write 0.8 or less or leave it out: a project file may only narrow the host's policy

error[PAL-003]: "stock-api" does not belong to flyer/production in the host's policy
 --> /srv/flyer/palisade.toml:9:25
  |
9 | processes = ["flyer-*", "stock-api"]
  |                         ^^^^^^^^^^^ in the host's policy: stock/production
  |
  = help: take it out: a project file lists exact names that the host gives to this app, or the host's own globs
"#;
