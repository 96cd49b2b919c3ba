//! The running jobs of a guarded table as a reaper's docket.
//!
//! Each job is judged by itself: what changes with each beat is its heartbeat, and its threshold is the guard's rule of
//! age, or a longer one. A guard whose rules change is read anew, and so are the columns.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use palisade_core::Intended;
use palisade_core::text::Shown;
use palisade_host::clock::{self, Stopwatch};
use palisade_jobs::Note;
use palisade_jobs::reaper::{Condemned, Reaper, Reason, Remembered, Subject};
use palisade_lease::{Held, InvalidName, Name};
use palisade_postgres::{Identity, Session, Target, identify};
use palisade_reaper::{Answer, Docket, Job, Look, Of, Remembers, Taking};

use crate::columns::Columns;
use crate::error::Error;
use crate::installed::{Installed, guard_of};
use crate::proof::AppKey;
use crate::reap::{self, Beat, Fence, Reaped, Running, Silence, Wanted};
use crate::rules::Mode;
use crate::table::Table;

/// Refusals that are about who asks, and not about a job.
const OF_WHO: [&str; 3] = ["PL321", "PL322", "PL324"];
/// Classes of errors that may be about one job: the guard's own, of values, of constraints.
const OF_A_JOB: [&str; 3] = ["PL3", "22", "23"];

/// Who reaps a table, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The table, as SQL writes it.
    pub table: String,
    /// A longer silence than the guard's rule asks for.
    pub reap_after: Option<Duration>,
    /// How often a job beats.
    pub beat_every: Duration,
    /// The state that a reaped job is given back to; `None` only looks.
    pub to: Option<String>,
    /// What proves who reaps, where the guard or the history shall know.
    pub key: Option<AppKey>,
    /// Who reaps, as reasons name it.
    pub by: Note,
}

/// The running jobs of one table.
#[derive(Debug)]
pub struct Jobs {
    settings: Settings,
    target: Target,
    /// Which database it has to be each time.
    database: String,
    /// The database with its timeline: after a restore or a promotion all silence begins anew.
    lineage: String,
    anew: bool,
    guarded: Guarded,
    session: Option<Session>,
    /// Of keys of several columns, as the last look saw them.
    parts: HashMap<Arc<str>, Box<str>>,
}

/// The table, its guard, and what follows from both.
#[derive(Debug)]
struct Guarded {
    table: Table,
    guard: Installed,
    columns: Columns,
    reap_after: Duration,
    /// How often the guard's rules had been changed; `None` before the first look.
    policy: Option<u64>,
}

/// What the lease of a table's reaper is called.
///
/// # Errors
/// A table whose name is too long for that.
pub fn name_of(table: &Table) -> Result<Name, InvalidName> {
    Name::new(&format!("reaper/{}", table.shown()))
}

impl Guarded {
    async fn find(session: &Session, settings: &Settings) -> Result<Self, Error> {
        let (table, guard) = guard_of(session, &settings.table).await?;
        let columns = reap::columns(&guard, &table)?;
        if let Some(to) = &settings.to {
            reap::check_state(&guard, &table, &columns, to)?;
        }
        let reap_after = guard.rules.min_age.max(settings.reap_after.unwrap_or_default());
        Ok(Self { table, guard, columns, reap_after, policy: None })
    }

    /// The rules may have changed since the guard was read.
    async fn follow(&mut self, session: &Session, settings: &Settings, policy: u64) -> Result<(), Error> {
        if self.policy.is_some_and(|known| known != policy) {
            *self = Self::find(session, settings).await?;
        }
        self.policy = Some(policy);
        Ok(())
    }
}

/// A reaper may ask for a longer silence than the guard's rule, and for three beats at least.
fn check_threshold(guard: &Installed, settings: &Settings) -> Result<(), Error> {
    let rule = guard.rules.min_age;
    let asked = settings.reap_after.unwrap_or(rule);
    let shown = humantime::format_duration;
    let problem = if asked < rule {
        format!(
            "a threshold of {} is shorter than the guard's rule of {}: change the rule in the database \
             (palisade guard install table ... --min-age TIME)",
            shown(asked),
            shown(rule)
        )
    } else if asked < settings.beat_every * 3 {
        format!(
            "a threshold of {} is less than three beats of {}: say how often jobs beat (--beat-every TIME)",
            shown(asked),
            shown(settings.beat_every)
        )
    } else {
        return Ok(());
    };
    Err(Error::Rules { problem })
}

fn lineage(identity: &Identity) -> String {
    format!("{} {:?}", identity.id, identity.server.timeline)
}

impl Jobs {
    /// The docket of a table, over this connection at first, and later over others to the same database.
    ///
    /// # Errors
    /// There is no such table or guard, a state or a threshold that it cannot have, an identity that the guard asks for
    /// and nobody has given, or what the database says.
    pub async fn find(
        target: Target,
        session: Session,
        identity: &Identity,
        settings: Settings,
    ) -> Result<Self, Error> {
        let guarded = Guarded::find(&session, &settings).await?;
        if settings.key.is_none() && guarded.guard.identity_required {
            return Err(Error::Nameless { table: guarded.table.shown() });
        }
        check_threshold(&guarded.guard, &settings)?;
        Ok(Self {
            settings,
            target,
            database: identity.id.clone(),
            lineage: lineage(identity),
            anew: false,
            guarded,
            session: Some(session),
            parts: HashMap::new(),
        })
    }

    /// The table.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.guarded.table
    }

    /// Whether its guard is in observe, so that its jobs are not reaped either.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.guarded.guard.rules.mode == Mode::Observe
    }

    /// Makes the table of silences, where it is not there yet.
    ///
    /// # Errors
    /// What the database says; a role that may not do that reaps all the same, and each of its terms begins from
    /// nothing.
    pub async fn prepare(&mut self) -> Result<(), Error> {
        let session = self.session().await?;
        let prepared = reap::prepare(&session).await;
        self.keep(session, prepared)
    }

    /// The open session, or a new one to the same database. It is taken out, so that a call that is dropped in the
    /// middle leaves no connection with an answer to come.
    async fn session(&mut self) -> Result<Session, Error> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        let (session, identity) = identify(&self.target).await?;
        identity.expect(Some(&self.database))?;
        let lineage = lineage(&identity);
        if lineage != self.lineage {
            (self.lineage, self.anew) = (lineage, true);
        }
        Ok(session)
    }

    /// Keeps the session, unless it is what failed.
    fn keep<T>(&mut self, session: Session, answer: Result<T, Error>) -> Result<T, Error> {
        if answer.as_ref().map_or_else(Error::is_of_a_statement, |_| true) {
            self.session = Some(session);
        }
        answer
    }

    async fn look_with(&mut self, session: &Session) -> Result<Look<Arc<str>, Beat>, Error> {
        let Guarded { guard, table, columns, .. } = &self.guarded;
        let asked = Stopwatch::start();
        let look = reap::look(session, guard, table, columns).await?;
        let (took, judge_us) = (asked.elapsed(), clock::boot_us());
        self.guarded.follow(session, &self.settings, look.policy).await?;
        let (reap_after, beat_every) = (self.guarded.reap_after, self.settings.beat_every);
        let parts = look.running.iter().filter_map(|one| Some((one.key.clone(), one.parts.clone()?)));
        self.parts = parts.collect();
        let subject = |running: Running| Subject {
            key: running.key,
            counter: running.beat,
            reap_after,
            fixed: false,
            beat_every,
            proof: None,
        };
        Ok(Look {
            run: look.server_run,
            store_us: look.server_us,
            judge_us,
            took,
            anew: std::mem::take(&mut self.anew),
            subjects: look.running.into_iter().map(subject).collect(),
        })
    }

    async fn take_with(
        &self,
        session: &Session,
        wanted: &[Doomed],
        under: &Held,
        intended: &Intended,
    ) -> Result<Vec<Answer>, Error> {
        let Guarded { guard, table, columns, .. } = &self.guarded;
        let to = self.settings.to.as_deref();
        let to =
            to.ok_or_else(|| table.unfit("to which state a job is given back was not said".to_owned()))?;
        let (at_s, room) = (clock::now().unix_ms() / 1000, columns.room_for_reason());
        let fence = Fence {
            lease: under.name.as_str(),
            term: under.term.number(),
            holder: under.holder.as_str(),
            identity: self.settings.key.as_ref().map(|key| (key, at_s)),
            intended,
        };
        let wanted: Vec<_> =
            wanted.iter().map(|job| Wanted { seen: &job.seen, reason: job.reason.within(room) }).collect();
        let reaped = reap::reap(session, guard, table, columns, fence, to, &wanted).await?;
        let answer = |reaped: &Reaped| match reaped {
            Reaped::Taken => Answer::Taken,
            Reaped::Refuted => Answer::Refuted,
            Reaped::TermOver => Answer::TermOver,
        };
        Ok(reaped.iter().map(answer).collect())
    }
}

/// A condemned job, and what will be written beside it.
#[derive(Debug, Clone)]
pub struct Doomed {
    seen: Running,
    reason: Reason,
}

impl Docket for Jobs {
    type Key = Arc<str>;
    type Counter = Beat;
    type Wanted = Doomed;
    type Error = Error;

    const IN_A_PASS: usize = usize::MAX;
    const TOGETHER: usize = 500;

    fn is_observed(&self) -> bool {
        Self::is_observed(self)
    }

    async fn begin(&mut self) -> Result<Remembers<Self>, Error> {
        let session = self.session().await?;
        let recalled = reap::recall(&session, &self.guarded.guard, &self.lineage).await;
        // A term begins anew in any case, and a role may lack the right to recall.
        let silences = match self.keep(session, recalled) {
            Err(error) if !error.is_of_a_statement() => return Err(error),
            recalled => recalled.unwrap_or_default(),
        };
        self.anew = false;
        let remembered = silences.into_iter().map(|silence| Remembered {
            key: silence.key,
            counter: silence.beat,
            silent: Duration::from_micros(silence.silent_us),
        });
        Ok(remembered.collect())
    }

    async fn look(&mut self) -> Result<Look<Arc<str>, Beat>, Error> {
        let session = self.session().await?;
        let look = self.look_with(&session).await;
        self.keep(session, look)
    }

    async fn remember(
        &mut self,
        silences: &[Remembered<Arc<str>, Beat>],
        forget: &[Arc<str>],
    ) -> Result<(), Error> {
        let silence = |row: &Remembered<Arc<str>, Beat>| Silence {
            key: row.key.clone(),
            beat: row.counter,
            silent_us: u64::try_from(row.silent.as_micros()).unwrap_or(u64::MAX),
        };
        let silences: Vec<_> = silences.iter().map(silence).collect();
        let session = self.session().await?;
        let kept = reap::remember(&session, &self.guarded.guard, &self.lineage, &silences, forget).await;
        self.keep(session, kept)
    }

    async fn wanted(
        &mut self,
        condemned: &[Condemned<Arc<str>, Beat>],
        under: &Held,
    ) -> Result<(Vec<Doomed>, usize), Error> {
        let policy = self.guarded.policy.unwrap_or_default();
        let reaper = Reaper { by: self.settings.by.clone(), term: under.term.number(), policy };
        let doomed = |one: &Condemned<Arc<str>, Beat>| {
            let parts = self.parts.get(&one.key).cloned();
            let seen = Running { key: one.key.clone(), beat: one.counter, parts };
            Doomed { seen, reason: Reason { ground: one.ground, reaper: reaper.clone() } }
        };
        Ok((condemned.iter().map(doomed).collect(), condemned.len()))
    }

    fn takings(&self, wanted: &[&Doomed]) -> Vec<Taking> {
        let table = self.guarded.table.shown();
        let taking = |doomed: &&Doomed| Taking {
            of: Of::Table(table.clone()),
            jobs: vec![Job::Key(doomed.seen.key.as_ref().to_owned())],
            reason: doomed.reason.to_string(),
            ground: Some(doomed.reason.ground),
        };
        wanted.iter().map(taking).collect()
    }

    async fn take(
        &mut self,
        wanted: &[Doomed],
        under: &Held,
        intended: &Intended,
    ) -> Result<Vec<Answer>, Error> {
        let session = self.session().await?;
        let answers = self.take_with(&session, wanted, under, intended).await;
        self.keep(session, answers)
    }

    fn is_of_a_job(error: &Error) -> bool {
        let Error::Database(error) = error else { return false };
        error.sqlstate().is_some_and(|state| {
            OF_A_JOB.iter().any(|class| state.starts_with(class)) && !OF_WHO.contains(&state)
        })
    }
}

/// The place that records and people are told.
impl std::fmt::Display for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", Shown(&self.guarded.table.shown()), self.target)
    }
}
