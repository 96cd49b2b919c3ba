//! PM2's dump under one user: whoever changes it is not stopped, and does not stay unnoticed.

use std::path::PathBuf;

use palisade_core::Record;
use palisade_core::record::{Act, Administered, Event};
use palisade_journal::Reader;
use palisade_testkit::{eventually, process};
use serde_json::Value;

use crate::bed::Bed;
use crate::holder::judge;

fn edits(bed: &Bed) -> Vec<Administered> {
    let records = Reader::open(&bed.folder.join("state/palisade/journal")).into_iter().flatten();
    let edit = |record: Record| match record.event {
        Event::Administered(done) if done.act == Act::DumpEdit => Some(done),
        _ => None,
    };
    records.filter_map(|entry| edit(entry.unwrap().record().unwrap())).collect()
}

fn dump(bed: &Bed) -> PathBuf {
    bed.pm2.home().join("dump.pm2")
}

/// Waits until the guard has seen the dump as it is.
fn seen(bed: &Bed) {
    let same = || std::fs::read(bed.folder.join("state/palisade/dumps/seen.json")).ok();
    eventually("the guard has seen the dump", || (same() == std::fs::read(dump(bed)).ok()).then_some(()));
}

/// Changes the dump as an editor would.
fn change(bed: &Bed, change: impl FnOnce(&mut Vec<Value>)) {
    let mut entries: Vec<Value> = serde_json::from_slice(&std::fs::read(dump(bed)).unwrap()).unwrap();
    change(&mut entries);
    std::fs::write(dump(bed), serde_json::to_vec(&entries).unwrap()).unwrap();
}

#[test]
fn an_edit_of_the_dump_is_recorded_kept_and_told_where_it_loses_what_runs() {
    let bed = Bed::new("enforce");
    let policy = std::fs::read_to_string(bed.folder.join("config/palisade/palisade.toml")).unwrap();
    let told =
        format!("{}\n[notify]\ncommand = [\"/bin/true\"]\n", policy.replace("revision = 1", "revision = 2"));
    bed.folder.write("config/palisade/palisade.toml", &told);
    let own = bed.app_folder("flyer-crawler-api");
    assert_eq!(bed.pm2_in(&own, &["save"]).exit, Some(0));
    // A change has the guard read its policy anew.
    assert_eq!(bed.pm2_in(&own, &["restart", "flyer-crawler-api"]).exit, Some(0));
    seen(&bed);
    // What a restart counts is no edit.
    assert_eq!(bed.pm2_in(&own, &["save"]).exit, Some(0));
    seen(&bed);
    assert_eq!(edits(&bed), []);

    let before = std::fs::read(dump(&bed)).unwrap();
    change(&bed, |entries| {
        entries.retain(|entry| entry["name"] != "stock-alert");
        entries[0]["pm_exec_path"] = "/bin/false".into();
    });
    let edit = eventually("the edit is on record", || edits(&bed).pop());
    let told = edit.details.join("\n");
    assert!(told.contains("lost stock-alert") && told.contains("has other settings of"), "{told}");
    let version = told.rsplit("restore ").next().unwrap();
    let kept = bed.folder.join("state/palisade/dumps").join(format!("{version}.json"));
    assert_eq!(std::fs::read(kept).unwrap(), before);
    eventually("others are told", || {
        bed.notices().iter().any(|notice| notice.contains("PAL-446")).then_some(())
    });

    // So is one that nobody watched.
    process::kill(judge(&bed));
    change(&bed, |entries| entries.retain(|entry| entry["name"] != "projectium-site"));
    let edit = eventually("the next judge sees it", || edits(&bed).into_iter().nth(1));
    assert!(edit.details[0].contains("lost projectium-site"), "{edit:?}");
}
