//! The leases beside a store of jobs.

use std::path::Path;

use palisade_lease::{Acquired, Held, Holder, LeaseStore, Name, Seen, Term, Ttl};
use palisade_postgres::Target;

use super::{Error, PostgresLeases, SqliteLeases};

/// The leases that a store of jobs keeps, whichever store it is.
#[derive(Debug)]
pub enum Leases {
    /// In its file.
    Sqlite(SqliteLeases),
    /// In its database.
    Postgres(Box<PostgresLeases>),
}

impl Leases {
    /// Those of the store at `sqlite:PATH` or `postgres://...`, which has to be there already: opening the store
    /// makes their table.
    ///
    /// # Errors
    /// As each of them.
    pub fn of(url: &str) -> Result<Self, Error> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            return SqliteLeases::open(Path::new(path)).map(Self::Sqlite);
        }
        let leases = PostgresLeases::new(Target::parse(url)?, "palisade_jobs");
        Ok(Self::Postgres(Box::new(leases)))
    }
}

/// The same call on whichever it is.
macro_rules! on {
    ($leases:expr, $inner:ident => $call:expr) => {
        match $leases {
            Leases::Sqlite($inner) => $call.await,
            Leases::Postgres($inner) => $call.await,
        }
    };
}

impl LeaseStore for Leases {
    type Error = Error;

    async fn acquire(&self, name: &Name, holder: &Holder, ttl: Ttl) -> Result<Acquired, Error> {
        on!(self, leases => leases.acquire(name, holder, ttl))
    }

    async fn renew(&self, held: &Held, ttl: Ttl) -> Result<bool, Error> {
        on!(self, leases => leases.renew(held, ttl))
    }

    async fn release(&self, held: &Held) -> Result<bool, Error> {
        on!(self, leases => leases.release(held))
    }

    async fn show(&self, name: &Name) -> Result<Option<Seen>, Error> {
        on!(self, leases => leases.show(name))
    }

    async fn list(&self) -> Result<Vec<Seen>, Error> {
        on!(self, leases => leases.list())
    }

    async fn after_restore(&self, shown: Term) -> Result<Vec<Seen>, Error> {
        on!(self, leases => leases.after_restore(shown))
    }
}
