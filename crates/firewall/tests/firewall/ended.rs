//! Callers that have ended before their calls are judged, and are not reaped yet: `/proc` shows them without a command
//! line and without a folder, and their parents still.

use std::path::Path;
use std::process::{Command, Stdio};

use palisade_testkit::{eventually, process};
use serde_json::{Value, json};

use crate::bed::{Bed, ask, call, frame};

/// Connects, sends one call and waits for its answer where it is told to, leaves the connection to another process,
/// and ends.
const CALLER: &str = r#"
const net = require("net"), { spawn } = require("child_process");
const leave = () => {
  const stdio = ["ignore", "inherit", "inherit", stream];
  spawn(process.execPath, [process.env.HEIR, String(process.pid)], { stdio, detached: true });
  process.exit(1);
};
const stream = net.connect(process.env.SOCKET, () => {
  if (process.env.ASKS !== "yes") return leave();
  stream.once("data", leave);
  stream.write(Buffer.from(process.env.FRAME, "hex"));
});
"#;

/// Waits until the caller is a zombie, sends the call, and writes down what is answered.
const HEIR: &str = r#"
const fs = require("fs"), net = require("net");
const stream = new net.Socket({ fd: 3 });
stream.once("data", data => {
  fs.writeFileSync(process.env.ANSWER + ".part", data);
  fs.renameSync(process.env.ANSWER + ".part", process.env.ANSWER);
  process.exit();
});
const wait = () => {
  const stat = fs.readFileSync(`/proc/${process.argv[2]}/stat`, "utf8");
  if (/\) Z /.test(stat)) stream.write(Buffer.from(process.env.FRAME, "hex"));
  else setTimeout(wait, 5);
};
wait();
"#;

/// What the heir of a `pm2 reload all` in the app's own folder is answered, which asked first itself or did not.
fn answer(bed: &Bed, id: &Value, asks: &str) -> String {
    let reload = call("reloadProcessId", &json!([{ "id": id, "env": {} }]));
    let hex: String = frame(&reload, "7:0").iter().map(|byte| format!("{byte:02x}")).collect();
    let answer = bed.folder.join(format!("answer-{asks}"));
    let path = |path: &Path| path.display().to_string();
    // The parent reaps nobody, and stands where the app's own calls come from.
    let mut parent = Command::new("sh")
        .args(["-c", "node \"$CALLER\" reload all & exec sleep 300"])
        .current_dir(bed.app_folder("flyer-crawler-api"))
        .env("CALLER", path(&bed.folder.join("pm2")))
        .env("HEIR", path(&bed.folder.join("heir.js")))
        .env("SOCKET", path(&bed.pm2.rpc_socket()))
        .env("ANSWER", path(&answer))
        .env("ASKS", asks)
        .env("FRAME", hex)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let text = eventually("the heir is answered", || std::fs::read(&answer).ok());
    process::kill(parent.id());
    parent.wait().unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_call_whose_caller_has_ended_is_judged_as_that_callers_or_as_nobodys() {
    let bed = Bed::new("enforce");
    bed.folder.write("pm2", CALLER);
    bed.folder.write("heir.js", HEIR);
    let before = bed.running();
    let list = ask(&bed, &call("getMonitorData", &json!([{}])));
    let entries = list["args"][0].as_array().unwrap().iter();
    let mut own = entries.filter(|entry| entry["name"] == "flyer-crawler-api");
    let id = own.next().unwrap()["pm_id"].clone();
    // It was seen with its command line while it lived.
    let told = answer(&bed, &id, "yes");
    assert!(told.contains("judged whole before its first act"), "{told}");
    assert_eq!(bed.running(), before);
    // Nobody saw its command line, so nobody knows that it said `all`.
    let told = answer(&bed, &id, "no");
    assert!(told.contains("PAL-401"), "{told}");
    assert_eq!(bed.running(), before);
}
