//! Legitimate deployments, none of which may meet a refusal.
//!
//! The rows of one table share a daemon; each begins with everything running and with a state of its own.

use palisade_testkit::{App, EightApps, Fleet, Pm2, eventually};

use crate::site::{Caller, EIGHT, Ended as _, OWN, PRODUCTION, Site, TEST};

/// One deployment: what it is called, what it does, which apps it may touch.
type Deployment = (&'static str, fn(&Site<'_>), &'static [&'static str]);

const API: [&str; 1] = ["flyer-crawler-api"];

const OWN_TEST: [&str; 3] =
    ["flyer-crawler-api-test", "flyer-crawler-worker-test", "flyer-crawler-analytics-worker-test"];

/// Carries the rows out on one host with the eight apps.
fn carried_out(rows: &[Deployment]) {
    let host = EightApps::start("7.0.4");
    for (name, deploy, touches) in rows {
        let before = Fleet::of(&host.pm2);
        let site = Site::new(&host.pm2, EIGHT);
        deploy(&site);
        let after = Fleet::of(&host.pm2);
        assert_eq!(after.without(touches), before.without(touches), "{name} touched a foreign process");
        if after.names() != before.names() {
            host.pm2.pm2(&["start", "apps.json", "--only", &touches.join(",")]).with(0);
        }
        assert_eq!(Fleet::of(&host.pm2).names(), before.names(), "{name}");
    }
}

/// `pm2 start` of production's three, as the last step of a deployment.
const START: &str = "pm2 start \"$PM2_HOME/apps.json\" --only \
    flyer-crawler-api,flyer-crawler-worker,flyer-crawler-analytics-worker";

/// A shell for production, with the scope in its variables as `palisade deploy` gives them.
fn in_production(site: &Site<'_>, caller: Caller, script: &str) {
    let script = script.replace("START", START);
    let caller = caller.with("PALISADE_APP", "flyer-crawler").with("PALISADE_ENVIRONMENT", "production");
    site.shell(&caller, &script).with(0);
}

const CLEANING: [Deployment; 8] = [
    (
        "delete and start the ecosystem",
        |site| in_production(site, Caller::job(), "palisade pm2 delete; START"),
        &OWN,
    ),
    (
        "delete and start twice within ten minutes from one run",
        |site| in_production(site, Caller::job(), "palisade pm2 delete; START; palisade pm2 delete; START"),
        &OWN,
    ),
    ("stop, then start", |site| in_production(site, Caller::session(), "palisade pm2 stop; START"), &OWN),
    (
        "delete one by one",
        |site| {
            let script = "for name in api worker analytics-worker; do palisade pm2 delete flyer-crawler-$name; done; START";
            in_production(site, Caller::job(), script);
        },
        &OWN,
    ),
    ("stop one", |site| site.operate(&Caller::job(), "stop", PRODUCTION, &OWN[..1]).with(0).quiet(), &API),
    (
        "delete what was stopped",
        |site| {
            in_production(
                site,
                Caller::job(),
                "palisade pm2 stop flyer-crawler-api; palisade pm2 delete flyer-crawler-api",
            )
        },
        &API,
    ),
    (
        "test by its suffix",
        |site| site.operate(&Caller::job(), "delete", TEST, &[]).with(0).quiet(),
        &OWN_TEST,
    ),
    (
        "a first deployment, and one after a half-failed one",
        |site| {
            let script = "palisade pm2 delete; palisade pm2 delete --ignore-not-found; START; \
                palisade pm2 delete flyer-crawler-api; palisade pm2 delete --ignore-not-found flyer-crawler-api flyer-crawler-worker; START";
            in_production(site, Caller::job(), script);
        },
        &OWN,
    ),
];

#[test]
fn deployments_that_clean_up_and_start_meet_no_refusal() {
    carried_out(&CLEANING);
}

const REPLACING: [Deployment; 8] = [
    ("restart", |site| site.operate(&Caller::job(), "restart", PRODUCTION, &[]).with(0).quiet(), &OWN),
    ("reload", |site| site.operate(&Caller::job(), "reload", PRODUCTION, &[]).with(0).quiet(), &OWN),
    (
        "restart with new variables of the same environment",
        |site| {
            let caller = Caller::job().with("NODE_ENV", "production").with("RELEASE", "42");
            site.operate(&caller, "restart", PRODUCTION, &["--update-env"]).with(0);
        },
        &OWN,
    ),
    (
        "a plan, read by a person, then applied",
        |site| {
            let caller = Caller::session();
            let plan = site.folder("plans").join("p.json");
            let plan = plan.to_str().unwrap();
            let words =
                ["pm2", "plan", "restart", "--app=flyer-crawler", "--environment=production", "--out", plan];
            site.palisade(&caller, &words).with(0);
            site.palisade(&caller, &["pm2", "apply", plan]).with(0);
        },
        &OWN,
    ),
    (
        "from a project folder with a narrower policy",
        |site| {
            let folder = site.folder("checkout");
            let narrower = "protected = [\"flyer-crawler-worker\"]\n[limits]\nall_above = 2\nshare = 0.5\n";
            std::fs::write(folder.join("palisade.toml"), narrower).unwrap();
            let caller = Caller::job().at(&folder);
            site.operate(&caller, "restart", PRODUCTION, &["flyer-crawler-api"]).with(0);
        },
        &API,
    ),
    (
        "the host's own policy checked in as it was, older revision and all",
        |site| {
            let folder = site.folder("checkout");
            std::fs::write(folder.join("palisade.toml"), EIGHT).unwrap();
            site.write_policy(&EIGHT.replace("revision = 1", "revision = 5"));
            site.operate(&Caller::job().at(&folder), "reload", PRODUCTION, &[]).with(0);
        },
        &OWN,
    ),
    (
        "by hand with a dry run first",
        |site| {
            let script = "palisade pm2 restart --dry-run; palisade pm2 restart";
            in_production(site, Caller::session(), script);
        },
        &OWN,
    ),
    (
        "an undone mistake",
        |site| {
            in_production(site, Caller::job(), "palisade pm2 delete; palisade pm2 restore");
        },
        &OWN,
    ),
];

#[test]
fn deployments_that_replace_in_place_meet_no_refusal() {
    carried_out(&REPLACING);
}

/// A forge's variables, under its own prefix beside GitHub's.
fn runner(mark: &str, prefix: &str) -> Caller {
    let caller = Caller::job().with(mark, "true");
    let names = ["RUN_ID", "RUN_NUMBER", "REPOSITORY", "ACTOR", "SHA", "REF_NAME", "WORKFLOW"];
    names.into_iter().fold(caller, |caller, name| caller.with(&format!("{prefix}{name}"), "77"))
}

fn whole_deployment(site: &Site<'_>, caller: Caller) {
    let script = "palisade deploy --wait 10s -- sh -euc 'palisade pm2 delete; START'; palisade pm2 restart";
    in_production(site, caller, script);
}

const CALLERS: [Deployment; 5] = [
    ("a GitHub runner", |site| whole_deployment(site, runner("CI", "GITHUB_")), &OWN),
    ("a Gitea runner", |site| whole_deployment(site, runner("GITEA_ACTIONS", "GITEA_")), &OWN),
    ("a Forgejo runner", |site| whole_deployment(site, runner("FORGEJO_ACTIONS", "FORGEJO_")), &OWN),
    (
        "over ssh",
        |site| {
            whole_deployment(site, Caller::session().with("SSH_CONNECTION", "192.0.2.7 50022 192.0.2.1 22"))
        },
        &OWN,
    ),
    ("cron", |site| whole_deployment(site, Caller::session()), &OWN),
];

#[test]
fn deployments_from_every_kind_of_caller_meet_no_refusal() {
    carried_out(&CALLERS);
}

const STOCK: [&str; 1] = ["stock-alert"];
const TWO_APPS: [&str; 4] =
    ["flyer-crawler-api", "flyer-crawler-worker", "flyer-crawler-analytics-worker", "stock-alert"];

const TOGETHER: [Deployment; 4] = [
    ("two apps at once from two runs", two_apps_at_once, &TWO_APPS),
    (
        "two apps, one after the other, from one shell",
        |site| {
            let deploy = "palisade deploy --environment production --app";
            let script = format!(
                "{deploy} flyer-crawler -- palisade pm2 delete; {deploy} stock-alert -- palisade pm2 delete"
            );
            site.shell(&Caller::session(), &script).with(0);
        },
        &TWO_APPS,
    ),
    ("behind another deployment with --wait", waits_behind_another, &STOCK),
    (
        "a deployment inside a deployment",
        |site| {
            let script = "palisade deploy -- palisade deploy -- sh -euc 'palisade pm2 stop; palisade pm2 delete; START'";
            in_production(site, Caller::job(), script);
        },
        &OWN,
    ),
];

fn two_apps_at_once(site: &Site<'_>) {
    std::thread::scope(|threads| {
        for (scope, others) in [(PRODUCTION, 3), ("stock-alert/production", 1)] {
            threads.spawn(move || {
                let ran = site.operate(&Caller::job(), "delete", scope, &[]).with(0);
                assert!(ran.stdout.contains(&format!("{others} of {others} targets")), "{}", ran.stdout);
            });
        }
    });
}

/// The first holds the lease until the second has said that it waits.
fn waits_behind_another(site: &Site<'_>) {
    let folder = site.folder("meeting");
    let (ready, told, go) = (folder.join("ready"), folder.join("told"), folder.join("go"));
    let scope = "--app stock-alert --environment production";
    let first = format!(
        "mkfifo {go}; palisade deploy {scope} -- sh -euc 'touch {ready}; timeout 30 cat {go}; palisade pm2 restart'",
        go = go.display(),
        ready = ready.display()
    );
    let second = format!("palisade pm2 delete {scope} --wait 30s 2>{}", told.display());
    std::thread::scope(|threads| {
        threads.spawn(move || site.shell(&Caller::job(), &first).with(0));
        eventually("the first deployment begins", || ready.exists().then_some(()));
        site.operate(&Caller::job(), "delete", "stock-alert/production", &[]).with(9);
        threads.spawn(move || site.shell(&Caller::job(), &second).with(0));
        let waits = || std::fs::read_to_string(&told).unwrap_or_default().contains("waiting for the lease");
        eventually("the second deployment waits", || waits().then_some(()));
        std::fs::write(&go, "go").unwrap();
    });
}

#[test]
fn deployments_side_by_side_and_in_turn_meet_no_refusal() {
    carried_out(&TOGETHER);
}

#[test]
fn a_host_of_one_app_deploys_everything_it_has_after_init() {
    let pm2 = Pm2::start("7.0.4");
    let names = ["shop-api", "shop-worker", "shop-mail", "shop-cron", "shop-feed"];
    pm2.start_apps(&names.map(App::sleep));
    let site = Site::without_policy(&pm2);
    site.palisade(&Caller::session(), &["init"]).with(0);
    site.palisade(&Caller::session(), &["config", "check"]).with(0);
    let scope = "shop/production";
    site.operate(&Caller::job(), "restart", scope, &[]).with(0);
    site.operate(&Caller::job(), "delete", scope, &[]).with(0);
    assert!(Fleet::of(&pm2).apps.is_empty());
    site.palisade(&Caller::job(), &["pm2", "restore"]).with(0);
    assert_eq!(Fleet::of(&pm2).names().len(), 5);
}

const WEB: &str = r#"revision = 1
[environments.production]
[[app]]
name = "web"
environment = "production"
processes = ["web"]
[[app]]
name = "other"
environment = "production"
processes = ["other-*"]
"#;

#[test]
fn a_cluster_is_reloaded_scaled_and_deployed_again() {
    let pm2 = Pm2::start("7.0.4");
    pm2.start_apps(&[App::cluster("web", 2), App::sleep("other-a"), App::sleep("other-b")]);
    let site = Site::new(&pm2, WEB);
    let others = Fleet::of(&pm2).without(&["web"]);
    let scope = ["--app", "web", "--environment", "production"].join(" ");
    site.operate(&Caller::job(), "reload", "web/production", &[]).with(0);
    let scale = format!("palisade deploy {scope} -- sh -euc 'pm2 scale web 4; pm2 scale web 1'");
    site.shell(&Caller::job(), &scale).with(0);
    assert_eq!(Fleet::of(&pm2).names(), ["other-a", "other-b", "web"]);
    site.shell(&Caller::job(), &format!("palisade deploy {scope} -- pm2 scale web 3")).with(0);
    let again = Caller::job();
    for _ in 0..2 {
        site.operate(&again, "delete", "web/production", &[]).with(0);
        pm2.pm2(&["start", "apps.json", "--only", "web"]).with(0);
    }
    assert_eq!(Fleet::of(&pm2).names(), ["other-a", "other-b", "web", "web"]);
    assert_eq!(Fleet::of(&pm2).without(&["web"]), others);
}
