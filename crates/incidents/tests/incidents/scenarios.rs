//! The kinds of scenario that ADR-061 was validated with, and those that a client can meet, as tables.

use palisade_testkit::{App, EightApps, Fleet, Pm2, eventually};
use serde_json::{Value, json};

use crate::site::{Caller, EIGHT, Ended as _, OWN, PRODUCTION, Site, TEST};

/// What is refused, or ends as a wrong command line: nobody's process is touched.
type Refused = (&'static str, &'static [&'static str], i32, &'static [&'static str]);

const DELETE: [&str; 5] = ["pm2", "delete", "--app", "flyer-crawler", "--environment"];

const DANGEROUS: [Refused; 20] = [
    ("the word all", &["production", "all"], 3, &["PAL-102", "PAL-101", "PAL-113"]),
    ("all, confirmed", &["production", "all", "--confirm=flyer-crawler"], 3, &["PAL-102", "PAL-101"]),
    ("all among names", &["production", "all", "stock-alert"], 2, &["cannot be mixed"]),
    ("own and one foreign", &["production", "flyer-crawler-api", "stock-alert"], 3, &["PAL-101"]),
    ("a foreign process", &["production", "stock-alert"], 3, &["PAL-101"]),
    ("test from production", &["production", "flyer-crawler-api-test"], 3, &["PAL-101", "PAL-108"]),
    ("production from test", &["test", "flyer-crawler-api"], 3, &["PAL-101", "PAL-108"]),
    ("nothing matches", &["production", "flyer-crawler-mailer"], 3, &["PAL-105"]),
    ("a typing error", &["production", "flyer-crawler-wroker"], 3, &["did you mean flyer-crawler-worker?"]),
    ("one name of two is not there", &["production", "flyer-crawler-api", "gone"], 3, &["PAL-105"]),
    ("an empty name", &["production", ""], 2, &["never means all"]),
    ("an empty name among names", &["production", "flyer-crawler-api", ""], 2, &["never means all"]),
    ("the namespace of everyone", &["production", "default"], 3, &["PAL-105"]),
    ("a regular expression", &["production", "/flyer/"], 3, &["PAL-105"]),
    ("a path that every app runs", &["production", "/bin/sleep"], 3, &["PAL-105"]),
    ("a pm_id", &["production", "6"], 3, &["PAL-105"]),
    ("a glob", &["production", "flyer-crawler-*"], 3, &["PAL-105"]),
    ("a prefix", &["production", "flyer-crawler"], 3, &["PAL-105"]),
    ("an unknown environment", &["staging"], 3, &["PAL-106", "production, test"]),
    ("a protected process", &["production", "flyer-crawler-worker"], 3, &["PAL-104"]),
];

#[test]
fn dangerous_requests_are_refused_with_every_process_untouched() {
    let host = EightApps::start("7.0.4");
    let policy = format!("protected = [\"flyer-crawler-worker\"]\n{EIGHT}");
    let site = Site::new(&host.pm2, &policy);
    let before = Fleet::of(&host.pm2);
    for (name, words, exit, said) in DANGEROUS {
        for operation in ["delete", "stop", "restart", "reload"] {
            let mut line = [&DELETE, words].concat();
            line[1] = operation;
            // A reload is never down all at once, so counts and shares are not judged for it.
            let expected = said.iter().filter(|said| operation != "reload" || **said != "PAL-102");
            let ran = site.palisade(&Caller::job(), &line);
            let all = format!("{}{}", ran.stdout, ran.stderr);
            assert_eq!(ran.exit, Some(exit), "{operation}, {name}: {all}");
            for word in expected {
                assert!(all.contains(word), "{operation}, {name}: no {word} in {all}");
            }
            assert_eq!(host.leak_in(&all), None, "{operation}, {name}");
        }
        assert_eq!(Fleet::of(&host.pm2), before, "{name}");
    }
    unnamed_scopes_are_refused(&site);
    carried_variables_are_refused(&site);
    unclaimed_processes_are_refused(&host.pm2);
    assert_eq!(Fleet::of(&host.pm2), before);
}

fn unnamed_scopes_are_refused(site: &Site<'_>) {
    let caller = Caller::job();
    site.palisade(&caller, &["pm2", "delete", "--environment", "test"]).with(2);
    site.palisade(&caller, &["pm2", "delete", "--app", "flyer-crawler"]).with(2);
    site.operate(&caller, "delete", "flier-crawler/production", &[]).refused(&["PAL-106", "flyer-crawler?"]);
    site.operate(&caller, "delete", "stock-alert/test", &[]).refused(&["PAL-106"]);
}

fn carried_variables_are_refused(site: &Site<'_>) {
    let caller = Caller::job().with("NODE_ENV", "test");
    for operation in ["restart", "reload"] {
        let ran = site.operate(&caller, operation, PRODUCTION, &["flyer-crawler-api", "--update-env"]);
        ran.refused(&["PAL-110", "NODE_ENV=test"]);
    }
}

fn unclaimed_processes_are_refused(pm2: &Pm2) {
    let (claimed, _) = EIGHT.rsplit_once("[[app]]").unwrap();
    let site = Site::new(pm2, claimed);
    site.operate(&Caller::job(), "delete", PRODUCTION, &["projectium-site"]).refused(&["PAL-107"]);
}

/// The names that a dry run takes, in the order of the daemon.
fn takes(site: &Site<'_>, words: &[&str]) -> Vec<String> {
    let (exit, document) = site.json(&Caller::job(), &[words, &["--dry-run"]].concat());
    assert_eq!(exit, Some(0), "{document}");
    let targets = document["plan"]["targets"].as_array().unwrap();
    targets.iter().map(|target| target["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn normal_requests_take_what_they_name_and_nothing_else() {
    let host = EightApps::start("7.0.4");
    let site = Site::new(&host.pm2, EIGHT);
    let before = Fleet::of(&host.pm2);
    assert_eq!(takes(&site, &[&DELETE[..], &["production"]].concat()), OWN);
    assert_eq!(takes(&site, &[&DELETE[..], &["test"]].concat()), EightApps::NAMES[3..6]);
    assert_eq!(takes(&site, &[&DELETE[..], &["production", "flyer-crawler-api"]].concat()), OWN[..1]);
    assert_eq!(Fleet::of(&host.pm2), before, "a dry run touches nothing");

    site.operate(&Caller::job(), "delete", PRODUCTION, &["flyer-crawler-api"]).with(0);
    assert_eq!(Fleet::of(&host.pm2), before.without(&OWN[..1]), "the prefix trap: its -test lives");
    site.operate(&Caller::job(), "stop", PRODUCTION, &["flyer-crawler-worker"]).with(0);
    assert_eq!(Fleet::of(&host.pm2), before.without(&OWN[..2]));
    site.operate(&Caller::job(), "delete", PRODUCTION, &[]).with(0);
    assert_eq!(Fleet::of(&host.pm2), before.without(&OWN), "one ran and one was stopped: both are deleted");
    assert_eq!(listed(&host.pm2).len(), 5);
    site.operate(&Caller::job(), "delete", TEST, &[]).with(0);
    assert_eq!(Fleet::of(&host.pm2).names(), ["projectium-site", "stock-alert"]);
    assert_eq!(Fleet::of(&host.pm2), before.without(&EightApps::NAMES[..6]));
}

/// The daemon's own list, as the real command line shows it.
fn listed(pm2: &Pm2) -> Vec<String> {
    let entries = pm2.list();
    entries.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

const SHOP: &str = r#"revision = 1
[environments.production]
[[app]]
name = "shop"
environment = "production"
processes = ["shop-*"]
"#;

#[test]
fn all_of_four_is_refused_and_all_of_three_is_a_deployment() {
    let pm2 = Pm2::start("7.0.4");
    let names = ["shop-api", "shop-worker", "shop-mail", "shop-cron"];
    pm2.start_apps(&names.map(App::sleep));
    let site = Site::new(&pm2, SHOP);
    let before = Fleet::of(&pm2);
    let scope = "shop/production";
    site.operate(&Caller::job(), "delete", scope, &[]).refused(&["PAL-102", "ALL 4 processes"]);
    site.operate(&Caller::job(), "stop", scope, &names).refused(&["PAL-102"]);
    assert_eq!(Fleet::of(&pm2), before);
    site.operate(&Caller::job(), "delete", scope, &["shop-cron"]).with(0);
    site.operate(&Caller::job(), "delete", scope, &[]).with(0);
    assert!(Fleet::of(&pm2).apps.is_empty());
    site.operate(&Caller::job(), "delete", scope, &[]).refused(&["PAL-105"]);
    site.operate(&Caller::job(), "delete", scope, &["all", "--confirm=shop"]).refused(&["PAL-105"]);
}

const ODD_NAMES: [&str; 8] =
    ["all", "7", "night job", "semi;colon && touch x", "a/b", "red\u{1b}[31m\u{7}", "blue", "under blue"];

fn odd_policy() -> String {
    let mut policy = "revision = 1\n[environments.production]\n".to_owned();
    for (index, name) in ODD_NAMES.iter().enumerate() {
        let name: String = name
            .chars()
            .map(|c| if c.is_control() { format!("\\u{:04x}", c as u32) } else { c.to_string() })
            .collect();
        policy += &format!(
            "[[app]]\nname = \"odd-{index}\"\nenvironment = \"production\"\nprocesses = [\"{name}\"]\n"
        );
    }
    policy
}

#[test]
fn odd_names_are_taken_as_they_are_written_and_shown_escaped() {
    let pm2 = Pm2::start("7.0.4");
    let apps = ODD_NAMES.map(|name| {
        let namespace = if name.contains("blue") { "blue" } else { "red" };
        App::sleep(name).set("namespace", json!(namespace))
    });
    pm2.start_apps(&apps);
    let policy = odd_policy();
    let site = Site::new(&pm2, &policy);
    let mut expected = Fleet::of(&pm2);
    assert_eq!(expected.apps.len(), ODD_NAMES.len());
    let list = pm2.list();
    let by_id = |id: u64| list.iter().find(|entry| entry["pm_id"] == id).unwrap()["name"].clone();
    assert_ne!(by_id(7), "7", "the name 7 has to stand beside another process with the pm_id 7");

    // `all` is a word, never a name: the process of that name goes by its owner's scope only.
    site.operate(&Caller::job(), "delete", "odd-0/production", &["all"]).refused(&["PAL-102"]);
    assert_eq!(Fleet::of(&pm2), expected);
    site.operate(&Caller::job(), "delete", "odd-0/production", &[]).with(0);
    expected = expected.without(&["all"]);
    assert_eq!(Fleet::of(&pm2), expected);

    for (index, name) in ODD_NAMES.iter().enumerate().skip(1) {
        let scope = format!("odd-{index}/production");
        // With three left and fewer, counts and shares no longer protect anybody; owners still do.
        let foreign = ODD_NAMES[if index == 7 { 1 } else { index + 1 }];
        if index < 7 {
            site.operate(&Caller::job(), "delete", &scope, &[foreign]).refused(&["PAL-101"]);
        }
        assert_eq!(Fleet::of(&pm2), expected);
        let ran = site.operate(&Caller::job(), "delete", &scope, &[name]).with(0);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!said.contains(['\u{1b}', '\u{7}']), "raw control characters: {said:?}");
        expected = expected.without(&[name]);
        assert_eq!(Fleet::of(&pm2), expected, "{name:?}");
    }
    assert!(!pm2.home().join("x").exists());
    let shown = site.palisade(&Caller::job(), &["journal", "tail", "-n", "100"]).with(0).stdout;
    assert!(!shown.contains(['\u{1b}', '\u{7}']), "raw control characters: {shown:?}");
}

const CLUSTER: &str = r#"revision = 1
[environments.production]
[[app]]
name = "web"
environment = "production"
processes = ["web"]
[[app]]
name = "rest"
environment = "production"
processes = ["rest-*"]
"#;

#[test]
fn a_cluster_counts_as_one_app_and_as_many_processes_as_it_has_instances() {
    let pm2 = Pm2::start("7.0.4");
    pm2.start_apps(&[App::cluster("web", 4), App::sleep("rest-a"), App::sleep("rest-b")]);
    let site = Site::new(&pm2, CLUSTER);
    let before = Fleet::of(&pm2);
    assert_eq!(before.names(), ["rest-a", "rest-b", "web", "web", "web", "web"]);
    let (_, document) =
        site.json(&Caller::job(), &["pm2", "delete", "--app=web", "--environment=production", "--dry-run"]);
    let plan = &document["plan"];
    assert_eq!(plan["targets"].as_array().map(Vec::len), Some(4));
    assert_eq!(plan["spared"].as_array().map(Vec::len), Some(2));

    let ran = site.operate(&Caller::job(), "delete", "web/production", &[]).with(0);
    assert!(ran.stdout.contains("4 of 4 targets"), "{}", ran.stdout);
    assert!(ran.stderr.contains("4 of 6 processes (1 app)"), "{}", ran.stderr);
    assert_eq!(Fleet::of(&pm2), before.without(&["web"]));
}

#[test]
fn stopped_and_errored_processes_count_and_can_be_deleted() {
    let pm2 = Pm2::start("7.0.4");
    let broken = App::sleep("shop-broken").set("script", json!("/bin/false")).set("max_restarts", json!(1));
    pm2.start_apps(&[App::sleep("shop-api"), App::sleep("shop-worker"), broken]);
    pm2.start_app(App::sleep("other"));
    pm2.pm2(&["stop", "shop-worker"]).with(0);
    let status = |name: &str, list: &[Value]| {
        list.iter().find(|entry| entry["name"] == name).unwrap()["pm2_env"]["status"].clone()
    };
    eventually("the broken app is given up", || {
        (status("shop-broken", &pm2.list()) == "errored").then_some(())
    });
    let site = Site::new(
        &pm2,
        &format!("{SHOP}[[app]]\nname = \"other\"\nenvironment = \"production\"\nprocesses = [\"other\"]\n"),
    );
    let before = Fleet::of(&pm2);
    let scope = "shop/production";
    site.operate(&Caller::job(), "delete", scope, &["shop-api", "shop-worker", "shop-broken", "other"])
        .refused(&["PAL-102", "PAL-101"]);
    assert_eq!(takes(&site, &["pm2", "delete", "--app=shop", "--environment=production"]).len(), 3);
    site.operate(&Caller::job(), "delete", scope, &[]).with(0);
    assert_eq!(Fleet::of(&pm2), before.without(&["shop-api"]));
    assert_eq!(listed(&pm2), ["other"]);
}
