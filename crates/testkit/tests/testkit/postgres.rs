//! PostgreSQL and PgBouncer really run, really end, and really share connections.

use std::path::Path;

use palisade_testkit::{PgBouncer, Postgres, Psql, postgres, process};

#[test]
fn every_version_starts_answers_restarts_and_is_gone_with_its_folder() {
    for version in postgres::VERSIONS {
        let mut server = Postgres::start(version);
        let number = server.sql("postgres", "SELECT current_setting('server_version_num')::int / 10000");
        assert_eq!(number, version);
        server.sql("postgres", "CREATE TABLE kept ()");
        let first = server.pid();
        server.restart();
        assert!(server.pid() != first && !process::is_running(first));
        assert_eq!(server.sql("postgres", "SELECT count(*) FROM kept"), "0");
        let folder = server.sql("postgres", "SHOW data_directory");
        let pid = server.pid();
        drop(server);
        assert!(!process::is_running(pid) && !Path::new(&folder).exists());
    }
}

#[test]
fn a_failure_says_its_sqlstate_and_an_open_session_goes_on_after_one() {
    let server = Postgres::start("15");
    server.role("app", "");
    server.as_role("app", "postgres", "SELECT 1/0").fails("22012");
    let mut session = server.session("app", "postgres");
    assert_eq!(session.ask("SELECT 1/0"), (String::new(), "22012".to_owned()));
    assert_eq!(session.ask("SELECT 7"), ("7".to_owned(), "00000".to_owned()));
}

#[test]
fn the_pooler_hands_one_server_connection_from_client_to_client() {
    let server = Postgres::start("18");
    server.role("app", "");
    let pooler = PgBouncer::before(&server, &["app"]);
    let url = pooler.url("app", "postgres");
    let (mut first, mut second) = (Psql::open(&url), Psql::open(&url));
    let backend = first.ask("SELECT pg_backend_pid()").0;
    assert_eq!(second.ask("SELECT pg_backend_pid()").0, backend);
    first.ask("SET work_mem = '7MB'");
    assert_eq!(second.ask("SHOW work_mem").0, "7MB", "session settings leak: transaction mode");
}
