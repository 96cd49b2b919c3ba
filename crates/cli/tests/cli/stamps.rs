//! `palisade db stamp`, on a real server.

use std::process::Command;

use palisade_core::Exit;
use palisade_testkit::{Postgres, Scratch};

use crate::said::Said;

/// Runs the binary against that database, in a home of its own.
pub(crate) fn palisade(home: &Scratch, url: &str, words: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
    command.args(words).env_clear().env("HOME", home.path()).env("PALISADE_DATABASE_URL", url);
    Said::from(command.output().unwrap())
}

#[test]
fn a_stamp_is_made_shown_and_accepted_and_no_other_environment_gets_in() {
    let (home, server) = (Scratch::new(), Postgres::start("18"));
    server.sql("postgres", "CREATE DATABASE jobs");
    server.sql("jobs", "CREATE TABLE j (id int PRIMARY KEY, status text, beat timestamptz)");
    let url = server.admin("jobs");
    let run = |words: &[&str]| palisade(&home, &url, words);
    let guard =
        ["guard", "install", "table", "j", "--status", "status", "--running", "r", "--heartbeat", "beat"];
    let said = run(&[&guard[..], &["--environment", "test"]].concat()).ends(Exit::Refused);
    assert!(said.stderr.contains("PAL-009"), "{}", said.stderr);
    run(&["db", "stamp"]).ends(Exit::Usage);
    // A mistyped one would shut this host's own commands out.
    let policy = home.join(".config/palisade/palisade.toml");
    std::fs::create_dir_all(policy.parent().unwrap()).unwrap();
    std::fs::write(&policy, "revision = 1\n[environments.production]\n[environments.test]\n").unwrap();
    let mistyped = run(&["db", "stamp", "--environment", "prodution"]).ends(Exit::Refused);
    assert!(mistyped.stderr.contains("PAL-106"), "{}", mistyped.stderr);
    assert!(mistyped.stderr.contains("did you mean production?"), "{}", mistyped.stderr);
    std::fs::remove_file(&policy).unwrap();
    let made = run(&["db", "stamp", "--environment", "production", "--json"]).ends(Exit::Done).json();
    let key = made["key"].as_str().unwrap().to_owned();
    let shown = run(&["db", "stamp", "show"]).ends(Exit::Done);
    assert!(shown.stdout.contains("production") && shown.stdout.contains("by this host"), "{}", shown.stdout);
    assert!(run(&["db", "identify"]).ends(Exit::Done).stdout.contains("production"));

    // Another environment, by flag, by variable and by the policy: exit 3 and nothing written.
    let other = run(&[&guard[..], &["--environment", "test"]].concat()).ends(Exit::Refused);
    assert!(other.stderr.contains("PAL-010"), "{}", other.stderr);
    run(&["db", "stamp", "--environment", "test"]).ends(Exit::Refused);
    // What is expected of connections cannot be another environment's than what the stamp says.
    let expected = run(&["db", "expect", "environment", "staging"]).ends(Exit::Refused);
    assert!(expected.stderr.contains("PAL-010"), "{}", expected.stderr);
    run(&["db", "expect", "environment", "production"]).ends(Exit::Done);
    let mut by_variable = Command::new(env!("CARGO_BIN_EXE_palisade"));
    by_variable.args(guard).env_clear().env("HOME", home.path());
    by_variable.env("PALISADE_DATABASE_URL", &url).env("PALISADE_ENVIRONMENT", "test");
    assert!(Said::from(by_variable.output().unwrap()).ends(Exit::Refused).stderr.contains("PAL-010"));
    std::fs::create_dir_all(home.join(".config/palisade")).unwrap();
    home.write(".config/palisade/palisade.toml", "revision = 1\n[environments.test]\n");
    assert!(run(&guard).ends(Exit::Refused).stderr.contains("PAL-010"));
    assert_eq!(server.sql("jobs", "SELECT count(*) FROM palisade.guard"), "0");

    // Only keys that count here.
    home.write(".config/palisade/palisade.toml", "revision = 1\n[environments.production]\n");
    let stranger = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    home.write(".config/palisade/stamp-keys", &format!("# who counts\n{stranger}\n"));
    assert!(run(&guard).ends(Exit::Refused).stderr.contains("PAL-012"));
    home.write(".config/palisade/stamp-keys", &format!("{stranger}\n{key}\n"));
    run(&guard).ends(Exit::Done);
    server.sql("jobs", "UPDATE palisade.stamp SET stamped_at = stamped_at + interval '1 s'");
    assert!(run(&guard).ends(Exit::Refused).stderr.contains("PAL-012"), "an altered stamp");
    run(&["db", "stamp", "--environment", "production"]).ends(Exit::Done);

    server.sql("postgres", "CREATE DATABASE copy TEMPLATE jobs");
    let copy = server.admin("copy");
    let on_copy = |words: &[&str]| palisade(&home, &copy, words);
    assert!(on_copy(&guard).ends(Exit::Refused).stderr.contains("PAL-011"));
    on_copy(&["db", "stamp", "show"]).ends(Exit::Refused);
    on_copy(&["db", "stamp", "--environment", "production"]).ends(Exit::Refused);
    on_copy(&["db", "stamp", "accept", "--environment", "production", "--keep-keys"]).ends(Exit::Usage);
    let accepted =
        on_copy(&["db", "stamp", "accept", "--environment", "production", "--json"]).ends(Exit::Done);
    assert_eq!(accepted.json()["keys_rotated"], true);
    on_copy(&guard).ends(Exit::Done);
    run(&["guard", "remove", "table", "j"]).ends(Exit::Done);
    run(&["db", "stamp", "remove"]).ends(Exit::Done);
    assert_eq!(server.sql("jobs", "SELECT to_regnamespace('palisade') IS NULL"), "t");
}

/// A stamped database with a guarded table, and who it is reached by.
pub(crate) fn stamped(home: &Scratch) -> (Postgres, String) {
    let server = Postgres::start("18");
    server.sql("postgres", "CREATE DATABASE jobs");
    server.sql("jobs", "CREATE TABLE j (id int PRIMARY KEY, status text, beat timestamptz)");
    let url = server.admin("jobs");
    palisade(home, &url, &["db", "stamp", "--environment", "production"]).ends(Exit::Done);
    let guard =
        "guard install table j --status status --running r --heartbeat beat --done done --mode enforce";
    palisade(home, &url, &guard.split(' ').collect::<Vec<_>>()).ends(Exit::Done);
    (server, url)
}

#[test]
fn a_key_is_made_used_and_rotated_from_the_command_line() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Scratch::new();
    let (server, url) = stamped(&home);
    let run = |words: &[&str]| palisade(&home, &url, words);
    let app = ["--app", "atom", "--environment", "production"];
    let with = |words: &[&str]| run(&[words, &app[..]].concat());
    with(&["db", "proof"]).ends(Exit::Failure);
    with(&["db", "key", "rotate"]).ends(Exit::Failure);
    run(&["db", "key", "create", "--app", "atom", "--environment", "test"]).ends(Exit::Refused);
    let made = with(&["db", "key", "create", "--json"]).ends(Exit::Done).json();
    let file = made["file"].as_str().unwrap().to_owned();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = std::fs::read_to_string(&file).unwrap();
    let secret = secret.lines().find_map(|line| line.strip_prefix("key ")).unwrap().to_owned();

    let call = |words: &[&str]| with(&[&["db", "proof", "--sql"], words].concat()).ends(Exit::Done).stdout;
    run(&["guard", "require-identity", "table", "j", "on"]).ends(Exit::Done);
    let claim = "INSERT INTO j VALUES (1, 'r', now())";
    server.as_role("postgres", "jobs", claim).fails("PL321");
    server.as_role("postgres", "jobs", &format!("BEGIN; {}; {claim}; COMMIT", call(&[]))).succeeds();

    with(&["db", "key", "rotate", "--grace", "0s"]).ends(Exit::Done);
    let listed = run(&["db", "key", "list", "--json"]).ends(Exit::Done).json();
    assert_eq!((listed[0]["app"].as_str(), listed[0]["generation"].as_u64()), (Some("atom"), Some(2)));
    assert!(!std::fs::read_to_string(&file).unwrap().contains(&secret), "the file has the new key");
    server.as_role("postgres", "jobs", &call(&[])).succeeds();

    // A file that is open to others, another app's, or none.
    let other = home.write("other.key", &std::fs::read_to_string(&file).unwrap());
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o644)).unwrap();
    let shown = other.display().to_string();
    let said = with(&["db", "proof", "--key", &shown]).ends(Exit::Failure);
    assert!(said.stderr.contains("PAL-015"), "{}", said.stderr);
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o600)).unwrap();
    let said = run(&["db", "key", "create", "--app", "b", "--environment", "production", "--key", &shown]);
    assert!(said.ends(Exit::Failure).stderr.contains("holds a key of atom/production"));

    with(&["db", "epoch", "set", "7"]).ends(Exit::Done);
    server
        .as_role("postgres", "jobs", &format!("BEGIN; {}; {}; COMMIT", call(&[]), claim.replace('1', "2")))
        .fails("PL321");
    let listed = run(&["db", "epoch", "list"]).ends(Exit::Done);
    assert!(listed.stdout.contains("atom/production"), "{}", listed.stdout);
    let unknown =
        run(&["db", "epoch", "clear", "--app", "atmo", "--environment", "production"]).ends(Exit::Usage);
    assert!(unknown.stderr.contains("did you mean atom/production?"), "{}", unknown.stderr);
    with(&["db", "epoch", "clear"]).ends(Exit::Done);
    let again = with(&["db", "epoch", "clear"]).ends(Exit::Usage);
    assert!(again.stderr.contains("atom/production has no minimum epoch"), "{}", again.stderr);
    for said in [run(&["db", "key", "list"]), run(&["db", "stamp", "show"])] {
        assert!(!said.stdout.contains(&secret) && !said.stderr.contains(&secret));
    }
}

#[test]
fn an_app_is_shut_out_its_stop_is_named_and_it_is_let_in_again() {
    let home = Scratch::new();
    let (server, url) = stamped(&home);
    let run = |words: &[&str]| palisade(&home, &url, words);
    run(&["quarantine"]).ends(Exit::Usage);
    run(&["quarantine", ""]).ends(Exit::Usage);
    run(&["quarantine", "--role", "postgres"]).ends(Exit::Usage);
    let claim = "SET application_name = 'atom-old'; INSERT INTO j VALUES (1, 'r', now())";
    let said = run(&["quarantine", "atom-old", "--reason", "cancels jobs"]).ends(Exit::Done);
    for part in
        ["refused at 1 guards", "fly scale count 0 --app atom-old", "systemctl stop", "render", "pm2 stop"]
    {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
    server.as_role("postgres", "jobs", claim).fails("PL324");
    assert!(run(&["quarantine", "--list"]).ends(Exit::Done).stdout.contains("cancels jobs"));
    run(&["quarantine", "atom-old", "--lift"]).ends(Exit::Done);
    run(&["quarantine", "atom-old", "--lift"]).ends(Exit::Failure);
    server.as_role("postgres", "jobs", claim).succeeds();
    let empty = server.admin("postgres");
    palisade(&home, &empty, &["quarantine", "atom-old"]).ends(Exit::Failure);
}

#[test]
fn a_fork_is_a_stamped_database_of_its_own_with_a_role_of_its_own() {
    let home = Scratch::new();
    let (server, url) = stamped(&home);
    let run = |words: &[&str]| palisade(&home, &url, words);
    run(&["db", "fork", "jobs_test"]).ends(Exit::Usage);
    let same = run(&["db", "fork", "jobs_test", "--environment", "production"]).ends(Exit::Failure);
    assert!(same.stderr.contains("PAL-016"), "{}", same.stderr);
    let file = home.join("test.url").display().to_string();
    let made =
        run(&["db", "fork", "jobs_test", "--environment", "test", "--url-file", &file]).ends(Exit::Done);
    assert!(made.stderr.contains("it shares the server with jobs"), "{}", made.stderr);
    let fork = std::fs::read_to_string(&file).unwrap();
    let shown = palisade(&home, fork.trim(), &["db", "stamp", "show", "--json"]).ends(Exit::Done).json();
    assert_eq!(
        (shown["stamp"]["environment"].as_str(), shown["stamp"]["standing"].as_str()),
        (Some("test"), Some("own"))
    );
    let password = fork.split(':').nth(2).unwrap().split('@').next().unwrap().to_owned();
    assert!(!made.stdout.contains(&password) && !made.stderr.contains(&password));
    assert_eq!(server.sql("jobs_test", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
    let again = run(&["db", "fork", "jobs_test", "--environment", "test"]).ends(Exit::Failure);
    assert!(again.stderr.contains("there is a database"), "{}", again.stderr);
    let once = run(&["db", "fork", "two", "--environment", "test", "--json"]).ends(Exit::Done).json();
    palisade(&home, once["url"].as_str().unwrap(), &["db", "identify"]).ends(Exit::Done);

    run(&["db", "beacon", "--once", "--every", "10s", "--environment", "test"]).ends(Exit::Refused);
    run(&["db", "beacon", "--once", "--every", "10s"]).ends(Exit::Done);
    let shown = run(&["db", "stamp", "show", "--json"]).ends(Exit::Done).json();
    assert_eq!(shown["stamp"]["beacon"]["max_age_s"], 50);
    server.sql("postgres", "CREATE DATABASE copy TEMPLATE jobs");
    let copy = palisade(&home, &server.admin("copy"), &["db", "beacon", "--once"]).ends(Exit::Refused);
    assert!(copy.stderr.contains("PAL-011"), "{}", copy.stderr);
    run(&["db", "beacon", "--end"]).ends(Exit::Done);
}
