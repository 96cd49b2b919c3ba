//! What to do, from what was found. Pure: every state that an install, a removal or a crash may leave has an answer.

use crate::found::{Apart, End, Found};

/// One step. Each may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make the folder of the daemon's own sockets, for its user alone.
    MakePrivate,
    /// Give the daemon's sockets their private names too; the public ones stay.
    LinkPrivate,
    /// Start the firewall, which takes the public places from the daemon.
    TakeOver,
    /// Start the firewall where nobody listens: the one before has died.
    StartAgain,
    /// Give the daemon's sockets the public names again; the private ones stay.
    LinkPublic,
    /// End the firewall.
    EndFirewall,
    /// Remove a file of the firewall that has died.
    RemoveLeftOver,
}

impl Step {
    /// What it does, for people.
    #[must_use]
    pub const fn told(self) -> &'static str {
        match self {
            Self::MakePrivate => "make the folder `private` in the home, for the daemon's user alone",
            Self::LinkPrivate => "link the daemon's live sockets into it; nothing is moved yet",
            Self::TakeOver => "start the firewall, which takes the public places by a rename",
            Self::StartAgain => "start the firewall again; the one before has died",
            Self::LinkPublic => "give the daemon's live sockets their public names again, by a rename",
            Self::EndFirewall => "end the firewall",
            Self::RemoveLeftOver => "remove what a dead firewall has left",
        }
    }
}

/// Why nothing is done. Nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    /// No daemon runs on this home.
    #[error("no PM2 daemon runs on this home")]
    NoDaemon,
    /// More than one daemon runs on this home.
    #[error("{0} PM2 daemons run on this home")]
    Daemons(usize),
    /// Somebody else listens where PM2's clients look.
    #[error("something that is neither PM2's daemon nor a firewall listens on {0}")]
    Stranger(&'static str),
    /// A path is taken by something that is no socket.
    #[error("{0} is no socket")]
    NoSocket(&'static str),
    /// The daemon is there, and neither place leads to it.
    #[error("the daemon runs, and none of the sockets leads to it")]
    Unreachable,
}

impl Barred {
    /// How to go on, in one sentence.
    #[must_use]
    pub const fn fix(&self) -> &'static str {
        match self {
            Self::NoDaemon => "start it with `pm2 ping`, or `pm2 resurrect` with its apps, and install again",
            Self::Daemons(_) => "end the one that lists no processes, and see PAL-006",
            Self::Stranger(_) => "see who listens with `ss -xlp`, and end it",
            Self::NoSocket(_) => "move it away",
            Self::Unreachable => {
                "a controlled restart of the daemon makes its sockets anew: `palisade pm2 update` needs a way in, so \
                 end the daemon by SIGTERM after `pm2 save`, and start it"
            }
        }
    }
}

/// The steps that put a guard in front; none where it stands already.
///
/// # Errors
/// Something is in the way.
pub fn install(found: &Found) -> Result<Vec<Step>, Barred> {
    match found.daemons.len() {
        0 => return Err(Barred::NoDaemon),
        1 => {}
        more => return Err(Barred::Daemons(more)),
    }
    for (end, path) in [
        (found.rpc, "rpc.sock"),
        (found.bus, "pub.sock"),
        (found.private_rpc, "private/rpc.sock"),
        (found.private_bus, "private/pub.sock"),
    ] {
        match end {
            End::NoSocket => return Err(Barred::NoSocket(path)),
            End::Other => return Err(Barred::Stranger(path)),
            End::Nothing | End::Stale | End::Daemon | End::Firewall => {}
        }
    }
    let (public, private) = (reaches(found.rpc, found.bus), reaches(found.private_rpc, found.private_bus));
    if found.is_guarded() && private {
        return Ok(Vec::new());
    }
    match (public, private) {
        // Both may lead to it: a removal has left the private names, or an install was cut off.
        (true, _) => Ok(vec![Step::MakePrivate, Step::LinkPrivate, Step::TakeOver]),
        (false, true) if found.holder.is_some() => Ok(vec![Step::EndFirewall, Step::StartAgain]),
        (false, true) => Ok(vec![Step::StartAgain]),
        (false, false) => Err(Barred::Unreachable),
    }
}

/// The steps that take the guard away; none where none stands.
///
/// # Errors
/// The daemon cannot be given its places back.
pub fn remove(found: &Found) -> Result<Vec<Step>, Barred> {
    let public = reaches(found.rpc, found.bus);
    let private = reaches(found.private_rpc, found.private_bus);
    let mut steps = Vec::new();
    if !public && !found.daemons.is_empty() {
        if !private {
            return Err(Barred::Unreachable);
        }
        steps.push(Step::LinkPublic);
    }
    if found.holder.is_some() {
        steps.push(Step::EndFirewall);
    }
    if found.guarded.is_some() {
        steps.push(Step::RemoveLeftOver);
    }
    Ok(steps)
}

fn reaches(rpc: End, bus: End) -> bool {
    rpc == End::Daemon && bus == End::Daemon
}

/// Something that is not as it should be, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOver {
    /// What.
    pub what: String,
    /// How to mend it.
    pub fix: String,
}

/// What a crash, a reboot or somebody's hand has left of a guard.
#[must_use]
pub fn left_overs(found: &Found) -> Vec<LeftOver> {
    let mut all = Vec::new();
    let mut add = |what: &str, fix: &str| all.push(LeftOver { what: what.to_owned(), fix: fix.to_owned() });
    let install = &again(found);
    if found.daemons.len() > 1 {
        add("two PM2 daemons run on this home", "end the one that lists no processes, and see PAL-006");
    }
    match (found.holder.is_some(), found.is_guarded()) {
        (true, false) => add("the firewall runs, and PM2's clients do not reach it", install),
        (false, true) if found.guarded.is_none() => {}
        (false, _) if found.guarded.is_some() => {
            add("the firewall is dead and left its file: nothing is guarded", install);
        }
        (true, true) | (false, _) => {}
    }
    if found.holder.is_some() && found.daemons.is_empty() {
        add("the firewall runs, and there is no daemon behind it", "start the daemon on its private sockets");
    }
    for (end, path) in [(found.rpc, &found.places.rpc), (found.bus, &found.places.bus)] {
        if end == End::Stale {
            add(&format!("nobody listens on {}: any `pm2` starts a second daemon", path.display()), install);
        }
    }
    all
}

/// The command that puts the guard in front again as it was.
fn again(found: &Found) -> String {
    let apart = found.apart.map(|Apart { daemon, guard, deployers }| {
        format!(
            " --isolation separate-uid --daemon-user {daemon} --guard-user {guard} --deployer-group {deployers}"
        )
    });
    let home = found.places.home.display();
    format!("palisade guard install pm2 --pm2-home {home}{}", apart.unwrap_or_default())
}

/// What a guard of the same user does not stop.
pub const SAME_UID_HOLES: [&str; 4] = [
    "a direct connect to the private socket, which every process of this user can find; apps in cluster mode inherit \
     its path",
    "signals to the daemon, to apps and to the firewall by the same user",
    "edits of dump.pm2 and of logs, `pm2 save` and `pm2 flush`, which never ask the daemon",
    "what an app starts under its own name",
];

/// What a guard with users of its own does not stop.
pub const SEPARATE_UID_HOLES: [&str; 3] = [
    "root, sudo, and members of a group that is as good as root",
    "apps among each other: they run as the daemon's user",
    "what an app starts under its own name: `prepare` runs as the daemon's user",
];

#[cfg(test)]
mod tests {
    use palisade_core::actor::ProcessRef;

    use super::*;
    use crate::places::Places;

    const PROCESS: ProcessRef = ProcessRef { pid: 7, start_ticks: 1 };

    /// A home with these ends, public first, and a firewall's process or none.
    fn found([rpc, bus, private_rpc, private_bus]: [End; 4], holder: bool) -> Found {
        Found {
            places: Places::of("/srv/pm2".as_ref(), None),
            uid: 1,
            gid: 1,
            rpc,
            bus,
            private_rpc,
            private_bus,
            daemons: vec![PROCESS],
            started_private: false,
            guarded: None,
            apart: None,
            holder: holder.then_some(PROCESS),
            judge: None,
        }
    }

    use End::{Daemon, Firewall, NoSocket, Nothing, Other, Stale};

    #[test]
    fn every_state_of_a_home_has_a_way_to_a_guard() {
        let bridge = vec![Step::MakePrivate, Step::LinkPrivate, Step::TakeOver];
        let cases = [
            ([Daemon, Daemon, Nothing, Nothing], false, Ok(bridge.clone())),
            ([Daemon, Daemon, Stale, Stale], false, Ok(bridge.clone())),
            ([Daemon, Daemon, Daemon, Daemon], false, Ok(bridge)),
            ([Firewall, Firewall, Daemon, Daemon], true, Ok(vec![])),
            ([Stale, Stale, Daemon, Daemon], false, Ok(vec![Step::StartAgain])),
            ([Nothing, Nothing, Daemon, Daemon], false, Ok(vec![Step::StartAgain])),
            ([Firewall, Stale, Daemon, Daemon], true, Ok(vec![Step::EndFirewall, Step::StartAgain])),
            ([Stale, Stale, Stale, Stale], false, Err(Barred::Unreachable)),
            ([Other, Daemon, Nothing, Nothing], false, Err(Barred::Stranger("rpc.sock"))),
            ([Daemon, NoSocket, Nothing, Nothing], false, Err(Barred::NoSocket("pub.sock"))),
        ];
        for (ends, holder, expected) in cases {
            assert_eq!(install(&found(ends, holder)), expected, "{ends:?}");
        }
    }

    #[test]
    fn no_daemon_and_two_daemons_bar_an_install() {
        let mut home = found([Nothing; 4], false);
        home.daemons = vec![];
        assert_eq!(install(&home), Err(Barred::NoDaemon));
        home.daemons = vec![PROCESS, ProcessRef { pid: 8, start_ticks: 1 }];
        assert_eq!(install(&home), Err(Barred::Daemons(2)));
    }

    #[test]
    fn a_removal_gives_the_places_back_before_it_ends_the_firewall() {
        let guarded = found([Firewall, Firewall, Daemon, Daemon], true);
        assert_eq!(remove(&guarded), Ok(vec![Step::LinkPublic, Step::EndFirewall]));
        assert_eq!(remove(&found([Daemon, Daemon, Daemon, Daemon], false)), Ok(vec![]));
        assert_eq!(remove(&found([Firewall, Firewall, Nothing, Nothing], true)), Err(Barred::Unreachable));
        let mut dead = found([Stale, Stale, Nothing, Nothing], true);
        dead.daemons = vec![];
        assert_eq!(remove(&dead), Ok(vec![Step::EndFirewall]));
    }

    #[test]
    fn a_dead_firewall_is_found_with_its_fix() {
        assert_eq!(left_overs(&found([Firewall, Firewall, Daemon, Daemon], true)), []);
        assert_eq!(left_overs(&found([Daemon, Daemon, Nothing, Nothing], false)), []);
        let stale = left_overs(&found([Stale, Stale, Daemon, Daemon], false));
        assert_eq!(stale.len(), 2);
        assert!(stale[0].what.contains("second daemon"), "{stale:?}");
        let passed_by = left_overs(&found([Daemon, Daemon, Daemon, Daemon], true));
        assert!(passed_by[0].what.contains("do not reach it"), "{passed_by:?}");
    }

    #[test]
    fn each_left_over_has_the_fix_for_the_home_that_is_meant() {
        let other = ProcessRef { pid: 8, start_ticks: 1 };
        let install = "palisade guard install pm2 --pm2-home /srv/pm2";
        let of = |ends, holder, daemons: &[ProcessRef]| {
            let mut home = found(ends, holder);
            home.daemons = daemons.to_vec();
            let fixes = left_overs(&home).into_iter().map(|one| one.fix);
            fixes.collect::<Vec<_>>()
        };
        for (ends, holder, daemons, fixes) in [
            ([Stale, Daemon, Daemon, Daemon], false, &[PROCESS][..], vec![install]),
            ([Daemon, Daemon, Daemon, Daemon], true, &[PROCESS], vec![install]),
            (
                [Firewall, Firewall, Nothing, Nothing],
                true,
                &[],
                vec!["start the daemon on its private sockets"],
            ),
            (
                [Firewall, Firewall, Daemon, Daemon],
                true,
                &[PROCESS, other],
                vec!["end the one that lists no processes, and see PAL-006"],
            ),
        ] {
            assert_eq!(of(ends, holder, daemons), fixes, "{ends:?}");
        }
        let mut home = found([Stale, Daemon, Daemon, Daemon], false);
        home.apart = Some(Apart { daemon: 991, guard: 992, deployers: 993 });
        let users = " --isolation separate-uid --daemon-user 991 --guard-user 992 --deployer-group 993";
        assert_eq!(left_overs(&home)[0].fix, format!("{install}{users}"));
    }
}
