//! The stamp of a database, and copies of it.

use palisade_core::EnvironmentName;
use palisade_dbguard::Patience;
use palisade_dbguard::stamp::{New, There, remove, run, write};
use palisade_postgres::{Bound, Identity, Standing, Target, identify};
use palisade_testkit::{Postgres, postgres};

use crate::fixture::{Jobs, REAPER, wait};

pub(crate) fn identity(url: &str) -> Identity {
    wait(identify(&Target::parse(url).unwrap())).unwrap().1
}

/// Stamps a database as the superuser; the signature is the command line's business.
pub(crate) fn stamp_as(server: &Postgres, role: &str, database: &str, environment: &str, rotate: bool) {
    let url = server.url(role, database);
    wait(async {
        let (session, identity) = identify(&Target::parse(&url).unwrap()).await.unwrap();
        let new = New {
            environment: EnvironmentName::new(environment).unwrap(),
            bound: Bound::of(&identity.server),
            at_s: 1_700_000_000,
            signature: "palisade/here signature".to_owned(),
            rotate,
        };
        let there = There::look(&session).await.unwrap();
        run(&session, "stamp", &write(there, &new, Patience::default().lock_timeout)).await.unwrap();
    });
}

pub(crate) fn stamp(server: &Postgres, environment: &str) {
    stamp_as(server, "postgres", "jobs", environment, false);
}

fn unstamp(server: &Postgres, role: &str) {
    wait(async {
        let (session, _) = identify(&Target::parse(&server.url(role, "jobs")).unwrap()).await.unwrap();
        let there = There::look(&session).await.unwrap();
        run(&session, "unstamp", &remove(there, Patience::default().lock_timeout)).await.unwrap();
    });
}

fn standing(server: &Postgres, database: &str) -> Standing {
    identity(&server.admin(database)).stamp.unwrap().standing
}

/// What `begin` would think of the stamp, by its own look.
fn flaw(server: &Postgres, database: &str) -> String {
    server.sql(database, "SELECT palisade.flaw()")
}

#[test]
fn a_copy_bears_the_stamp_and_is_told_from_the_database_that_it_was_made_for() {
    for version in postgres::VERSIONS {
        let server = Postgres::start(version);
        server.sql("postgres", "CREATE DATABASE jobs");
        assert_eq!(identity(&server.admin("jobs")).stamp, None);
        stamp(&server, "production");
        let own = identity(&server.admin("jobs")).stamp.unwrap();
        assert_eq!((own.environment.as_str(), own.standing), ("production", Standing::Own));
        own.expect(&["production"]).unwrap();
        assert_eq!(
            own.expect(&["test", "staging"]).unwrap_err().code(),
            Some(palisade_core::Code::StampOther)
        );
        assert_eq!(flaw(&server, "jobs"), "");

        server.sql("postgres", "CREATE DATABASE copy TEMPLATE jobs");
        assert_eq!(standing(&server, "copy"), Standing::OtherDatabase, "{version}");
        assert_eq!(flaw(&server, "copy"), "copy");
        let copy = identity(&server.admin("copy")).stamp.unwrap();
        let refused = copy.expect(&["production"]).unwrap_err();
        assert_eq!(refused.code(), Some(palisade_core::Code::StampCopied));
        assert_eq!(refused.exit(), palisade_core::Exit::Refused);

        // A physical copy has everything that the original has: only a beacon tells them apart.
        let twin = server.physical_copy();
        assert_eq!((standing(&twin, "jobs"), flaw(&twin, "jobs").as_str()), (Standing::Own, ""), "{version}");

        let standby = server.standby();
        assert_eq!(standing(&standby, "jobs"), Standing::Own, "{version}: a standby is the database itself");
        standby.promote();
        assert_eq!(standing(&standby, "jobs"), Standing::Promoted, "{version}");
        assert_eq!(flaw(&standby, "jobs"), "promoted");
        let promoted = identity(&standby.admin("jobs")).stamp.unwrap();
        assert!(promoted.expect(&["production"]).is_err());
        stamp_as(&standby, "postgres", "jobs", "production", true);
        assert_eq!((standing(&standby, "jobs"), flaw(&standby, "jobs").as_str()), (Standing::Own, ""));
    }
}

#[test]
fn a_dump_that_is_restored_elsewhere_is_a_copy_with_a_verifier_of_its_own() {
    let (server, other) = (Postgres::start("15"), Postgres::elsewhere("15"));
    for server in [&server, &other] {
        server.sql("postgres", "CREATE DATABASE jobs");
    }
    stamp(&server, "production");
    other.sql("postgres", "CREATE ROLE palisade_owner NOLOGIN; CREATE ROLE palisade_hand NOLOGIN");
    server.dump_into("jobs", &other, "jobs");
    assert_eq!(standing(&other, "jobs"), Standing::OtherServer);
    assert_eq!(flaw(&other, "jobs"), "copy");
    let secret = |server: &Postgres| server.sql("jobs", "SELECT key FROM palisade.secret");
    assert_ne!(secret(&server), secret(&other), "a dump holds no key");
    server.sql("postgres", "CREATE DATABASE again");
    server.dump_into("jobs", &server, "again");
    assert_eq!(standing(&server, "again"), Standing::OtherDatabase);
}

#[test]
fn a_stamp_is_its_owners_to_write_and_everybodys_to_read() {
    for version in postgres::VERSIONS {
        let jobs = Jobs::guarded(version);
        stamp(&jobs.server, "production");
        for sql in [
            "UPDATE palisade.stamp SET environment = 'test'",
            "DELETE FROM palisade.stamp",
            "INSERT INTO palisade.beacon VALUES (true, now(), '1 h', 'me')",
            "SELECT key FROM palisade.secret",
            "REFRESH MATERIALIZED VIEW palisade.secret",
            "SELECT palisade.key('a', 'production', 1)",
            "SELECT palisade.seal('{}')",
            "UPDATE palisade.app SET minimum_epoch = 0",
            "DROP SCHEMA palisade CASCADE",
        ] {
            jobs.app(sql).fails("42501");
        }
        jobs.server.role("other", "");
        let seen = jobs.server.as_role("other", "jobs", "SELECT environment FROM palisade.stamp").succeeds();
        assert_eq!(seen, "production");
        assert_eq!(identity(&jobs.server.url("other", "jobs")).stamp.unwrap().environment, "production");
    }
}

#[test]
fn the_apps_own_dump_works_on_a_stamped_and_guarded_database_and_holds_no_key() {
    let jobs = Jobs::guarded("15");
    stamp(&jobs.server, "production");
    let dump = jobs.server.dump_as("app", "jobs");
    assert!(dump.contains("CREATE MATERIALIZED VIEW palisade.secret"));
}

#[test]
fn the_last_guard_leaves_the_stamp_and_the_stamp_leaves_nothing() {
    for role in ["postgres", "app"] {
        let jobs = Jobs::unguarded("15");
        jobs.admin("GRANT CREATE ON DATABASE jobs TO app");
        let empty = jobs.server.dump_as("postgres", "jobs");
        stamp_as(&jobs.server, role, "jobs", "production", false);
        let stamped = jobs.server.dump_as("postgres", "jobs");
        jobs.install_as(role, "backfill_jobs", &crate::fixture::named(), &crate::fixture::rules()).unwrap();
        jobs.running(2, "12 minutes");
        jobs.app(REAPER).fails("PL301");
        jobs.remove(role, "backfill_jobs", true).unwrap();
        jobs.app(REAPER).succeeds();
        assert!(jobs.server.dump_as("postgres", "jobs") == stamped, "{role}");
        assert_eq!(standing(&jobs.server, "jobs"), Standing::Own);
        unstamp(&jobs.server, role);
        assert!(jobs.server.dump_as("postgres", "jobs") == empty, "{role}");
    }
}
