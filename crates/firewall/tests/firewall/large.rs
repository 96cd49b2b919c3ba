//! Lists of several megabytes, asked for by many clients at once, of whom some do not read what they asked for.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use palisade_pm2::wire::Decoder;
use palisade_testkit::Scratch;
use serde_json::{Map, Value, json};

use crate::bed::{Bed, ask, call, frame, reply};
use crate::holder::holder;

const POLICY: &str = "revision = 1\n[environments.production]\nmode = \"enforce\"\n[[app]]\nname = \"shop\"\n\
                      environment = \"production\"\nprocesses = [\"shop-*\"]\ndeployers = [{ uid = 5003 }]\n";
const CANARY: &str = "canary-hunter2";
/// Clients at once: together their lists are above what all connections may hold.
const CLIENTS: usize = 20;
/// What the holder may take, in MiB.
const MOST: u64 = 64;

/// Six apps, whose variables make a list of about five megabytes.
fn apps(folder: &Scratch) -> Vec<Value> {
    let variables: Map<String, Value> =
        (0..8).map(|n| (format!("SETTING_{n}"), json!(format!("{CANARY}{}", "x".repeat(55_000))))).collect();
    let app = |n: usize| {
        json!({ "name": format!("shop-{n}"), "script": "/bin/sleep", "args": ["100000"], "interpreter": "none",
                "cwd": folder.path(), "env": variables })
    };
    (0..6).map(app).collect()
}

/// The most memory that the holder ever had, in MiB.
fn peak(bed: &Bed) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", holder(bed))).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn length_of(answer: &Value) -> Option<usize> {
    answer["args"][0].as_array().map(Vec::len)
}

#[test]
fn who_does_not_read_a_large_list_costs_no_memory_and_holds_nobody_up() {
    let bed = Bed::with("7.0.4", POLICY, apps);
    let list = frame(&call("getMonitorData", &json!([{}])), "1:1");
    let ping = frame(&call("ping", &json!([{}])), "1:2");
    let mut stalled: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut stream = bed.socket();
            stream.write_all(&list).unwrap();
            stream
        })
        .collect();
    assert_eq!(length_of(&ask(&bed, &call("getMonitorData", &json!([{}])))), Some(6));
    assert_eq!(ask(&bed, &call("ping", &json!([{}])))["args"][0]["msg"], "pong");
    // A refusal never comes into the middle of a list.
    let malformed = frame(&call("ping", &json!([])), "1:3");
    for stream in &mut stalled {
        stream.write_all(&malformed).unwrap();
        stream.write_all(&ping).unwrap();
    }
    for mut stream in stalled {
        let mut decoder = Decoder::new();
        let mut found: Vec<(Value, String)> =
            (0..3).map(|_| reply(&mut stream, &mut decoder).expect("an answer")).collect();
        found.sort_by(|one, other| one.1.cmp(&other.1));
        let ids: Vec<&str> = found.iter().map(|(_, id)| id.as_str()).collect();
        assert_eq!((ids, length_of(&found[0].0)), (vec!["1:1", "1:2", "1:3"], Some(6)));
        assert_eq!(found[1].0["args"][0]["msg"], "pong");
        assert!(found[2].0["error"].as_str().unwrap().contains("PAL-405"), "{}", found[2].0);
    }
    assert!(peak(&bed) < MOST, "{} MiB", peak(&bed));
}

/// Asks for the list over as many connections as it is told, and says how many lists came whole and without a value.
const ASK: &str = r#"
const net = require("net");
const [path, count] = process.argv.slice(1);
const part = text => { const length = Buffer.alloc(4); length.writeUInt32BE(text.length); return Buffer.concat([length, Buffer.from(text)]); };
const body = part('j:{"type":"call","method":"getMonitorData","args":[{}]}');
let whole = 0, ended = 0;
for (let n = 0; n < Number(count); n++) {
  const id = "s:1:" + n, chunks = [];
  const stream = net.connect(path, () => stream.write(Buffer.concat([Buffer.from([0x12]), body, part(id)])));
  stream.on("data", data => {
    chunks.push(data);
    const all = Buffer.concat(chunks.slice(-2));
    if (all.subarray(-id.length).toString() === id) stream.end();
  });
  stream.on("error", () => {});
  stream.on("close", () => {
    const text = Buffer.concat(chunks).toString();
    if (text.endsWith(id) && text.includes("shop-5") && !text.includes("canary")) whole++;
    if (++ended === Number(count)) console.log(whole + " whole");
  });
}
"#;

#[test]
fn large_lists_without_values_come_one_at_a_time_and_to_everybody() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root, to act as another user");
    let mut bed = Bed::with("7.0.4", POLICY, apps);
    bed.end_firewall();
    bed.start_firewall_with(&["--group"]);
    for folder in [bed.folder.path(), bed.pm2.home()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let socket = bed.pm2.rpc_socket().display().to_string();
    let script = format!(
        "setpriv --reuid 5003 --regid 5003 --groups 0 env HOME=/ node -e \"$ASK\" {socket} {CLIENTS}"
    );
    let ran = bed.script_with(&bed.nowhere(), &script, &[("ASK", ASK)]);
    assert_eq!(ran.text.trim(), format!("{CLIENTS} whole"));
    // The one that is under way is read as JSON meanwhile.
    assert!(peak(&bed) < 2 * MOST, "{} MiB", peak(&bed));
}
