use palisade_host::{Environment, context, process};

#[test]
fn the_caller_is_described_by_what_the_kernel_says() {
    let actor = context::observe(&Environment::default()).unwrap();
    let own = process::stat(std::process::id()).unwrap();
    let observed = &actor.observed;
    assert_eq!((observed.process, observed.session), (own.process, own.session));
    assert_eq!(observed.uid, process::credentials(own.process.pid).unwrap().uid);
    assert_eq!(observed.ancestors[0].process.pid, own.parent);
    assert!(!observed.host.is_empty());
    assert_eq!(observed.cwd.as_deref(), std::env::current_dir().unwrap().to_str());
    let missing = |name: &str| actor.missing.iter().any(|missing| missing == name);
    for (name, absent) in [
        ("user", observed.user.is_none()),
        ("cwd", observed.cwd.is_none()),
        ("cgroup", observed.cgroup.is_none()),
        ("machine_id", observed.machine_id.is_none()),
    ] {
        assert_eq!(missing(name), absent, "{name}");
    }
}

#[test]
fn without_a_claimed_run_budgets_run_over_the_session() {
    let actor = context::observe(&Environment::default()).unwrap();
    let session = process::stat(std::process::id()).unwrap().session;
    assert!(actor.tree.as_str().starts_with(&format!("session:{session}:")), "{:?}", actor.tree);
    assert_eq!(actor.tree, context::observe(&Environment::default()).unwrap().tree);
}

#[test]
fn a_claimed_run_is_a_tree_of_its_own() {
    let environment = Environment::from_iter([
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_REPOSITORY", "octo/site"),
        ("GITHUB_RUN_ID", "91"),
        ("GITHUB_JOB", "deploy"),
        ("GITHUB_RUN_ATTEMPT", "3"),
    ]);
    let actor = context::observe(&environment).unwrap();
    assert_eq!(actor.tree.as_str(), "ci:octo/site:91:deploy:3");
    assert_eq!(actor.claimed.run_attempt.as_deref(), Some("3"));
}

#[test]
fn no_variable_can_change_an_observed_fact() {
    let forged = ["USER", "LOGNAME", "HOSTNAME", "PWD", "UID", "SUDO_UID", "HOME", "SUDO_USER"];
    let environment = forged.iter().map(|name| (*name, "forged")).collect::<Environment>();
    let actor = context::observe(&environment).unwrap();
    assert!(!format!("{:?}", actor.observed).contains("forged"), "{:?}", actor.observed);
    assert_eq!(actor.claimed.sudo_user.as_deref(), Some("forged"));
}

#[test]
fn the_description_survives_the_journal() {
    let actor = context::observe(&Environment::of_this_process()).unwrap();
    let text = palisade_core::canonical::json(&actor);
    assert!(text.contains("\"observed\""));
}
