//! `palisade notify`: who is told of refusals, bypasses and gaps.

use palisade_core::notice::{Kind, Notice, Receivers, Webhook};
use palisade_core::record::{Event, NoticeUndelivered};
use palisade_core::text::Shown;
use palisade_core::{Code, Exit};
use palisade_host::{clock, context, files, random};
use palisade_notify::{Delivery, Letter, Outbox, Receiver, Told, command, deliver};
use palisade_pipeline::announce::announce;
use serde_json::json;

use crate::args::notify::NotifyCommand;
use crate::failure::Failure;
use crate::output::{BAD, GOOD, Output, styled};
use crate::session::Session;

/// The largest file with an address or a key, in bytes.
const MAX_SECRET_BYTES: u64 = 4096;

pub(crate) fn notify(session: &Session, output: Output, command: &NotifyCommand) -> Result<Exit, Failure> {
    match command {
        NotifyCommand::Test => test(session, output),
        NotifyCommand::List => list(session, output),
        NotifyCommand::Deliver => deliver(session, output),
    }
}

/// Tells of something that this command refused or opened. What could not be told is said on standard error and changes
/// nothing else.
pub(crate) fn tell(session: &Session, output: Output, receivers: &Receivers, notice: Notice) {
    match palisade_notify::tell(session.state.root(), receivers, notice, Delivery::Started) {
        Told::Nobody | Told::Kept => {}
        Told::Undelivered(error) => {
            output.talk(format_args!("a notice waits, and `palisade notify deliver` did not start: {error}"));
        }
        Told::Lost(error) => output.talk(format_args!("a notice was lost: {error}")),
    }
}

fn test(session: &Session, output: Output) -> Result<Exit, Failure> {
    let host = session.host_policy()?;
    let receivers = &host.policy().notify;
    if receivers.is_nobody() {
        return Err(Failure::new(
            Exit::Failure,
            format!("{} names nobody who is told", session.policy_path.display()),
        )
        .code(Code::NobodyToTell)
        .hint("add a section [notify] with `command` or `webhook`, and raise `revision`"));
    }
    let actor = session.actor()?;
    let line = "a test: if you can read this, notices of refusals arrive";
    let notice = Notice::new(Kind::Test, Code::NoticeTest, "palisade", line).by(actor.tree.as_str());
    let letter = Letter::new(random::operation_id()?.as_str().to_owned(), notice, clock::now());
    let results: Vec<(Receiver, Result<(), NotHanded>)> =
        deliver::named(receivers).map(|receiver| (receiver, hand(receivers, receiver, &letter))).collect();
    let rows: Vec<_> = results
        .iter()
        .map(|(receiver, result)| json!({ "receiver": receiver, "ok": result.is_ok(), "error": result.as_ref().err().map(ToString::to_string) }))
        .collect();
    let all = results.iter().all(|(_, result)| result.is_ok());
    output.document(
        &json!({ "result": if all { "told" } else { "failed" }, "id": letter.id, "receivers": rows }),
    )?;
    for (receiver, result) in &results {
        let name = shown(receivers, *receiver);
        match result {
            Ok(()) => {
                output.data(format_args!("{} {name} took notice {}", styled(GOOD, "told:"), letter.id))?
            }
            Err(error) => {
                output.data(format_args!(
                    "{} {name}: {}",
                    styled(BAD, "failed:"),
                    Shown(&error.to_string())
                ))?;
            }
        }
    }
    Ok(if all { Exit::Done } else { Exit::Failure })
}

fn list(session: &Session, output: Output) -> Result<Exit, Failure> {
    let letters = Outbox::of(session.state.root()).letters().map_err(unusable)?;
    let waiting: Vec<&Letter> =
        letters.iter().map(|(_, letter)| letter).filter(|letter| letter.count > 0).collect();
    output.document(&json!({ "result": "notices", "waiting": waiting }))?;
    if waiting.is_empty() {
        output.data("no notice waits")?;
    }
    for letter in waiting {
        let tries = if letter.tries > 0 { format!(", {} tries failed", letter.tries) } else { String::new() };
        output.data(format_args!(
            "{}  {} {} x{}{tries}: {}",
            letter.last_at,
            letter.notice.code,
            Shown(&letter.notice.resource),
            letter.count,
            Shown(&letter.notice.line)
        ))?;
    }
    Ok(Exit::Done)
}

fn deliver(session: &Session, output: Output) -> Result<Exit, Failure> {
    let host = session.host_policy()?;
    let receivers = host.policy().notify.clone();
    let outbox = Outbox::of(session.state.root());
    let hand = |receiver, letter: &Letter| hand(&receivers, receiver, letter);
    let report = |lost: NoticeUndelivered| {
        let line = format!(
            "a notice {} of {} did not reach {}{}: {}",
            lost.code,
            lost.resource,
            lost.receiver,
            if lost.given_up { " and was given up" } else { "" },
            lost.reason
        );
        output.talk(&line);
        if let (Ok(actor), Ok(op)) = (session.actor(), random::operation_id()) {
            let policy = Some(host.reference());
            announce(&session.state, policy, op, actor, Event::NoticeUndelivered(lost), &line);
        }
    };
    let done = deliver::run(&outbox, &receivers, hand, report).map_err(unusable)?;
    output.document(&json!({ "result": "delivered", "letters": done.letters, "given_up": done.given_up }))?;
    output.data(format_args!("{} letters delivered, {} given up", done.letters, done.given_up))?;
    Ok(if done.given_up == 0 { Exit::Done } else { Exit::Failure })
}

/// Why a receiver did not take a letter. Shows no secret.
#[derive(Debug, thiserror::Error)]
enum NotHanded {
    #[error(transparent)]
    Command(#[from] command::Error),
    #[error("{}{}", .0.message, .0.causes.iter().map(|cause| format!(": {cause}")).collect::<String>())]
    Webhook(Box<Failure>),
}

/// Hands one letter to one receiver.
fn hand(receivers: &Receivers, receiver: Receiver, letter: &Letter) -> Result<(), NotHanded> {
    let body = letter.body(&context::host_name()).to_string().into_bytes();
    match receiver {
        Receiver::Command => Ok(command::run(&receivers.command, letter, &body)?),
        Receiver::Webhook => {
            post(receivers, letter, &body).map_err(|failure| NotHanded::Webhook(Box::new(failure)))
        }
    }
}

fn post(receivers: &Receivers, letter: &Letter, body: &[u8]) -> Result<(), Failure> {
    let webhook = match (&receivers.webhook, &receivers.webhook_file) {
        (Some(webhook), _) => webhook.clone(),
        (None, Some(path)) => {
            let text = secret(path)?;
            let address = Webhook::new(&String::from_utf8_lossy(&text));
            address.map_err(|error| Failure::new(Exit::Failure, format!("{}: {error}", path.display())))?
        }
        (None, None) => return Err(Failure::new(Exit::Failure, "the policy names no webhook")),
    };
    let key = receivers.signing_key_file.as_ref().map(|path| secret(path)).transpose()?;
    let post = palisade_webhook::Post {
        webhook: &webhook,
        id: &letter.id,
        body,
        key: key.as_deref(),
        at: clock::now(),
        authorities: receivers.ca_file.as_deref(),
    };
    palisade_webhook::post(&post).map_err(|error| Failure::new(Exit::Failure, error.to_string()))
}

/// The content of a file that only this user may read, without blanks around it.
fn secret(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    files::open_private(path)?.take(MAX_SECRET_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes.trim_ascii().to_vec())
}

fn shown(receivers: &Receivers, receiver: Receiver) -> String {
    match receiver {
        Receiver::Command => receivers.command.first().cloned().unwrap_or_default(),
        Receiver::Webhook => receivers
            .webhook
            .as_ref()
            .map_or_else(|| "the webhook of webhook_file".to_owned(), ToString::to_string),
    }
}

fn unusable(error: palisade_notify::Error) -> Failure {
    Failure::new(Exit::Failure, error.to_string()).caused_by(&error).code(Code::NoticeUndelivered)
}
