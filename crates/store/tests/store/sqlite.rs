//! SQLite: the suite, and several processes at one file.

use palisade_core::QueueName;
use palisade_jobs::conformance::{self, Stage};
use palisade_jobs::{Error, JobId, JobStore as _, Queue};
use palisade_store::Sqlite;
use palisade_testkit::Scratch;
use rusqlite::{Connection, params};

struct OnSqlite {
    store: Sqlite,
    scratch: Scratch,
}

impl OnSqlite {
    async fn new() -> Self {
        let scratch = Scratch::new();
        let store = Sqlite::open(&scratch.join("jobs.db")).await.unwrap();
        Self { store, scratch }
    }

    fn beside(&self) -> Connection {
        let connection = Connection::open(self.scratch.join("jobs.db")).unwrap();
        connection.busy_timeout(palisade_testkit::PATIENCE).unwrap();
        connection
    }
}

impl Stage for OnSqlite {
    type Store = Sqlite;

    fn store(&self) -> &Sqlite {
        &self.store
    }

    async fn set_term(&self, term: u64) {
        let term = i64::try_from(term).unwrap();
        let put = "INSERT INTO lease VALUES ('reaper', ?1, 'stage', ?2, 0, 9000000000000, 0) \
            ON CONFLICT (name) DO UPDATE SET term = excluded.term";
        let boot = palisade_host::clock::boot_id().unwrap();
        self.beside().execute(put, params![term, boot]).unwrap();
    }

    async fn age(&self, job: JobId, ms: u64) {
        let ms = i64::try_from(ms).unwrap();
        let age = "UPDATE job SET ended_at = ended_at - ?2 WHERE id = ?1";
        self.beside().execute(age, params![job.0, ms]).unwrap();
    }
}

macro_rules! cases {
    ($($case:ident)*) => {
        $(#[test]
        fn $case() {
            crate::block_on(async {
                let stage = OnSqlite::new().await;
                conformance::$case(&stage).await;
            });
        })*
    };
}

palisade_jobs::conformance_cases!(cases);

#[test]
fn a_queue_whose_rules_an_earlier_version_let_in_can_be_paused_and_resumed_and_not_be_set_so() {
    crate::block_on(async {
        let stage = OnSqlite::new().await;
        let queue = Queue::new(QueueName::new("mail").unwrap());
        stage.store.set_queue(&queue, &crate::faults::by()).await.unwrap();
        let unsound = "UPDATE queue SET rules = json_set(rules, '$.backoff.first_ms', 7200000)";
        assert_eq!(stage.beside().execute(unsound, []).unwrap(), 1);
        crate::rules_that_are_not_sound_stay(&stage.store).await;
    });
}

#[test]
fn a_file_of_two_versions_later_or_of_something_else_is_refused_and_left_alone() {
    crate::block_on(async {
        let stage = OnSqlite::new().await;
        let open = || Sqlite::open(stage.store.path());
        stage.beside().execute("UPDATE meta SET value = 4 WHERE name = 'schema'", []).unwrap();
        open().await.unwrap();
        stage.beside().execute("UPDATE meta SET value = 5 WHERE name = 'schema'", []).unwrap();
        let refused = open().await.unwrap_err();
        assert!(matches!(&refused, Error::Version(text) if text.contains("version 5")), "{refused}");
        let other = stage.scratch.join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE users (name TEXT)").unwrap();
        let refused = Sqlite::open(&other).await.unwrap_err();
        assert!(matches!(&refused, Error::Version(text) if text.contains("something else")), "{refused}");
    });
}

#[test]
fn the_file_and_what_lies_beside_it_are_readable_for_their_user_only() {
    use std::os::unix::fs::PermissionsExt as _;
    crate::block_on(async {
        let stage = OnSqlite::new().await;
        conformance::a_job_is_made_claimed_and_done(&stage).await;
        let files = std::fs::read_dir(stage.scratch.path()).unwrap();
        for file in files.map(|file| file.unwrap()) {
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", file.path().display());
        }
    });
}
