//! A daemon that was met before is asked for its list and nothing else.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use palisade_core::actor::ProcessRef;
use palisade_host::process;
use palisade_pm2::Client;
use palisade_pm2::acquainted::Acquainted;
use palisade_pm2::client::{ConnectError, Entry};
use palisade_pm2::methods::Call;
use palisade_pm2::skim::Wanted;
use palisade_pm2::wire::{Arg, Decoder, encode};
use palisade_testkit::{App, PATIENCE, Pm2, Scratch};
use serde_json::{Value, json};

use crate::bed::{Bed, block_on};

fn this_process() -> ProcessRef {
    process::stat(std::process::id()).expect("this process lives").process
}

/// A listener in this process that gives a list, counts what it is asked, and introduces itself with `methods`.
struct Listener {
    _folder: Scratch,
    socket: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    fn with(methods: Value) -> Self {
        let folder = Scratch::new();
        let socket = folder.join("rpc.sock");
        let listener = UnixListener::bind(&socket).expect("a scratch folder takes sockets");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                answer(stream, &methods, &noted);
            }
        });
        Self { _folder: folder, socket, asked }
    }

    /// What was asked since the last look.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("no test panicked with it"))
    }

    fn list(&self, known: &Acquainted) -> Result<Vec<Value>, ConnectError> {
        let call = Call::list();
        block_on(Client::connect_and_list::<Any>(&self.socket, &call, PATIENCE, Some(known), &mut |_| ()))
            .map(|(_, list)| list.expect("it was answered").expect("it is a list"))
            .map(|list| list.into_iter().map(|any| any.0).collect())
    }
}

/// An entry of which all is wanted.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Any(Value);

impl Entry for Any {
    const WANTED: Wanted = Wanted::All;
}

fn answer(mut stream: UnixStream, methods: &Value, asked: &Mutex<Vec<String>>) {
    let (mut decoder, mut buffer) = (Decoder::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        decoder.push(&buffer[..count]);
        while let Ok(Some(frame)) = decoder.next_frame() {
            let Ok(args) = frame.args() else { return };
            let [Arg::Json(json), Arg::Text(id)] = args[..] else { return };
            let question: Value = serde_json::from_str(json).expect("the client writes JSON");
            let name = question["method"].as_str().unwrap_or("methods").to_owned();
            let body = match name.as_str() {
                "methods" => json!({ "methods": methods }),
                "getVersion" => json!({ "args": ["7.0.4"] }),
                _ => json!({ "args": [[{ "pm_id": 0 }, { "pm_id": 1 }]] }),
            };
            asked.lock().expect("no test panicked with it").push(name);
            let reply = encode(&[Arg::Json(&body.to_string()), Arg::Text(id)]).expect("small");
            stream.write_all(&reply).expect("the client reads");
        }
    }
}

fn methods() -> Value {
    let two = json!({ "params": ["env", "cb"] });
    json!({ "getVersion": two, "getMonitorData": two })
}

#[test]
fn a_process_introduces_itself_once() {
    let (listener, folder) = (Listener::with(methods()), Scratch::new());
    let known = Acquainted::new(folder.join("daemons"));
    let introduced = ["methods", "getVersion", "getMonitorData"];
    for expected in [&introduced[..], &["getMonitorData"], &["getMonitorData"]] {
        let entries = listener.list(&known).expect("it answers");
        assert_eq!(entries, [json!({ "pm_id": 0 }), json!({ "pm_id": 1 })]);
        assert_eq!(listener.asked(), expected);
    }
    assert!(known.with(this_process()));
}

#[test]
fn who_introduces_itself_otherwise_than_expected_is_not_met() {
    let mut strange = methods();
    strange["getMonitorData"]["params"] = json!(["env", "more", "cb"]);
    let (listener, folder) = (Listener::with(strange), Scratch::new());
    let known = Acquainted::new(folder.join("daemons"));
    let error = listener.list(&known).expect_err("its methods are not as expected");
    assert!(matches!(error, ConnectError::Protocol { .. }), "{error}");
    assert!(!known.with(this_process()) && !listener.asked().contains(&"getMonitorData".to_owned()));
}

#[test]
fn a_note_of_another_boot_or_start_is_of_another_process() {
    let folder = Scratch::new();
    let known = Acquainted::new(folder.join("daemons"));
    let here = this_process();
    known.note(here);
    assert!(known.with(here));
    assert!(!known.with(ProcessRef { start_ticks: here.start_ticks + 1, ..here }));
    let note = folder.join("daemons").join(format!("{}-{}", here.pid, here.start_ticks));
    fs::write(note, "00000000-0000-0000-0000-000000000000").expect("it is ours");
    assert!(!known.with(here), "a note of another boot counted");
}

#[test]
fn a_real_daemon_gives_the_same_list_first_and_later_and_is_forgotten_with_its_end() {
    for version in ["7.0.4", "6.0.14", "5.4.3"] {
        let bed = Bed::new(Pm2::start(version));
        bed.pm2.start_app(App::sleep("api"));
        let folder = bed.folder.join("daemons");
        let names = || -> Vec<String> {
            let pm2 = bed.resource().acquainted(Acquainted::new(&folder));
            let rows = block_on(pm2.list()).expect("the daemon runs");
            rows.into_iter().map(|row| row.name).collect()
        };
        let notes = || fs::read_dir(&folder).expect("a note was made").count();
        assert_eq!(names(), ["api"], "{version}");
        assert_eq!(notes(), 1, "{version}");
        assert_eq!(names(), ["api"], "{version}");
        bed.pm2.kill_daemon();
        Acquainted::new(&folder).note(this_process());
        assert_eq!(notes(), 1, "{version}: the daemon that ended is still noted");
    }
}
