//! Sockets from a supervisor, by the real `systemd-socket-activate`, and the policy that is read again.

use std::process::{Child, Command, Stdio};

use palisade_core::Record;
use palisade_core::record::Event;
use palisade_journal::Reader;
use palisade_testkit::{eventually, process};
use serde_json::json;

use crate::bed::{Bed, ask, call};

/// The firewall behind sockets that somebody else made; ended with the test by [`Bed`].
struct Activated(Child);

impl Activated {
    fn behind(bed: &Bed) -> Self {
        let mut command = Command::new("systemd-socket-activate");
        for name in ["rpc", "pub"] {
            command.arg("-l").arg(bed.pm2.home().join(format!("{name}.sock")));
        }
        command.arg("--fdname=rpc:pub");
        for (name, folder) in [("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state")] {
            command.arg(format!("--setenv={name}={}", bed.folder.join(folder).display()));
        }
        command.arg(env!("CARGO_BIN_EXE_palisade-firewall")).arg("--pm2-home").arg(bed.pm2.home());
        command
            .env("HOME", bed.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().unwrap();
        eventually("it listens", || bed.pm2.rpc_socket().exists().then_some(()));
        Self(child)
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        process::kill(self.0.id());
        drop(self.0.wait());
    }
}

#[test]
fn sockets_of_a_supervisor_are_taken_kept_and_left() {
    let bed = Bed::without_firewall("enforce");
    let before = (bed.pm2.daemon_pid(), bed.running());
    let activated = Activated::behind(&bed);
    // The first client starts it, and waits for its answer.
    let ran = bed.pm2_in(&bed.nowhere(), &["delete", "all"]);
    assert!(ran.exit == Some(1) && ran.text.contains("PAL-401"), "{}", ran.text);
    assert_eq!((bed.pm2.daemon_pid(), bed.running()), before);

    // A judge that takes over has them from the supervisor too.
    let holder = activated.0.id();
    let judge = bed.judges()[0];
    process::kill(holder);
    assert_eq!(bed.pm2_in(&bed.nowhere(), &["list"]).exit, Some(0));
    assert_eq!(bed.holders(), [judge]);
    process::terminate(judge);
    process::wait_gone(judge);
    assert!(bed.pm2.rpc_socket().exists(), "what the supervisor made is its own to remove");
    assert_eq!(bed.pm2.daemons().len(), 1);
}

#[test]
fn who_waits_at_a_supervisors_socket_is_answered_though_no_daemon_is_there() {
    let bed = Bed::without_daemon("enforce");
    let _activated = Activated::behind(&bed);
    let ran = bed.pm2_in(&bed.nowhere(), &["list"]);
    assert!(ran.text.contains("PAL-005"), "{}", ran.text);
    assert_eq!(bed.pm2.daemons(), [0; 0]);
    // It may come later.
    bed.directly(&["ping"]);
    eventually("the daemon is served", || {
        (ask(&bed, &call("ping", &json!([{}])))["args"][0]["msg"] == "pong").then_some(())
    });
    assert_eq!(bed.pm2.daemons().len(), 1);
}

fn revisions(bed: &Bed) -> Vec<u64> {
    let records = Reader::open(&bed.folder.join("state/palisade/journal")).into_iter().flatten();
    let revision = |record: Record| match record.event {
        Event::PolicyChanged(changed) => Some(changed.to.revision),
        _ => None,
    };
    records.filter_map(|entry| revision(entry.unwrap().record().unwrap())).collect()
}

#[test]
fn a_policy_that_changed_is_in_force_at_the_next_call_and_never_an_older_one() {
    let bed = Bed::new("observe");
    let path = "config/palisade/palisade.toml";
    let first = std::fs::read_to_string(bed.folder.join(path)).unwrap();
    let delete = |name: &str| bed.pm2_in(&bed.nowhere(), &["delete", name]);
    assert_eq!((delete("projectium-site").exit, bed.running().len()), (Some(0), 7));

    bed.folder.write(path, &first.replace("observe", "enforce").replace("revision = 1", "revision = 2"));
    let ran = delete("stock-alert");
    assert!(ran.exit == Some(1) && ran.text.contains("PAL-401"), "{}", ran.text);
    assert_eq!(revisions(&bed), [1, 2]);

    // Neither an older policy nor a broken one opens anything.
    for bad in [first.as_str(), "revision = \"three\""] {
        bed.folder.write(path, bad);
        let ran = delete("stock-alert");
        assert!(ran.exit == Some(1) && ran.text.contains("an earlier one is"), "{bad} {}", ran.text);
    }
    // Nor does it without a judge: what was heard last holds.
    std::fs::remove_file(bed.folder.join(path)).unwrap();
    process::kill(bed.judges()[0]);
    assert!(delete("stock-alert").text.contains("PAL-411"));
    assert_eq!((bed.running().len(), revisions(&bed)), (7, vec![1, 2]));
}
