//! `palisade guard verify table`: whether guards still are what was installed, once or again and again.

use std::collections::BTreeSet;
use std::time::Duration;

use palisade_core::notice::{Kind, Notice};
use palisade_core::text::Shown;
use palisade_core::{Code, Exit};
use palisade_dbguard::partitions::{Covered, repair};
use palisade_dbguard::prune::overdue;
use palisade_dbguard::{Damage, Patience, Weakness, installed, verify, weaknesses};
use palisade_postgres::Identity;
use serde::Serialize;
use serde_json::json;
use tokio::signal::ctrl_c;
use tokio::time::sleep;

use crate::args::guard_table::VerifyTable;
use crate::command::db::{reach, reach_to_write};
use crate::command::notify;
use crate::failure::Failure;
use crate::output::{BAD, FAINT, GOOD, Output, styled};
use crate::session::Session as Host;

/// The shortest pause between two looks.
const SHORTEST: Duration = Duration::from_secs(1);

/// What one look came to.
#[derive(Debug, Serialize)]
struct Look {
    database: String,
    guards: usize,
    repaired: Vec<Covered>,
    damages: Vec<Damage>,
    weaknesses: Vec<Weakness>,
    code: Option<Code>,
}

/// Who is told, where anybody is.
struct Alerts {
    host: Host,
    receivers: palisade_core::notice::Receivers,
}

pub(crate) async fn check(output: Output, args: &VerifyTable) -> Result<Exit, Failure> {
    let alerts = if args.alert { Some(Alerts::open()?) } else { None };
    let Some(every) = args.every else {
        let look = look(output, args).await?;
        output.document(&look)?;
        text(output, &look)?;
        if let Some(alerts) = &alerts {
            alerts.tell(output, &look.damages.iter().map(Trouble::of).collect::<Vec<_>>(), &look.database);
        }
        return Ok(exit(&look, args.strict));
    };
    if every < SHORTEST {
        return Err(Failure::usage("--every is at least 1s"));
    }
    again(output, args, every, alerts.as_ref()).await
}

/// Looks until somebody interrupts; tells what is new, and what is well again.
async fn again(
    output: Output,
    args: &VerifyTable,
    every: Duration,
    alerts: Option<&Alerts>,
) -> Result<Exit, Failure> {
    let mut known: BTreeSet<Trouble> = BTreeSet::new();
    loop {
        // Each look connects anew: a database that sleeps meanwhile is let sleep, and one that failed over is found.
        let (now, database, last) = match look(output, args).await {
            Ok(look) => (troubles(&look, args.strict), look.database.clone(), exit(&look, args.strict)),
            Err(failure) => {
                let what = format!("cannot be looked at: {}", failure.message);
                let trouble = Trouble {
                    code: failure.code.unwrap_or(Code::Unreachable),
                    table: "(database)".to_owned(),
                    what,
                };
                ([trouble].into(), String::new(), failure.exit)
            }
        };
        let new: Vec<Trouble> = now.difference(&known).cloned().collect();
        for trouble in &new {
            change(output, "damaged", trouble)?;
        }
        for trouble in known.difference(&now) {
            change(output, "well again", trouble)?;
        }
        if let Some(alerts) = alerts {
            alerts.tell(output, &new, &database);
        }
        known = now;
        tokio::select! {
            _ = ctrl_c() => return Ok(last),
            () = sleep(every) => {}
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Trouble {
    code: Code,
    table: String,
    what: String,
}

impl Trouble {
    fn of(damage: &Damage) -> Self {
        Self { code: Code::GuardDamaged, table: damage.table.clone(), what: damage.problem.clone() }
    }
}

fn troubles(look: &Look, strict: bool) -> BTreeSet<Trouble> {
    let damages = look.damages.iter().map(Trouble::of);
    let weak = look.weaknesses.iter().filter(|_| strict).map(|weakness| Trouble {
        code: Code::GuardVoidable,
        table: weakness.table.clone(),
        what: weakness.problem.clone(),
    });
    damages.chain(weak).collect()
}

fn change(output: Output, word: &str, trouble: &Trouble) -> Result<(), Failure> {
    if output.json {
        return Output::json_line(&json!({ "change": word, "trouble": trouble }));
    }
    let style = if word == "damaged" { BAD } else { GOOD };
    output.data(format!(
        "{} [{}] {}: {}",
        styled(style, format!("{word}:")),
        trouble.code,
        Shown(&trouble.table),
        Shown(&trouble.what)
    ))
}

async fn look(output: Output, args: &VerifyTable) -> Result<Look, Failure> {
    let (session, identity) = match args.repair {
        true => reach_to_write(output, &args.database).await?,
        false => reach(output, None, &args.database).await?,
    };
    let guards = installed(&session).await?;
    let repaired = match args.repair && !guards.is_empty() {
        true => repair(&session, Patience::default()).await?,
        false => Vec::new(),
    };
    if !guards.is_empty()
        && let Some(oldest) = overdue(&session).await?
    {
        output.talk(format!("look: the history goes back to {oldest}: palisade guard prune table"));
    }
    let mut damages = verify(&session, &guards).await?;
    damages.extend(beacon(&identity));
    let weaknesses = weaknesses(&session, &guards).await?;
    let code = match (damages.is_empty(), weaknesses.is_empty()) {
        (false, _) => Some(Code::GuardDamaged),
        (true, false) => Some(Code::GuardVoidable),
        (true, true) => None,
    };
    Ok(Look { database: identity.id, guards: guards.len(), repaired, damages, weaknesses, code })
}

/// What a stamp says of itself: a copy, or an agent that sends no sign any more.
fn beacon(identity: &Identity) -> Option<Damage> {
    let beacon = identity.stamp.as_ref()?.beacon.as_ref()?;
    let of = |duration: u64| humantime::format_duration(Duration::from_secs(duration)).to_string();
    beacon.is_stale().then(|| Damage {
        table: "(database)".to_owned(),
        problem: format!(
            "the beacon of {} is {} old, and may be {}",
            beacon.agent,
            of(beacon.age_s),
            of(beacon.max_age_s)
        ),
        fix: "look whether its agent runs".to_owned(),
    })
}

fn exit(look: &Look, strict: bool) -> Exit {
    if look.damages.is_empty() && (look.weaknesses.is_empty() || !strict) {
        Exit::Done
    } else {
        Exit::VerificationFailed
    }
}

fn text(output: Output, look: &Look) -> Result<(), Failure> {
    for Covered { partition } in &look.repaired {
        output.data(format!("{} {}: TRUNCATE is guarded", styled(GOOD, "repaired:"), Shown(partition)))?;
    }
    for damage in &look.damages {
        change(output, "damaged", &Trouble::of(damage))?;
        output.data(format!("  fix: {}", Shown(&damage.fix)))?;
    }
    for weakness in &look.weaknesses {
        let Weakness { table, problem, fix } = weakness;
        output.data(format!(
            "{} [{}] {}: {}",
            styled(FAINT, "weak:"),
            Code::GuardVoidable,
            Shown(table),
            Shown(problem)
        ))?;
        output.data(format!("  fix: {}", Shown(fix)))?;
    }
    if look.damages.is_empty() {
        output.data(format!(
            "{} {} guarded tables, each as it was installed",
            styled(GOOD, "ok:"),
            look.guards
        ))?;
    }
    Ok(())
}

impl Alerts {
    fn open() -> Result<Self, Failure> {
        let host = Host::open()?;
        let receivers = host.host_policy()?.policy().notify.clone();
        if receivers.is_nobody() {
            return Err(Failure::new(
                Exit::Failure,
                format!("{} names nobody who is told", host.policy_path.display()),
            )
            .code(Code::NobodyToTell)
            .hint("add a section [notify] with `command` or `webhook`, or leave --alert out"));
        }
        Ok(Self { host, receivers })
    }

    fn tell(&self, output: Output, troubles: &[Trouble], database: &str) {
        for trouble in troubles {
            let resource = format!("table {} of database {database}", trouble.table);
            let notice = Notice::new(Kind::Fault, trouble.code, resource, &trouble.what);
            notify::tell(&self.host, output, &self.receivers, notice);
        }
    }
}
