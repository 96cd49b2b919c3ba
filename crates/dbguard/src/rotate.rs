//! Rotation of a role: a new one for the good code, and the old one loses first what can do harm, then its login.
//!
//! Each step is one transaction, is shown before it runs, says whom it would hit, and has a way back. Nothing that is
//! read back from the database is run as SQL: the way back is drawn from the catalogue again.

mod plan;
mod users;

use palisade_postgres::{Row, Session};
use serde::Serialize;

use crate::audit;
use crate::error::Error;
use crate::table::text;
use crate::work::settled;

pub use plan::{Plan, prepare, restrict, retire, undo};
pub use users::{User, users};

/// How far a rotation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// The new role has what the old one has.
    Prepared,
    /// The old role may not change guarded columns any more.
    Restricted,
    /// The old role may not log in any more.
    Retired,
}

impl Step {
    /// As the database keeps it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Restricted => "restricted",
            Self::Retired => "retired",
        }
    }
}

/// A rotation, as the database keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rotation {
    /// The role that goes.
    pub old: String,
    /// The role that comes.
    pub new: String,
    /// How far it has come.
    pub step: Step,
    /// When it began.
    pub begun_at: String,
    /// Oids of tables that the old role owned.
    #[serde(skip)]
    pub(crate) moved: Vec<u32>,
}

const ROTATIONS: &str = "SELECT old, new, step, begun_at, array_to_string(moved, ',') FROM palisade_audit.rotation \
    ORDER BY begun_at";

/// Rotations that are under way or done.
///
/// # Errors
/// What the database says.
pub async fn rotations(session: &Session) -> Result<Vec<Rotation>, Error> {
    let there = session.rows("look for rotations", "SELECT to_regclass('palisade_audit.rotation')").await?;
    if there.first().and_then(|row| row.first()).is_none_or(Option::is_none) {
        return Ok(Vec::new());
    }
    let rows = session.rows("list the rotations", ROTATIONS).await?;
    Ok(rows.iter().map(rotation).collect())
}

fn rotation(row: &Row) -> Rotation {
    Rotation {
        old: text(row, 0),
        new: text(row, 1),
        step: match text(row, 2).as_str() {
            "retired" => Step::Retired,
            "restricted" => Step::Restricted,
            _ => Step::Prepared,
        },
        begun_at: text(row, 3),
        moved: text(row, 4).split(',').filter_map(|oid| oid.parse().ok()).collect(),
    }
}

/// The rotation of that role.
pub(crate) async fn of(session: &Session, old: &str) -> Result<Rotation, Error> {
    let found = rotations(session).await?.into_iter().find(|rotation| rotation.old == old);
    found.ok_or_else(|| Error::Rules {
        problem: format!(
            "no rotation of the role {old:?} has begun: palisade db rotate begin {old} --to NEW"
        ),
    })
}

/// Carries a step out, in one transaction, and looks whether it does what it shall before it is kept.
///
/// # Errors
/// [`Error::Barred`] where the old role keeps a right that the step takes, [`Error::Forbidden`], or what the database
/// says. Nothing of it stays then.
pub async fn carry_out(session: &Session, plan: &Plan) -> Result<(), Error> {
    audit::prepare(session).await?;
    settled(session, attempt(session, plan).await).await
}

async fn attempt(session: &Session, plan: &Plan) -> Result<(), Error> {
    // The lock of a table is waited for no longer than anybody else may wait behind it.
    let begin = format!("BEGIN;\nSET LOCAL lock_timeout = '2s';\n{}", plan.sql());
    session.run("rotate a role", &begin).await?;
    if let Some(check) = &plan.check {
        let kept = session.rows("look whether it worked", check).await?;
        if let Some(first) = kept.first() {
            return Err(Error::Barred {
                role: plan.old.clone(),
                problem: format!(
                    "it would still have {} on {}, through PUBLIC, a grant of somebody else or a role that it is a member of",
                    text(first, 1),
                    text(first, 0)
                ),
            });
        }
    }
    Ok(session.run("keep the step", "COMMIT").await?)
}
