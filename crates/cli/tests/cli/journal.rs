//! `palisade journal`: what was recorded can be read, anchored and checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use palisade_core::Exit;
use palisade_testkit::eventually;

use crate::env::{TestEnv, crawler, ended};

fn deploy(env: &TestEnv) {
    env.palisade(&[&crawler(&["deploy"])[..], &["--", "true"]].concat()).ends(Exit::Done);
}

/// A host with one deployment on record: three records, for the first one names the policy.
fn with_records() -> TestEnv {
    let env = TestEnv::without_daemon();
    deploy(&env);
    env
}

fn segments(env: &TestEnv) -> Vec<PathBuf> {
    let entries = fs::read_dir(env.state().join("journal")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "plj")).collect()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn tail_shows_the_newest_records_one_a_line() {
    let env = with_records();
    let all = env.palisade(&["journal", "tail"]).ends(Exit::Done).stdout;
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines.len(), 3, "{all}");
    assert!(lines[0].contains("first policy, revision 1"), "{all}");
    assert!(lines[1].contains("deployment of flyer-crawler/production began, term 1, true"), "{all}");
    assert!(lines[2].contains("deployment of flyer-crawler/production ended with 0"), "{all}");
    let last = env.palisade(&["journal", "tail", "-n", "1"]).ends(Exit::Done).stdout;
    assert_eq!(last.trim_end(), lines[2]);
    let documents = env.palisade(&["journal", "tail", "--json"]).ends(Exit::Done).json_lines();
    assert_eq!(
        documents.iter().map(|line| line["sequence"].as_u64().unwrap()).collect::<Vec<_>>(),
        [0, 1, 2]
    );
}

#[test]
fn a_followed_journal_shows_what_is_written_meanwhile() {
    let env = with_records();
    let log = fs::File::create(env.path("followed")).unwrap();
    let mut command = env.command(&["journal", "tail", "-f", "-n", "1"]);
    let mut child = command.stdout(log).stderr(Stdio::null()).spawn().unwrap();
    let lines = |count: usize| {
        eventually("the followed journal shows the records", || {
            let text = fs::read_to_string(env.path("followed")).unwrap();
            (text.lines().count() == count).then_some(text)
        })
    };
    assert!(lines(1).contains("ended with 0"));
    deploy(&env);
    let text = lines(3);
    assert!(text.lines().nth(1).unwrap().contains("began, term 2"), "{text}");
    child.kill().unwrap();
    ended(child);
}

#[test]
fn show_finds_a_record_by_number_and_by_operation() {
    let env = with_records();
    let by_number = env.palisade(&["journal", "show", "1", "--json"]).ends(Exit::Done).json();
    assert_eq!(by_number["record"]["event"], "deployment-started");
    let operation = by_number["record"]["op"].as_str().unwrap();
    let by_operation = env.palisade(&["journal", "show", operation, "--json"]).ends(Exit::Done).json_lines();
    assert_eq!(by_operation.len(), 3, "an operation's records share its id");
    let text = env.palisade(&["journal", "show", "1"]).ends(Exit::Done);
    assert_eq!(text.json(), by_number, "the text form is the same record, laid out");
    let absent = env.palisade(&["journal", "show", "77"]).ends(Exit::Usage);
    assert!(absent.stderr.contains("the journal has no record \"77\""), "{}", absent.stderr);
}

#[test]
fn export_and_stat_tell_the_same_records() {
    let env = with_records();
    let records = env.records();
    let stat = env.palisade(&["journal", "stat", "--json"]).ends(Exit::Done).json();
    assert_eq!(stat["records"], records.len());
    assert_eq!(stat["segments"], segments(&env).len());
    assert_eq!(stat["oldest"], records[0]["at"]);
    assert_eq!(stat["newest"], records[records.len() - 1]["at"]);
    let text = env.palisade(&["journal", "stat"]).ends(Exit::Done).stdout;
    assert!(text.starts_with("records:  3 in 1 segment"), "{text}");
}

#[test]
fn a_host_without_a_journal_says_so_and_none_is_made_by_looking() {
    let env = TestEnv::without_daemon();
    let anchor = ["anchor", "--out", "anchor"];
    for words in [&["tail"][..], &["export"], &["stat"], &["verify"], &["show", "0"], &anchor] {
        let said = env.palisade(&[&["journal"], words].concat()).ends(Exit::Failure);
        assert!(said.stderr.contains("there is no journal yet"), "{words:?}: {}", said.stderr);
    }
    assert!(!env.state().exists());
}

#[test]
fn a_mistyped_anchor_is_no_damage_of_the_journal() {
    let env = with_records();
    let verified = env.palisade(&["journal", "verify", "--anchor", "/no/such/anchor"]).ends(Exit::Failure);
    assert!(verified.stderr.contains("cannot read /no/such/anchor"), "{}", verified.stderr);
    assert!(!verified.stderr.contains("evidence"), "{}", verified.stderr);
    let written = env.palisade(&["journal", "anchor", "--out", "/no/such/folder/anchor"]).ends(Exit::Failure);
    assert!(written.stderr.contains("cannot write the anchor /no/such/folder/anchor"), "{}", written.stderr);
}

#[test]
fn a_journal_that_was_removed_is_not_taken_for_one_that_never_was() {
    let env = with_records();
    let anchor = env.path("anchor");
    env.palisade(&["journal", "anchor", "--out", &anchor]).ends(Exit::Done);
    let head = env.state().join("journal/head");
    let bytes = fs::read(&head).unwrap();
    fs::remove_file(&head).unwrap();
    env.palisade(&["journal", "verify"]).ends(Exit::Journal);
    let deploy = [&crawler(&["deploy"])[..], &["--", "true"]].concat();
    env.palisade(&deploy).ends(Exit::Journal);
    fs::write(&head, bytes).unwrap();
    env.palisade(&["journal", "verify"]).ends(Exit::Done);
    fs::remove_dir_all(env.state().join("journal")).unwrap();
    env.palisade(&["journal", "verify"]).ends(Exit::Journal);
    fs::remove_dir_all(env.state()).unwrap();
    env.palisade(&["journal", "verify", "--anchor", &anchor]).ends(Exit::Journal);
}

#[test]
fn a_flipped_bit_is_found_and_its_place_is_named() {
    let env = with_records();
    env.palisade(&["journal", "verify"]).ends(Exit::Done);
    let path = segments(&env).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    fs::write(&path, bytes).unwrap();
    let found = env.palisade(&["journal", "verify"]).ends(Exit::Journal);
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(found.stderr.contains(name) && found.stderr.contains("PAL-801"), "{}", found.stderr);
    let document = env.palisade(&["journal", "verify", "--json"]).ends(Exit::Journal).json();
    assert_eq!(document["code"], "PAL-801");
}

#[test]
fn only_an_anchor_finds_that_an_older_journal_was_put_back_whole() {
    let env = with_records();
    let journal = env.state().join("journal");
    let older = env.home().join("older");
    copy_folder(&journal, &older);
    deploy(&env);
    let anchor = env.path("anchor");
    let said = env.palisade(&["journal", "anchor", "--out", &anchor, "--json"]).ends(Exit::Done);
    assert_eq!(said.json()["size"], 5);
    env.palisade(&["journal", "verify", "--anchor", &anchor]).ends(Exit::Done);
    // The journal may grow past its anchor.
    deploy(&env);
    let grown = env.palisade(&["journal", "verify", "--anchor", &anchor, "--json"]).ends(Exit::Done).json();
    assert_eq!((&grown["records"], &grown["anchored"]), (&7.into(), &4.into()), "records from 0");

    fs::remove_dir_all(&journal).unwrap();
    fs::rename(&older, &journal).unwrap();
    env.palisade(&["journal", "verify"]).ends(Exit::Done);
    let found = env.palisade(&["journal", "verify", "--anchor", &anchor]).ends(Exit::Journal);
    assert!(found.stderr.contains("PAL-801"), "{}", found.stderr);
}

fn git(env: &TestEnv, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(words);
    env.surround(&mut command);
    let done = command.output().unwrap();
    assert!(done.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn an_anchor_can_be_a_git_note_and_is_read_back_from_it() {
    let env = with_records();
    let repository = env.path("repository");
    git(&env, &["init", "--quiet", &repository]);
    for setting in [["user.name", "Deploy"], ["user.email", "deploy@example.org"]] {
        git(&env, &["-C", &repository, "config", setting[0], setting[1]]);
    }
    let refused = env.palisade(&["journal", "anchor", "--git", &repository]).ends(Exit::Failure);
    assert!(refused.stderr.contains("at least one commit"), "{}", refused.stderr);
    git(&env, &["-C", &repository, "commit", "--quiet", "--allow-empty", "-m", "first"]);
    env.palisade(&["journal", "anchor", "--git", &repository]).ends(Exit::Done);
    deploy(&env);
    env.palisade(&["journal", "anchor", "--git", &repository]).ends(Exit::Done);

    let note = git(&env, &["-C", &repository, "notes", "--ref", "palisade", "show", "HEAD"]);
    let file = env.write("from-git", &note);
    let verified = env.palisade(&["journal", "verify", "--anchor", &file, "--json"]).ends(Exit::Done).json();
    assert_eq!(verified["anchored"], 4, "both anchors are read, records from 0: {note}");
}
