//! A judge that dies or freezes, a holder that does, and both being replaced: clients are answered, one daemon
//! serves the home, and nothing foreign is touched.

use std::io::Write as _;

use palisade_core::Record;
use palisade_core::record::{Event, Gap};
use palisade_journal::Reader;
use palisade_pm2::guarded::Guarded;
use palisade_pm2::wire::Decoder;
use palisade_testkit::{eventually, process};
use serde_json::{Value, json};

use crate::bed::{Bed, ask, call, frame, reply};
use crate::bypass::Open;

fn one(pids: &[u32]) -> Option<u32> {
    match pids {
        [pid] => Some(*pid),
        _ => None,
    }
}

pub(crate) fn judge(bed: &Bed) -> u32 {
    eventually("one judge", || one(&bed.judges()))
}

pub(crate) fn holder(bed: &Bed) -> u32 {
    eventually("one holder", || one(&bed.holders()))
}

/// Waits for a judge that is not `old`, and that judges.
pub(crate) fn next_judge(bed: &Bed, old: u32) -> u32 {
    let new = eventually("another judge", || one(&bed.judges()).filter(|pid| *pid != old));
    eventually("it judges", || {
        let answer = ask(bed, &call("resetMetaProcessId", &json!([0])));
        let text = answer["error"].as_str().unwrap_or_default();
        (!text.contains("PAL-411")).then_some(())
    });
    new
}

pub(crate) fn gaps(bed: &Bed) -> Vec<Gap> {
    let records = Reader::open(&bed.folder.join("state/palisade/journal")).into_iter().flatten();
    let gap = |record: Record| match record.event {
        Event::Gap(gap) => Some(gap),
        _ => None,
    };
    records.filter_map(|entry| gap(entry.unwrap().record().unwrap())).collect()
}

fn pong(answer: &Value) -> bool {
    answer["args"][0]["msg"] == "pong"
}

#[test]
fn a_killed_judge_is_replaced_and_its_end_drops_no_connection() {
    let bed = Bed::new("enforce");
    let (first, before) = (judge(&bed), (bed.pm2.daemon_pid(), bed.running()));
    let (mut stream, mut decoder) = (bed.socket(), Decoder::new());
    stream.write_all(&frame(&call("ping", &json!([{}])), "1:0")).unwrap();
    assert!(pong(&reply(&mut stream, &mut decoder).unwrap().0));

    process::kill(first);
    // A change that is asked for meanwhile waits for the next judge, who knows the rules.
    stream.write_all(&frame(&call("deleteProcessId", &json!([0])), "1:1")).unwrap();
    stream.write_all(&frame(&call("ping", &json!([{}])), "1:2")).unwrap();
    let (read, change) =
        (reply(&mut stream, &mut decoder).unwrap(), reply(&mut stream, &mut decoder).unwrap());
    assert!(pong(&read.0) && read.1 == "1:2", "{read:?}");
    assert!(change.0["error"].as_str().unwrap().contains("PAL-401"), "{change:?}");

    assert_ne!(next_judge(&bed, first), first);
    assert_eq!((bed.pm2.daemon_pid(), bed.running()), before);
    eventually("the gap is on record", || (!gaps(&bed).is_empty()).then_some(()));
}

#[test]
fn a_frozen_judge_is_killed_and_the_calls_it_owed_are_judged_by_the_next() {
    let bed = Bed::new("enforce");
    let (first, before) = (judge(&bed), (bed.pm2.daemon_pid(), bed.running()));
    process::freeze(first);
    // Reads do not wait for it.
    assert!(pong(&ask(&bed, &call("ping", &json!([{}])))));
    let answer = ask(&bed, &call("deleteProcessId", &json!([0])));
    assert!(answer["error"].as_str().unwrap().contains("PAL-401"), "{answer}");
    assert!(!process::is_running(first));
    assert_eq!((bed.pm2.daemon_pid(), bed.running()), before);
    assert!(gaps(&bed)[0].reason.contains("silent"), "{:?}", gaps(&bed));
}

#[test]
fn a_list_on_one_connection_does_not_wait_behind_its_own_held_changes() {
    let bed = Bed::new("enforce");
    let first = judge(&bed);
    process::freeze(first);
    let (mut stream, mut decoder) = (bed.socket(), Decoder::new());
    for id in 0..3 {
        stream.write_all(&frame(&call("deleteProcessId", &json!([id])), &format!("1:{id}"))).unwrap();
    }
    stream.write_all(&frame(&call("ping", &json!(["x"])), "1:3")).unwrap();
    stream.write_all(&frame(&call("getMonitorData", &json!([{}])), "1:4")).unwrap();
    // The malformed call is refused at once, and the list is there while the judge is still frozen.
    let (json, id) = reply(&mut stream, &mut decoder).unwrap();
    assert!(id == "1:3" && json["error"].as_str().unwrap().contains("PAL-405"), "{id} {json}");
    let (json, id) = reply(&mut stream, &mut decoder).unwrap();
    assert!(id == "1:4" && json["args"][0].as_array().is_some_and(|list| list.len() == 8), "{id} {json}");
    assert!(process::is_running(first), "nobody has replaced it yet");
    // Changes keep their order.
    for wanted in ["1:0", "1:1", "1:2"] {
        let (json, id) = reply(&mut stream, &mut decoder).unwrap();
        assert!(id == wanted && json["error"].is_string(), "{id} {json}");
    }
    assert_eq!(bed.running().len(), 8);
}

/// Judge and holder are replaced, and the daemon is started again, in front of that release too.
fn is_replaced_and_raises(version: &str) {
    let mut bed = Bed::of(version, "enforce");
    let before = (bed.pm2.daemon_pid(), bed.running());
    let first = judge(&bed);
    process::kill(first);
    next_judge(&bed, first);
    let frozen = judge(&bed);
    process::freeze(frozen);
    assert!(pong(&ask(&bed, &call("ping", &json!([{}])))));
    let answer = ask(&bed, &call("deleteProcessId", &json!([0])));
    // Two failures in a row: the next judge may come too late for this one, which is then refused unjudged.
    assert!(answer["error"].is_string(), "{answer}");
    eventually("another judge", || bed.judges().first().is_some_and(|pid| *pid != frozen).then_some(()));
    process::kill(holder(&bed));
    let ran = bed.pm2_in(&bed.nowhere(), &["list"]);
    assert_eq!((ran.exit, bed.pm2.daemons().len()), (Some(0), 1), "{}", ran.text);
    let ran = bed.pm2_in(&bed.nowhere(), &["delete", "all"]);
    assert_eq!(
        (ran.exit, bed.pm2.daemon_pid(), bed.running()),
        (Some(1), before.0, before.1.clone()),
        "{}",
        ran.text
    );

    bed.directly(&["save"]);
    process::terminate(holder(&bed));
    eventually("the firewall is gone", || bed.holders().is_empty().then_some(()));
    let script = palisade_testkit::installed(version).unwrap().join("node_modules/pm2/bin/pm2");
    bed.start_firewall_with(&["--start-daemon", script.to_str().unwrap()]);
    bed.pm2.kill_daemon();
    eventually("the daemon is back with its apps", || {
        let is_back = bed.pm2.daemons().len() == 1 && bed.private("rpc.sock").exists();
        (is_back && ask(&bed, &call("getMonitorData", &json!([{}])))["args"][0].as_array()?.len() == 8)
            .then_some(())
    });
    let names = |list: Vec<(String, u64)>| list.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(bed.running()), names(before.1));
    assert_eq!(bed.pm2_in(&bed.nowhere(), &["delete", "all"]).exit, Some(1));
}

#[test]
fn judge_holder_and_daemon_are_replaced_on_pm2_5() {
    is_replaced_and_raises("5.4.3");
}

#[test]
fn judge_holder_and_daemon_are_replaced_on_pm2_6() {
    is_replaced_and_raises("6.0.14");
}

#[test]
fn without_any_judge_a_bypass_passes_changes_in_enforce() {
    let bed = Bed::new("enforce");
    without_policy(&bed);
    let own = bed.app_folder("flyer-crawler-api");
    assert_eq!(bed.pm2_in(&own, &["delete", "projectium-site"]).exit, Some(1));
    let open = Open::of(&bed);
    let ran = bed.pm2_in(&own, &["delete", "projectium-site"]);
    drop(open);
    assert_eq!((ran.exit, bed.running().len()), (Some(0), 7), "{}", ran.text);
    assert_eq!(bed.pm2_in(&own, &["delete", "stock-alert"]).exit, Some(1));
}

/// Makes every further judge fail: there is no policy that it could read.
pub(crate) fn without_policy(bed: &Bed) {
    std::fs::remove_file(bed.folder.join("config/palisade/palisade.toml")).unwrap();
    process::kill(judge(bed));
    eventually("the holder answers by itself", || {
        let answer = ask(bed, &call("getMonitorData", &json!([{}])));
        assert!(answer["args"].is_array(), "{answer}");
        bed.judges().is_empty().then_some(())
    });
}

#[test]
fn without_any_judge_lists_work_and_changes_are_refused_in_enforce() {
    let bed = Bed::new("enforce");
    let before = (bed.pm2.daemon_pid(), bed.running());
    without_policy(&bed);
    let own = bed.app_folder("flyer-crawler-api");
    assert_eq!(bed.pm2_in(&own, &["list"]).exit, Some(0));
    let ran = bed.pm2_in(&own, &["delete", "flyer-crawler-api"]);
    assert!(ran.exit == Some(1) && ran.text.contains("PAL-411"), "{}", ran.text);
    let file = bed.ecosystem_of("new.json", &["flyer-crawler-new"]);
    for command in [&["start", file.as_str()][..], &["delete", "all"], &["kill"], &["update"], &["resurrect"]]
    {
        let ran = bed.pm2_in(&own, command);
        let found = (bed.pm2.daemon_pid(), bed.running());
        assert_eq!(found, before, "{command:?} {}", ran.text);
    }
    assert_eq!(bed.pm2.daemons().len(), 1);
}

#[test]
fn without_any_judge_everything_passes_in_observe_and_is_counted() {
    let bed = Bed::new("observe");
    let before = bed.running();
    let policy = std::fs::read_to_string(bed.folder.join("config/palisade/palisade.toml")).unwrap();
    without_policy(&bed);
    let nowhere = bed.nowhere();
    assert_eq!(bed.pm2_in(&nowhere, &["list"]).exit, Some(0));
    let ran = bed.pm2_in(&nowhere, &["delete", "projectium-site"]);
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
    let kept: Vec<_> = before.into_iter().filter(|(name, _)| name != "projectium-site").collect();
    assert_eq!(bed.running(), kept);
    bed.folder.write("config/palisade/palisade.toml", &policy);
    let gap = eventually("the gap is on record", || gaps(&bed).pop().filter(|gap| gap.unread > 0));
    assert_eq!((gap.refused, gap.from < gap.to), (0, true), "{gap:?}");
}

#[test]
fn a_killed_holder_is_replaced_by_its_judge_on_the_same_sockets() {
    let bed = Bed::new("enforce");
    let (first, old) = (holder(&bed), judge(&bed));
    let before = (bed.pm2.daemon_pid(), bed.running());
    let note = || Guarded::read(bed.pm2.home()).unwrap();
    let first_note = note();
    assert_eq!((first_note.pid, &first_note.private_rpc), (first, &bed.private("rpc.sock")));
    process::kill(first);
    // Whoever connects from here on waits in the kernel's queue, and is answered.
    let nowhere = bed.nowhere();
    let ran = bed.pm2_in(&nowhere, &["list"]);
    assert_eq!((ran.exit, bed.pm2.daemons().len()), (Some(0), 1), "{}", ran.text);
    assert_eq!((holder(&bed), note().pid), (old, old), "the judge became the holder");
    let ran = bed.pm2_in(&nowhere, &["delete", "all"]);
    assert_eq!(
        (ran.exit, bed.pm2.daemon_pid(), bed.running()),
        (Some(1), before.0, before.1),
        "{}",
        ran.text
    );
    assert_ne!(judge(&bed), old);
}

#[test]
fn a_frozen_holder_is_replaced_too() {
    let bed = Bed::new("enforce");
    let (first, old) = (holder(&bed), judge(&bed));
    let before = (bed.pm2.daemon_pid(), bed.running());
    process::freeze(first);
    let ran = bed.pm2_in(&bed.nowhere(), &["delete", "all"]);
    assert_eq!(
        (ran.exit, bed.pm2.daemon_pid(), bed.running()),
        (Some(1), before.0, before.1),
        "{}",
        ran.text
    );
    assert!(!process::is_running(first));
    assert_eq!((holder(&bed), bed.pm2.daemons().len()), (old, 1));
}

#[test]
fn a_hangup_runs_the_firewall_anew_on_the_same_sockets() {
    let mut bed = Bed::new("enforce");
    let (first, old) = (holder(&bed), judge(&bed));
    let before = (bed.pm2.daemon_pid(), bed.running());
    process::hang_up(first);
    next_judge(&bed, old);
    assert_eq!(holder(&bed), first, "the process is the same, the program new");
    let ran = bed.pm2_in(&bed.nowhere(), &["delete", "all"]);
    assert_eq!(
        (ran.exit, bed.pm2.daemon_pid(), bed.running()),
        (Some(1), before.0, before.1),
        "{}",
        ran.text
    );
    assert_eq!(bed.end_firewall(), Some(0));
    assert!(!bed.pm2.rpc_socket().exists());
    assert_eq!(Guarded::read(bed.pm2.home()), None);
    eventually("no judge is left", || bed.judges().is_empty().then_some(()));
}
