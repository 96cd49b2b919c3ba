//! A journal whose file cannot grow: a write that fails halfway, as on a full disk.

use std::process::Command;

use palisade_core::Exit;

use crate::env::{CRAWLER_PROCESSES, TestEnv, crawler};
use crate::said::Said;

/// Room that is left in the journal's file: less than a record, so that a write stops in its middle.
const ROOM: u64 = 100;

/// Runs the binary with a limit on the size of files that the journal is [`ROOM`] bytes short of.
fn limited(env: &TestEnv, words: &[&str]) -> Said {
    let segment = env.state().join("journal/00000000000000000000.plj");
    let limit = segment.metadata().unwrap().len() + ROOM;
    let mut command = Command::new("sh");
    // Without the trap a write beyond the limit ends the process; with it, the write fails.
    command.args(["-c", r#"trap "" XFSZ; limit=$1; shift; exec prlimit --fsize="$limit" "$@""#, "sh"]);
    command.arg(limit.to_string()).arg(env!("CARGO_BIN_EXE_palisade")).args(words);
    env.surround(&mut command);
    command.output().unwrap().into()
}

/// A host whose journal is larger than any other file that Palisade writes, so that only it meets the limit.
fn host_with_a_long_journal() -> TestEnv {
    let env = TestEnv::new();
    for _ in 0..40 {
        env.palisade(&[&["deploy"], &crate::env::CRAWLER[..], &["--", "true"]].concat()).ends(Exit::Done);
    }
    env
}

#[test]
fn what_the_journal_has_no_room_for_is_not_done_and_nothing_of_it_stays() {
    let env = host_with_a_long_journal();
    let before = env.records().len();
    let said = limited(&env, &crawler(&["pm2", "delete"])).ends(Exit::Journal);
    assert!(said.stderr.contains("PAL-802"), "{}", said.stderr);
    env.assert_untouched_but(&[]);
    env.palisade(&["journal", "verify"]).ends(Exit::Done);
    assert_eq!(env.records().len(), before, "half a record is none");

    env.palisade(&crawler(&["pm2", "delete"])).ends(Exit::Done);
    env.assert_untouched_but(&CRAWLER_PROCESSES);
    env.palisade(&["journal", "verify"]).ends(Exit::Done);
    assert_eq!(env.events("recovered").len(), 0, "the write was taken back, not torn");
}

#[test]
fn a_restart_of_ones_own_passes_without_a_record_and_says_so() {
    let env = host_with_a_long_journal();
    let said = limited(&env, &crawler(&["pm2", "restart"])).ends(Exit::Done);
    assert!(said.stderr.contains("the journal cannot be written"), "{}", said.stderr);
    env.assert_untouched_but(&CRAWLER_PROCESSES);
    env.palisade(&["journal", "verify"]).ends(Exit::Done);
}
