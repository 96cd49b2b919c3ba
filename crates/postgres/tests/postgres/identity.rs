//! Who answers, and what stands between.

use palisade_core::{Code, Exit};
use palisade_postgres::identity::Between;
use palisade_postgres::{Identity, Level, Target, identify};
use palisade_testkit::{PgBouncer, Postgres, postgres};

use crate::wait;

fn reached(url: &str) -> Identity {
    wait(identify(&Target::parse(url).unwrap())).unwrap().1
}

#[test]
fn a_database_says_who_it_is_and_what_its_role_may_do() {
    for version in postgres::VERSIONS {
        let server = Postgres::start(version);
        server.role("app", "");
        server.sql("postgres", "CREATE DATABASE jobs");
        let system = server.sql("jobs", "SELECT system_identifier FROM pg_control_system()");
        let oid = server.sql("jobs", "SELECT oid FROM pg_database WHERE datname = 'jobs'");
        let app = reached(&server.url("app", "jobs"));
        assert_eq!(app.id, format!("{system}/{oid}"));
        assert_eq!((app.database.as_str(), app.role.name.as_str()), ("jobs", "app"));
        assert!(app.server.version.starts_with(version) && app.server.timeline == Some(1));
        assert_eq!((app.between, app.encryption), (Between::Nothing, "none"));
        assert!(!app.role.superuser && !app.role.sees_sessions && !app.role.create_schema);
        let level = |identity: &Identity, feature: &str| {
            identity.abilities.iter().find(|ability| ability.feature == feature).unwrap().level
        };
        assert_eq!(level(&app, "guard tables"), Level::None);
        let admin = reached(&server.admin("jobs"));
        assert_eq!(level(&admin, "guard tables"), Level::Full);
        assert_eq!(admin.id, app.id);
    }
}

#[test]
fn a_transaction_pooler_is_seen_by_the_process_that_two_connections_share() {
    let server = Postgres::start("15");
    server.role("app", "");
    let pooler = PgBouncer::before(&server, &["app"]);
    let direct = reached(&server.url("app", "postgres"));
    let pooled = reached(&pooler.url("app", "postgres"));
    assert_eq!(pooled.between, Between::TransactionPooler);
    assert_eq!(pooled.id, direct.id, "another way, the same database");
}

#[test]
fn a_copied_database_has_another_id_and_is_not_taken_for_the_one_that_was_meant() {
    let server = Postgres::start("18");
    server.sql("postgres", "CREATE DATABASE jobs");
    let meant = reached(&server.admin("jobs"));
    server.sql("postgres", "CREATE DATABASE copy TEMPLATE jobs");
    let copy = reached(&server.admin("copy"));
    meant.expect(Some(&meant.id)).unwrap();
    let error = copy.expect(Some(&meant.id)).unwrap_err();
    assert_eq!((error.exit(), error.code()), (Exit::Refused, Some(Code::OtherDatabase)));
}

#[test]
fn who_cannot_be_reached_or_refuses_is_told_apart_and_no_password_is_said() {
    let server = Postgres::start("15");
    let nobody = wait(identify(&Target::parse("postgres://a:hunter2@127.0.0.1:1/d").unwrap())).unwrap_err();
    assert_eq!(nobody.exit(), Exit::Unreachable);
    let wrong = format!("postgres://postgres:hunter2@127.0.0.1:{}/postgres", server.port());
    let refused = wait(identify(&Target::parse(&wrong).unwrap())).unwrap_err();
    assert!(refused.to_string().contains("28P01"), "{refused}");
    for error in [nobody, refused] {
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}
