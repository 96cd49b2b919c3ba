//! A daemon that was met before gets the question with the introduction; nobody else does.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_core::actor::ProcessRef;
use palisade_host::process;
use palisade_pm2::Client;
use palisade_pm2::acquainted::Acquainted;
use palisade_pm2::client::{ConnectError, Unreachable};
use palisade_pm2::methods::Call;
use palisade_pm2::wire::{Arg, Decoder, encode};
use palisade_testkit::{App, PATIENCE, Pm2, Scratch};
use serde_json::{Value, json};

use crate::bed::{Bed, block_on};

fn this_process() -> ProcessRef {
    process::stat(std::process::id()).expect("this process lives").process
}

/// A listener in this process that answers nothing before three requests are in.
fn waits_for_three(methods: Value) -> (Scratch, PathBuf) {
    let folder = Scratch::new();
    let socket = folder.join("rpc.sock");
    let listener = UnixListener::bind(&socket).expect("a scratch folder takes sockets");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let (mut decoder, mut buffer, mut ids) = (Decoder::new(), [0; 4096], Vec::new());
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                decoder.push(&buffer[..count]);
                while let Ok(Some(frame)) = decoder.next_frame() {
                    let Ok(args) = frame.args() else { return };
                    let [Arg::Json(_), Arg::Text(id)] = args[..] else { return };
                    ids.push(id.to_owned());
                }
                if let [first, second, third] = &ids[..] {
                    let bodies = [
                        (first, json!({ "methods": methods })),
                        (second, json!({ "args": ["7.0.4"] })),
                        (third, json!({ "args": [[{ "pm_id": 0 }, { "pm_id": 1 }]] })),
                    ];
                    for (id, body) in bodies {
                        let reply = encode(&[Arg::Json(&body.to_string()), Arg::Text(id)]).expect("small");
                        stream.write_all(&reply).expect("the client reads");
                    }
                    ids.clear();
                }
            }
        }
    });
    (folder, socket)
}

fn list(socket: &Path, known: &Acquainted, deadline: Duration) -> Result<Vec<Value>, ConnectError> {
    let call = Call::list();
    block_on(Client::connect_and_list::<Value>(socket, &call, deadline, Some(known)))
        .map(|(_, list)| list.expect("it was answered").expect("it is a list"))
}

fn methods() -> Value {
    let two = json!({ "params": ["env", "cb"] });
    json!({ "getVersion": two, "getMonitorData": two })
}

#[test]
fn only_a_process_that_was_met_gets_the_question_with_the_introduction() {
    let (folder, socket) = waits_for_three(methods());
    let known = Acquainted::new(folder.join("daemons"));
    let stranger = list(&socket, &known, Duration::from_millis(200));
    assert!(
        matches!(stranger, Err(ConnectError::Unreachable(Unreachable::Silent { .. }))),
        "a stranger was asked before it had introduced itself: {stranger:?}"
    );
    known.note(this_process());
    let entries = list(&socket, &known, PATIENCE).expect("all three were sent at once");
    assert_eq!(entries, [json!({ "pm_id": 0 }), json!({ "pm_id": 1 })]);
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
fn who_was_met_must_still_introduce_itself_as_expected() {
    let mut strange = methods();
    strange["getMonitorData"]["params"] = json!(["env", "more", "cb"]);
    let (folder, socket) = waits_for_three(strange);
    let known = Acquainted::new(folder.join("daemons"));
    known.note(this_process());
    let error = list(&socket, &known, PATIENCE).expect_err("its methods are not as expected");
    assert!(matches!(error, ConnectError::Protocol { .. }), "{error}");
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
