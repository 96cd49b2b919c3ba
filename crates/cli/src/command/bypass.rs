//! `palisade off` and `palisade on`: the recorded, expiring opening of guards.

use palisade_core::bypass::{Bypass, BypassId, Moment, Opened};
use palisade_core::notice::{Kind, Notice};
use palisade_core::record::{BypassEnded, Event};
use palisade_core::text::Shown;
use palisade_core::{Actor, Code, Exit};
use palisade_host::bypass::{self, Folders};
use palisade_host::{Environment, clock, context, random};
use palisade_pipeline::announce::{announce, log_only};
use serde_json::json;

use crate::args::bypass::{OffArgs, OnArgs, OpenedArgs};
use crate::failure::Failure;
use crate::output::{BAD, GOOD, Output, styled};
use crate::render;
use crate::session::Session;

/// Puts a bypass in force. Needs neither policy nor journal.
pub(crate) fn off(output: Output, args: &OffArgs) -> Result<Exit, Failure> {
    let (environment, uid) = surroundings();
    let actor = observed(&environment)?;
    // A job that is known to be stale opens nothing. Where nothing can be known, a person still can.
    if let Ok(session) = Session::open() {
        super::ci::no_stale_job(&session)?;
    }
    let moment = Moment { at: clock::now(), boot_id: clock::boot_id()?, boot_ms: clock::boot_ms() };
    let id = random::operation_id()?;
    let who = (uid, render::actor::brief(&actor));
    let begun = Bypass::begin(
        BypassId::new(id.as_str()),
        opened(&args.opened)?,
        &args.reason,
        who,
        moment,
        args.span,
    );
    let begun = begun.map_err(|error| Failure::usage(error.to_string()))?;
    let file = Folders::of(&environment, uid).begin(&begun)?;
    let line = format!(
        "BYPASS {} opens {} for {}: {} ({})",
        begun.id,
        begun.opened,
        humantime::format_duration(args.span),
        begun.reason,
        begun.actor
    );
    let notice = Notice::new(Kind::Bypass, Code::GuardOpened, begun.opened.to_string(), &line);
    let notice = notice.by(actor.tree.as_str()).with("bypass", begun.id.to_string()).with("uid", uid);
    let recorded = record(actor, Event::BypassBegan(begun.clone()), &line);
    tell(output, notice);
    output.document(&json!({
        "result": "off",
        "bypass": begun,
        "file": file,
        "recorded": recorded,
    }))?;
    output.data(format_args!(
        "{} {} for {}",
        styled(BAD, "OFF:"),
        begun.opened,
        humantime::format_duration(args.span)
    ))?;
    output.data(format_args!("  bypass:   {}", begun.id))?;
    output.data(format_args!("  reason:   {}", Shown(&begun.reason)))?;
    output.data(format_args!("  recorded: {recorded}"))?;
    output.data(format_args!("  end it:   {}", end_command(&begun.opened)))?;
    if uid != 0 {
        output.talk("it counts for guards that run as this user; one of another user takes only root's");
    }
    Ok(Exit::Done)
}

/// Ends bypasses before their time.
pub(crate) fn on(output: Output, args: &OnArgs) -> Result<Exit, Failure> {
    let (environment, uid) = surroundings();
    let actor = observed(&environment)?;
    let folders = Folders::of(&environment, uid);
    let wanted = opened(&args.opened)?;
    let ended = folders.end(&wanted)?;
    let mut places = Vec::new();
    for bypass in &ended {
        let line = format!("bypass {} of {} was ended before its time", bypass.id, bypass.opened);
        let event = Event::BypassEnded(BypassEnded { id: bypass.id.clone() });
        places.push(record(actor.clone(), event, &line));
    }
    let left: Vec<Bypass> =
        folders.in_force().into_iter().filter(|bypass| bypass.opened.covers(&wanted)).collect();
    output.document(&json!({ "result": "on", "ended": ended, "still_open": left, "recorded": places }))?;
    for (bypass, place) in ended.iter().zip(&places) {
        output.data(format_args!(
            "{} {} ({}); recorded: {place}",
            styled(GOOD, "on:"),
            bypass.opened,
            bypass.id
        ))?;
    }
    if ended.is_empty() {
        output.data(format_args!("no bypass of {wanted} was in force"))?;
    }
    for bypass in &left {
        output.data(format_args!(
            "{} {} ({}); {} ends that",
            styled(BAD, "still open:"),
            bypass.opened,
            bypass.id,
            end_command(&bypass.opened)
        ))?;
    }
    Ok(if left.is_empty() { Exit::Done } else { Exit::Failure })
}

/// Every bypass in force that this user may see.
pub(crate) fn in_force() -> Vec<Bypass> {
    let (environment, uid) = surroundings();
    Folders::of(&environment, uid).in_force()
}

/// One line that every command shows while a guard is open.
pub(crate) fn notice(bypass: &Bypass) -> String {
    let left =
        humantime::format_duration(std::time::Duration::from_secs(bypass.left(clock::boot_ms()).as_secs()));
    format!(
        "{} {} is open for another {left} by {}, {}: {}; {} ends it",
        styled(BAD, "bypass:"),
        bypass.opened,
        bypass.id,
        Shown(&bypass.actor),
        Shown(&bypass.reason),
        end_command(&bypass.opened)
    )
}

fn end_command(opened: &Opened) -> String {
    match opened {
        Opened::Every => "`palisade on`".to_owned(),
        Opened::Pm2 => "`palisade on pm2`".to_owned(),
        Opened::Pm2Home { home } => format!("`palisade on pm2 --pm2-home {}`", Shown(home)),
    }
}

fn surroundings() -> (Environment, u32) {
    (Environment::of_this_process(), rustix::process::geteuid().as_raw())
}

fn observed(environment: &Environment) -> Result<Actor, Failure> {
    context::observe(environment)
        .map_err(|error| Failure::new(Exit::Failure, error.to_string()).caused_by(&error))
}

/// Nothing but `palisade off` without a resource means every guard, and it says so.
fn opened(args: &OpenedArgs) -> Result<Opened, Failure> {
    match (args.resource, args.pm2_home.as_deref()) {
        (None, _) => Ok(Opened::Every),
        (Some(_), None) => Ok(Opened::Pm2),
        (Some(_), Some(home)) if home.is_absolute() => Ok(Opened::pm2_home(&home.display().to_string())),
        (Some(_), Some(home)) => {
            Err(Failure::usage(format!("--pm2-home is {}, which is not an absolute path", home.display())))
        }
    }
}

/// Alerts once, where the policy can be read and names somebody.
fn tell(output: Output, notice: Notice) {
    let Ok(session) = Session::open() else { return };
    let Ok(host) = session.host_policy() else { return };
    super::notify::tell(&session, output, &host.policy().notify, notice);
}

/// In the journal where that can be written, and in the system log in any case.
fn record(actor: Actor, event: Event, line: &str) -> String {
    let (Ok(session), Ok(op)) = (Session::open(), random::operation_id()) else { return log_only(line) };
    let policy = session.policy().ok().map(|host| host.reference().clone());
    announce(&session.state, policy.as_ref(), op, actor, event, line).place()
}

impl From<bypass::Error> for Failure {
    fn from(error: bypass::Error) -> Self {
        Self::new(Exit::Failure, error.to_string())
            .caused_by(&error)
            .code(Code::BypassUnusable)
            .hint("make one of the folders writable, or call as root")
    }
}
