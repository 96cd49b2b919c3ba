//! Faults, each with what to do about it.

use std::error::Error;

use palisade_core::text::escaped_lines;
use palisade_host::{files, random};
use palisade_pipeline::{Fault, FaultKind};

use crate::bundle::BundleError;
use crate::client::{ConnectError, Lost};
use crate::list::ListError;
use crate::locate::{Location, TwoDaemonsError};

fn fault(kind: FaultKind, error: impl Error + Send + Sync + 'static, fix: impl Into<String>) -> Fault {
    let message = escaped_lines(&error.to_string()).into_owned();
    Fault { kind, message, fix: fix.into(), source: Some(Box::new(error)) }
}

pub(super) fn connect(error: ConnectError) -> Fault {
    match error {
        ConnectError::Unreachable(unreachable) => {
            let fix = unreachable.fix();
            fault(FaultKind::Unreachable, unreachable, fix)
        }
        ConnectError::Unidentified { .. } => fault(
            FaultKind::Unreachable,
            error,
            "run in the same pid namespace as the daemon: a process that cannot be named cannot be pinned",
        ),
        ConnectError::Protocol { .. } => fault(
            FaultKind::UnknownProtocol,
            error,
            "check that the socket is PM2's rpc.sock; PM2 5.4, 6.0 and 7.0 are known to this version",
        ),
    }
}

pub(super) fn list(error: ListError) -> Fault {
    fault(FaultKind::UnknownProtocol, error, "PM2 5.4, 6.0 and 7.0 are known to this version")
}

pub(super) fn search(error: tokio::task::JoinError) -> Fault {
    fault(FaultKind::Unreachable, error, "try again; the search for a second daemon did not end")
}

pub(super) fn no_list(location: &Location) -> Fault {
    Fault {
        kind: FaultKind::UnknownProtocol,
        message: format!("the list of the PM2 daemon at {} is not as expected", location.socket.display()),
        fix: "PM2 5.4, 6.0 and 7.0 are known to this version".to_owned(),
        source: None,
    }
}

pub(super) fn two_daemons(error: TwoDaemonsError) -> Fault {
    match error {
        TwoDaemonsError::Two { .. } => fault(
            FaultKind::TwoDaemons,
            error,
            "find out which of them has the apps (`ps --ppid PID`), and end the other one by its pid",
        ),
        TwoDaemonsError::Processes(_) => fault(FaultKind::Unreachable, error, "mount /proc"),
    }
}

pub(super) fn bundle(error: BundleError) -> Fault {
    fault(
        FaultKind::ValuesNotKept,
        error,
        "without a restore bundle nothing is done: make the folder of bundles writable for this user only",
    )
}

pub(super) fn host(error: files::Error) -> Fault {
    fault(FaultKind::Unreachable, error, "mount /proc: without the boot id no process can be pinned")
}

pub(super) fn random(error: random::Error) -> Fault {
    fault(
        FaultKind::ValuesNotKept,
        error,
        "allow getrandom: without random bytes no secret can be fingerprinted",
    )
}

pub(super) fn refused(location: &Location, message: &str) -> Fault {
    Fault {
        kind: FaultKind::UnknownProtocol,
        message: format!(
            "the PM2 daemon at {} does not give its list: {}",
            location.socket.display(),
            palisade_core::text::escaped(message)
        ),
        fix: "ask its guard, if it has one; else look at pm2.log".to_owned(),
        source: None,
    }
}

pub(super) fn lost(location: &Location, lost: Lost) -> Fault {
    let kind = match &lost {
        Lost::Protocol(_) | Lost::NotOffered(_) | Lost::TooLarge(_) => FaultKind::UnknownProtocol,
        Lost::Deadline(_) | Lost::Closed | Lost::Broken(_) | Lost::GivenUp => FaultKind::Unreachable,
    };
    Fault {
        kind,
        message: format!("the PM2 daemon at {} did not give its list: {lost}", location.socket.display()),
        fix: "the daemon is busy, or was restarted: look at its process and at pm2.log".to_owned(),
        source: Some(Box::new(lost)),
    }
}
