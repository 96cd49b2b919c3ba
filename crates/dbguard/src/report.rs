//! What a guard saw.

use std::time::Duration;

use palisade_postgres::{Row, Session};
use serde::Serialize;

use crate::error::Error;
use crate::installed::Installed;
use crate::table::text;

/// Equal findings of one client, together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The number behind `PAL-`.
    pub code: u16,
    /// Such as `running -> cancelled`.
    pub change: String,
    /// The name that the client gave itself: a claim.
    pub app: String,
    /// The role that it logged in as.
    pub role: String,
    /// From where; behind a pooler that is the pooler.
    pub address: String,
    /// How many jobs.
    pub jobs: u64,
    /// When the first.
    pub first: String,
    /// When the last.
    pub last: String,
    /// The statement without its values, of the last one.
    pub statement: String,
}

/// What passed and what would not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What broke a rule and was let through by observe mode.
    pub findings: Vec<Finding>,
    /// Exits that passed, by their ground, with their number.
    pub passed: Vec<(String, u64)>,
    /// How many refusals this database counted for all its guards. The count outlives the rollback of what was
    /// refused; after a crash it may jump ahead, and it never goes back.
    pub refused: u64,
}

const FINDINGS: &str = "SELECT h.code::text, coalesce(h.was || ' -> ' || h.became, h.event), coalesce(h.app, ''), \
    h.role, coalesce(host(h.address), 'local'), count(*)::text, min(h.at)::text, max(h.at)::text, \
    coalesce((array_agg(h.statement ORDER BY h.at DESC))[1], '') FROM palisade.history h \
    WHERE h.guard = $1::int AND h.code IS NOT NULL AND h.at > now() - $2::interval \
    GROUP BY 1, 2, 3, 4, 5 ORDER BY count(*) DESC, 1 LIMIT 100";

const PASSED: &str = "SELECT h.ground, count(*)::text FROM palisade.history h \
    WHERE h.guard = $1::int AND h.event = 'exit' AND h.code IS NULL AND h.at > now() - $2::interval \
    GROUP BY 1 ORDER BY count(*) DESC";

const REFUSED: &str = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM palisade.refused";

/// Reads what a guard saw within the last `since`.
///
/// # Errors
/// What the database says.
pub async fn report(session: &Session, guard: &Installed, since: Duration) -> Result<Report, Error> {
    let (id, since) = (guard.id.to_string(), format!("{} seconds", since.as_secs()));
    let parameters = [Some(id.as_str()), Some(since.as_str())];
    let findings = session.ask("read what it found", FINDINGS, &parameters).await?;
    let passed = session.ask("read what it let pass", PASSED, &parameters).await?;
    let refused = session.rows("read the count of refusals", REFUSED).await?;
    let number = |row: &Row, at: usize| text(row, at).parse().unwrap_or_default();
    Ok(Report {
        findings: findings.iter().map(finding).collect(),
        passed: passed.iter().map(|row| (text(row, 0), number(row, 1))).collect(),
        refused: refused.first().map_or(0, |row| number(row, 0)),
    })
}

fn finding(row: &Row) -> Finding {
    Finding {
        code: text(row, 0).parse().unwrap_or_default(),
        change: text(row, 1),
        app: text(row, 2),
        role: text(row, 3),
        address: text(row, 4),
        jobs: text(row, 5).parse().unwrap_or_default(),
        first: text(row, 6),
        last: text(row, 7),
        statement: text(row, 8),
    }
}
