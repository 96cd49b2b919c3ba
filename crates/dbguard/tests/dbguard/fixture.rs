//! A database with a jobs table of an app that knows nothing of Palisade.

use std::time::Duration;

use palisade_dbguard::script::{self, Columns, Named};
use palisade_dbguard::{Budget, Error, Installed, Mode, Patience, Rules, Table, installed, run};
use palisade_postgres::{Session, Target};
use palisade_testkit::psql::Said;
use palisade_testkit::{PgBouncer, Postgres, psql};

/// Whether the long form of a test was asked for: `./run trials` and `./run costs` do.
#[expect(clippy::disallowed_methods, reason = "how long a test runs is asked for from outside")]
pub(crate) fn at_length() -> bool {
    std::env::var_os("PALISADE_AT_LENGTH").is_some()
}

/// Runs one future to its end.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The incident's table, much as its app had it.
const TABLE: &str = "CREATE TYPE job_status AS ENUM ('queued', 'running', 'completed', 'failed', 'cancelled'); \
    CREATE TABLE backfill_jobs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text UNIQUE, \
    status job_status NOT NULL DEFAULT 'queued', heartbeat_at timestamptz, error text, cancelled_by text, \
    entities integer NOT NULL DEFAULT 0);";

/// The statement of the stale reaper: ten minutes instead of sixty, an old form of reason, no lock, no leader.
pub(crate) const REAPER: &str = "UPDATE backfill_jobs SET status = 'cancelled', \
    error = 'Abandoned (server restart or timeout)' \
    WHERE status = 'running' AND heartbeat_at < now() - interval '10 minutes'";

/// A server with the database `jobs`, whose table belongs to the role `app`, as in most small shops.
pub(crate) struct Jobs {
    pub(crate) server: Postgres,
    pooler: Option<PgBouncer>,
}

impl Jobs {
    /// Without a guard.
    pub(crate) fn unguarded(version: &'static str) -> Self {
        Self::on(Postgres::start(version))
    }

    /// Without a guard, on a server with further settings.
    pub(crate) fn unguarded_with(version: &'static str, settings: &[&str]) -> Self {
        Self::on(Postgres::start_with(version, settings))
    }

    /// With a guard in enforce, on a server with further settings.
    pub(crate) fn guarded_with(version: &'static str, settings: &[&str]) -> Self {
        let jobs = Self::on(Postgres::start_with(version, settings));
        jobs.guard(|_| {});
        jobs
    }

    fn on(server: Postgres) -> Self {
        server.role("app", "");
        server.sql("postgres", "CREATE DATABASE jobs");
        server.sql("jobs", "GRANT CREATE ON SCHEMA public TO app");
        server.as_role("app", "jobs", TABLE).succeeds();
        Self { server, pooler: None }
    }

    /// With a guard in enforce, installed by the superuser.
    pub(crate) fn guarded(version: &'static str) -> Self {
        Self::with(version, |_| {})
    }

    /// With a guard whose rules are changed first.
    pub(crate) fn with(version: &'static str, change: impl FnOnce(&mut Rules)) -> Self {
        let jobs = Self::unguarded(version);
        jobs.guard(change);
        jobs
    }

    pub(crate) fn guard(&self, change: impl FnOnce(&mut Rules)) {
        let mut rules = rules();
        change(&mut rules);
        self.install("public.backfill_jobs", &named(), &rules).unwrap();
        self.up_for_a_day();
    }

    /// A server that has just started lets nobody be silent for an hour: here it has run since yesterday.
    pub(crate) fn up_for_a_day(&self) {
        self.admin(
            "CREATE OR REPLACE FUNCTION palisade.started() RETURNS timestamptz LANGUAGE sql \
             AS $$ SELECT now() - interval '1 day' $$",
        );
    }

    pub(crate) fn install(&self, table: &str, named: &Named, rules: &Rules) -> Result<u32, Error> {
        self.install_as("postgres", table, named, rules)
    }

    pub(crate) fn install_as(
        &self,
        role: &str,
        table: &str,
        named: &Named,
        rules: &Rules,
    ) -> Result<u32, Error> {
        wait(async {
            let session = self.connect(role).await;
            let table = Table::find(&session, table).await?;
            rules.check()?;
            rules.check_patterns(&session).await?;
            let columns = Columns::of(&table, named, rules)?;
            let patience = Patience { attempts: 3, ..Patience::default() };
            let sql = script::install(&table, &columns, rules, patience.lock_timeout);
            run(&session, &table.shown(), "install", &sql, patience).await
        })
    }

    pub(crate) fn remove(&self, role: &str, table: &str, last: bool) -> Result<u32, Error> {
        wait(async {
            let session = self.connect(role).await;
            let table = Table::find(&session, table).await?;
            let patience = Patience { attempts: 3, ..Patience::default() };
            let sql = script::remove(&table, last, false, patience.lock_timeout);
            run(&session, &table.shown(), "remove", &sql, patience).await
        })
    }

    pub(crate) async fn connect(&self, role: &str) -> Session {
        Session::connect(&Target::parse(&self.server.url(role, "jobs")).unwrap()).await.unwrap()
    }

    pub(crate) fn guards(&self) -> Vec<Installed> {
        wait(async { installed(&self.connect("postgres").await).await }).unwrap()
    }

    /// Everything that the app does from here on goes through a transaction pooler.
    pub(crate) fn through_a_pooler(mut self) -> Self {
        self.pooler = Some(PgBouncer::before(&self.server, &["app"]));
        self
    }

    /// What the app says: production's own role and password, whoever really holds them.
    pub(crate) fn app(&self, sql: &str) -> Said {
        psql(&self.url(), sql)
    }

    pub(crate) fn url(&self) -> String {
        match &self.pooler {
            Some(pooler) => pooler.url("app", "jobs"),
            None => self.server.url("app", "jobs"),
        }
    }

    pub(crate) fn admin(&self, sql: &str) -> String {
        self.server.sql("jobs", sql)
    }

    /// Makes jobs `a`, `b`, ... run, each with a beat of that age; whatever was there before is gone.
    pub(crate) fn running(&self, jobs: usize, age: &str) {
        self.admin(&format!(
            "DO $$ DECLARE guarded boolean := to_regclass('palisade.guard') IS NOT NULL; BEGIN \
             IF guarded THEN ALTER TABLE backfill_jobs DISABLE TRIGGER palisade_rows; END IF; \
             DELETE FROM backfill_jobs; INSERT INTO backfill_jobs (name, status, heartbeat_at) \
             SELECT chr(96 + n), 'running', now() - interval '{age}' FROM generate_series(1, {jobs}) n; \
             IF guarded THEN ALTER TABLE backfill_jobs ENABLE ALWAYS TRIGGER palisade_rows; \
             DELETE FROM palisade.history; DELETE FROM palisade.job; \
             UPDATE palisade.slot SET taken_at = '-infinity'; END IF; END $$"
        ));
    }

    /// How many jobs are in that state.
    pub(crate) fn count(&self, status: &str) -> usize {
        self.admin(&format!("SELECT count(*) FROM backfill_jobs WHERE status::text = '{status}'"))
            .parse()
            .unwrap()
    }
}

pub(crate) fn named() -> Named {
    Named {
        status: "status".to_owned(),
        beat: "heartbeat_at".to_owned(),
        reason: Some("error".to_owned()),
        mark: Some("cancelled_by".to_owned()),
        ..Named::default()
    }
}

pub(crate) fn rules() -> Rules {
    let owned = |list: &[&str]| list.iter().map(|&state| state.to_owned()).collect();
    Rules {
        mode: Mode::Enforce,
        running: owned(&["running"]),
        done: owned(&["completed"]),
        own: owned(&["failed", "queued"]),
        min_age: Duration::from_secs(3600),
        quiet_after: Duration::from_secs(120),
        clock_skew: Duration::from_secs(60),
        reason: Some("^Reaper: [a-z0-9]+ ".to_owned()),
        mark: Some("^user:".to_owned()),
        budget: Budget { jobs: 3, window: Duration::from_secs(600) },
    }
}
