//! Orders: requests of `palisade` by another user, which the judge carries out in the guard's name.
//!
//! Each goes through the one pipeline, beside the calls that are judged meanwhile: with the guard's policy, journal,
//! leases and snapshots, and over its own connection to the daemon. Root may order for every app; everybody else
//! for an app that the policy opens to its user. The app that an order names picks, as a registration does.

use std::time::Duration;

use palisade_core::policy::PolicyRef;
use palisade_core::text::Shown;
use palisade_core::{Code, Operation, Policy, Request, Scope};
use palisade_host::order::{FORMAT, Order, Reply};
use palisade_host::random;
use palisade_host::state::StateDirectory;
use palisade_pipeline::{Context, Error, Report, run};
use palisade_pm2::Pm2;
use palisade_pm2::bundle::Bundles;
use palisade_pm2::locate::Location;
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
    /// The text for the caller.
    pub(crate) fn told(&self) -> String {
        format!("the guard carried nothing out: {}", Shown(&self.to_string()))
    }
}

/// Reads an order.
pub(crate) fn understood(line: &str) -> Result<Order, OrderError> {
    let order: Order = serde_json::from_str(line).map_err(|_| OrderError::NotUnderstood)?;
    let is_known = match order.operation {
        Operation::Delete | Operation::Stop | Operation::Restart | Operation::Reload => true,
        Operation::Restore => false,
    };
    if order.format == FORMAT && is_known { Ok(order) } else { Err(OrderError::NotUnderstood) }
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
    /// Takes the order through the pipeline. Waits for locks, disk and daemon: not for the loop that judges.
    pub(crate) fn carry_out(self) -> Reply {
        let actor = self.request.actor.clone();
        let runtime = Builder::new_current_thread().enable_all().build();
        let ended = runtime.map_err(|error| error.to_string()).map(|runtime| runtime.block_on(self.run()));
        match ended {
            Ok(Ok(report)) => Reply::Report(report.document(&actor)),
            Ok(Err(error)) => failed(&error),
            Err(text) => Reply::Refused(format!("the guard carried nothing out: {text}")),
        }
    }

    async fn run(self) -> Result<Report, Error> {
        let mut pm2 = Pm2::new(self.location, Bundles::new(self.state.bundles()));
        let context = Context {
            policy: &self.policy,
            host_policy: &self.reference,
            state: &self.state,
            wait: self.wait,
            dry_run: self.dry_run,
            expected: None,
            progress: &mut |_| {},
        };
        run(&mut pm2, self.request, context).await
    }
}

fn failed(error: &Error) -> Reply {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    Reply::Failed { exit: error.exit().number(), code: error.code(), message, fix: error.fix() }
}
