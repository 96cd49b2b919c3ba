//! PostgreSQL 15 and 18, directly and through PgBouncer in transaction mode: the suite.

use std::time::Duration;

use palisade_core::QueueName;
use palisade_jobs::claim::{Ask, Evidence};
use palisade_jobs::conformance::{self, Stage};
use palisade_jobs::job::{NewJob, Start};
use palisade_jobs::store::{Fence, Reap, Reaped};
use palisade_jobs::{Beat, Error, Incarnation, JobId, JobStore as _, Queue, State, Token};
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

#[test]
fn history_falls_with_its_day_and_days_are_made_ahead() {
    crate::block_on(async {
        let stage = OnPostgres::new("15", false).await;
        conformance::a_checkpoint_never_goes_back_and_three_are_kept(&stage).await;
        let days = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'palisade_jobs.event'::regclass";
        assert_eq!(stage.server.sql("jobs", days), "1");
        stage.store().prune(100).await.unwrap();
        assert_eq!(stage.server.sql("jobs", days), "8");
        stage.server.sql(
            "jobs",
            "CREATE TABLE palisade_jobs.event_20200101 PARTITION OF palisade_jobs.event \
             FOR VALUES FROM (1577836800000) TO (1577923200000); \
             ALTER TABLE palisade_jobs.event_20200101 OWNER TO worker; \
             INSERT INTO palisade_jobs.event (job, at_ms, kind) VALUES (1, 1577836800001, 'x'), (1, 1, 'y')",
        );
        stage.store().prune(100).await.unwrap();
        assert_eq!(stage.server.sql("jobs", days), "8");
        let left =
            "SELECT count(*) FILTER (WHERE at_ms < 1600000000000), count(*) > 0 FROM palisade_jobs.event";
        assert_eq!(stage.server.sql("jobs", left), "0|t");
        // A day that somebody looks at is not waited for, and falls the next time.
        let mut session = stage.server.session("postgres", "jobs");
        stage.server.sql("jobs", "DROP TABLE palisade_jobs.event_rest");
        stage
            .server
            .sql("jobs", "CREATE TABLE palisade_jobs.event_rest PARTITION OF palisade_jobs.event DEFAULT");
        stage.server.sql("jobs", "ALTER TABLE palisade_jobs.event_rest OWNER TO worker");
        session.ask("BEGIN; SELECT count(*) FROM palisade_jobs.event");
        stage.store().prune(100).await.unwrap();
    });
}

/// As the version after ours may: new columns, with and without a default, and a new table. Nothing is taken away.
const EXPAND: &str = "ALTER TABLE palisade_jobs.job ADD COLUMN trace text, ADD COLUMN weight int NOT NULL DEFAULT 1; \
    ALTER TABLE palisade_jobs.job_ready ADD COLUMN shard smallint NOT NULL DEFAULT 0; \
    ALTER TABLE palisade_jobs.job_wait ADD COLUMN shard smallint NOT NULL DEFAULT 0; \
    ALTER TABLE palisade_jobs.job_run ADD COLUMN shard smallint NOT NULL DEFAULT 0; \
    ALTER TABLE palisade_jobs.job_end ADD COLUMN said text; \
    ALTER TABLE palisade_jobs.event ADD COLUMN trace text; \
    ALTER TABLE palisade_jobs.worker ADD COLUMN labels text; \
    ALTER TABLE palisade_jobs.worker_beat ADD COLUMN lag_ms bigint NOT NULL DEFAULT 0; \
    ALTER TABLE palisade_jobs.queue ADD COLUMN rate bigint; \
    ALTER TABLE palisade_jobs.checkpoint ADD COLUMN codec text; \
    ALTER TABLE palisade_jobs.live_key ADD COLUMN since_ms bigint; \
    ALTER TABLE palisade_jobs.idempotency ADD COLUMN since_ms bigint; \
    ALTER TABLE palisade_jobs.taken ADD COLUMN since_ms bigint; \
    ALTER TABLE palisade_jobs.schedule ADD COLUMN note text; \
    CREATE TABLE palisade_jobs.later (job bigint PRIMARY KEY); \
    UPDATE palisade_jobs.meta SET value = value + 1 WHERE name = 'schema'";

#[test]
fn a_client_one_version_older_passes_the_suite_on_expanded_tables_and_one_two_behind_is_refused() {
    crate::block_on(async {
        let OnPostgres { store, _pooler, server } = OnPostgres::new("15", false).await;
        let target = || Target::parse(&server.url("worker", "jobs")).unwrap();
        // What was enqueued and claimed before is ended after: an open client lives through the expansion.
        let before = store.enqueue(&[new_job("before")]).await.unwrap()[0].id;
        server.sql("jobs", EXPAND);
        assert_eq!(store.job(before).await.unwrap().unwrap().id, before);
        let store = Postgres::open(target()).await.unwrap();
        let stage = OnPostgres { store, _pooler, server };
        all(&stage).await;
        // The next one contracts: it may take away what this client needs.
        let OnPostgres { store, server, .. } = stage;
        server.sql("jobs", "UPDATE palisade_jobs.meta SET value = value + 1 WHERE name = 'schema'");
        let count = "SELECT count(*) FROM palisade_jobs.job";
        let jobs = server.sql("jobs", count);
        let refused =
            Postgres::open(Target::parse(&server.url("worker", "jobs")).unwrap()).await.unwrap_err();
        assert!(
            matches!(&refused, Error::Version(text) if text.contains("install the newer palisade")),
            "{refused}"
        );
        // An open client is refused with its next connection.
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'worker'";
        server.sql("jobs", end);
        let refused = loop {
            match store.enqueue(&[new_job("late")]).await {
                Err(Error::Unreachable { .. } | Error::Unknown { .. }) => {}
                other => break other,
            }
        };
        assert!(matches!(&refused, Err(Error::Version(_))), "{refused:?}");
        assert_eq!(server.sql("jobs", count), jobs);
    });
}

#[test]
fn tables_of_two_versions_later_are_refused() {
    crate::block_on(async {
        let stage = OnPostgres::new("15", false).await;
        let set = |version: u32| {
            stage.server.sql("jobs", &format!("UPDATE palisade_jobs.meta SET value = {version}"));
        };
        let open = || Postgres::open(Target::parse(&stage.server.url("worker", "jobs")).unwrap());
        set(6);
        open().await.unwrap();
        set(7);
        let refused = open().await.unwrap_err();
        assert!(matches!(&refused, Error::Version(text) if text.contains("version 7")), "{refused}");
        // A role that may create in the database, and owns nothing of the tables, cannot bring them up.
        set(4);
        stage.server.role("guest", "");
        let rights = "GRANT CREATE ON DATABASE jobs TO guest; GRANT USAGE ON SCHEMA palisade_jobs TO guest; \
            GRANT SELECT ON ALL TABLES IN SCHEMA palisade_jobs TO guest";
        stage.server.sql("jobs", rights);
        let guest = Target::parse(&stage.server.url("guest", "jobs")).unwrap();
        let refused = Postgres::open(guest).await.unwrap_err();
        let told = |text: &str| {
            text.contains("version 4, 5 are needed") && text.contains("Let worker, which owns them,")
        };
        assert!(matches!(&refused, Error::Version(text) if told(text)), "{refused}");
        stage.server.role("reader", "");
        stage.server.sql("postgres", "CREATE DATABASE empty");
        let target = Target::parse(&stage.server.url("reader", "empty")).unwrap();
        let refused = Postgres::open(target).await.unwrap_err();
        assert!(matches!(&refused, Error::Version(text) if text.contains("may not make them")), "{refused}");
    });
}

/// As a client of the version before left them.
const BEFORE: [&str; 4] = [
    include_str!("../../src/postgres/first.sql"),
    include_str!("../../src/postgres/second.sql"),
    include_str!("../../src/postgres/third.sql"),
    include_str!("../../src/postgres/fourth.sql"),
];

#[test]
fn tables_of_the_version_before_are_brought_up_with_what_they_hold() {
    crate::block_on(async {
        let server = Server::start("15");
        server.sql("postgres", "CREATE DATABASE jobs");
        let steps = BEFORE.concat();
        let held = "CREATE SCHEMA palisade_jobs; \
            CREATE TABLE palisade_jobs.meta (name text PRIMARY KEY, value bigint NOT NULL); \
            INSERT INTO palisade_jobs.meta VALUES ('schema', 4);";
        let rows = "INSERT INTO palisade_jobs.queue (name, beat_every_ms, reap_after_ms, self_fence_ms, handover_delay_ms, \
                on_silence, backoff_first_ms, backoff_most_ms, retention_ms) \
                VALUES ('q', 1000, 10000, 5000, 60000, 'requeue', 1, 2, 2592000000); \
            INSERT INTO palisade_jobs.job (queue, payload, priority, enqueued_ms, run_ms, max_attempts, by) \
                SELECT 'q', 'null', 0, 0, 0, n, '{\"host\":\"h\",\"pid\":1,\"machine_id\":\"m\"}' FROM generate_series(1, 2) n; \
            INSERT INTO palisade_jobs.worker_beat (incarnation) VALUES ('old'); \
            INSERT INTO palisade_jobs.worker VALUES ('old', '{\"name\":\"w\"}', 0); \
            INSERT INTO palisade_jobs.taken VALUES ('old', 7, 7); \
            INSERT INTO palisade_jobs.job_run (job, queue, priority, attempts, token, incarnation, worker, keyed, limited, \
                beat_every_ms, reap_after_ms, self_fence_ms) \
                SELECT id, 'q', 0, 1, id, 'old', 'w', false, false, 1000, 10000, 5000 FROM palisade_jobs.job; \
            INSERT INTO palisade_jobs.lease VALUES ('reaper', 1, 'test', now(), now() + interval '1 day'); \
            INSERT INTO palisade_jobs.job (queue, payload, priority, enqueued_ms, run_ms, max_attempts, by) \
                VALUES ('again', 'null', 0, 0, 0, 9, '{\"host\":\"h\",\"pid\":1,\"machine_id\":\"m\"}'); \
            INSERT INTO palisade_jobs.queue SELECT 'again', q.revision, q.paused, q.concurrency, q.beat_every_ms, \
                q.reap_after_ms, q.self_fence_ms, q.handover_delay_ms, q.on_silence, q.progress_deadline_ms, \
                q.backoff_first_ms, q.backoff_most_ms, q.retention_ms FROM palisade_jobs.queue q; \
            INSERT INTO palisade_jobs.job_ready SELECT 'again', 0, max(id), 0 FROM palisade_jobs.job; \
            INSERT INTO palisade_jobs.checkpoint SELECT max(id), 4, 'k', 's', 1 FROM palisade_jobs.job";
        server.sql("jobs", &format!("{held}{steps}{rows}"));
        let store = Postgres::open(Target::parse(&server.admin("jobs")).unwrap()).await.unwrap();
        let old = Incarnation::from_text("old");
        let beat = Beat { incarnation: old.clone(), sequence: 1, progress: Vec::new(), trouble: Vec::new() };
        assert_eq!(store.beat(&beat).await.unwrap().spent, [(JobId(7), Token(7))]);
        // A claim of then is reaped as one of now; the first job was on its last attempt.
        let mut claims = store.claims_of(&old, 10).await.unwrap();
        claims.sort_by_key(|held| held.job);
        let reaps = claims.into_iter().map(|held| Reap {
            job: held.job,
            token: held.token,
            incarnation: old.clone(),
            evidence: Evidence::new(1, 1, 10_000, 10_000),
            reason: "reaped: silent".to_owned(),
            by: crate::faults::by(),
        });
        let under = Fence { term: 1, holder: "test".to_owned() };
        let taken = store.reap(&under, &reaps.collect::<Vec<_>>()).await.unwrap();
        assert_eq!(taken, [Reaped::Taken(State::Held), Reaped::Taken(State::Handover)]);
        for job in [JobId(1), JobId(2)] {
            assert_eq!(store.job(job).await.unwrap().unwrap().reason.as_deref(), Some("reaped: silent"));
        }
        // What ran before and went back then does not say so: it goes on where it was all the same.
        let ask = Ask {
            queue: QueueName::new("again").unwrap(),
            most: 9,
            incarnation: old.clone(),
            reap_after: None,
        };
        let claims = store.claim(&ask).await.unwrap();
        assert_eq!(claims[0].checkpoints.iter().map(|kept| kept.sequence).collect::<Vec<_>>(), [4]);
        // One row has both, for their histories and for their worker.
        assert_eq!(server.sql("jobs", "SELECT count(*) FROM palisade_jobs.reap"), "1");
        assert_eq!(store.events(JobId(2)).await.unwrap().last().unwrap().token, Some(Token(2)));
        assert_eq!(store.beat(&beat).await.unwrap().spent.len(), 3);
    });
}

#[test]
fn a_reap_is_forgotten_after_the_longest_retention() {
    crate::block_on(async {
        let stage = OnPostgres::new("15", false).await;
        conformance::a_reap_hands_over_and_spends_the_token(&stage).await;
        let count = "SELECT count(*) FROM palisade_jobs.reap";
        stage.store().prune(100).await.unwrap();
        assert_eq!(stage.server.sql("jobs", count), "1");
        stage.server.sql("jobs", "UPDATE palisade_jobs.reap SET at_ms = 1");
        stage.store().prune(100).await.unwrap();
        assert_eq!(stage.server.sql("jobs", count), "0");
    });
}

fn new_job(queue: &str) -> NewJob {
    NewJob::new(QueueName::new(queue).unwrap(), serde_json::json!({}), crate::faults::by())
}

#[test]
fn callers_that_enqueue_at_once_share_a_commit() {
    crate::block_on(async {
        let stage = OnPostgres::new("15", false).await;
        let mut calls = tokio::task::JoinSet::new();
        stage.store().enqueue(&[new_job("many")]).await.unwrap();
        for _ in 0..64 {
            let store = stage.store().clone();
            calls.spawn(async move { store.enqueue(&[new_job("many")]).await.unwrap().len() });
        }
        assert_eq!(calls.join_all().await.into_iter().sum::<usize>(), 64);
        let written = "SELECT count(*), count(DISTINCT xmin::text) <= 16 FROM palisade_jobs.job";
        assert_eq!(stage.server.sql("jobs", written), "65|t");
    });
}

/// Whether a store that waits for jobs of `queue` is called when another one enqueues `jobs` there.
async fn hears(waiting: &Postgres, other: &Postgres, queue: &str, jobs: &[NewJob]) -> bool {
    let queue = QueueName::new(queue).unwrap();
    let mut heard = 0;
    // The first call says that it listens now.
    let listens = tokio::time::timeout(Duration::from_secs(60), waiting.woken(&queue, heard)).await;
    let Ok(first) = listens else { return false };
    heard = first;
    other.enqueue(jobs).await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), waiting.woken(&queue, heard)).await.is_ok()
}

#[test]
fn who_waits_for_jobs_is_called_once_for_each_enqueue() {
    crate::block_on(async {
        let stage = OnPostgres::new("18", false).await;
        let target = || Target::parse(&stage.server.url("worker", "jobs")).unwrap();
        let other = Postgres::open(target()).await.unwrap();
        let keyed = NewJob { unique: Some("k".to_owned()), ..new_job("mail") };
        assert!(hears(stage.store(), &other, "mail", &[new_job("mail")]).await);
        let queue = QueueName::new("mail").unwrap();
        let before = stage.store().woken(&queue, 0).await;
        assert!(hears(stage.store(), &other, "mail", &[keyed]).await);
        assert!(hears(stage.store(), &other, "mail", &vec![new_job("mail"); 500]).await);
        assert!(hears(stage.store(), &other, "mail", &[new_job("elsewhere"), new_job("mail")]).await);
        assert_eq!(stage.store().woken(&queue, before).await, before + 3, "once for 500 jobs, too");
        // What cannot run yet calls nobody, nor does another queue.
        let later = NewJob { start: Start::In(Duration::from_secs(600)), ..new_job("mail") };
        other.enqueue(&[later.clone(), new_job("elsewhere")]).await.unwrap();
        other.enqueue(&vec![later; 500]).await.unwrap();
        other.enqueue(&[new_job("mail")]).await.unwrap();
        assert_eq!(stage.store().woken(&queue, before + 3).await, before + 4);
    });
}

#[test]
fn claims_use_the_connection_that_listens_and_another_while_it_is_away() {
    crate::block_on(async {
        let stage = OnPostgres::new("15", false).await;
        let other =
            Postgres::open(Target::parse(&stage.server.url("worker", "jobs")).unwrap()).await.unwrap();
        conformance::a_job_is_made_claimed_and_done(&stage).await;
        let store = stage.store();
        assert!(hears(store, &other, "mail", &[new_job("mail")]).await);
        let worker = crate::races::worker(1);
        store.register(&worker).await.unwrap();
        let ask = Ask {
            queue: QueueName::new("mail").unwrap(),
            most: 9,
            incarnation: worker.incarnation,
            reap_after: None,
        };
        assert_eq!(store.claim(&ask).await.unwrap().len(), 1);
        // The claim was the last that it did, and nothing but claims.
        let claims =
            "SELECT pid FROM pg_stat_activity WHERE query LIKE 'WITH rules AS%' AND usename = 'worker'";
        let listening = stage.server.sql("jobs", claims);
        let all = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'worker'";
        assert_eq!(stage.server.sql("jobs", all), "3", "two of this store, one of the other");
        stage.server.sql("jobs", &format!("SELECT pg_terminate_backend({listening}, 10000)"));
        other.enqueue(&[new_job("mail")]).await.unwrap();
        let claimed = loop {
            match store.claim(&ask).await {
                Ok(claimed) => break claimed,
                Err(error) => {
                    assert!(matches!(error, Error::Unreachable { .. } | Error::Unknown { .. }), "{error}")
                }
            }
        };
        assert_eq!(claimed.len(), 1);
        assert!(hears(store, &other, "mail", &[new_job("mail")]).await, "it listens again");
    });
}

#[test]
fn a_queue_whose_rules_an_earlier_version_let_in_can_be_paused_and_resumed_and_not_be_set_so() {
    crate::block_on(async {
        let stage = OnPostgres::new("15", false).await;
        let (store, by) = (stage.store(), crate::faults::by());
        let name = QueueName::new("mail").unwrap();
        store.set_queue(&Queue::new(name), &by).await.unwrap();
        stage.server.sql("jobs", "UPDATE palisade_jobs.queue SET backoff_first_ms = backoff_most_ms + 1");
        crate::rules_that_are_not_sound_stay(store).await;
    });
}

/// Looks again and again, while the store's own tasks go on.
async fn until(server: &Server, sql: &str, expected: &str) {
    let looking = async {
        while server.sql("jobs", sql) != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(60), looking).await;
    assert!(found.is_ok(), "waited in vain for {expected}: {sql}");
}

#[test]
fn a_call_that_was_given_up_leaves_the_server_and_is_not_carried_out_later() {
    crate::block_on(async {
        let stage = OnPostgres::new("15", false).await;
        let store = stage.store();
        let worker = crate::races::worker(1);
        store.register(&worker).await.unwrap();
        let queue = QueueName::new("mail").unwrap();
        store.enqueue(&[new_job("mail")]).await.unwrap();
        let ask = Ask { queue, most: 9, incarnation: worker.incarnation, reap_after: None };
        let mut holder = stage.server.session("postgres", "jobs");
        holder.ask("BEGIN; LOCK palisade_jobs.job_ready");
        // As a worker does that waits for 5 s each time: none of them may pile up at the server.
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'worker' AND wait_event_type = 'Lock'";
        for _ in 0..2 {
            tokio::select! {
                claimed = store.claim(&ask) => panic!("it did not wait: {claimed:?}"),
                () = until(&stage.server, waiting, "1") => {}
            }
            until(&stage.server, waiting, "0").await;
        }
        holder.ask("ROLLBACK");
        assert_eq!(store.claim(&ask).await.unwrap().len(), 1, "nobody else was given the job");
    });
}

#[test]
fn a_claim_leaves_the_connection_that_listens_to_the_claim_that_has_it() {
    crate::block_on(async {
        let stage = OnPostgres::new("18", false).await;
        let other =
            Postgres::open(Target::parse(&stage.server.url("worker", "jobs")).unwrap()).await.unwrap();
        let store = stage.store();
        assert!(hears(store, &other, "mail", &vec![new_job("mail"); 4]).await);
        let worker = crate::races::worker(1);
        store.register(&worker).await.unwrap();
        let queue = QueueName::new("mail").unwrap();
        let ask = Ask { queue, most: 1, incarnation: worker.incarnation, reap_after: None };
        assert_eq!(store.claim(&ask).await.unwrap().len(), 1);
        let claimed =
            "SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE query LIKE 'WITH rules AS%'";
        let listening = stage.server.sql("jobs", claimed);
        let mut lock = stage.server.session("worker", "jobs");
        lock.ask("BEGIN; LOCK TABLE palisade_jobs.job_ready");
        let mut claims = tokio::task::JoinSet::new();
        for _ in 0..2 {
            let (store, ask) = (store.clone(), ask.clone());
            claims.spawn(async move { store.claim(&ask).await.unwrap().len() });
        }
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'WITH rules AS%'";
        let mut looks = 0;
        while stage.server.sql("jobs", waiting) != "2" {
            looks += 1;
            assert!(looks < 600, "one claim waits for the connection of the other");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        lock.ask("COMMIT");
        assert_eq!(claims.join_all().await, [1, 1]);
        // Whoever looks takes another: after that only claims have used this one, and the next does.
        store.queues().await.unwrap();
        assert_eq!(store.claim(&ask).await.unwrap().len(), 1);
        assert_eq!(stage.server.sql("jobs", claimed), listening);
    });
}

#[test]
fn through_a_pooler_nobody_listens() {
    crate::block_on(async {
        let stage = OnPostgres::new("15", true).await;
        let queue = QueueName::new("mail").unwrap();
        let woken = stage.store().woken(&queue, 0);
        // Until it has looked, and given up.
        let looked = async {
            let mut rounds = 0;
            while rounds < 20 {
                stage.store().enqueue(&[new_job("mail")]).await.unwrap();
                rounds += 1;
            }
        };
        tokio::select! {
            _ = woken => panic!("it was called through a pooler"),
            () = looked => {}
        }
        let listens = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
        assert_eq!(stage.server.sql("jobs", listens), "0");
    });
}
