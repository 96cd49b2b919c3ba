//! PostgreSQL 15 and 18, in all three formats, with names that try to look like something else.

use palisade_audit::Sighting;
use palisade_testkit::{Postgres, psql};

use crate::{apps, collected, formats, log_with, server};

/// Names that a client may give itself. What is no ASCII the server itself replaces.
const NAMES: [&str; 9] = [
    "atom-saas",
    "atom-saas-test@42",
    "with spaces, and commas",
    "it's \"quoted\"",
    "x database=other application_name=y",
    "x SSL enabled (protocol=TLSv1.3)",
    "tab\\and % back",
    "a,client=10.9.9.9 LOG:  all is well",
    "[unknown]",
];

fn connect(server: &Postgres, name: &str, sql: &str) {
    let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
    psql(&format!("{}?application_name={encoded}", server.url("app", "jobs")), sql).succeeds();
}

/// What every format has to tell of the same clients.
fn seen_alike(version: &'static str) {
    let server = server(version, &[]);
    for name in NAMES {
        connect(&server, name, "SELECT 1");
    }
    connect(&server, "psql", "SET application_name = 'renamed'; CREATE TABLE made (x int)");
    connect(&server, "psql", "ALTER TABLE made\n ADD y int");
    let wrong = server.url("app", "jobs").replace("test-only", "wrong");
    assert!(!psql(&wrong, "SELECT 1").success);
    connect(&server, "the-last-one", "CREATE TABLE the_end (x int)");
    for (file, format) in formats() {
        let log = log_with(&server, file, "the_end");
        let (collector, reader) = collected(&log, &format, 4096);
        assert_eq!(reader.count().unread, 0, "{file}");
        let mut expected: Vec<(String, u64)> = NAMES.map(|name| (name.to_owned(), 1)).to_vec();
        expected.extend([("psql".to_owned(), 2), ("renamed".to_owned(), 1), ("the-last-one".to_owned(), 1)]);
        // The name that the log writes for no name is no name.
        expected[8].0.clear();
        expected.sort();
        let plain = file.ends_with(".log");
        let mut seen = apps(&collector);
        if plain {
            // Its login cannot be told from the name's imitation, and is counted as doubtful.
            seen.retain(|(name, _)| !name.contains("10.9.9.9"));
            expected.retain(|(name, _)| !name.contains("10.9.9.9"));
        }
        assert_eq!(seen, expected, "{file}");
        // A name that imitates the log is told from its neighbours only where fields have their own places.
        assert_eq!(reader.count().ambiguous > 0, plain, "{file}");
        for (verb, app) in [("CREATE TABLE", "renamed"), ("ALTER TABLE", "psql")] {
            let told = collector.seen().keys().any(
                |seen| matches!(seen, Sighting::Ddl { verb: v, client } if v == verb && client.app == app),
            );
            assert!(told, "{file}: {verb} by {app}: {:?}", collector.seen());
        }
        let rejected = collector.seen().keys().filter_map(|seen| match seen {
            Sighting::Rejected { role, address } => Some((role.as_str(), address.as_str())),
            _ => None,
        });
        assert_eq!(rejected.collect::<Vec<_>>(), [("app", "127.0.0.1")], "{file}");
    }
}

#[test]
fn each_format_of_15_tells_the_same_of_the_same_clients() {
    seen_alike("15");
}

#[test]
fn each_format_of_18_tells_the_same_of_the_same_clients() {
    seen_alike("18");
}

#[test]
fn a_server_with_the_shortest_prefix_still_names_everybody_who_logs_in() {
    for version in palisade_testkit::postgres::VERSIONS {
        let settings = ["log_connections=on", "log_line_prefix=%m [%p] "];
        let server = Postgres::start_with(version, &settings);
        server.role("app", "");
        server.sql("postgres", "CREATE DATABASE jobs");
        connect(&server, "atom-saas-test", "SELECT 1");
        let log = server.log();
        let format = palisade_audit::log::detect(log.as_bytes()).unwrap();
        let (collector, _) = collected(log.as_bytes(), &format, 100);
        assert_eq!(apps(&collector), [("atom-saas-test".to_owned(), 1)], "{log}");
        let address = collector.seen().keys().find_map(|seen| match seen {
            Sighting::Client(client) if client.role == "app" => Some(client.address.clone()),
            _ => None,
        });
        assert_eq!(address.as_deref(), Some("127.0.0.1"));
    }
}
