//! `palisade reaper`: the elected judge of a guarded table's silent jobs.

use std::time::Duration;

use palisade_core::record::{Act, Administered, Event, Phase};
use palisade_core::text::Shown;
use palisade_core::{Actor, Exit};
use palisade_dbguard::columns::Columns;
use palisade_dbguard::reap::{self, Fence, Look, Reaped, Running, Silence};
use palisade_dbguard::{Installed, Mode, Table};
use palisade_host::clock::{self, Stopwatch};
use palisade_host::random;
use palisade_jobs::Note;
use palisade_jobs::reaper::{
    Condemned, Held, Judge, Limits, Reaper, Reason, Remembered, Ruling, Subject, Sweep,
};
use palisade_lease::{Acquired, Held as Lease, Holder, LeaseStore as _, Name, Ttl};
use palisade_pipeline::announce::announce;
use palisade_postgres::{Session, Target, identify};
use palisade_store::lease::PostgresLeases;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::args::reaper::{ReaperCommand, RunArgs, StatusArgs};
use crate::command::db::{reach, reach_to_write, target};
use crate::command::undo::guard_of;
use crate::failure::Failure;
use crate::output::{BAD, GOOD, Output, styled};
use crate::session::Session as Host;

/// How long one question to the database may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The schema in which a guard keeps its leases.
const SCHEMA: &str = "palisade";

pub(crate) async fn reaper(output: Output, command: &ReaperCommand) -> Result<Exit, Failure> {
    match command {
        ReaperCommand::Run(args) => run(output, args).await,
        ReaperCommand::Status(args) => status(output, args).await,
    }
}

fn name_of(table: &Table) -> Result<Name, Failure> {
    Name::new(&format!("reaper/{}", table.shown())).map_err(|error| Failure::usage(error.to_string()))
}

/// What is judged, and as whom.
struct Bench<'a> {
    output: Output,
    args: &'a RunArgs,
    target: Target,
    /// Which database it has to be each time.
    database: String,
    /// The database with its timeline: after a restore or a promotion all silence begins anew.
    lineage: String,
    guard: Installed,
    table: Table,
    columns: Columns,
    reap_after: Duration,
    limits: Limits,
    host: Host,
    by: Note,
    dry: bool,
}

async fn run(output: Output, args: &RunArgs) -> Result<Exit, Failure> {
    let (session, identity) = reach_to_write(output, &args.database).await?;
    let (table, guard) = guard_of(&session, &args.table).await?;
    let columns = reap::columns(&guard, &table)?;
    if let Some(to) = &args.requeue_to {
        reap::check_state(&guard, &table, &columns, to)?;
    }
    let host = Host::open()?;
    let bench = Bench {
        output,
        args,
        target: target(output, args.database.database.as_deref())?,
        lineage: lineage(&identity),
        database: identity.id,
        reap_after: threshold(args, &guard)?,
        limits: limits(args)?,
        by: note(&host.actor()?),
        dry: args.dry_run || guard.rules.mode == Mode::Observe,
        guard,
        table,
        columns,
        host,
    };
    if let Err(error) = reap::prepare(&session).await {
        output.talk(format!("each term begins from nothing: {error}"));
    }
    if bench.dry && !args.dry_run {
        output.talk("the guard is in observe: what would be reaped is told, and nothing is reaped");
    }
    bench.sit(session).await
}

fn lineage(identity: &palisade_postgres::Identity) -> String {
    format!("{} {:?}", identity.id, identity.server.timeline)
}

/// The guard's own rule, or a longer one.
fn threshold(args: &RunArgs, guard: &Installed) -> Result<Duration, Failure> {
    let rule = guard.rules.min_age;
    let asked = args.reap_after.unwrap_or(rule);
    let shown = |span| humantime::format_duration(span).to_string();
    if asked < rule {
        let hint = "change the rule in the database: palisade guard install table ... --min-age TIME";
        let said =
            format!("--reap-after {} is shorter than the guard's rule of {}", shown(asked), shown(rule));
        return Err(Failure::usage(said).hint(hint));
    }
    if asked < args.beat_every * 3 {
        let said =
            format!("a threshold of {} is less than three beats of {}", shown(asked), shown(args.beat_every));
        return Err(Failure::usage(said).hint("say how often jobs beat: --beat-every TIME"));
    }
    Ok(asked)
}

fn limits(args: &RunArgs) -> Result<Limits, Failure> {
    let limits = Limits {
        sweep_every: args.sweep_every,
        floor: Duration::ZERO,
        reconnect_grace: args.reconnect_grace,
        brake_least: args.brake_least,
        brake_percent: args.brake_percent,
    };
    limits.check().map_err(|error| Failure::usage(error.to_string()))?;
    Ok(limits)
}

fn note(actor: &Actor) -> Note {
    let observed = &actor.observed;
    Note {
        app: None,
        environment: None,
        version: Some(concat!("palisade ", env!("CARGO_PKG_VERSION")).to_owned()),
        host: palisade_host::context::host_name(),
        pid: std::process::id(),
        machine_id: observed.machine_id.clone().unwrap_or_else(palisade_host::context::host_name),
    }
}

/// One term: the lease, until when it may be used, and the judge.
struct Term {
    lease: Lease,
    renewed: Stopwatch,
    judge: Judge<String, String>,
    held: Option<Held>,
}

impl Bench<'_> {
    /// Sits until it is told to end.
    async fn sit(self, session: Session) -> Result<Exit, Failure> {
        let leases = PostgresLeases::new(self.target.clone(), SCHEMA);
        let (name, ttl) = (name_of(&self.table)?, Ttl::new(self.args.lease));
        let ttl = ttl.map_err(|error| Failure::usage(error.to_string()))?;
        let bits = u64::from_le_bytes(random::bytes::<8>()?);
        let holder = Holder::new(&format!("reaper-{}-{bits:016x}", std::process::id()));
        let holder = holder.map_err(|error| Failure::usage(error.to_string()))?;
        let mut ends = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        let (mut session, mut term) = (Some(session), None);
        let mut waits = false;
        loop {
            term = match term {
                Some(term) => self.renew(&leases, ttl, term).await,
                None => self.acquire(&leases, &name, &holder, ttl, &mut waits, &mut session).await,
            };
            if let Some(term) = &mut term {
                self.sweep(&mut session, term).await;
            }
            if pause(self.args.sweep_every, &mut ends).await {
                break;
            }
        }
        if let Some(term) = term {
            drop(leases.release(&term.lease).await);
        }
        self.output.talk("ended; the lease is free");
        Ok(Exit::Done)
    }

    async fn acquire(
        &self,
        leases: &PostgresLeases,
        name: &Name,
        holder: &Holder,
        ttl: Ttl,
        waits: &mut bool,
        session: &mut Option<Session>,
    ) -> Option<Term> {
        let renewed = Stopwatch::start();
        match leases.acquire(name, holder, ttl).await {
            Ok(Acquired::Granted(grant)) => {
                let mut judge = Judge::new(self.limits.clone(), self.recall(session).await);
                if self.args.lift_brake {
                    judge.lift_brake();
                }
                *waits = false;
                self.say("elected", &format!("term {}", grant.held.term));
                Some(Term { lease: grant.held, renewed, judge, held: None })
            }
            Ok(Acquired::Busy(seen)) => {
                if !std::mem::replace(waits, true) {
                    let said = format!("{} is the reaper, under term {}; waiting", seen.holder, seen.term);
                    self.say("waiting", &said);
                }
                None
            }
            Err(error) => {
                self.say("fault", &error.to_string());
                None
            }
        }
    }

    async fn recall(&self, session: &mut Option<Session>) -> Vec<Remembered<String, String>> {
        let Some(open) = self.open(session).await else { return Vec::new() };
        let silences = reap::recall(open, &self.guard, &self.lineage).await.unwrap_or_default();
        let remembered = silences.into_iter().map(|silence| Remembered {
            key: silence.key,
            counter: silence.counter,
            silent: Duration::from_micros(silence.silent_us),
        });
        remembered.collect()
    }

    /// The judge's own write. Without it a term ends by the judge's own clock.
    async fn renew(&self, leases: &PostgresLeases, ttl: Ttl, mut term: Term) -> Option<Term> {
        let asked = Stopwatch::start();
        match leases.renew(&term.lease, ttl).await {
            Ok(true) => term.renewed = asked,
            Ok(false) => {
                self.say("term over", "somebody else may be the reaper");
                return None;
            }
            Err(error) => {
                self.say("fault", &error.to_string());
                term.judge.could_not_see();
            }
        }
        (term.renewed.elapsed() < ttl.span()).then_some(term)
    }

    /// The open session, or a new one to the same database.
    async fn open<'s>(&self, session: &'s mut Option<Session>) -> Option<&'s Session> {
        if session.is_none() {
            let (opened, identity) = timeout(PATIENCE, identify(&self.target)).await.ok()?.ok()?;
            if identity.id != self.database || lineage(&identity) != self.lineage {
                self.say(
                    "fault",
                    "another database answers, or another timeline of it; start the reaper anew",
                );
                return None;
            }
            *session = Some(opened);
        }
        session.as_ref()
    }

    async fn sweep(&self, session: &mut Option<Session>, term: &mut Term) {
        let asked = Stopwatch::start();
        let looked = match self.open(session).await {
            Some(open) => {
                timeout(PATIENCE, reap::look(open, &self.guard, &self.table, &self.columns)).await.ok()
            }
            None => None,
        };
        let Some(Ok(look)) = looked else {
            if let Some(Err(error)) = looked {
                self.say("fault", &error.to_string());
            }
            *session = None;
            term.judge.could_not_see();
            return;
        };
        let ruling = term.judge.judge(&self.seen(&look, &asked, term));
        self.tell_held(term, &ruling);
        if let Some(open) = session.as_ref() {
            self.remember(open, &ruling).await;
            for condemned in &ruling.condemned {
                self.reap(open, term, &look, condemned).await;
            }
        }
    }

    fn seen(&self, look: &Look, asked: &Stopwatch, term: &Term) -> Sweep<String, String> {
        let subject = |running: &Running| Subject {
            key: running.key.clone(),
            counter: running.counter.clone(),
            reap_after: self.reap_after,
            beat_every: self.args.beat_every,
            proof: None,
            witnessed: false,
            progress: None,
        };
        Sweep {
            store_run: look.server_run,
            store_us: look.server_us,
            judge_us: clock::boot_ms() * 1000,
            took: asked.elapsed(),
            canary: term.renewed.elapsed() <= self.args.sweep_every * 2,
            subjects: look.running.iter().map(subject).collect(),
        }
    }

    fn tell_held(&self, term: &mut Term, ruling: &Ruling<String, String>) {
        if term.held != ruling.held {
            match ruling.held {
                Some(Held::Brake { suspects, most, population }) => self.say(
                    "held",
                    &format!("{suspects} of {population} are silent and at most {most} may be: that is a fault of ours, \
                     or look and use --lift-brake"),
                ),
                None => self.say("released", "few are silent again"),
            }
            term.held = ruling.held;
        }
    }

    async fn remember(&self, session: &Session, ruling: &Ruling<String, String>) {
        let silence = |row: &Remembered<String, String>| Silence {
            key: row.key.clone(),
            counter: row.counter.clone(),
            silent_us: u64::try_from(row.silent.as_micros()).unwrap_or(u64::MAX),
        };
        let silences: Vec<_> = ruling.remember.iter().map(silence).collect();
        let left = reap::remember(session, &self.guard, &self.lineage, &silences, &ruling.forget).await;
        if let (Err(error), false) = (left, silences.is_empty()) {
            self.output.talk(format!("the next term begins from nothing: {error}"));
        }
    }

    async fn reap(&self, session: &Session, term: &Term, look: &Look, condemned: &Condemned<String, String>) {
        let number = term.lease.term.number();
        let reaper = Reaper { by: self.by.clone(), term: number, policy: look.policy };
        let reason = Reason { ground: condemned.ground, reaper };
        let line = reason.to_string();
        let seen = Running { key: condemned.key.clone(), counter: condemned.counter.clone() };
        let Some(to) = self.args.requeue_to.as_deref().filter(|_| !self.dry) else {
            self.tell(&seen, "would be reaped", &line, &reason);
            return;
        };
        if !self.record(Phase::Begun, &seen, &line) {
            return;
        }
        let fence =
            Fence { lease: term.lease.name.as_str(), term: number, holder: term.lease.holder.as_str() };
        let reaped = reap::reap(session, &self.guard, &self.table, &self.columns, fence, &seen, (to, &line));
        let (result, said) = match timeout(PATIENCE, reaped).await {
            Ok(Ok(Reaped::Taken)) => ("reaped", line),
            Ok(Ok(Reaped::Refuted)) => ("refuted", "it beat or ended since".to_owned()),
            Ok(Ok(Reaped::TermOver)) => ("not reaped", "the term is over".to_owned()),
            Ok(Err(error)) => ("not reaped", error.to_string()),
            Err(_) => ("unknown", "no answer in time; the next look shows it".to_owned()),
        };
        let phase = if result == "reaped" { Phase::Done } else { Phase::Failed };
        self.tell(&seen, result, &said, &reason);
        self.record(phase, &seen, &format!("{result}: {said}"));
    }

    /// Records what is about to be done, or how it ended. False where that cannot be recorded, so that nothing is
    /// done: except on a host without a policy, which has no journal. The database has the reason in any case.
    fn record(&self, phase: Phase, seen: &Running, said: &str) -> bool {
        let place = format!("{} of {}", self.table.shown(), self.target);
        let details = vec![format!("job {}", Shown(&seen.key)), said.to_owned()];
        let line = format!("reap of job {} in {place}: {phase:?}: {said}", Shown(&seen.key));
        let event = Event::Administered(Administered { act: Act::Reap, phase, home: place, details });
        let policy = self.host.host_policy().ok().map(|host| host.reference().clone());
        let (Ok(op), Ok(actor)) = (random::operation_id(), self.host.actor()) else { return false };
        let announced = announce(&self.host.state, policy.as_ref(), op, actor, event, &line);
        match announced.journal {
            Ok(_) | Err(palisade_pipeline::Error::NoPolicy) => true,
            Err(error) => {
                self.say("journal", &format!("{error}; without its record nothing is reaped"));
                false
            }
        }
    }

    fn tell(&self, seen: &Running, result: &str, line: &str, reason: &Reason) {
        let document = json!({
            "result": result, "table": self.table.shown(), "job": seen.key, "reason": reason, "line": line,
        });
        let style = if result == "reaped" { GOOD } else { BAD };
        let told = self.output.document(&document).and_then(|()| {
            self.output.data(format!("{} job {}: {}", styled(style, result), Shown(&seen.key), Shown(line)))
        });
        // Nobody reads it any more: a reaper goes on all the same, for the database has the reason.
        drop(told);
    }

    fn say(&self, what: &str, line: &str) {
        self.output.talk(format!("{what}: {}", Shown(line)));
    }
}

/// Waits for the next sweep. True if it is to end.
async fn pause(span: Duration, [terminate, interrupt]: &mut [Signal; 2]) -> bool {
    tokio::select! {
        () = sleep(span) => false,
        _ = terminate.recv() => true,
        _ = interrupt.recv() => true,
    }
}

async fn status(output: Output, args: &StatusArgs) -> Result<Exit, Failure> {
    let (session, _) = reach(output, None, &args.database).await?;
    let (table, guard) = guard_of(&session, &args.table).await?;
    let columns = reap::columns(&guard, &table)?;
    let look = reap::look(&session, &guard, &table, &columns).await?;
    let leases = PostgresLeases::new(target(output, args.database.database.as_deref())?, SCHEMA);
    let lease = leases.show(&name_of(&table)?).await?;
    let after = humantime::format_duration(guard.rules.min_age).to_string();
    output.document(&json!({
        "table": table.shown(), "running": look.running.len(), "reap_after": after, "policy": look.policy,
        "lease": lease,
    }))?;
    output.data(format!(
        "{}: {} running, reaped after {after}",
        Shown(&table.shown()),
        look.running.len()
    ))?;
    let who = match &lease {
        Some(seen) if seen.valid_for.is_some() => format!("{} under term {}", seen.holder, seen.term),
        Some(seen) => format!("nobody; the last one was {} under term {}", seen.holder, seen.term),
        None => "nobody, ever".to_owned(),
    };
    output.data(format!("reaper: {who}"))?;
    Ok(Exit::Done)
}
