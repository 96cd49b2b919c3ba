//! The process that delivers: one at a time, until nothing waits any more.

use std::fmt::Display;
use std::time::Duration;

use palisade_core::notice::Receivers;
use palisade_core::record::NoticeUndelivered;
use palisade_host::clock;

use crate::letter::{Letter, Receiver};
use crate::outbox::{Error, Outbox};
use crate::rule::{self, Retry, Step};

/// How often the folder is looked into while something waits.
const LOOK: Duration = Duration::from_millis(200);

/// What one run delivered.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// Letters that reached every receiver.
    pub letters: u64,
    /// Letters that were given up.
    pub given_up: u64,
}

/// Delivers until nothing waits. Ends at once, as a success, where another process delivers already.
///
/// `hand` gives one letter to one receiver; what went wrong shows as a sentence without secrets. `report` hears of
/// the first try of a letter that failed, and of the last one.
///
/// # Errors
/// The folder cannot be used.
pub fn run<E: Display>(
    outbox: &Outbox,
    receivers: &Receivers,
    mut hand: impl FnMut(Receiver, &Letter) -> Result<(), E>,
    mut report: impl FnMut(NoticeUndelivered),
) -> Result<Delivered, Error> {
    let mut done = Delivered::default();
    loop {
        let Some(lock) = outbox.delivering()? else { return Ok(done) };
        while let Some(pause) = round(outbox, receivers, &mut hand, &mut report, &mut done)? {
            std::thread::sleep(pause.min(LOOK));
        }
        drop(lock);
        // Whoever put a letter in while the lock was held started nobody.
        if outbox.letters()?.is_empty() {
            return Ok(done);
        }
    }
}

/// Delivers what is due, and says how long to wait for the next; `None` if nothing is left.
fn round<E: Display>(
    outbox: &Outbox,
    receivers: &Receivers,
    hand: &mut impl FnMut(Receiver, &Letter) -> Result<(), E>,
    report: &mut impl FnMut(NoticeUndelivered),
    done: &mut Delivered,
) -> Result<Option<Duration>, Error> {
    let mut pause = None;
    for (key, letter) in outbox.letters()? {
        match rule::step(&letter, clock::now(), receivers.window) {
            Step::Wait(span) => pause = Some(pause.map_or(span, |least: Duration| least.min(span))),
            Step::Forget => outbox.change(&key, |letter| (letter.count > 0).then_some(letter))?,
            Step::Deliver => {
                deliver(outbox, receivers, (&key, &letter), hand, report, done)?;
                pause = Some(Duration::ZERO);
            }
        }
    }
    Ok(pause)
}

fn deliver<E: Display>(
    outbox: &Outbox,
    receivers: &Receivers,
    (key, letter): (&str, &Letter),
    hand: &mut impl FnMut(Receiver, &Letter) -> Result<(), E>,
    report: &mut impl FnMut(NoticeUndelivered),
    done: &mut Delivered,
) -> Result<(), Error> {
    let mut reached = letter.delivered_to.clone();
    let mut failures = Vec::new();
    for receiver in named(receivers).filter(|receiver| !letter.delivered_to.contains(receiver)) {
        match hand(receiver, letter) {
            Ok(()) => drop(reached.insert(receiver)),
            Err(error) => failures.push((receiver, error.to_string())),
        }
    }
    let now = clock::now();
    let mut retry = None;
    outbox.change(key, |mut current| {
        // Those that came while this one was on its way are the next letter.
        let came = current.count.saturating_sub(letter.count);
        if failures.is_empty() {
            rule::settled(&mut current, now);
        } else {
            current.delivered_to = reached;
            retry = Some(rule::failed(&mut current, now));
        }
        if current.count == 0 && came > 0 {
            current.count = came;
            current.first_at = current.last_at;
            current.id = format!("{}-next", letter.id);
        }
        Some(current)
    })?;
    match retry {
        None => done.letters += 1,
        Some(Retry::GivenUp) => done.given_up += 1,
        Some(Retry::Later) => {}
    }
    let given_up = retry == Some(Retry::GivenUp);
    if letter.tries == 0 || given_up {
        for (receiver, reason) in failures {
            report(undelivered(receivers, receiver, letter, given_up, reason));
        }
    }
    Ok(())
}

fn undelivered(
    receivers: &Receivers,
    receiver: Receiver,
    letter: &Letter,
    given_up: bool,
    reason: String,
) -> NoticeUndelivered {
    let shown = match (receiver, &receivers.webhook) {
        (Receiver::Command, _) => "the command".to_owned(),
        (Receiver::Webhook, Some(webhook)) => webhook.to_string(),
        (Receiver::Webhook, None) => "the webhook of webhook_file".to_owned(),
    };
    NoticeUndelivered {
        receiver: shown,
        code: letter.notice.code,
        resource: letter.notice.resource.clone(),
        tries: letter.tries + 1,
        given_up,
        reason,
    }
}

/// The receivers that the policy names.
pub fn named(receivers: &Receivers) -> impl Iterator<Item = Receiver> {
    let has = |receiver: &Receiver| match receiver {
        Receiver::Command => !receivers.command.is_empty(),
        Receiver::Webhook => receivers.webhook.is_some() || receivers.webhook_file.is_some(),
    };
    Receiver::ALL.into_iter().filter(has)
}
