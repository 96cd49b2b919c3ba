//! `palisade guard list`: what is in force, whether it is alive, and what it does not stop.

use std::path::Path;
use std::time::UNIX_EPOCH;

use palisade_core::bypass::{Bypass, Opened};
use palisade_core::policy::Mode;
use palisade_core::text::Shown;
use palisade_core::{Exit, Timestamp};
use palisade_host::process;
use palisade_install::plan::{self, LeftOver};
use palisade_install::{Found, found};
use palisade_pm2::Isolation;
use serde_json::{Value, json};

use super::mode;
use crate::args::Pm2Home;
use crate::failure::{Failure, ago};
use crate::output::{BAD, GOOD, Output, STRONG, styled};
use crate::session::Session;

/// One guard, or what is left of one.
struct Guard {
    found: Found,
    left_overs: Vec<LeftOver>,
    since: Option<Timestamp>,
    bypass: Option<Bypass>,
}

impl Guard {
    fn isolation(&self) -> Isolation {
        self.found.guarded.as_ref().map_or(Isolation::SameUid, |said| said.isolation)
    }

    fn holes(&self) -> &'static [&'static str] {
        match self.isolation() {
            Isolation::SameUid => &plan::SAME_UID_HOLES,
            Isolation::SeparateUid => &plan::SEPARATE_UID_HOLES,
        }
    }
}

pub(super) fn list(session: &Session, output: Output, daemon: &Pm2Home) -> Result<Exit, Failure> {
    let homes = match &daemon.pm2_home {
        Some(_) => [super::home(session, daemon)?].into(),
        None => {
            let usual = super::home(session, daemon).ok().filter(|home| home.is_dir());
            found::homes(usual.as_deref())
                .map_err(|error| Failure::new(Exit::Failure, error.to_string()).caused_by(&error))?
        }
    };
    let mut guards = Vec::new();
    for home in &homes {
        let found = Found::at(home)?;
        let left_overs = plan::left_overs(&found);
        if found.is_guarded() || found.guarded.is_some() || found.holder.is_some() || !left_overs.is_empty() {
            let opened = Opened::pm2_home(&home.display().to_string());
            let bypasses = super::super::bypass::in_force().into_iter();
            let bypass =
                bypasses.filter(|bypass| bypass.opened.covers(&opened)).max_by_key(|b| b.until_boot_ms);
            guards.push(Guard { since: since(&found.places.rpc), found, left_overs, bypass });
        }
    }
    let modes = session.host_policy().map(|host| mode::modes(host.policy())).unwrap_or_default();
    let modes: Vec<(String, &str)> = modes
        .iter()
        .map(|(scope, mode)| (scope.to_string(), if *mode == Mode::Enforce { "enforce" } else { "observe" }))
        .collect();
    let documents: Vec<Value> = guards.iter().map(|guard| document(guard, &modes)).collect();
    output.document(&json!({ "guards": documents }))?;
    for guard in &guards {
        for line in lines(guard, &modes) {
            output.data(line)?;
        }
    }
    if guards.is_empty() {
        output.data("no guard on this host that this user can see: palisade guard install pm2")?;
    }
    let is_whole = |guard: &Guard| guard.left_overs.is_empty();
    Ok(if guards.iter().all(is_whole) { Exit::Done } else { Exit::Failure })
}

/// When the socket was made: the firewall's beginning.
fn since(socket: &Path) -> Option<Timestamp> {
    let made = socket.symlink_metadata().ok()?.modified().ok()?;
    let span = made.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_unix_ms(u64::try_from(span.as_millis()).ok()?))
}

fn alive(process: Option<palisade_core::actor::ProcessRef>) -> Option<u32> {
    process.filter(|process| process::is_alive(*process)).map(|process| process.pid)
}

fn document(guard: &Guard, modes: &[(String, &str)]) -> Value {
    let found = &guard.found;
    let left = guard.left_overs.iter().map(|left| json!({ "what": left.what, "fix": left.fix }));
    json!({
        "resource": "pm2",
        "home": found.places.home,
        "guarded": found.is_guarded(),
        "isolation": guard.isolation(),
        "holder": alive(found.holder),
        "judge": alive(found.judge),
        "since": guard.since,
        "daemon": found.daemons.first().map(|daemon| daemon.pid),
        "private": found.started_private,
        "modes": modes.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "bypass": guard.bypass,
        "left_overs": left.collect::<Vec<_>>(),
        "does_not_stop": guard.holes(),
    })
}

fn lines(guard: &Guard, modes: &[(String, &str)]) -> Vec<String> {
    let found = &guard.found;
    let state = match (found.is_guarded(), &guard.bypass) {
        (true, None) => styled(GOOD, "guarded"),
        (true, Some(_)) => styled(BAD, "open by a bypass"),
        (false, _) => styled(BAD, "NOT guarded"),
    };
    let pid = |process| alive(process).map_or_else(|| "none".to_owned(), |pid| format!("pid {pid}"));
    let since = guard.since.map(|since| format!(", since {}", ago(since, palisade_host::clock::now())));
    let mut lines = vec![
        format!("{} at {}: {state}", styled(STRONG, "pm2"), Shown(&found.places.home.display().to_string())),
        format!("  isolation: {}", guard.isolation().as_str()),
        format!("  holder:    {}{}", pid(found.holder), since.unwrap_or_default()),
    ];
    // A firewall without a judge of its own judges in one process.
    if found.judge.is_some() {
        lines.push(format!("  judge:     {}", pid(found.judge)));
    }
    let private = match (found.daemons.is_empty(), found.started_private) {
        (true, _) => "none runs".to_owned(),
        (false, true) => "on its private sockets from its start".to_owned(),
        (false, false) => "behind a bridge of links until its next start".to_owned(),
    };
    lines.push(format!("  daemon:    {private}"));
    lines.extend(modes.iter().map(|(scope, mode)| format!("  {mode:9}  {scope}")));
    lines.extend(guard.bypass.as_ref().map(|bypass| format!("  {}", super::super::bypass::notice(bypass))));
    for left in &guard.left_overs {
        lines.push(format!("  {} {}", styled(BAD, "problem:  "), left.what));
        lines.push(format!("             fix: {}", left.fix));
    }
    lines.push("  it does not stop:".to_owned());
    lines.extend(guard.holes().iter().map(|hole| format!("    - {hole}")));
    lines
}
