//! PostgreSQL 15 and 18, directly and through PgBouncer in transaction mode: the suite.

use palisade_jobs::JobId;
use palisade_jobs::conformance::{self, Stage};
use palisade_postgres::Target;
use palisade_store::Postgres;
use palisade_testkit::{PgBouncer, Postgres as Server};

/// A server of its own, the pooler before it, and a store that reaches it one way or the other.
pub(crate) struct OnPostgres {
    store: Postgres,
    _pooler: Option<PgBouncer>,
    pub(crate) server: Server,
}

impl OnPostgres {
    async fn new(version: &'static str, pooled: bool) -> Self {
        let server = Server::start(version);
        server.role("worker", "");
        server.sql("postgres", "CREATE DATABASE jobs OWNER worker");
        let pooler = pooled.then(|| PgBouncer::before(&server, &["worker"]));
        let url = match &pooler {
            Some(pooler) => pooler.url("worker", "jobs"),
            None => server.url("worker", "jobs"),
        };
        let store = Postgres::open(Target::parse(&url).unwrap()).await.unwrap();
        Self { store, _pooler: pooler, server }
    }
}

impl Stage for OnPostgres {
    type Store = Postgres;

    fn store(&self) -> &Postgres {
        &self.store
    }

    async fn set_term(&self, term: u64) {
        self.server.sql(
            "jobs",
            &format!(
                "INSERT INTO palisade_jobs.lease VALUES ('reaper', {term}, 'stage', now(), now() + interval '1 day') \
                 ON CONFLICT (name) DO UPDATE SET term = excluded.term"
            ),
        );
    }

    async fn age(&self, job: JobId, ms: u64) {
        let age = format!("UPDATE palisade_jobs.job_end SET ended_ms = ended_ms - {ms} WHERE job = {job}");
        self.server.sql("jobs", &age);
    }
}

/// Each case in a database of its own would be a server start each, so the cases of one way share a store; each has
/// queues and workers of its own.
macro_rules! cases {
    ($($case:ident)*) => {
        async fn all(stage: &OnPostgres) {
            $(conformance::$case(stage).await;)*
        }
    };
}

palisade_jobs::conformance_cases!(cases);

#[test]
fn the_suite_passes_on_15() {
    crate::block_on(async { all(&OnPostgres::new("15", false).await).await });
}

#[test]
fn the_suite_passes_on_15_through_a_transaction_pooler() {
    crate::block_on(async { all(&OnPostgres::new("15", true).await).await });
}

#[test]
fn the_suite_passes_on_18() {
    crate::block_on(async { all(&OnPostgres::new("18", false).await).await });
}

#[test]
fn the_suite_passes_on_18_through_a_transaction_pooler() {
    crate::block_on(async { all(&OnPostgres::new("18", true).await).await });
}
