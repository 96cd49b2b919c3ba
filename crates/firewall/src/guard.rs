//! The one place that decides: it owns the policy, the look at the daemon, the memory of refusals and the journal.
//!
//! The judge's process asks it one question after another. Reads never come here, so nobody's list waits behind
//! somebody's deletion or behind a slow disk.

mod dump;

use std::collections::BTreeMap;
use std::time::Duration;

use palisade_config::HostPolicy;
use palisade_core::actor::{ProcessRef, Tree};
use palisade_core::bypass::{Bypass, Opened};
use palisade_core::notice::{self, Notice};
use palisade_core::policy::{Mode, PolicyRef};
use palisade_core::record::{Administered, Called, Gap, Ruling};
use palisade_core::text::Shown;
use palisade_core::{Actor, Code, Finding, Policy, Scope, Timestamp};
use palisade_host::bypass::Folders;
use palisade_host::clock::Stopwatch;
use palisade_host::order::{Order, TELLS_STEPS};
use palisade_host::peer::Peer;
use palisade_host::state::StateDirectory;
use palisade_host::{Environment, clock, context, lease, random, registration, terminal};
use palisade_notify::Teller;
use palisade_pipeline::calls::CallLog;
use palisade_pipeline::refusals::Recorded;
use palisade_pipeline::{epochs, system_log};

use crate::caller::Caller;
use crate::evidence::{Leased, Registered, Standing, Surroundings, weigh};
use crate::judge::{Case, Judgement};
use crate::message::Answer;
use crate::order::{self, OrderError, Work};
use crate::said::{bad_call, refusal, unreachable, unrecorded};
use crate::telling;
use crate::view::{Seen, View, ViewError};
use palisade_config::policy_file::{Look, PolicyFile};
use palisade_pm2::asked::Kind;
use palisade_pm2::deed::Deed;
use palisade_pm2::dump::DUMP;
use palisade_pm2::vigil::Vigil;

/// Trees of which a refusal is remembered besides the journal.
const MOST_TREES: usize = 4096;
/// How long the last notices may take to be kept.
const TELL_WITHIN: Duration = Duration::from_secs(1);

/// The guard's state.
#[derive(Debug)]
pub(crate) struct Guard {
    policy: Policy,
    /// Which one that is.
    reference: PolicyRef,
    file: PolicyFile,
    /// Why the policy on disk is not the one in force.
    held_back: Option<String>,
    state: StateDirectory,
    view: View,
    /// `None` only while a record is written, or if writing one panicked.
    log: Option<CallLog>,
    refused: BTreeMap<Tree, (Timestamp, String)>,
    bypasses: Folders,
    teller: Teller,
    /// Whose terminal was written to last.
    told: Option<ProcessRef>,
    /// `None` only while the dump is looked at.
    vigil: Option<Vigil>,
}

impl Guard {
    pub(crate) fn new(
        (file, host): (PolicyFile, HostPolicy),
        state: StateDirectory,
        view: View,
        log: CallLog,
        teller: Teller,
    ) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let bypasses = Folders::of(&Environment::of_this_process(), uid);
        let (log, refused) = (Some(log), BTreeMap::new());
        let (reference, policy) = (host.reference().clone(), host.into_policy());
        let (held_back, told) = (None, None);
        let vigil = Some(Vigil::new(view.location().home.join(DUMP), state.root().join("dumps")));
        Self { policy, reference, file, held_back, state, view, log, refused, bypasses, teller, told, vigil }
    }

    /// Puts the policy on disk in force if it is another one, and says so. One that cannot be used, or whose revision
    /// is lower, changes nothing but what is told.
    pub(crate) async fn refresh_policy(&mut self) -> bool {
        let host = match self.file.look() {
            Look::Same => return false,
            Look::Changed(host) => host,
            Look::Unusable(error) => return self.hold_back(&error.to_string()),
        };
        let (reference, window) = (host.reference().clone(), host.policy().limits.window);
        let Ok(actor) = context::observe(&Environment::default()) else { return false };
        match self.blocking(move |log| log.adopt(&actor, reference, window)).await {
            Some(Ok(())) => {
                self.reference = host.reference().clone();
                self.policy = host.into_policy();
                self.held_back = None;
                true
            }
            Some(Err(error)) => self.hold_back(&error.to_string()),
            None => self.hold_back("the firewall's journal is gone"),
        }
    }

    fn hold_back(&mut self, reason: &str) -> bool {
        let text = format!("the policy on disk is not in force, an earlier one is: {}", Shown(reason));
        // Refusals say it too.
        system_log::write(&text).unwrap_or_default();
        self.held_back = Some(text);
        false
    }

    /// A refusal, with what else the caller should know.
    fn refuse(&self, text: String) -> Answer {
        match &self.held_back {
            Some(held_back) => Answer::Refuse(format!("{text}. Note that {held_back}")),
            None => Answer::Refuse(text),
        }
    }

    /// The policy in force.
    pub(crate) const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Writes what was counted: for the end of the process.
    pub(crate) async fn end(mut self) {
        self.blocking(|log| log.flush().is_ok()).await;
        self.teller.end(TELL_WITHIN);
    }

    /// Tells others of a call; waits for nothing.
    fn tell(&self, called: &Called, actor: &Actor, recorded: &Recorded) {
        if let Some(kind) = telling::kind_of(called.ruling) {
            let notice = || telling::of_call(kind, called, actor, recorded);
            self.teller.tell(&self.policy.notify, kind, notice);
        }
    }

    /// Tells others of an order that was refused; waits for nothing.
    pub(crate) fn tell_of_order(&self, notice: Notice) {
        self.teller.tell(&self.policy.notify, notice::Kind::Refused, || notice);
    }

    /// Does what a line over the control socket asks for. A refusal is recorded and told as that of a call is.
    pub(crate) async fn control(&mut self, caller: &Caller, client: &Peer, line: &str) -> Answer {
        match registration::accept(line, client, &self.policy, &self.state.registrations()) {
            Ok(()) => Answer::Pass,
            Err(error) => {
                self.note_refused(caller, "a registration", None, error.finding()).await;
                Answer::Refuse(error.told())
            }
        }
    }

    /// Checks an order, and makes it ready to be carried out beside the calls.
    pub(crate) async fn accept(&mut self, caller: &Caller, line: &str) -> Result<Work, OrderError> {
        let order = order::understood(line)?;
        let mut request = order::request(caller, &order)?;
        if caller.actor.observed.uid != 0 {
            match self.opened(caller, &order).await {
                Ok(tree) => request.actor.tree = tree,
                Err(error) => {
                    if let Some(finding) = error.finding() {
                        let method = format!("an order to {}", order.operation);
                        self.note_refused(caller, &method, Some(order.scope), finding).await;
                    }
                    return Err(error);
                }
            }
        }
        Ok(Work {
            request,
            policy: self.policy.clone(),
            reference: self.reference.clone(),
            state: self.state.clone(),
            location: self.view.location().clone(),
            wait: Duration::from_millis(order.wait_ms),
            dry_run: order.dry_run,
            tells_steps: order.format >= TELLS_STEPS,
            expected: order.expected,
            snapshot: order.snapshot,
        })
    }

    /// The tree of a caller to whom the order's scope is open, and whom no evidence takes for another app's.
    async fn opened(&mut self, caller: &Caller, order: &Order) -> Result<Tree, OrderError> {
        order::check(order)?;
        let scope = &order.scope;
        let (seen, folders) = self.view.look(&self.policy).await?;
        let (leases, mut registrations) = (leases(&self.state), registrations(&self.state, caller));
        // The nearest one of a process counts, so this one goes first.
        let (process, tree) = (caller.actor.observed.process, caller.actor.tree.clone());
        registrations.insert(0, Registered { scope: scope.clone(), process, tree, is_one_run: false });
        let standing = weigh(Surroundings {
            chain: &caller.chain,
            actor: &caller.evident(seen.daemon.process),
            socket: None,
            daemon: seen.daemon.process,
            leases: &leases,
            registrations: &registrations,
            folders,
            policy: &self.policy,
        });
        match standing {
            Standing::Of { scope: of, tree, .. } if of == *scope => {
                Ok(tree.unwrap_or_else(|| caller.actor.tree.clone()))
            }
            other => Err(OrderError::NotOpen { scope: scope.clone(), grounds: other.grounds().join("; ") }),
        }
    }

    /// Records that for a while nobody judged.
    pub(crate) async fn note_gap(&mut self, actor: Actor, gap: Gap) {
        let home = self.view.home().to_string();
        self.teller.tell(&self.policy.notify, notice::Kind::Gap, || telling::of_gap(&home, &gap));
        self.blocking(move |log| log.note_gap(&actor, gap)).await;
    }

    /// Records what was done with the daemon beside calls.
    pub(crate) async fn note_start(&mut self, actor: Actor, done: Administered) {
        self.blocking(move |log| log.note_start(&actor, done)).await;
    }

    /// Judges a call that was `heard` of, and records it where that is due.
    pub(crate) async fn answer(
        &mut self,
        caller: &Caller,
        method: &str,
        kind: &Kind,
        socket: Option<&str>,
        heard: &Stopwatch,
    ) -> Answer {
        self.view.take_waited();
        let (mut judgement, actor, mut called) = match self.judge(caller, method, kind, socket).await {
            Ok(judged) => judged,
            Err(error) => return Answer::Refuse(unreachable(method, &error.to_string())),
        };
        let decided = heard.elapsed().saturating_sub(self.view.take_waited());
        called.decided_us = u64::try_from(decided.as_micros()).ok();
        if judgement.ruling == Ruling::Refused
            && let Some(bypass) = self.opening(&called.daemon.home)
        {
            judgement.ruling = Ruling::Bypassed;
            (called.ruling, called.bypass) = (Ruling::Bypassed, Some(bypass.id));
        }
        let is_worth_a_record = !matches!(kind, Kind::Act(act) if act.deed == Deed::Touch);
        let is_worth_a_record = is_worth_a_record || !called.findings.is_empty();
        let takes_down = called.takes_down;
        let (scope, grounds) = (called.scope.clone(), called.evidence.clone());
        let home = called.daemon.home.clone();
        if judgement.ruling == Ruling::Refused {
            self.remember(&actor.tree, method, &judgement);
        }
        let recorded = match is_worth_a_record {
            true => self.record(actor, called).await,
            false => return self.pass(kind),
        };
        match (judgement.ruling, judgement.mode, &recorded) {
            (Ruling::Refused, _, _) => {
                let who = scope.map(|scope| scope.to_string());
                let text = refusal(method, &judgement.findings, who.as_deref(), &grounds, &recorded);
                self.say_once(caller.actor.observed.process, &text);
                self.refuse(text)
            }
            (Ruling::Passed, Mode::Enforce, Recorded::SystemLog)
                if takes_down && self.opening(&home).is_none() =>
            {
                Answer::Refuse(unrecorded(method))
            }
            (Ruling::Passed | Ruling::Observed | Ruling::Bypassed, _, _) => self.pass(kind),
        }
    }

    /// Writes the first refusal of a caller to its terminal: PM2 5 and 6 hide the text of each, and PM2 7 that of `kill`
    /// and `update`.
    fn say_once(&mut self, caller: ProcessRef, text: &str) {
        if self.told.replace(caller) != Some(caller) {
            // Without a terminal, as in a job, there is the journal.
            let _is_told = terminal::say(caller, text);
        }
    }

    /// Records a call, and tells others of it where the policy wants that.
    async fn record(&mut self, actor: Actor, called: Called) -> Recorded {
        let (who, what) = (actor.clone(), called.clone());
        let recorded = self.blocking(move |log| log.record(&actor, called)).await;
        let recorded = recorded.unwrap_or(Recorded::SystemLog);
        self.tell(&what, &who, &recorded);
        recorded
    }

    /// The bypass that opens this guard now. Looked for only where something would be refused.
    fn opening(&self, home: &str) -> Option<Bypass> {
        self.bypasses.opening(&Opened::pm2_home(home))
    }

    /// What may be there afterwards was not seen yet.
    fn pass(&mut self, kind: &Kind) -> Answer {
        match kind {
            Kind::Act(act) if act.deed.creates() => self.view.forget(),
            Kind::Lifecycle => self.view.forget(),
            Kind::Act(_) | Kind::Read => {}
        }
        Answer::Pass
    }

    async fn judge(
        &mut self,
        caller: &Caller,
        method: &str,
        kind: &Kind,
        socket: Option<&str>,
    ) -> Result<(Judgement, Actor, Called), ViewError> {
        let (seen, folders) = self.view.look(&self.policy).await?;
        let (leases, registrations) = (leases(&self.state), registrations(&self.state, caller));
        let evident = caller.evident(seen.daemon.process);
        let standing = weigh(Surroundings {
            chain: &caller.chain,
            actor: &evident,
            socket,
            daemon: seen.daemon.process,
            leases: &leases,
            registrations: &registrations,
            folders,
            policy: &self.policy,
        });
        let mut actor = caller.actor.clone();
        if let Standing::Of { tree: Some(tree), .. } = &standing {
            actor.tree = tree.clone();
        }
        let log = self.log.as_ref().ok_or(ViewError::Lacking("the firewall's journal is gone"))?;
        let now = clock::now();
        let window = self.policy.limits.window;
        let refused_before = refused_before(log, &self.refused, &actor, now, window);
        let ledger = log.ledger(now);
        let job = caller.job(seen.daemon.process);
        let case = Case {
            policy: &self.policy,
            daemon: &seen.daemon,
            processes: &seen.processes,
            ledger: &ledger,
            actor: &actor,
            standing: &standing,
            stale: job.and_then(|job| epochs::objection(&self.state, job)),
            refused_before: refused_before.as_deref(),
            line: caller.line.as_ref(),
            kind,
            id: random::operation_id()?,
            now,
        };
        let judgement = case.judge();
        let called = called(method, &judgement, &standing, seen);
        Ok((judgement, actor, called))
    }

    /// From here on this tree takes nothing down for the policy's window.
    fn remember(&mut self, tree: &Tree, method: &str, judgement: &Judgement) {
        if judgement.findings.iter().all(|finding| finding.code == Code::RefusedBefore) {
            return;
        }
        let now = clock::now();
        let since = now.before(self.policy.limits.window);
        if self.refused.len() >= MOST_TREES {
            self.refused.retain(|_, (at, _)| *at >= since);
        }
        if self.refused.len() < MOST_TREES {
            self.refused.insert(tree.clone(), (now, method.to_owned()));
        }
    }

    /// Records a call that was refused before it got here.
    pub(crate) async fn note_bad_call(&mut self, caller: &Caller, why: &str) -> Answer {
        self.note_refused(caller, "malformed", None, bad_call(why)).await;
        Answer::Pass
    }

    /// Records what was refused by itself, whatever runs. Where the daemon cannot be seen the system log has it.
    async fn note_refused(&mut self, caller: &Caller, method: &str, scope: Option<Scope>, finding: Finding) {
        let Ok((seen, _)) = self.view.look(&self.policy).await else {
            let who = caller.actor.tree.as_str();
            let line = format!("{method} by {who} was refused: {} {}", finding.code, finding.message);
            // The caller has the answer.
            return system_log::write(&line).unwrap_or_default();
        };
        let called = Called {
            method: method.to_owned(),
            ruling: Ruling::Refused,
            scope,
            evidence: Vec::new(),
            daemon: seen.daemon.clone(),
            targets: Vec::new(),
            takes_down: false,
            total: seen.processes.len(),
            findings: vec![finding],
            bypass: None,
            decided_us: None,
        };
        self.record(caller.actor.clone(), called).await;
    }

    /// Runs what waits for the disk beside the connections.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut CallLog) -> T + Send + 'static,
    ) -> Option<T> {
        let mut log = self.log.take()?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut log);
            (log, result)
        });
        let (log, result) = done.await.ok()?;
        self.log = Some(log);
        Some(result)
    }
}

/// The call that this tree was refused within the window: by the journal, or else by this process's memory.
fn refused_before(
    log: &CallLog,
    memory: &BTreeMap<Tree, (Timestamp, String)>,
    actor: &Actor,
    now: Timestamp,
    window: Duration,
) -> Option<String> {
    let in_journal = log.refused_before(actor, now).map(|(_, called)| called.method.clone());
    let since = now.before(window);
    let in_memory = memory.get(&actor.tree).filter(|(at, _)| *at >= since);
    in_journal.or_else(|| in_memory.map(|(_, method)| method.clone()))
}

/// What is recorded of a judged call.
fn called(method: &str, judgement: &Judgement, standing: &Standing, seen: &Seen) -> Called {
    Called {
        method: method.to_owned(),
        ruling: judgement.ruling,
        scope: standing.scope().cloned(),
        evidence: standing.grounds().to_vec(),
        daemon: seen.daemon.clone(),
        targets: judgement.targets.clone(),
        takes_down: judgement.takes_down,
        total: seen.processes.iter().filter(|process| !process.module).count(),
        findings: judgement.findings.clone(),
        bypass: None,
        decided_us: None,
    }
}

/// Leases that cannot be read are no evidence, which takes rights away and gives none.
fn leases(state: &StateDirectory) -> Vec<Leased> {
    let held = lease::list(&state.leases()).unwrap_or_default();
    let leased =
        |(scope, holder): (_, lease::Holder)| Leased { scope, term: holder.term, holder: holder.process };
    held.into_iter().map(leased).collect()
}

/// As leases: those that cannot be read are no evidence.
fn registrations(state: &StateDirectory, caller: &Caller) -> Vec<Registered> {
    let registered = |entry: registration::Registration| Registered {
        tree: entry.tree(),
        is_one_run: entry.run.is_some() && (caller.shows_variables || entry.is_shared),
        scope: entry.scope,
        process: entry.process,
    };
    let registrations = registration::list(&state.registrations()).unwrap_or_default();
    registrations.into_iter().map(registered).collect()
}
