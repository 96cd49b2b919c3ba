//! Where nobody else starts the daemon the firewall does: once, alone, and with the apps that it had.

use std::collections::BTreeMap;

use palisade_core::record::{Act, Administered, Event, Phase};
use palisade_core::{Record, Scope};
use palisade_host::lease::{Acquired, Applicant, acquire};
use palisade_journal::Reader;
use palisade_testkit::{eventually, installed, process};
use serde_json::{Value, json};

use crate::bed::{Bed, ask, call};

fn raising(bed: &mut Bed) {
    let script = installed("7.0.4").unwrap().join("node_modules/pm2/bin/pm2");
    bed.start_firewall_with(&["--start-daemon", script.to_str().unwrap()]);
}

fn starts(bed: &Bed) -> Vec<Administered> {
    let records = Reader::open(&bed.folder.join("state/palisade/journal")).into_iter().flatten();
    let start = |record: Record| match record.event {
        Event::Administered(done) if done.act == Act::DaemonStart => Some(done),
        _ => None,
    };
    records.filter_map(|entry| start(entry.unwrap().record().unwrap())).collect()
}

/// How often each app runs, by the process table and not by any daemon's list.
fn copies(bed: &Bed) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    for pid in process::with_variable("PM2_HOME", bed.pm2.home()) {
        if let (Some(name), Some(_)) = (process::variable(pid, "name"), process::variable(pid, "pm_id")) {
            *copies.entry(name).or_default() += 1;
        }
    }
    copies
}

#[test]
fn a_dead_daemon_is_started_once_and_each_of_its_apps_runs_once() {
    let mut bed = Bed::without_firewall("enforce");
    bed.directly(&["save"]);
    let before = bed.running();
    let once: BTreeMap<String, usize> = before.iter().map(|(name, _)| (name.clone(), 1)).collect();
    for round in 1..=2 {
        // The first time it is dead before the firewall starts, the second time it dies behind it.
        bed.pm2.kill_daemon();
        assert_eq!(copies(&bed), once, "apps outlive their daemon");
        if round == 1 {
            raising(&mut bed);
        }
        let done = eventually("the start is on record", || starts(&bed).into_iter().nth(round - 1));
        assert_eq!((done.phase, bed.pm2.daemons().len()), (Phase::Done, 1), "{done:?}");
        assert_eq!((copies(&bed), bed.running().len()), (once.clone(), before.len()), "{done:?}");
        let ended = done.details.iter().filter(|detail| detail.contains("of the dead daemon"));
        assert_eq!(ended.count(), before.len(), "{done:?}");
    }
    let ran = bed.pm2_in(&bed.nowhere(), &["delete", "all"]);
    assert_eq!((ran.exit, bed.running().len()), (Some(1), before.len()), "{}", ran.text);
}

#[test]
fn an_app_that_does_not_come_back_is_named_and_one_that_was_never_saved_is_left_alone() {
    let mut bed = Bed::without_firewall("observe");
    bed.directly(&["delete", "projectium-site"]);
    bed.directly(&["save"]);
    let dump = bed.pm2.home().join("dump.pm2");
    let mut apps: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(&dump).unwrap()).unwrap();
    let mut gone = apps[0].clone();
    (gone["name"], gone["pm_exec_path"]) = (json!("gone"), json!("/nonexistent/gone.sh"));
    apps.push(gone);
    std::fs::write(&dump, serde_json::to_string(&apps).unwrap()).unwrap();
    let unsaved = bed.ecosystem_of("unsaved.json", &["projectium-site"]);
    bed.directly(&["start", &unsaved]);
    bed.pm2.kill_daemon();
    raising(&mut bed);
    let done = eventually("the start is on record", || starts(&bed).pop());
    let told = done.details.join("\n");
    assert_eq!(done.phase, Phase::Failed, "{told}");
    assert!(told.contains("gone did not come back") && told.contains("palisade pm2 restore"), "{told}");
    assert!(told.contains("projectium-site") && told.contains("dump.pm2 does not name it"), "{told}");
    assert_eq!((copies(&bed)["projectium-site"], copies(&bed)["stock-alert"]), (1, 1));
}

#[test]
fn a_frozen_daemon_is_never_joined_by_a_second_one() {
    let mut bed = Bed::without_firewall("enforce");
    raising(&mut bed);
    let daemon = bed.pm2.daemon_pid();
    process::freeze(daemon);
    let answer = ask(&bed, &call("deleteProcessId", &json!([0])));
    process::thaw(daemon);
    assert!(answer["error"].as_str().unwrap().contains("PAL-"), "{answer}");
    assert_eq!((bed.pm2.daemon_pid(), bed.running().len()), (daemon, 8));
    assert_eq!(starts(&bed), []);
}

#[test]
fn no_daemon_is_started_while_an_administrator_is_at_work_on_it() {
    let mut bed = Bed::without_firewall("observe");
    bed.directly(&["save"]);
    raising(&mut bed);
    let leases = bed.folder.join("state/palisade/leases");
    palisade_host::files::private_folder(&leases).unwrap();
    let applicant = Applicant { program: "palisade pm2 update".to_owned(), run: None };
    let Acquired::Held(lease) = acquire(&leases, &Scope::of_restores(), &applicant).unwrap() else {
        panic!()
    };
    bed.pm2.kill_daemon();
    // The holder has looked for it several times by the end of these.
    for _ in 0..5 {
        assert!(bed.pm2_in(&bed.nowhere(), &["list"]).text.contains("PAL-005"));
        assert_eq!(bed.pm2.daemons(), [0; 0]);
    }
    drop(lease);
    let done = eventually("the start is on record", || starts(&bed).pop());
    assert_eq!((done.phase, bed.pm2.daemons().len(), bed.running().len()), (Phase::Done, 1, 8), "{done:?}");
}
