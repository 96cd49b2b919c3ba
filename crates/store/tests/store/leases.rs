//! One suite for all stores of leases; and what only one of them can show.

use std::time::Duration;

use palisade_host::clock;
use palisade_lease::{Acquired, Held, Holder, LeaseStore, Name, Term, Ttl, conformance};
use palisade_postgres::Target;
use palisade_store::lease::{PostgresLeases, RedisLeases, SqliteLeases, postgres, sqlite};
use palisade_testkit::{PgBouncer, Postgres, Redis, Scratch};

thread_local! {
    /// One for each test: a connection lives in the runtime that opened it.
    static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(future))
}

fn suite(store: &impl LeaseStore) {
    wait(conformance::check(store, |span| tokio::time::sleep(span)));
}

fn server(version: &'static str) -> Postgres {
    let server = Postgres::start(version);
    server.role("app", "");
    server.sql(
        "postgres",
        &format!("CREATE SCHEMA jobs AUTHORIZATION app; SET ROLE app; {}", postgres::table("jobs")),
    );
    server
}

fn leases(url: &str) -> PostgresLeases {
    PostgresLeases::new(Target::parse(url).unwrap(), "jobs")
}

fn held(acquired: Acquired) -> Held {
    match acquired {
        Acquired::Granted(grant) => grant.held,
        Acquired::Busy(seen) => panic!("{seen:?} has it"),
    }
}

fn names() -> (Name, Holder, Ttl) {
    (Name::new("reaper/a").unwrap(), Holder::new("a").unwrap(), Ttl::new(Duration::from_secs(60)).unwrap())
}

#[test]
fn postgres_passes_the_suite_directly_and_through_a_pooler() {
    for version in palisade_testkit::postgres::VERSIONS {
        let server = server(version);
        suite(&leases(&server.url("app", "postgres")));
        server.sql("postgres", "TRUNCATE jobs.lease");
        let pooler = PgBouncer::before(&server, &["app"]);
        suite(&leases(&pooler.url("app", "postgres")));
    }
}

#[test]
fn sqlite_passes_the_suite() {
    let scratch = Scratch::new();
    suite(&SqliteLeases::open(&scratch.join("jobs.db")).unwrap());
}

#[test]
fn redis_passes_the_suite() {
    let redis = Redis::start();
    suite(&RedisLeases::new(&redis.url()).unwrap());
    let refused = wait(RedisLeases::new(&redis.wrong_url()).unwrap().list()).unwrap_err();
    assert!(
        refused.to_string().contains("WRONGPASS") && !refused.to_string().contains("hunter2"),
        "{refused}"
    );
}

#[test]
fn a_redis_url_that_would_send_its_password_in_the_clear_is_refused_without_its_text() {
    for url in [
        "redis://:hunter2@cache.example.org",
        "rediss://:hunter2@cache.example.org",
        "http://:hunter2@localhost",
        "redis://:hunter2@localhost:port",
        "redis://:hunter2@localhost/zero",
    ] {
        let error = RedisLeases::new(url).unwrap_err().to_string();
        assert!(error.starts_with("the Redis URL ") && !error.contains("hunter2"), "{error}");
    }
    assert!(!format!("{:?}", RedisLeases::new("redis://:hunter2@localhost").unwrap()).contains("hunter2"));
}

/// Takes a lease over while a transaction that has passed the fence is still open, and says how each ended.
#[test]
fn a_take_over_waits_for_a_transaction_that_passed_the_fence_and_a_renewal_does_not() {
    let server = server("15");
    let store = leases(&server.url("app", "postgres"));
    let (name, holder, ttl) = names();
    let own = held(wait(store.acquire(&name, &holder, ttl)).unwrap());
    let fence = postgres::fence("jobs")
        .replace("$1", "'reaper/a'")
        .replace("$2", &own.term.to_string())
        .replace("$3", "'a'");
    let mut writing = server.session("app", "postgres");
    writing.ask("BEGIN");
    assert_eq!(writing.ask(&fence).0, own.term.to_string());

    assert!(wait(store.renew(&own, ttl)).unwrap(), "a renewal waits for nobody");
    server.sql("postgres", "UPDATE jobs.lease SET expires_at = clock_timestamp()");
    let url = server.url("app", "postgres");
    let asking = std::thread::spawn(move || {
        let (name, _, ttl) = names();
        wait(async { leases(&url).acquire(&name, &Holder::new("b").unwrap(), ttl).await })
    });
    palisade_testkit::eventually("the take-over waits", || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        (server.sql("postgres", waiting) == "1").then_some(())
    });
    writing.ask("COMMIT");
    let taken = held(asking.join().unwrap().unwrap());
    assert_eq!(taken.term, own.term.next());
    // The old holder's next transaction finds nothing, and its renewal neither.
    assert_eq!(writing.ask(&fence).0, "");
    assert!(!wait(store.renew(&own, ttl)).unwrap());
}

#[test]
fn a_connection_that_the_server_ends_is_made_anew_and_a_lease_outlives_a_restart() {
    let mut server = server("15");
    let store = leases(&server.url("app", "postgres"));
    let (name, holder, ttl) = names();
    let own = held(wait(store.acquire(&name, &holder, ttl)).unwrap());
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app'";
    server.sql("postgres", ended);
    // The operation that meets the loss fails; what was granted before is still there.
    drop(wait(store.renew(&own, ttl)));
    assert!(wait(store.renew(&own, ttl)).unwrap());
    drop(store);
    server.restart();
    let store = leases(&server.url("app", "postgres"));
    assert!(wait(store.renew(&own, ttl)).unwrap(), "a lease outlives a restart of the server");
}

#[test]
fn a_lease_of_an_earlier_boot_is_over_and_its_term_is_not_used_again() {
    let scratch = Scratch::new();
    let path = scratch.join("jobs.db");
    let store = SqliteLeases::open(&path).unwrap();
    let (name, holder, ttl) = names();
    let own = held(wait(store.acquire(&name, &holder, ttl)).unwrap());
    let mut other = rusqlite::Connection::open(&path).unwrap();
    let boot = clock::boot_id().unwrap();
    let fences = |connection: &mut rusqlite::Connection, held: &Held| {
        let behavior = rusqlite::TransactionBehavior::Immediate;
        let writing = connection.transaction_with_behavior(behavior).unwrap();
        sqlite::fences(&writing, held, &boot, clock::boot_ms()).unwrap()
    };
    assert!(fences(&mut other, &own));
    let stale = Held { term: Term::new(0), ..own.clone() };
    assert!(!fences(&mut other, &stale));

    other.execute("UPDATE lease SET boot_id = 'another'", []).unwrap();
    assert!(!fences(&mut other, &own));
    assert!(!wait(store.renew(&own, ttl)).unwrap());
    let next = held(wait(store.acquire(&name, &Holder::new("b").unwrap(), ttl)).unwrap());
    assert_eq!(next.term, own.term.next());
}
