//! While nobody judges and no app is in enforce, bytes pass as they come, in both directions: also what the session
//! machine refuses in every mode. The gap is on record, and whoever is shown no values is still shown none.

use std::io::Write as _;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};

use palisade_core::record::Gap;
use palisade_pm2::wire::Decoder;
use palisade_testkit::{PATIENCE, eventually, process};
use serde_json::{Value, json};

use crate::bed::{Bed, ask, call, frame, reply};
use crate::holder::{gaps, judge, without_policy};

/// Sends bytes and gives the reply.
fn exchange(stream: &mut UnixStream, bytes: &[u8]) -> (Value, String) {
    stream.write_all(bytes).unwrap();
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]);
    reply(stream, &mut Decoder::new()).unwrap_or_else(|| panic!("no answer to {head}"))
}

/// What the session machine refuses, and PM2 takes: each with what PM2 answers.
fn odd_calls() -> [(&'static str, Vec<u8>, &'static str); 4] {
    let mut another_version = frame(&call("ping", &json!([{}])), "9:2");
    another_version[0] = 0x22;
    let large = call("ping", &json!([{ "pad": "x".repeat(2 * 1024 * 1024) }]));
    [
        ("an unknown method", frame(&call("ofTomorrow", &json!([{}])), "9:0"), "does not exist"),
        ("a number that is not canonical", frame(&call("deleteProcessId", &json!(["01"])), "9:1"), "01"),
        ("another version of frames", another_version, "pong"),
        ("more than a megabyte", frame(&large, "9:3"), "pong"),
    ]
}

/// Each of them gets the daemon's own answer, under the client's own id.
fn everything_passes(bed: &Bed) {
    for (what, bytes, told) in odd_calls() {
        let (answer, id) = exchange(&mut bed.socket(), &bytes);
        assert!(
            answer.to_string().contains(told) && !answer.to_string().contains("PAL-"),
            "{what}: {answer}"
        );
        assert!(id.starts_with("9:"), "{what}: {id}");
    }
}

fn told_as_unknown(answer: &Value) -> bool {
    answer["error"].as_str().unwrap().contains("PAL-405")
}

fn last_gap(bed: &Bed) -> Gap {
    eventually("the gap is on record", || gaps(bed).pop().filter(|gap| gap.unread > 0))
}

#[test]
fn with_its_judge_killed_and_no_app_in_enforce_every_byte_passes() {
    let bed = Bed::new("observe");
    let before = (bed.pm2.daemon_pid(), bed.running());
    let unknown = || frame(&call("ofTomorrow", &json!([{}])), "1:1");
    // In observe too a judged call has to be well formed.
    let mut stream = bed.socket();
    assert!(told_as_unknown(&exchange(&mut stream, &unknown()).0));
    let policy = std::fs::read_to_string(bed.folder.join("config/palisade/palisade.toml")).unwrap();
    without_policy(&bed);
    everything_passes(&bed);
    // So does what comes over a connection from before.
    assert!(exchange(&mut stream, &unknown()).0["error"].as_str().unwrap().contains("does not exist"));
    assert_eq!((bed.pm2.daemon_pid(), bed.running()), before);

    // Bytes from before a judge is there again and after it are one frame: it passes to its end, and no further.
    let (mut halved, ping) = (bed.socket(), frame(&call("ping", &json!([{}])), "2:1"));
    halved.write_all(&ping[..20]).unwrap();
    bed.folder.write("config/palisade/palisade.toml", &policy);
    let gap = last_gap(&bed);
    assert!(gap.unread >= 5 && gap.refused == 0 && gap.from < gap.to, "{gap:?}");
    let rest = [&ping[20..], &unknown()[..]].concat();
    assert_eq!(exchange(&mut halved, &rest).0["args"][0]["msg"], "pong");
    for stream in [&mut halved, &mut stream] {
        let (refused, _) = exchange(stream, &unknown());
        assert!(told_as_unknown(&refused), "{refused}");
    }
    let ran = bed.pm2_in(&bed.nowhere(), &["delete", "stock-alert"]);
    assert_eq!((ran.exit, bed.calls().last().unwrap().1.method.as_str()), (Some(0), "deleteProcessId"));
}

/// Where there is no system log, as in a container, one is made that this firewall alone sees.
#[test]
fn both_ends_of_a_gap_are_lines_of_the_system_log() {
    let mut bed = Bed::new("observe");
    bed.end_firewall();
    let log = UnixDatagram::bind(bed.folder.join("log")).unwrap();
    log.set_read_timeout(Some(PATIENCE)).unwrap();
    let firewall = bed.firewall_command();
    let mut command = Command::new("unshare");
    let devices = "mkdir dev && : >dev/null && mount --bind /dev/null dev/null && ln -s \"$PWD/log\" dev/log && \
                   mount --rbind dev /dev && exec \"$@\"";
    command
        .args(["--mount", "sh", "-c", devices, "sh"])
        .arg(firewall.get_program())
        .args(firewall.get_args());
    command.env_clear().envs(firewall.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(bed.folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
    bed.start(command);
    let line = |starting: &str| {
        let mut buffer = [0; 4096];
        let mut said = std::iter::repeat_with(|| {
            let count = log.recv(&mut buffer).expect(starting);
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        });
        said.find(|line| line.contains(starting)).unwrap()
    };
    let policy = std::fs::read_to_string(bed.folder.join("config/palisade/palisade.toml")).unwrap();
    without_policy(&bed);
    let begun = line("nobody judges from");
    assert!(begun.contains("judge ended"), "{begun}");
    bed.folder.write("config/palisade/palisade.toml", &policy);
    let ended = line("nobody judged from");
    let gap = eventually("the gap is on record", || gaps(&bed).pop());
    assert!(ended.contains(&gap.told()) && begun.contains(&gap.from.to_string()), "{begun} {ended} {gap:?}");
}

#[test]
fn with_its_judge_frozen_and_no_app_in_enforce_every_byte_passes_until_the_next_judges() {
    let bed = Bed::new("observe");
    let first = judge(&bed);
    process::freeze(first);
    let unknown = || ask(&bed, &call("ofTomorrow", &json!([{}])));
    eventually("bytes pass", || {
        unknown()["error"].as_str().unwrap().contains("does not exist").then_some(())
    });
    everything_passes(&bed);
    eventually("the next one judges", || told_as_unknown(&unknown()).then_some(()));
    assert!(!process::is_running(first));
    let gap = last_gap(&bed);
    assert!(gap.reason.contains("silent") && gap.from < gap.to, "{gap:?}");
}

#[test]
fn with_its_judge_killed_and_an_app_in_enforce_nothing_passes_unread() {
    let bed = Bed::new("enforce");
    without_policy(&bed);
    // What is above the cap is hung up on, at its head.
    for (what, bytes, _) in odd_calls().into_iter().filter(|(_, bytes, _)| bytes.len() < 1024) {
        let (answer, _) = exchange(&mut bed.socket(), &bytes);
        assert!(answer["error"].as_str().unwrap().contains("PAL-405"), "{what}: {answer}");
    }
}
