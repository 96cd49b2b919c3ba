//! Promises that a table's own history is held against: what happened last night, on the user's own database.
//!
//! * **S1**: no job was taken whose last beat was younger than the rule says, unless it was done or ended by its worker.
//! * **S2**: terms of reapers never fall, each belongs to one reaper, and is the one that the transaction proved, if it did.
//! * A job that a client other than its worker took bears a reason that says who took it.

use std::collections::BTreeMap;

use palisade_postgres::Session;
use serde::Serialize;

use crate::error::Error;
use crate::installed::Installed;
use crate::table::text;

/// An exit, as the guard recorded it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exit {
    /// The job.
    pub key: String,
    /// When.
    pub at: String,
    /// Why it passed.
    pub ground: String,
    /// The rule that it broke while the guard only observed.
    pub code: Option<u16>,
    /// How old the job's last beat was, in milliseconds; `None` if it never beat.
    pub age_ms: Option<i64>,
    /// The reason that was written.
    pub reason: Option<String>,
    /// The term that its transaction proved to hold, if any.
    pub term: Option<u64>,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// `S1`, `S2` or `reason`.
    pub property: &'static str,
    /// The job.
    pub key: String,
    /// When.
    pub at: String,
    /// What happened, in one sentence.
    pub said: String,
}

/// Every exit of a guarded table, oldest first.
///
/// # Errors
/// What the database says.
pub async fn exits(session: &Session, guard: &Installed) -> Result<Vec<Exit>, Error> {
    const EXITS: &str = "SELECT h.key, h.at::text, coalesce(h.ground, ''), coalesce(h.code, 0)::text, \
        (extract(epoch FROM h.age) * 1000)::bigint::text, h.reason, h.term::text FROM palisade.history h \
        WHERE h.guard = $1::integer AND h.event = 'exit' ORDER BY h.at, h.id";
    let rows = session.ask("read the history", EXITS, &[Some(&guard.id.to_string())]).await?;
    let exit = |row: &palisade_postgres::Row| Exit {
        key: text(row, 0),
        at: text(row, 1),
        ground: text(row, 2),
        code: text(row, 3).parse().ok().filter(|code| *code > 0),
        age_ms: text(row, 4).parse().ok(),
        reason: row.get(5).cloned().flatten(),
        term: text(row, 6).parse().ok(),
    };
    Ok(rows.iter().map(exit).collect())
}

/// Holds exits, oldest first, against what was promised.
#[must_use]
pub fn check(exits: &[Exit], min_age_ms: i64) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut reapers: BTreeMap<u64, &str> = BTreeMap::new();
    let mut highest = 0;
    for exit in exits {
        let mut breaks = |property, said: String| {
            broken.push(Broken { property, key: exit.key.clone(), at: exit.at.clone(), said });
        };
        let reap = exit.reason.as_deref().filter(|reason| reason.starts_with("reaped: "));
        let proven = reap.is_some_and(|reason| reason.contains("is dead for certain"));
        let own = matches!(exit.ground.as_str(), "done" | "own") && exit.code.is_none();
        // The guard itself gives a sixtieth: beats and looks fall between each other.
        let young = exit.age_ms.is_some_and(|age| age < min_age_ms - min_age_ms / 60);
        if young && !own && !proven {
            let age = exit.age_ms.unwrap_or_default() / 1000;
            breaks(
                "S1",
                format!("it was taken {age} s after its last beat, and the rule is {} s", min_age_ms / 1000),
            );
        }
        if !own && exit.reason.as_deref().and_then(reaper_of).is_none() {
            breaks(
                "reason",
                "it was taken by nobody's name: its reason does not end in `Reaper: MACHINE`".to_owned(),
            );
        }
        let Some((term, who)) = reap.and_then(|reason| Some((term_of(reason)?, judge_of(reason)?))) else {
            continue;
        };
        if exit.term.is_some_and(|proven| proven != term) {
            breaks("S2", format!("its reason names term {term}, and its transaction held another one"));
        }
        if term < highest {
            breaks("S2", format!("it was reaped under term {term} after term {highest} had begun to reap"));
        }
        if *reapers.entry(term).or_insert(who) != who {
            breaks("S2", format!("term {term} belonged to two reapers: {} and {who}", reapers[&term]));
        }
        highest = highest.max(term);
    }
    broken
}

fn reaper_of(reason: &str) -> Option<&str> {
    let (_, machine) = reason.rsplit_once("Reaper: ")?;
    (!machine.is_empty() && !machine.contains(char::is_whitespace)).then_some(machine)
}

/// `.., term 7, policy 3. Reaper: ..`
fn term_of(reason: &str) -> Option<u64> {
    reason.rsplit_once(", term ")?.1.split(',').next()?.parse().ok()
}

/// The host and process that reaped.
fn judge_of(reason: &str) -> Option<&str> {
    let (before, _) = reason.rsplit_once(", term ")?;
    Some(before.rsplit_once(" on ")?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn reaped(term: u64, pid: u32, age_ms: i64) -> Exit {
        let reason = format!(
            "reaped: silent for 1h 0m 4s of observed time, 1h 0m 4s of it seen by term {term} in 9 sweeps (rule: 1h); \
             1 of 1 others were alive; by shop 1 (production) on web-1, pid {pid}, term {term}, policy 3. Reaper: 9f2c"
        );
        Exit {
            key: "a".to_owned(),
            ground: "old".to_owned(),
            age_ms: Some(age_ms),
            reason: Some(reason),
            ..Exit::default()
        }
    }

    fn properties(exits: &[Exit]) -> Vec<&'static str> {
        check(exits, HOUR).iter().map(|broken| broken.property).collect()
    }

    #[test]
    fn an_honest_history_breaks_nothing() {
        let done = Exit { ground: "done".to_owned(), age_ms: Some(5), ..Exit::default() };
        let own = Exit { ground: "own".to_owned(), age_ms: Some(5), ..Exit::default() };
        let proven = "reaped: its worker is dead for certain (another boot); by shop 1 (production) on web-1, pid 1, term 9, policy 1. Reaper: m";
        let proven = Exit { reason: Some(proven.to_owned()), ..reaped(9, 1, 5) };
        let never = Exit { age_ms: None, ..reaped(9, 1, 0) };
        let honest =
            [reaped(7, 1, HOUR), done, reaped(7, 1, HOUR * 59 / 60), own, reaped(8, 2, HOUR), proven, never];
        assert_eq!(properties(&honest), [""; 0]);
    }

    #[test]
    fn each_broken_promise_is_named() {
        assert_eq!(properties(&[reaped(7, 1, HOUR / 6)]), ["S1"]);
        assert_eq!(properties(&[reaped(8, 1, HOUR), reaped(7, 2, HOUR)]), ["S2"]);
        assert_eq!(properties(&[reaped(7, 1, HOUR), reaped(7, 2, HOUR)]), ["S2"]);
        let zombie = Exit {
            code: Some(301),
            reason: Some("Abandoned (server restart or timeout)".to_owned()),
            ..reaped(1, 1, HOUR / 6)
        };
        assert_eq!(properties(std::slice::from_ref(&zombie)), ["S1", "reason"]);
        assert_eq!(properties(&[Exit { term: Some(8), ..reaped(7, 1, HOUR) }]), ["S2"]);
        assert_eq!(properties(&[Exit { term: Some(7), ..reaped(7, 1, HOUR) }]), [""; 0]);
        assert_eq!(properties(&[Exit { reason: None, ..reaped(1, 1, HOUR) }]), ["reason"]);
        let said = check(&[zombie], HOUR);
        assert_eq!(said[0].said, "it was taken 600 s after its last beat, and the rule is 3600 s");
    }
}
