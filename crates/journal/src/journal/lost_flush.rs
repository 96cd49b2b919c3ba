//! A disk that takes a record and then cannot make it durable.

use std::io;

use palisade_core::actor::{Actor, Claimed, Observed, ProcessRef, Tree};
use palisade_core::record::{Event, FORMAT, Repeated};
use palisade_core::request::OperationId;
use palisade_core::{Record, Timestamp};

use super::{Journal, Limits};
use crate::error::Error;
use crate::key::public_path;
use crate::note::VerifierKey;

fn record(at_ms: u64) -> Record {
    let (at, process) = (Timestamp::from_unix_ms(at_ms), ProcessRef { pid: 10, start_ticks: 20 });
    let observed = Observed {
        uid: 1,
        gid: 1,
        user: None,
        process,
        session: 10,
        cwd: None,
        cgroup: None,
        host: "h".into(),
        machine_id: None,
        ancestors: vec![],
    };
    let tree = Tree::session(process);
    let op = OperationId::new(at, [1; 10]);
    Record {
        v: FORMAT,
        at,
        boot_ms: at_ms,
        boot_id: "b".into(),
        event: Event::Repeated(Repeated { count: 1, first: op.clone(), last_at: at }),
        op,
        actor: Actor { observed, claimed: Claimed::default(), missing: vec![], tree },
        policy: None,
    }
}

#[test]
fn after_a_lost_flush_this_handle_appends_nothing_more_and_a_new_one_goes_on_from_the_last_durable_record() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, key) = (folder.path().join("journal"), folder.path().join("key"));
    let open = || Journal::open_with(&dir, &key, "palisade/test/here", Limits::default()).unwrap();
    let mut journal = open();
    journal.append(&record(0)).unwrap();

    journal.flush = |_| Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
    let lost = journal.append(&record(1)).unwrap_err();
    assert!(matches!(lost, Error::Unwritable { .. }), "{lost}");

    // The disk works again, and the kernel would say so of bytes that it has dropped.
    journal.flush = std::fs::File::sync_data;
    let refused = journal.append(&record(2)).unwrap_err();
    assert!(matches!(refused, Error::Poisoned), "{refused}");

    let receipt = open().append(&record(3)).unwrap();
    assert_eq!(receipt.sequence(), Some(1), "what was lost was not acknowledged, so its number is free");
    let verifier = VerifierKey::read(&public_path(&key)).unwrap();
    let verified = crate::verify(&dir, &verifier, &[]).unwrap();
    assert_eq!((verified.records, verified.torn_bytes), (2, 0));
}
