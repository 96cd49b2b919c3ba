//! The environment stamp of a database, and whether it is this database's own.

use std::fmt;

use serde::Serialize;

use crate::error::Error;
use crate::identity::Server;
use crate::session::{Row, Session};

/// What a stamp is bound to: what copies of a database do not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// The cluster's identifier, where the server tells it.
    pub system_identifier: Option<String>,
    /// The database's oid.
    pub database_oid: u32,
    /// The timeline, where the server tells it.
    pub timeline: Option<u32>,
    /// The provider's branch; empty where there is none.
    pub branch: String,
}

impl Bound {
    /// What a stamp made now would be bound to.
    #[must_use]
    pub fn of(server: &Server) -> Self {
        let id = |name: &str| server.provider_ids.iter().find(|(known, _)| known == name);
        let branch = id("neon.branch_id").or_else(|| id("neon.timeline_id"));
        Self {
            system_identifier: server.system_identifier.clone(),
            database_oid: server.database_oid,
            timeline: server.timeline,
            branch: branch.map(|(_, value)| value.clone()).unwrap_or_default(),
        }
    }

    /// How the database that it was made for stands to the one that was reached.
    #[must_use]
    pub fn standing(&self, here: &Self) -> Standing {
        let differs = |one: &Option<String>, other: &Option<String>| matches!((one, other), (Some(one), Some(other)) if one != other);
        if differs(&self.system_identifier, &here.system_identifier) {
            Standing::OtherServer
        } else if self.database_oid != here.database_oid {
            Standing::OtherDatabase
        } else if self.branch != here.branch {
            Standing::OtherBranch
        } else if matches!((self.timeline, here.timeline), (Some(one), Some(other)) if one != other) {
            Standing::Promoted
        } else {
            Standing::Own
        }
    }
}

/// Whether a stamp belongs to the database that it is found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It was made for this database.
    Own,
    /// The database was promoted since: a failover, or a copy that was promoted.
    Promoted,
    /// It was made for a database of another server: a dump that was restored.
    OtherServer,
    /// It was made for another database of this server: a copy by template, or a dump that was restored.
    OtherDatabase,
    /// It was made for another branch of the provider.
    OtherBranch,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "its own",
            Self::Promoted => "it was promoted since: a failover, or a copy that was promoted",
            Self::OtherServer => "a copy: the stamp was made for a database of another server",
            Self::OtherDatabase => "a copy: the stamp was made for another database of this server",
            Self::OtherBranch => "a copy: the stamp was made for another branch of the provider",
        })
    }
}

/// The last sign of the agent that renews it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Beacon {
    /// Seconds since.
    pub age_s: u64,
    /// Seconds after which it is stale.
    pub max_age_s: u64,
    /// Who sends it.
    pub agent: String,
}

impl Beacon {
    /// Whether it has not come for too long.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.age_s > self.max_age_s
    }
}

/// A stamp, as the database has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stamp {
    /// The environment that the database belongs to.
    pub environment: String,
    /// What it was bound to.
    pub bound: Bound,
    /// When it was made, in seconds since 1970.
    pub stamped_at_s: u64,
    /// The role that made it.
    pub stamped_by: String,
    /// Its signature, as a note carries it: `NAME BASE64`.
    pub signature: Option<String>,
    /// Whether it is this database's own.
    pub standing: Standing,
    /// The beacon, where an agent sends one.
    pub beacon: Option<Beacon>,
}

impl Stamp {
    /// The text that is signed.
    #[must_use]
    pub fn text(environment: &str, bound: &Bound, stamped_at_s: u64) -> String {
        let system = bound.system_identifier.as_deref().unwrap_or("unknown");
        let timeline = bound.timeline.map_or_else(|| "unknown".to_owned(), |timeline| timeline.to_string());
        format!(
            "palisade-stamp/1\nenvironment {environment}\nsystem {system}\ndatabase {}\ntimeline {timeline}\nbranch {}\nat {stamped_at_s}\n",
            bound.database_oid, bound.branch
        )
    }

    /// The text that was signed.
    #[must_use]
    pub fn signed_text(&self) -> String {
        Self::text(&self.environment, &self.bound, self.stamped_at_s)
    }

    /// Ends with an error unless the database is one of these environments, itself and no copy.
    ///
    /// # Errors
    /// [`Error::Environment`] or [`Error::Copy`].
    pub fn expect(&self, environments: &[&str]) -> Result<(), Error> {
        if !environments.contains(&self.environment.as_str()) {
            return Err(Error::Environment {
                stamped: self.environment.clone(),
                expected: environments.join(" or "),
            });
        }
        if self.standing == Standing::Own {
            Ok(())
        } else {
            Err(Error::Copy { environment: self.environment.clone(), standing: self.standing })
        }
    }
}

const STAMP: &str = "SELECT s.environment, s.system_identifier, s.database_oid, s.timeline, s.branch, \
    extract(epoch FROM s.stamped_at)::bigint, s.stamped_by, s.signature, \
    greatest(extract(epoch FROM clock_timestamp() - b.at), 0)::bigint, extract(epoch FROM b.max_age)::bigint, b.agent \
    FROM palisade.stamp s LEFT JOIN palisade.beacon b ON true";

/// The stamp of the database behind a session, if it has one.
pub(crate) async fn read(session: &Session, here: &Bound) -> Result<Option<Stamp>, Error> {
    // Asked so, a role without rights on the schema gets an answer and no error.
    let there = "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = 'palisade' AND c.relname = 'stamp'";
    if session.rows("look for a stamp", there).await?.is_empty() {
        return Ok(None);
    }
    let rows = session.rows("read its stamp", STAMP).await?;
    Ok(rows.first().map(|row| stamp(row, here)))
}

fn stamp(row: &Row, here: &Bound) -> Stamp {
    let field = |at: usize| row.get(at).cloned().flatten();
    let text = |at: usize| field(at).unwrap_or_default();
    let bound = Bound {
        system_identifier: field(1),
        database_oid: text(2).parse().unwrap_or_default(),
        timeline: field(3).and_then(|timeline| timeline.parse().ok()),
        branch: text(4),
    };
    let beacon = field(10).map(|agent| Beacon {
        age_s: text(8).parse().unwrap_or(u64::MAX),
        max_age_s: text(9).parse().unwrap_or_default(),
        agent,
    });
    Stamp {
        environment: text(0),
        standing: bound.standing(here),
        bound,
        stamped_at_s: text(5).parse().unwrap_or_default(),
        stamped_by: text(6),
        signature: field(7),
        beacon,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound() -> Bound {
        Bound {
            system_identifier: Some("7".to_owned()),
            database_oid: 5,
            timeline: Some(1),
            branch: String::new(),
        }
    }

    #[test]
    fn each_kind_of_copy_stands_differently_and_what_is_unknown_is_not_held_against_it() {
        let here = |change: fn(&mut Bound)| {
            let mut here = bound();
            change(&mut here);
            bound().standing(&here)
        };
        assert_eq!(here(|_| {}), Standing::Own);
        assert_eq!(here(|here| here.system_identifier = Some("8".to_owned())), Standing::OtherServer);
        assert_eq!(here(|here| here.database_oid = 6), Standing::OtherDatabase);
        assert_eq!(here(|here| here.branch = "br-1".to_owned()), Standing::OtherBranch);
        assert_eq!(here(|here| here.timeline = Some(2)), Standing::Promoted);
        assert_eq!(here(|here| here.timeline = None), Standing::Own);
        assert_eq!(here(|here| here.system_identifier = None), Standing::Own);
    }

    #[test]
    fn every_part_of_a_stamp_is_in_what_is_signed() {
        let text = |change: fn(&mut Bound)| {
            let mut bound = bound();
            change(&mut bound);
            Stamp::text("production", &bound, 9)
        };
        let texts = [
            text(|_| {}),
            text(|bound| bound.system_identifier = None),
            text(|bound| bound.database_oid = 6),
            text(|bound| bound.timeline = Some(2)),
            text(|bound| bound.branch = "br".to_owned()),
            Stamp::text("test", &bound(), 9),
            Stamp::text("production", &bound(), 10),
        ];
        let different: std::collections::BTreeSet<_> = texts.iter().collect();
        assert_eq!(different.len(), texts.len());
    }
}
