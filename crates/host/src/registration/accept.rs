//! Announcements that came over a socket: whose process may be registered by whom.

use std::path::Path;

use palisade_core::text::Shown;
use palisade_core::{Code, Finding, Policy, Scope};

use super::{Announcement, Error, FORMAT, Registration, prune, register};
use crate::peer::Peer;
use crate::{clock, process};

/// Why an announcement is not accepted. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum NotAccepted {
    /// It is no request of a version that is known here.
    #[error("the request is not understood; palisade and palisade-firewall should be of one version")]
    NotUnderstood,
    /// The policy has no such app and environment.
    #[error("the policy has no {}; an [[app]] of the host's policy has to name it", .0)]
    UnknownScope(Scope),
    /// The process that asks has ended.
    #[error("the process that asks has ended")]
    Gone,
    /// Somebody else's process.
    #[error(
        "pid {pid} is neither the caller nor a parent of it that runs as uid {uid}; register that one itself"
    )]
    NotYours {
        /// What it wants to register.
        pid: u32,
        /// As whom it asks.
        uid: u32,
    },
    /// The file cannot be written.
    #[error("the registration cannot be written: {0}")]
    Unwritten(#[from] Error),
}

impl NotAccepted {
    /// The ground, for the record.
    #[must_use]
    pub fn finding(&self) -> Finding {
        Finding {
            code: Code::NotRegistered,
            message: self.to_string(),
            fix: "register the caller itself, for an app and environment that the host's policy has"
                .to_owned(),
            subjects: Vec::new(),
        }
    }

    /// The text for the caller.
    #[must_use]
    pub fn told(&self) -> String {
        let text = self.to_string();
        format!("Palisade registered nothing: {} {}", Code::NotRegistered, Shown(&text))
    }
}

/// Takes an announcement of `client` that came as one line: the kernel says who asks, and it may register itself or a
/// parent of its own user, for an app that the policy has.
///
/// # Errors
/// See [`NotAccepted`]; then nothing was written.
pub fn accept(line: &str, client: &Peer, policy: &Policy, registrations: &Path) -> Result<(), NotAccepted> {
    let asked: Announcement = serde_json::from_str(line).map_err(|_| NotAccepted::NotUnderstood)?;
    if asked.format != FORMAT {
        return Err(NotAccepted::NotUnderstood);
    }
    if !policy.apps.iter().any(|app| app.scope == asked.scope) {
        return Err(NotAccepted::UnknownScope(asked.scope));
    }
    let caller = client.process.filter(|caller| process::is_alive(*caller)).ok_or(NotAccepted::Gone)?;
    let pid = asked.pid.unwrap_or(caller.pid);
    let process = if pid == caller.pid {
        caller
    } else {
        let parents = process::ancestors(caller.pid);
        let its = parents.iter().find(|parent| parent.process.pid == pid && parent.uid == client.uid);
        its.map(|parent| parent.process).ok_or(NotAccepted::NotYours { pid, uid: client.uid })?
    };
    let registration = Registration {
        process,
        scope: asked.scope,
        uid: client.uid,
        run: asked.run,
        program: asked.program,
        since: clock::now(),
        is_shared: false,
    };
    // What is left of processes that have ended goes now and then.
    drop(prune(registrations));
    Ok(register(registrations, &registration)?)
}
