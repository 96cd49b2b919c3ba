//! SQLite: the suite, and several processes at one file.

use palisade_jobs::JobId;
use palisade_jobs::conformance::{self, Stage};
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
