//! What a host file may say, and that all of it arrives.

use std::collections::BTreeSet;
use std::time::Duration;

use palisade_core::policy::{Mode, Owner};
use palisade_core::{AppName, EnvironmentName, Operation, Scope};

use crate::support::{LEAST, host, messages, problems};

fn scope(app: &str, environment: &str) -> Scope {
    Scope::new(AppName::new(app).unwrap(), EnvironmentName::new(environment).unwrap())
}

#[test]
fn the_least_file_is_a_policy_with_every_default() {
    let policy = host(LEAST).into_policy();
    assert_eq!(policy.revision, 1);
    assert_eq!(policy.limits, palisade_core::policy::Limits::default());
    assert_eq!(policy.suffix_of(&EnvironmentName::new("test").unwrap()), Some("-test"));
    assert_eq!(policy.suffix_of(&EnvironmentName::new("production").unwrap()), None);
    assert_eq!(policy.protected, []);
    let [app] = policy.apps.as_slice() else { panic!("one app was written") };
    assert_eq!(app.scope, scope("flyer-crawler", "production"));
    assert_eq!((app.mode, &app.confirm), (None, &BTreeSet::new()));
    assert_eq!(policy.owner_of("flyer-crawler-api"), Owner::Scope(app.scope.clone()));
    assert_eq!(policy.owner_of("stock-alert"), Owner::Unclaimed);
}

#[test]
fn every_optional_key_arrives_in_the_policy() {
    let policy = host(
        r#"
revision = 7
protected = ["pm2-logrotate", "db-*"]
[limits]
all_above = 5
share = 0.25
budget = 4
job_budget = 50
window = "1h 30m"
[environments.production]
mode = "enforce"
[environments.test]
suffix = "-test"
mode = "observe"
[[app]]
name = "a"
environment = "production"
processes = ["a-*"]
confirm = ["delete", "stop", "restart", "reload", "restore"]
mode = "observe"
"#,
    )
    .into_policy();
    assert_eq!(policy.revision, 7);
    assert!(policy.is_protected("db-main") && policy.is_protected("pm2-logrotate"));
    assert_eq!(policy.limits.all_above, 5);
    assert_eq!(policy.limits.share_per_mille, 250);
    assert_eq!((policy.limits.budget, policy.limits.job_budget), (Some(4), Some(50)));
    assert_eq!(policy.limits.window, Duration::from_secs(5400));
    assert_eq!(policy.environments[&EnvironmentName::new("production").unwrap()].mode, Mode::Enforce);
    assert_eq!(policy.apps[0].mode, Some(Mode::Observe));
    assert_eq!(policy.apps[0].confirm.len(), 5);
    assert!(policy.apps[0].confirm.contains(&Operation::Restore));
}

#[test]
fn every_share_of_three_decimals_arrives_exactly() {
    for per_mille in 0..=1000_u16 {
        let share = f64::from(per_mille) / 1000.0;
        let policy = host(&format!("{LEAST}[limits]\nshare = {share}\n")).into_policy();
        assert_eq!(policy.limits.share_per_mille, per_mille, "{share}");
    }
}

#[test]
fn a_share_may_be_written_as_a_whole_number() {
    let policy = host(&format!("{LEAST}[limits]\nshare = 1\n")).into_policy();
    assert_eq!(policy.limits.share_per_mille, 1000);
}

#[test]
fn an_exact_name_within_another_scopes_glob_is_its_own() {
    let policy = host(&format!(
        "{LEAST}[[app]]\nname = \"flyer\"\nenvironment = \"production\"\nprocesses = [\"flyer-*\"]\n"
    ))
    .into_policy();
    assert_eq!(policy.owner_of("flyer-crawler-api"), Owner::Scope(scope("flyer-crawler", "production")));
    assert_eq!(policy.owner_of("flyer-web"), Owner::Scope(scope("flyer", "production")));
}

/// Two apps with a glob each, in environments of these suffixes.
fn two_globs(first: (&str, &str), second: (&str, &str)) -> String {
    let environment = |name: &str, (suffix, _): (&str, &str)| match suffix {
        "" => format!("[environments.{name}]\n"),
        suffix => format!("[environments.{name}]\nsuffix = \"{suffix}\"\n"),
    };
    let app = |name: &str, environment: &str, (_, glob): (&str, &str)| {
        format!("[[app]]\nname = \"{name}\"\nenvironment = \"{environment}\"\nprocesses = [\"{glob}\"]\n")
    };
    let environments = environment("one", first) + &environment("two", second);
    format!("revision = 1\n{environments}{}{}", app("a", "one", first), app("b", "two", second))
}

#[test]
fn suffixes_keep_globs_of_two_environments_apart() {
    host(&two_globs(("", "a-*"), ("-test", "a-*-test")));
    host(&two_globs(("-dev", "a-*-dev"), ("-test", "a-*-test")));
    let problems = problems(&two_globs(("", "a-*"), ("", "a-b-*")));
    assert_eq!(messages(&problems), [r#""a-b-*" of b/two and "a-*" of a/one can own one name"#]);
}

#[test]
fn globs_of_one_scope_may_overlap() {
    host(&LEAST.replace(r#"["flyer-crawler-api", "#, r#"["flyer-*", "flyer-crawler-*", "#));
}

#[test]
fn a_suffix_may_have_several_words_and_the_longest_one_counts() {
    let policy = host(&format!(
        "{LEAST}[environments.e2e]\nsuffix = \"-e2e-test\"\n\
         [[app]]\nname = \"a\"\nenvironment = \"e2e\"\nprocesses = [\"a-e2e-test\"]\n"
    ))
    .into_policy();
    assert_eq!(policy.owner_of("a-e2e-test"), Owner::Scope(scope("a", "e2e")));
}

#[test]
fn inline_and_dotted_forms_mean_the_same() {
    let inline = host(
        r#"
revision = 1
environments = { production = {}, test = { suffix = "-test" } }
app = [{ name = "flyer-crawler", environment = "production", processes = ["flyer-crawler-api", "flyer-crawler-worker"] }]
"#,
    );
    let dotted = host(
        r#"
revision = 0x1
environments.production = {}
environments.test.suffix = "-test"
[[app]]
name = "flyer-crawler"
environment = "production"
processes = ["flyer-crawler-api", "flyer-crawler-worker"]
"#,
    );
    assert_eq!(inline.policy(), host(LEAST).policy());
    assert_eq!(dotted.policy(), host(LEAST).policy());
}

#[test]
fn a_file_without_a_revision_is_refused() {
    assert_eq!(messages(&problems("")), ["`revision` is missing"]);
    for revision in ["0", "-1", "9007199254740992"] {
        let problems = problems(&LEAST.replace("revision = 1", &format!("revision = {revision}")));
        assert_eq!(messages(&problems), ["`revision` must be 1 to 9007199254740991"]);
    }
}
