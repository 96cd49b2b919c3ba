//! Orders: requests of `palisade` by another user, which the judge carries out in the guard's name.
//!
//! Each goes through the one pipeline, beside the calls that are judged meanwhile: with the guard's policy, journal,
//! leases and snapshots, and over its own connection to the daemon. Root may order for every app; everybody else
//! for an app that the policy opens to its user. The app that an order names picks, as a registration does. Who is not
//! root is shown no value of an environment, in plans neither.

use std::time::Duration;

use palisade_core::notice::Notice;
use palisade_core::policy::PolicyRef;
use palisade_core::snapshot::SnapshotId;
use palisade_core::text::{Shown, with_causes};
use palisade_core::{Actor, Code, Finding, Operation, Plan, Policy, Progress, Request, Scope, Selection};
use palisade_host::order::{FORMAT, Order, Reply};
use palisade_host::state::StateDirectory;
use palisade_host::{clock, random};
use palisade_pipeline::{Context, Error, Report, Resource as _, run};
use palisade_pm2::Pm2;
use palisade_pm2::bundle::Bundles;
use palisade_pm2::locate::Location;
use palisade_pm2::restore::Source;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::caller::Caller;
use crate::view::ViewError;

/// Orders that are carried out at once. Those of one app wait for its lease anyway.
pub(crate) const MOST: usize = 4;

/// Why an order is not taken. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    /// It is no order of a version that is known here.
    #[error("the order is not understood; palisade and palisade-firewall should be of one version")]
    NotUnderstood,
    /// The caller may not deploy that app, or nothing tells who it is.
    #[error("{code} the policy does not open {scope} to the caller: {grounds}", code = Code::NoDeployer)]
    NotOpen {
        /// For which app.
        scope: Scope,
        /// What its standing rests on.
        grounds: String,
    },
    /// A restore starts what any app once was, with values that the caller may not see.
    #[error(
        "{code} a restore brings back processes of every app with their values, so root alone may order it; start your \
         own app from its folder with `pm2 start`",
        code = Code::NoDeployer
    )]
    NotRoot,
    /// The variables of whoever asks stay where they are.
    #[error(
        "the plan carries the caller's variables, and values have no place in a guard; use `pm2 restart --update-env`"
    )]
    Carries,
    /// Too many are under way.
    #[error("{MOST} orders are under way; try again when one of them has ended")]
    TooMany,
    /// The daemon cannot be looked at.
    #[error("{code} {0}", code = Code::Unreachable)]
    Unseen(#[from] ViewError),
    /// No number for the operation.
    #[error("no number could be made for the operation")]
    Random(#[from] random::Error),
}

impl OrderError {
    /// The ground, where it is the policy that refuses.
    pub(crate) fn finding(&self) -> Option<Finding> {
        let (message, fix) = match self {
            Self::NotOpen { .. } => (self.to_string(), "add the caller to the app's `deployers`"),
            Self::NotRoot => (self.to_string(), "let root restore, or start your own app"),
            Self::NotUnderstood | Self::Carries | Self::TooMany | Self::Unseen(_) | Self::Random(_) => {
                return None;
            }
        };
        let message = message.replace(&format!("{} ", Code::NoDeployer), "");
        Some(Finding { code: Code::NoDeployer, message, fix: fix.to_owned(), subjects: Vec::new() })
    }

    /// The text for the caller.
    pub(crate) fn told(&self) -> String {
        format!("the guard carried nothing out: {}", Shown(&self.to_string()))
    }
}

/// Reads an order.
pub(crate) fn understood(line: &str) -> Result<Order, OrderError> {
    let order: Order = serde_json::from_str(line).map_err(|_| OrderError::NotUnderstood)?;
    match &order.expected {
        _ if !(1..=FORMAT).contains(&order.format) => Err(OrderError::NotUnderstood),
        Some(plan) if plan.carries_variables => Err(OrderError::Carries),
        Some(_) | None => Ok(order),
    }
}

/// What nobody but root may order.
pub(crate) fn check(order: &Order) -> Result<(), OrderError> {
    if order.operation == Operation::Restore { Err(OrderError::NotRoot) } else { Ok(()) }
}

/// Everything that one order needs to be carried out.
pub(crate) struct Work {
    pub(crate) request: Request,
    pub(crate) policy: Policy,
    pub(crate) reference: PolicyRef,
    pub(crate) state: StateDirectory,
    pub(crate) location: Location,
    pub(crate) wait: Duration,
    pub(crate) dry_run: bool,
    pub(crate) expected: Option<Box<Plan>>,
    /// Of a restore.
    pub(crate) snapshot: Option<SnapshotId>,
    /// Whether who ordered it knows what a step is.
    pub(crate) tells_steps: bool,
}

/// The request that an order comes to. What the kernel says of the caller counts; what only its surroundings say is
/// taken from the order where the guard cannot read it.
pub(crate) fn request(caller: &Caller, order: &Order) -> Result<Request, OrderError> {
    let mut actor = caller.actor.clone();
    if !caller.shows_variables {
        actor.claimed = order.claimed.clone();
    }
    Ok(Request {
        id: random::operation_id()?,
        operation: order.operation,
        scope: order.scope.clone(),
        selection: order.selection.clone(),
        carries: None,
        source: None,
        tolerates_absence: order.tolerates_absence,
        confirmed: order.confirmed.clone(),
        actor,
    })
}

impl Work {
    /// Takes the order through the pipeline, with a line for each step, and gives the line that answers it. Waits for
    /// locks, disk and daemon: not for the loop that judges.
    pub(crate) fn carry_out(self, step: impl Fn(String)) -> CarriedOut {
        let actor = self.request.actor.clone();
        let tells = self.tells_steps;
        let mut tell = |done: Progress| {
            if tells {
                step(line(&Reply::Progress(Box::new(done)), &actor));
            }
        };
        let runtime = Builder::new_current_thread().enable_all().build();
        let ended = runtime.map(|runtime| runtime.block_on(self.run(&mut tell)));
        match ended {
            Ok(Ok(report)) => CarriedOut {
                line: line(&Reply::Report(report.document(&actor)), &actor),
                notice: report.notice(&actor),
            },
            Ok(Err(error)) => line(&failed(&error), &actor).into(),
            Err(error) => refused(&format!("the guard carried nothing out: {error}")).into(),
        }
    }

    async fn run(mut self, progress: &mut dyn FnMut(Progress)) -> Result<Report, Error> {
        let mut pm2 = Pm2::new(self.location.clone(), Bundles::new(self.state.bundles()));
        if self.request.operation == Operation::Restore {
            pm2 = self.prepare_restore(pm2).await?;
        }
        let context = Context {
            policy: &self.policy,
            host_policy: &self.reference,
            state: &self.state,
            wait: self.wait,
            dry_run: self.dry_run,
            expected: self.expected.as_deref(),
            progress,
        };
        run(&mut pm2, self.request, context).await
    }

    /// Finds the snapshot and its values.
    async fn prepare_restore(&mut self, mut pm2: Pm2) -> Result<Pm2, Error> {
        pm2.identify().await?;
        let (request, at) = (&mut self.request, clock::now());
        let now = pm2.snapshot(SnapshotId::new(at, request.id.as_str()), at).await?;
        let window = self.policy.limits.window;
        let Source { snapshot, bundle } = Source::find(&self.state, self.snapshot.as_ref(), &now, window)?;
        let names = match &request.selection {
            Selection::Names(names) => Some(names.clone()),
            Selection::Scope | Selection::All | Selection::Missing { .. } => None,
        };
        request.selection = Selection::Missing { snapshot: snapshot.id.clone(), names };
        request.source = Some(snapshot);
        Ok(pm2.restore_from(bundle))
    }
}

/// What became of an order.
pub(crate) struct CarriedOut {
    /// What is answered.
    pub(crate) line: String,
    /// What others are told: of a refusal.
    pub(crate) notice: Option<Notice>,
}

impl From<String> for CarriedOut {
    fn from(line: String) -> Self {
        Self { line, notice: None }
    }
}

/// The line of a reply, with no value of an environment for anybody but root.
fn line(reply: &Reply, to: &Actor) -> String {
    let mut reply = json!(reply);
    if to.observed.uid != 0 {
        hide_values(&mut reply);
    }
    reply.to_string()
}

/// The line of a refusal.
pub(crate) fn refused(text: &str) -> String {
    json!(Reply::Refused(text.to_owned())).to_string()
}

/// A plan names for each process the variables by which environments are told apart.
fn hide_values(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| name != "environment_names");
            fields.values_mut().for_each(hide_values);
        }
        Value::Array(values) => values.iter_mut().for_each(hide_values),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn failed(error: &Error) -> Reply {
    let message = with_causes(error);
    Reply::Failed { exit: error.exit().number(), code: error.code(), message, fix: error.fix() }
}
