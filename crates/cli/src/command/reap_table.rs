//! `palisade reaper run --table`: the judge of a guarded table's silent jobs, from its election to its end.

mod pass;

use std::time::Duration;

use palisade_core::text::Shown;
use palisade_core::{Actor, AppName, Code, EnvironmentName, Exit};
use palisade_dbguard::columns::Columns;
use palisade_dbguard::proof::AppKey;
use palisade_dbguard::reap::{self, Look, Running, Silence};
use palisade_dbguard::{Installed, Mode, Table};
use palisade_host::clock::{self, Stopwatch};
use palisade_host::random;
use palisade_jobs::Note;
use palisade_jobs::reaper::{Held, Judge, Limits, Remembered, Ruling, Subject, Sweep};
use palisade_lease::{Acquired, Held as Lease, Holder, LeaseStore as _, Name, Ttl};
use palisade_postgres::{Identity, Session, Target, identify};
use palisade_store::lease::PostgresLeases;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::args::reaper::RunArgs;
use crate::command::db::{reach_to_write, target};
use crate::command::identity::{read, unusable};
use crate::command::reaper::{SCHEMA, limits, name_of};
use crate::command::undo::guard_of;
use crate::failure::Failure;
use crate::output::Output;
use crate::session::Session as Host;

/// How long one question to the database may take.
const PATIENCE: Duration = Duration::from_secs(10);

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
    /// What proves who this is, where the guard or the history shall know.
    key: Option<AppKey>,
    by: Note,
    dry: bool,
}

pub(crate) async fn run(output: Output, args: &RunArgs, table: &str) -> Result<Exit, Failure> {
    if args.requeue_to.is_none() && !args.dry_run {
        let hint = "give --requeue-to STATE, or --dry-run to look only";
        return Err(Failure::usage("to which state is a reaped job of this table given back?").hint(hint));
    }
    let (session, identity) = reach_to_write(output, &args.database).await?;
    let (table, guard) = guard_of(&session, table).await?;
    let columns = reap::columns(&guard, &table)?;
    if let Some(to) = &args.requeue_to {
        reap::check_state(&guard, &table, &columns, to)?;
    }
    let host = Host::open()?;
    let key = args.key_file.as_deref().map(|path| key_for(path, &identity)).transpose()?;
    if guard.identity_required && key.is_none() {
        return Err(Failure::usage(format!("{} asks for an identity", table.shown()))
            .code(Code::IdentityRequired)
            .hint(
                "make one: palisade db key create --app APP --key FILE, and name it with --key-file FILE",
            ));
    }
    let bench = Bench {
        output,
        args,
        target: target(output, args.database.database.as_deref())?,
        lineage: lineage(&identity),
        database: identity.id,
        reap_after: threshold(args, &guard)?,
        limits: limits(&args.judge, Duration::ZERO)?,
        by: note(&host, args, key.as_ref())?,
        dry: args.dry_run || guard.rules.mode == Mode::Observe,
        guard,
        table,
        columns,
        host,
        key,
    };
    if let Err(error) = reap::prepare(&session).await {
        output.talk(format!("each term begins from nothing: {error}"));
    }
    if bench.dry && !args.dry_run {
        output.talk("the guard is in observe: what would be reaped is told, and nothing is reaped");
    }
    bench.sit(session).await
}

/// A key of this database: with another one every reap would be refused.
fn key_for(path: &std::path::Path, identity: &Identity) -> Result<AppKey, Failure> {
    let key = read(path)?;
    match key.database == identity.id {
        true => Ok(key),
        false => {
            Err(unusable(path, &format!("is for database {}, and this is {}", key.database, identity.id)))
        }
    }
}

fn lineage(identity: &Identity) -> String {
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

/// Who judges: as its key says, else as the variables do.
fn note(host: &Host, args: &RunArgs, key: Option<&AppKey>) -> Result<Note, Failure> {
    let actor: Actor = host.actor()?;
    let named = |variable: &str| host.environment.text(variable).filter(|name| !name.is_empty());
    let bad = |error: palisade_core::name::NameError| Failure::usage(error.to_string());
    let (app, environment) = match key {
        Some(key) => (Some(key.app.clone()), Some(key.environment.clone())),
        None => {
            let app = named("PALISADE_APP").map(|name| AppName::new(&name)).transpose().map_err(bad)?;
            let environment = named("PALISADE_ENVIRONMENT").map(|name| EnvironmentName::new(&name));
            let environment = environment.transpose().map_err(bad)?;
            (app, args.database.environment.clone().or(environment))
        }
    };
    Ok(Note {
        app,
        environment,
        version: Some(concat!("palisade ", env!("CARGO_PKG_VERSION")).to_owned()),
        host: palisade_host::context::host_name(),
        pid: std::process::id(),
        machine_id: actor.observed.machine_id.unwrap_or_else(palisade_host::context::host_name),
    })
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
        let (name, ttl) = (name_of(&self.table)?, Ttl::new(self.args.judge.lease));
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
            if pause(self.args.judge.sweep_every, &mut ends).await {
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
                if self.args.judge.lift_brake {
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
        // A large table takes longer to look at: what is charged is at most two sweeps, so nothing longer counts anyway.
        let patience = PATIENCE.max(self.args.judge.sweep_every * 2);
        let looked = match self.open(session).await {
            Some(open) => {
                let look = timeout(patience, reap::look(open, &self.guard, &self.table, &self.columns)).await;
                if look.is_err() {
                    let patience = humantime::format_duration(patience);
                    self.say(
                        "fault",
                        &format!(
                            "no look at the table within {patience}: a longer --sweep-every gives it more"
                        ),
                    );
                }
                look.ok()
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
            self.reap(open, term, &look, &ruling.condemned).await;
        }
    }

    fn seen(&self, look: &Look, asked: &Stopwatch, term: &Term) -> Sweep<String, String> {
        let subject = |running: &Running| Subject {
            key: running.key.clone(),
            counter: running.counter.clone(),
            reap_after: self.reap_after,
            fixed: false,
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
            canary: term.renewed.elapsed() <= self.args.judge.sweep_every * 2,
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
