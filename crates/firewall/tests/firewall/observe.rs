//! In observe everything passes, and what would have been refused is on record.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use palisade_core::Code;
use palisade_core::record::Ruling;
use palisade_pm2::wire::{Arg, Decoder};
use palisade_testkit::{PATIENCE, eventually};
use serde_json::json;

use crate::bed::{Bed, ask, call};

#[test]
fn what_enforce_would_refuse_passes_and_is_recorded() {
    let bed = Bed::new("observe");
    let ran = bed.pm2_in(&bed.nowhere(), &["delete", "all"]);
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
    assert!(bed.running().is_empty());
    let calls = bed.calls();
    let deletions: Vec<_> = calls.iter().filter(|(_, called)| called.method == "deleteProcessId").collect();
    assert_eq!(deletions.len(), 8, "each is charged to its caller, so each is a record");
    for (_, called) in deletions {
        assert_eq!((called.ruling, called.takes_down), (Ruling::Observed, true));
        assert_eq!(called.findings[0].code, Code::UnidentifiedCaller);
    }
}

#[test]
fn protocol_safety_holds_in_observe_too() {
    let bed = Bed::new("observe");
    let before = (bed.pm2.daemon_pid(), bed.running());
    let answer = ask(&bed, &call("ping", &json!([])));
    assert!(answer["error"].as_str().unwrap().contains("PAL-405"), "{answer}");
    assert_eq!((bed.pm2.daemon_pid(), bed.running()), before);
    // The answer does not wait for the record.
    let refused = eventually("it is on record", || bed.refused().pop());
    assert_eq!(refused.1.findings[0].code, Code::BadCall);
}

#[test]
fn the_bus_passes_through() {
    let bed = Bed::new("enforce");
    let mut bus = UnixStream::connect(bed.pm2.home().join("pub.sock")).unwrap();
    bus.set_read_timeout(Some(PATIENCE)).unwrap();
    // A client that talks on the bus talks to nobody.
    bus.write_all(b"hello").unwrap();
    let mut decoder = Decoder::new();
    bed.directly(&["restart", "stock-alert"]);
    let mut buffer = [0; 65536];
    loop {
        if let Some(frame) = decoder.next_frame().unwrap() {
            if matches!(frame.args().unwrap()[..], [Arg::Text("process:event"), Arg::Json(_)]) {
                break;
            }
            continue;
        }
        let count = bus.read(&mut buffer).unwrap();
        assert!(count > 0, "the bus ended");
        decoder.push(&buffer[..count]);
    }
}

/// Puts a file where the journal's folder would be.
fn take_the_journals_place(bed: &Bed) {
    std::fs::write(bed.folder.join("state/palisade/journal"), "").unwrap();
}

#[test]
fn without_a_journal_nothing_is_taken_down_in_enforce_and_the_rest_works() {
    let bed = Bed::new("enforce");
    take_the_journals_place(&bed);
    let own = bed.app_folder("flyer-crawler-api");
    let ran = bed.pm2_in(&own, &["delete", "flyer-crawler-api"]);
    assert!(ran.exit == Some(1) && ran.text.contains("PAL-802"), "{}", ran.text);
    let ran = bed.pm2_in(&bed.nowhere(), &["restart", "flyer-crawler-api"]);
    assert!(ran.exit == Some(1) && ran.text.contains("PAL-401"), "{}", ran.text);
    assert_eq!(bed.running().len(), 8);
    let ran = bed.pm2_in(&own, &["restart", "flyer-crawler-api"]);
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
}

#[test]
fn without_a_journal_observe_passes_all() {
    let bed = Bed::new("observe");
    take_the_journals_place(&bed);
    let ran = bed.pm2_in(&bed.nowhere(), &["delete", "flyer-crawler-api"]);
    assert_eq!((ran.exit, bed.running().len()), (Some(0), 7), "{}", ran.text);
}
