//! `palisade db audit` and `db expect`, on real servers.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use palisade_core::Exit;
use palisade_testkit::{Postgres, Scratch, eventually, process, psql};

use crate::said::Said;

const LOGS: [&str; 5] = [
    "logging_collector=on",
    "log_destination=stderr,csvlog",
    "log_directory=log",
    "log_connections=on",
    "log_statement=ddl",
];

struct Audited {
    home: Scratch,
    server: Postgres,
    url: String,
}

impl Audited {
    fn new(version: &'static str) -> Self {
        let server = Postgres::start_with(version, &[&LOGS[..], &["log_filename=server.log"]].concat());
        server.role("app", "");
        server.sql("postgres", "CREATE DATABASE jobs");
        let url = server.admin("jobs");
        Self { home: Scratch::new(), server, url }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
        command.args(words).env_clear().env("HOME", self.home.path());
        command
    }

    fn run(&self, words: &[&str]) -> Said {
        Said::from(self.command(words).env("PALISADE_DATABASE_URL", &self.url).output().unwrap())
    }

    /// A short connection under that name.
    fn visit(&self, app: &str) {
        psql(&format!("{}?application_name={app}", self.server.url("app", "jobs")), "SELECT 1").succeeds();
    }

    /// The file of the plain log, once it names somebody.
    fn log_with(&self, app: &str) -> String {
        for file in ["log/server.log", "log/server.csv"] {
            eventually("the log is written", || {
                String::from_utf8_lossy(&self.server.file(file)).contains(app).then_some(())
            });
        }
        self.server.path("log/server.log").display().to_string()
    }
}

/// What the document of an audit says of findings: code, and what it is about.
fn findings(said: &Said) -> Vec<String> {
    let document = said.clone().json();
    let list = document["findings"].as_array().unwrap().iter();
    list.map(|finding| format!("{} {}", finding["code"].as_str().unwrap(), finding["what"].as_str().unwrap()))
        .collect()
}

fn the_stale_app_is_found(version: &'static str) {
    let audited = Audited::new(version);
    audited.run(&["db", "expect", "environment", "production"]).ends(Exit::Done);
    audited
        .run(&["db", "expect", "app", "atom-saas", "--role", "app", "--from", "127.0.0.1"])
        .ends(Exit::Done);
    audited.run(&["db", "expect", "app", "psql", "--role", "postgres"]).ends(Exit::Done);
    audited.visit("atom-saas");
    audited.visit("atom-saas-test");
    let log = audited.log_with("atom-saas-test");
    for words in [&["db", "audit", "--json"][..], &["db", "audit", "--log", &log, "--json"]] {
        let said = audited.run(words).ends(Exit::VerificationFailed);
        let expected = [
            "PAL-347 atom-saas-test (role app, from 127.0.0.1) is an app of test, and this database is production",
            "PAL-345 atom-saas-test (role app, from 127.0.0.1) is not expected here",
        ];
        assert_eq!(findings(&said), expected, "{words:?}");
    }
    let text = audited.run(&["db", "audit"]).ends(Exit::VerificationFailed).stdout;
    for part in ["source   the server's log", "finding: [PAL-347]", "finding: [PAL-345]"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    audited.run(&["db", "expect", "app", "atom-saas-test", "--role", "app"]).ends(Exit::Done);
    let said = audited.run(&["db", "audit", "--json"]).ends(Exit::VerificationFailed);
    assert_eq!(findings(&said).len(), 1, "a name of another environment is told also where it is expected");
}

#[test]
fn a_stale_app_is_found_in_the_log_of_15() {
    the_stale_app_is_found("15");
}

#[test]
fn a_stale_app_is_found_in_the_log_of_18() {
    the_stale_app_is_found("18");
}

#[test]
fn a_log_of_which_nothing_can_be_read_is_a_failure() {
    let audited = Audited::new("15");
    let nonsense = audited.home.write("nonsense", "hello\nworld\n").display().to_string();
    let offline = |words: &[&str]| Said::from(audited.command(words).output().unwrap());
    for words in [
        &["db", "audit", "--log", &nonsense][..],
        &["db", "audit", "--log", &nonsense, "--prefix", "%m [%p] "],
        &["db", "audit", "--log", &nonsense, "--format", "csv"],
    ] {
        let said = offline(words).ends(Exit::Failure);
        assert!(said.stderr.contains("PAL-352"), "{words:?}: {}", said.stderr);
    }
    offline(&["db", "audit", "--log", "/no/such/file"]).ends(Exit::Failure);
    offline(&["db", "audit", "--log", &nonsense, "--prefix", "%y"]).ends(Exit::Usage);
    offline(&["db", "audit"]).ends(Exit::Usage);
    // Offline, with no expectation, a log that can be read names everybody and finds nothing.
    audited.visit("atom-saas-test");
    let log = audited.log_with("atom-saas-test");
    let said = offline(&["db", "audit", "--log", &log]).ends(Exit::Done);
    assert!(said.stdout.contains("atom-saas-test"), "{}", said.stdout);
    assert!(said.stdout.contains("misses   whether log_connections was on"), "{}", said.stdout);
}

#[test]
fn a_log_that_is_followed_tells_a_stale_app_while_it_is_there_also_after_a_rotation() {
    let audited = Audited::new("18");
    audited.run(&["db", "expect", "environment", "production"]).ends(Exit::Done);
    audited.visit("atom-saas");
    let log = audited.log_with("atom-saas");
    let mut follow =
        audited.command(&["db", "audit", "--log", &log, "--follow", "--every", "50ms", "--json"]);
    follow.env("PALISADE_DATABASE_URL", &audited.url).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut follow = follow.spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut next = |code: &str, app: &str| {
        let line = lines.by_ref().map(Result::unwrap).find(|line| line.contains(code)).unwrap();
        assert!(line.contains(app), "{line}");
    };
    audited.visit("atom-saas-test");
    next("PAL-347", "atom-saas-test");
    // What log rotation does: the file gets another name, and the server begins a new one.
    std::fs::rename(&log, format!("{log}.1")).unwrap();
    audited.server.sql("jobs", "SELECT pg_rotate_logfile()");
    eventually("the server begins a new file", || std::fs::metadata(&log).is_ok().then_some(()));
    audited.visit("shop-staging");
    next("PAL-347", "shop-staging");
    process::interrupt(follow.id());
    assert_eq!(follow.wait().unwrap().code(), Some(6));
}

#[test]
fn without_a_log_samples_and_the_login_trigger_say_what_they_can_miss() {
    let server = Postgres::start("18");
    server.role("app", "");
    let url = server.admin("postgres");
    let home = Scratch::new();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
        command.args(words).env_clear().env("HOME", home.path()).env("PALISADE_DATABASE_URL", &url);
        Said::from(command.output().unwrap())
    };
    run(&["db", "expect", "environment", "production"]).ends(Exit::Done);
    let mut stale = server.session("app", "postgres");
    stale.ask("SET application_name = 'atom-saas-test'");
    let sampled =
        run(&["db", "audit", "--for", "1ms", "--every", "1ms", "--json"]).ends(Exit::VerificationFailed);
    assert_eq!(sampled.clone().json()["source"], "samples of pg_stat_activity");
    assert!(findings(&sampled)[0].starts_with("PAL-347 atom-saas-test"), "{}", sampled.stdout);
    assert!(sampled.stdout.contains("connections that last less than 1ms"), "{}", sampled.stdout);
    run(&["db", "audit", "--source", "trigger"]).ends(Exit::Failure);
    let refused = run(&["db", "audit", "--source", "log"]).ends(Exit::Failure);
    assert!(refused.stderr.contains("PAL-352"), "{}", refused.stderr);
    run(&["guard", "install", "login"]).ends(Exit::Done);
    psql(&format!("{}?application_name=shop-staging", server.url("app", "postgres")), "SELECT 1").succeeds();
    let kept = run(&["db", "audit", "--json"]).ends(Exit::VerificationFailed);
    assert_eq!(kept.clone().json()["source"], "the login trigger");
    assert!(
        findings(&kept).iter().any(|finding| finding.starts_with("PAL-347 shop-staging")),
        "{}",
        kept.stdout
    );
    run(&["guard", "remove", "login"]).ends(Exit::Done);
    run(&["db", "expect", "forget"]).ends(Exit::ConfirmationNeeded);
    run(&["db", "expect", "forget", "--confirm", "postgres"]).ends(Exit::Done);
    assert_eq!(server.sql("postgres", "SELECT to_regnamespace('palisade_audit') IS NULL"), "t");
}

#[test]
fn samples_go_on_over_another_connection_once_theirs_is_gone() {
    let mut server = Postgres::start("15");
    server.role("app", "");
    // A door that stays where it is, as a provider's name does.
    let door = palisade_testkit::proxy::Proxy::before(server.port());
    let url =
        server.admin("postgres").replace(&format!(":{}/", server.port()), &format!(":{}/", door.port()));
    let home = Scratch::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
    command.args(["db", "audit", "--follow", "--source", "sample", "--every", "50ms", "--json"]);
    command.env_clear().env("HOME", home.path()).env("PALISADE_DATABASE_URL", &url);
    let mut said = Command::new(env!("CARGO_BIN_EXE_palisade"));
    said.args(["db", "expect", "environment", "production"]);
    said.env_clear().env("HOME", home.path()).env("PALISADE_DATABASE_URL", &url);
    assert!(said.status().unwrap().success());
    let mut follow = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut sees = |server: &Postgres, app: &str| {
        let mut stale = server.session("app", "postgres");
        stale.ask(&format!("SET application_name = '{app}'"));
        let line = lines.by_ref().map(Result::unwrap).find(|line| line.contains("PAL-347")).unwrap();
        assert!(line.contains(app), "{line}");
    };
    sees(&server, "one-test");
    server.sql(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'palisade'",
    );
    sees(&server, "two-test");
    server.restart();
    door.lead_to(server.port());
    sees(&server, "three-test");
    process::interrupt(follow.id());
    let ended = follow.wait_with_output().unwrap();
    let talk = String::from_utf8(ended.stderr).unwrap();
    assert!(talk.matches("who comes meanwhile is not seen").count() >= 2, "{talk}");
    assert_eq!(ended.status.code(), Some(6));
}
