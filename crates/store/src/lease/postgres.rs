//! Leases in PostgreSQL: each operation is one statement, so that it also works through a transaction pooler.
//!
//! Times are `clock_timestamp()`: `now()` is the start of the transaction, which may lie far back.

use std::time::Duration;

use palisade_lease::{Acquired, Grant, Held, Holder, LeaseStore, Name, Seen, Term, Ttl};
use palisade_postgres::{Row, Session, Target, identify};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Error;

/// How long one operation may take. A take-over waits for a transaction that writes under the old term.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a lease is asked for that nobody had when it was looked at and somebody when it was asked for.
const TRIES: usize = 8;

/// A row in the shape that [`seen`] reads, from the relation called `l`.
const FIELDS: &str = "l.name, l.term::text, l.holder, \
    greatest(0, extract(epoch FROM l.expires_at - clock_timestamp()) * 1000)::bigint::text, \
    (extract(epoch FROM clock_timestamp() - l.acquired_at) * 1000)::bigint::text, l.renewals::text";

/// The leases of one schema of one database.
#[derive(Debug)]
pub struct PostgresLeases {
    target: Target,
    schema: &'static str,
    /// Which database it was the first time. Another one is an error: its leases are others.
    expected: Mutex<Option<String>>,
    session: Mutex<Option<Session>>,
}

/// The table, for a schema that is there. Its owner is who runs this.
#[must_use]
pub fn table(schema: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {schema}.lease (\n  name text PRIMARY KEY,\n  term bigint NOT NULL,\n  \
         holder text NOT NULL,\n  acquired_at timestamptz NOT NULL,\n  expires_at timestamptz NOT NULL,\n  \
         renewals bigint NOT NULL DEFAULT 0,\n  UNIQUE (name, term)\n);\n"
    )
}

/// What the transaction that writes begins with: one row if `held` is in force, and none else. Until the
/// transaction ends nobody can take the lease over. Parameters: name, term, holder, all text.
#[must_use]
pub fn fence(schema: &str) -> String {
    format!(
        "SELECT l.term::text FROM {schema}.lease l WHERE l.name = $1 AND l.term = $2::bigint AND l.holder = $3 \
         AND l.expires_at > clock_timestamp() FOR KEY SHARE"
    )
}

impl PostgresLeases {
    /// The leases of `schema` in the database that `target` names. Connects when first asked, and again whenever the
    /// connection was lost; each time it is compared whether it is still the same database.
    #[must_use]
    pub fn new(target: Target, schema: &'static str) -> Self {
        Self { target, schema, expected: Mutex::new(None), session: Mutex::new(None) }
    }

    async fn ask(&self, what: &str, sql: &str, parameters: &[Option<&str>]) -> Result<Vec<Row>, Error> {
        let mut kept = self.session.lock().await;
        // Taken out, so that a future that is dropped in the middle leaves no connection with an answer to come.
        let session = match kept.take() {
            Some(session) => session,
            None => self.connect().await?,
        };
        let silent = |_| Error::Silent { store: self.target.to_string(), seconds: PATIENCE.as_secs() };
        let answer = timeout(PATIENCE, session.ask(what, sql, parameters)).await.map_err(silent)?;
        if answer.as_ref().map_or_else(outlived, |_| true) {
            *kept = Some(session);
        }
        Ok(answer?)
    }

    async fn connect(&self) -> Result<Session, Error> {
        let (session, identity) = identify(&self.target).await?;
        let mut expected = self.expected.lock().await;
        identity.expect(expected.as_deref())?;
        expected.get_or_insert(identity.id);
        Ok(session)
    }
}

impl LeaseStore for PostgresLeases {
    type Error = Error;

    async fn acquire(&self, name: &Name, holder: &Holder, ttl: Ttl) -> Result<Acquired, Error> {
        // Who cannot get it takes no lock: a contender must not stand in the way of its holder.
        let sql = format!(
            "WITH tried AS (\
               INSERT INTO {schema}.lease AS l (name, term, holder, acquired_at, expires_at, renewals) \
               SELECT $1, 1, $2, clock_timestamp(), clock_timestamp() + {ttl}, 0 \
               WHERE NOT EXISTS (SELECT FROM {schema}.lease h WHERE h.name = $1 AND h.holder <> $2 \
                 AND h.expires_at > clock_timestamp()) \
               ON CONFLICT (name) DO UPDATE SET term = l.term + 1, holder = $2, acquired_at = clock_timestamp(), \
                 expires_at = clock_timestamp() + {ttl}, renewals = 0 \
                 WHERE l.expires_at <= clock_timestamp() OR l.holder = $2 \
               RETURNING l.*) \
             SELECT 'granted', {FIELDS} FROM tried l \
             UNION ALL SELECT 'busy', {FIELDS} FROM {schema}.lease l \
               WHERE l.name = $1 AND NOT EXISTS (SELECT FROM tried)",
            schema = self.schema,
            ttl = "$3::bigint * interval '1 millisecond'",
        );
        let ms = ttl.ms().to_string();
        let parameters = [Some(name.as_str()), Some(holder.as_str()), Some(ms.as_str())];
        let mut last = None;
        for _ in 0..TRIES {
            let rows = self.ask("grant a lease", &sql, &parameters).await?;
            let Some(row) = rows.first() else { continue };
            let seen = seen(self, &row[1..])?;
            if row[0].as_deref() == Some("granted") {
                let held = Held { name: seen.name, term: seen.term, holder: seen.holder };
                return Ok(Acquired::Granted(Grant { held, ttl }));
            }
            let valid = seen.valid_for.is_some();
            last = Some(seen);
            if valid {
                break;
            }
        }
        last.map(Acquired::Busy).ok_or_else(|| damaged(self, "it comes and goes while it is asked for"))
    }

    async fn renew(&self, held: &Held, ttl: Ttl) -> Result<bool, Error> {
        let sql = format!(
            "UPDATE {}.lease l SET expires_at = clock_timestamp() + $4::bigint * interval '1 millisecond', \
             renewals = l.renewals + 1 WHERE {} RETURNING l.name",
            self.schema, OWN
        );
        let (term, ms) = (held.term.to_string(), ttl.ms().to_string());
        let parameters =
            [Some(held.name.as_str()), Some(term.as_str()), Some(held.holder.as_str()), Some(ms.as_str())];
        Ok(!self.ask("renew a lease", &sql, &parameters).await?.is_empty())
    }

    async fn release(&self, held: &Held) -> Result<bool, Error> {
        let sql = format!(
            "UPDATE {}.lease l SET expires_at = clock_timestamp() WHERE {} RETURNING l.name",
            self.schema, OWN
        );
        let term = held.term.to_string();
        let parameters = [Some(held.name.as_str()), Some(term.as_str()), Some(held.holder.as_str())];
        Ok(!self.ask("release a lease", &sql, &parameters).await?.is_empty())
    }

    async fn show(&self, name: &Name) -> Result<Option<Seen>, Error> {
        let sql = format!("SELECT {FIELDS} FROM {}.lease l WHERE l.name = $1", self.schema);
        let rows = self.ask("show a lease", &sql, &[Some(name.as_str())]).await?;
        rows.first().map(|row| seen(self, row)).transpose()
    }

    async fn list(&self) -> Result<Vec<Seen>, Error> {
        let sql = format!("SELECT {FIELDS} FROM {}.lease l ORDER BY l.name COLLATE \"C\"", self.schema);
        let rows = self.ask("list leases", &sql, &[]).await?;
        rows.iter().map(|row| seen(self, row)).collect()
    }

    async fn after_restore(&self, shown: Term) -> Result<Vec<Seen>, Error> {
        let sql = format!(
            "UPDATE {}.lease SET term = greatest(term, $1::bigint) + {}, \
             expires_at = least(expires_at, clock_timestamp())",
            self.schema,
            palisade_lease::rule::RESTORED,
        );
        let shown = shown.to_string();
        self.ask("raise the terms", &sql, &[Some(shown.as_str())]).await?;
        self.list().await
    }
}

/// Whether a connection is as good as before an error: of the server, and not that the server is about to end it.
fn outlived(error: &palisade_postgres::Error) -> bool {
    error.sqlstate().is_some_and(|state| !state.starts_with("57P") && !state.starts_with("08"))
}

/// That a lease is of the holder and term in the first three parameters, and not over.
const OWN: &str =
    "l.name = $1 AND l.term = $2::bigint AND l.holder = $3 AND l.expires_at > clock_timestamp()";

fn seen(store: &PostgresLeases, row: &[Option<String>]) -> Result<Seen, Error> {
    let text = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
    let number = |at: usize| text(at).parse::<i64>().map_err(|_| damaged(store, "a number is none"));
    let name = Name::new(text(0)).map_err(|error| damaged(store, &error.to_string()))?;
    let holder = Holder::new(text(2)).map_err(|error| damaged(store, &error.to_string()))?;
    let unsigned = |number: i64| u64::try_from(number).ok();
    Ok(Seen {
        name,
        term: Term::new(unsigned(number(1)?).ok_or_else(|| damaged(store, "a term is below zero"))?),
        holder,
        valid_for: unsigned(number(3)?).filter(|ms| *ms > 0).map(Duration::from_millis),
        acquired: unsigned(number(4)?).map(Duration::from_millis),
        renewals: unsigned(number(5)?).unwrap_or_default(),
    })
}

fn damaged(store: &PostgresLeases, problem: &str) -> Error {
    Error::Damaged { store: store.target.to_string(), problem: problem.to_owned() }
}
