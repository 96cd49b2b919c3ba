//! Several handles and several processes append to one journal.

use std::process::{Command, Stdio};

use palisade_journal::{Journal, Reader, recent};

use crate::support::{Folder, ORIGIN, record};

/// Names the journal that a child process appends to.
const SHARED: &str = "PALISADE_TEST_SHARED";

#[test]
fn two_handles_that_take_turns_see_each_others_records() {
    let folder = Folder::with_segments_of(2500);
    let (mut one, mut two) = (folder.open().unwrap(), folder.open().unwrap());
    for number in (0..40).step_by(2) {
        assert_eq!(one.append(&record(number)).unwrap().sequence(), Some(number));
        assert_eq!(two.append(&record(number + 1)).unwrap().sequence(), Some(number + 1));
    }
    let verified = folder.verify().unwrap();
    assert_eq!((verified.records, verified.unsigned_tail), (40, 0));
    assert!(verified.segments > 3);
    let order: Vec<_> =
        Reader::open(&folder.dir()).unwrap().map(|entry| entry.unwrap().record().unwrap()).collect();
    assert_eq!(order, (0..40).map(record).collect::<Vec<_>>());
}

#[test]
fn a_handle_that_slept_through_many_records_catches_up() {
    let folder = Folder::with_segments_of(2500);
    let mut sleeper = folder.open().unwrap();
    folder.append(0..100);
    assert_eq!(sleeper.append(&record(100)).unwrap().sequence(), Some(100));
    assert_eq!(folder.verify().unwrap().records, 101);
}

#[test]
fn threads_with_handles_of_their_own_lose_no_record() {
    let folder = Folder::with_segments_of(4000);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let folder = &folder;
            scope.spawn(move || folder.append(thread * 100..thread * 100 + 25));
        }
    });
    check_all(&folder, &[0, 100, 200, 300], 25);
}

#[test]
fn readers_and_verification_run_beside_an_appender() {
    let folder = Folder::with_segments_of(4000);
    folder.open().unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| folder.append(0..150));
        let mut seen = 0;
        while !writer.is_finished() {
            let verified = folder.verify().unwrap();
            assert!(verified.records >= seen && verified.torn_bytes == 0);
            seen = verified.records;
            assert!(recent(&folder.dir()).unwrap().all(|entry| entry.is_ok()));
            assert!(Reader::open(&folder.dir()).unwrap().all(|entry| entry.is_ok()));
        }
    });
    assert_eq!(folder.verify().unwrap().records, 150);
}

#[test]
fn processes_that_make_and_share_one_journal_lose_no_record() {
    if append_as_a_child() {
        return;
    }
    let folder = Folder::new();
    let children: Vec<_> = [0, 100, 200]
        .into_iter()
        .map(|from| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "sharing::processes_that_make_and_share_one_journal_lose_no_record"])
                .env(SHARED, format!("{}\n{from}", folder.root().display()))
                .stdout(Stdio::piped())
                .spawn()
        })
        .collect();
    for child in children {
        let output = child.unwrap().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
    check_all(&folder, &[0, 100, 200], 20);
}

/// In a child process of the test above: appends twenty records. `false` in the parent.
#[expect(clippy::disallowed_methods, reason = "the parent names the folder")]
fn append_as_a_child() -> bool {
    let Ok(shared) = std::env::var(SHARED) else { return false };
    let (root, from) = shared.split_once('\n').unwrap();
    let (root, from) = (std::path::Path::new(root), from.parse::<u64>().unwrap());
    let mut journal = Journal::open(&root.join("journal"), &root.join("journal.key"), ORIGIN).unwrap();
    for number in from..from + 20 {
        journal.append(&record(number)).unwrap();
    }
    true
}

/// Each writer's records are there, once and in its order.
fn check_all(folder: &Folder, writers: &[u64], each: u64) {
    let verified = folder.verify().unwrap();
    assert_eq!((verified.records, verified.unsigned_tail), (writers.len() as u64 * each, 0));
    let numbers: Vec<u64> =
        Reader::open(&folder.dir()).unwrap().map(|entry| entry.unwrap().record().unwrap().boot_ms).collect();
    for from in writers {
        let own: Vec<u64> =
            numbers.iter().copied().filter(|number| (*from..from + 100).contains(number)).collect();
        assert_eq!(own, (*from..from + each).collect::<Vec<_>>());
    }
}
