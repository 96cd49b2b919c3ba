//! Frames that restart the whole fleet when a daemon gets them, and clients that hold things up.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::Command;

use palisade_pm2::wire::{Arg, Decoder, encode};
use palisade_testkit::eventually;
use serde_json::{Value, json};

use crate::bed::{Bed, ask, call, frame, reply};

fn bodies() -> Vec<String> {
    let call = |method: &str, args: Value| call(method, &args);
    vec![
        call("ping", json!([])),
        call("startProcessId", json!([])),
        call("stopWatch", json!([1])),
        call("sendSignalToProcessName", json!([{}])),
        call("deleteProcessId", json!(["constructor"])),
        call("stopProcessId", json!(["toString"])),
        call("hasOwnProperty", json!([{}])),
        call("__proto__", json!([{}])),
        call("deleteProcessId", json!([[3]])),
        call("deleteProcessId", json!([[["5"]]])),
        call("deleteProcessId", json!([{ "id": "4" }])),
        call("deleteProcessId", json!(["01"])),
        call("deleteProcessId", json!([-1])),
        call("deleteProcessId", json!([9_007_199_254_740_992_u64])),
        call("deleteProcessId", json!([null])),
        call("deleteProcessId", json!([0, 1])),
        call("stopWatch", json!(["deleteProcessId", [3]])),
        call("stopWatch", json!(["deleteAll", 3])),
        call("prepare", json!([{}])),
        call("prepare", json!([{ "name": "x", "pm_id": [0] }])),
        call("restartProcessId", json!([{ "id": 0, "env": { "current_conf": { "pm_id": 5 } } }])),
        r#"{"type":"call","method":"deleteProcessId","args":[1e0]}"#.to_owned(),
        r#"{"type":"call","method":"ping","args":[{"__proto__":{"x":1}}]}"#.to_owned(),
        r#"{"type":"call","method":"ping"}"#.to_owned(),
        r#"{"type":"call","args":[{}]}"#.to_owned(),
        "{bad".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "\"ping\"".to_owned(),
        "[".repeat(100_000),
    ]
}

#[test]
fn frames_that_restart_every_app_never_reach_the_daemon() {
    let bed = Bed::new("enforce");
    let before = (bed.pm2.daemon_pid(), bed.running());
    for body in bodies() {
        let answer = ask(&bed, &body);
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(error.contains("PAL-405"), "{} {answer}", &body[..body.len().min(100)]);
    }
    // Without an id, with one argument, three, or a blob for a body: an answer all the same.
    let blob = [Arg::Blob(b"x"), Arg::Text("9:9")];
    let three = [Arg::Json("{}"), Arg::Json("{}"), Arg::Text("9:9")];
    let alone = [Arg::Json(r#"{"type":"call","method":"ping","args":[{}]}"#)];
    for args in [&blob[..], &three[..], &alone[..]] {
        let mut stream = bed.socket();
        stream.write_all(&encode(args).unwrap()).unwrap();
        let (json, _) = reply(&mut stream, &mut Decoder::new()).unwrap();
        assert!(json["error"].as_str().unwrap().contains("PAL-405"), "{json}");
    }
    assert_eq!((bed.pm2.daemon_pid(), bed.running()), before);
}

#[test]
fn bytes_that_are_no_frames_end_their_own_connection_only() {
    let bed = Bed::new("enforce");
    let before = (bed.pm2.daemon_pid(), bed.running());
    let over = |bytes: &[u8]| {
        let mut stream = bed.socket();
        stream.write_all(bytes).unwrap();
        let mut decoder = Decoder::new();
        while reply(&mut stream, &mut decoder).is_some() {}
    };
    over(&[0x12, 0xff, 0xff, 0xff, 0xff]);
    over(&[0x10]);
    over(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!((bed.pm2.daemon_pid(), bed.running()), before);
}

#[test]
fn silent_and_half_finished_clients_hold_nobody_up() {
    let bed = Bed::new("enforce");
    let idle: Vec<UnixStream> = (0..200).map(|_| bed.socket()).collect();
    let request = frame(&call("ping", &json!([{}])), "1:1");
    let mut half: Vec<UnixStream> = (0..20).map(|_| bed.socket()).collect();
    for (at, stream) in half.iter_mut().enumerate() {
        stream.write_all(&request[..at + 1]).unwrap();
    }
    assert_eq!(ask(&bed, &call("ping", &json!([{}])))["args"][0]["msg"], "pong");
    // What was begun can still be ended.
    half[7].write_all(&request[8..]).unwrap();
    let (json, id) = reply(&mut half[7], &mut Decoder::new()).unwrap();
    assert_eq!((json["args"][0]["msg"].as_str(), id.as_str()), (Some("pong"), "1:1"));
    drop(idle);
}

#[test]
fn pipelined_requests_get_their_own_answers() {
    let bed = Bed::new("enforce");
    let mut bytes = Vec::new();
    for n in 0..100 {
        let body = match n % 3 {
            0 => call("ping", &json!([{}])),
            1 => call("getMonitorData", &json!([{}])),
            _ => call("deleteProcessId", &json!([n % 8])),
        };
        bytes.extend(frame(&body, &format!("5:{n}")));
    }
    let mut stream = bed.socket();
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
    let mut decoder = Decoder::new();
    for _ in 0..100 {
        let (json, id) = reply(&mut stream, &mut decoder).expect("an answer to each");
        let n: usize = id.strip_prefix("5:").unwrap().parse().unwrap();
        assert_eq!(json.get("error").is_some(), n % 3 == 2, "{n} {json}");
    }
    sender.join().unwrap();
    assert_eq!(bed.running().len(), 8);
}

/// A holder that may open no file can take nobody in.
#[test]
fn neither_a_moment_without_files_nor_listeners_that_stay_for_ever_keep_a_call_out() {
    let bed = Bed::new("enforce");
    let holder = bed.holders()[0];
    let files = |most: u32| {
        let words = ["--pid", &holder.to_string(), &format!("--nofile={most}:")];
        assert!(Command::new("prlimit").args(words).status().unwrap().success());
    };
    let turns = || {
        let status = std::fs::read_to_string(format!("/proc/{holder}/status")).unwrap();
        let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        switches.unwrap().trim().parse::<u64>().unwrap()
    };
    files(3);
    let before = turns();
    let mut waiting = bed.socket();
    waiting.write_all(&frame(&call("ping", &json!([{}])), "1:1")).unwrap();
    eventually("the holder has tried", || (turns() > before + 1).then_some(()));
    files(1024);
    let (answer, _) = reply(&mut waiting, &mut Decoder::new()).expect("an answer");
    assert_eq!(answer["args"][0]["msg"], "pong");

    let bus = bed.pm2.home().join("pub.sock");
    let listeners: Vec<UnixStream> = (0..500).map(|_| UnixStream::connect(&bus).unwrap()).collect();
    // The first ones may be answered while listeners are still taken in.
    for _ in 0..200 {
        assert_eq!(ask(&bed, &call("ping", &json!([{}])))["args"][0]["msg"], "pong");
    }
    drop(listeners);
}
