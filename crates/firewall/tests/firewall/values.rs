//! Who is shown values of environments: who could read them in the daemon's dump anyway.

use std::os::unix::fs::PermissionsExt as _;

use palisade_testkit::eventually;
use serde_json::{Value, json};

use crate::bed::{Bed, ask, call};
use crate::holder::without_policy;

const POLICY: &str = "revision = 1\n[environments.production]\nmode = \"MODE\"\n[[app]]\nname = \"shop\"\n\
                      environment = \"production\"\nprocesses = [\"shop\"]\ndeployers = [{ uid = 5003 }]\n";
const CANARY: &str = "canary-hunter2";

/// One app with a secret, and sockets that root's group may use, which stands for the group of deployers.
fn bed(mode: &str) -> Bed {
    let mut bed = Bed::with("7.0.4", &POLICY.replace("MODE", mode), |folder| {
        let env = json!({ "DATABASE_URL": CANARY, "nested": { "key": [CANARY] } });
        vec![json!({ "name": "shop", "script": "/bin/sleep", "args": ["100000"], "interpreter": "none",
                     "cwd": folder.path(), "env": env })]
    });
    bed.end_firewall();
    bed.start_firewall_with(&["--group"]);
    for folder in [bed.folder.path(), bed.pm2.home()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    bed
}

const AS_USER: &str = "setpriv --reuid 5003 --regid 5003 --groups 0 env HOME=/";

#[test]
fn another_users_caller_is_shown_names_and_no_value_and_works_with_them() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root, to act as another user");
    let bed = bed("enforce");
    let as_user = |args: &str| bed.script_in(&bed.nowhere(), &format!("{AS_USER} node \"$PM2\" {args}"));
    let listed = as_user("jlist --silent").text;
    let list: Vec<Value> = serde_json::from_str(listed.trim()).expect("a list");
    assert_eq!(
        (list[0]["name"].as_str(), list[0]["pm2_env"]["status"].as_str()),
        (Some("shop"), Some("online"))
    );
    assert!(list[0]["pm2_env"]["env"]["DATABASE_URL"].is_string(), "the name stays");
    for args in ["jlist --silent", "prettylist", "env 0", "describe shop", "restart shop", "report", "list"] {
        let ran = as_user(args);
        assert!(!ran.text.contains(CANARY), "{args}: {}", ran.text);
    }
    assert!(bed.refused().is_empty(), "{:?}", bed.refused());
    // What it cannot write, it cannot break: the dump stays as it is.
    let before = std::fs::read(bed.pm2.home().join("dump.pm2")).ok();
    as_user("save --force");
    assert_eq!(std::fs::read(bed.pm2.home().join("dump.pm2")).ok(), before);
}

/// What passes unread where nobody judges is for those who may read it.
#[test]
fn while_nobody_judges_and_bytes_pass_another_users_caller_is_still_shown_no_value() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root, to act as another user");
    let bed = bed("observe");
    without_policy(&bed);
    let passes = || ask(&bed, &call("ofTomorrow", &json!([{}])))["error"].to_string();
    eventually("bytes pass", || passes().contains("does not exist").then_some(()));
    let ran = bed.script_in(&bed.nowhere(), &format!("{AS_USER} node \"$PM2\" jlist --silent"));
    assert!(ran.text.contains("DATABASE_URL") && !ran.text.contains(CANARY), "{}", ran.text);
    assert!(bed.pm2_in(&bed.nowhere(), &["jlist", "--silent"]).text.contains(CANARY));
    // It has the session machine, in which a call that is well formed passes.
    let ran = bed.script_in(&bed.nowhere(), &format!("{AS_USER} node \"$PM2\" restart shop"));
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
    assert!(passes().contains("does not exist"), "nobody judged all the while");
}

#[test]
fn the_daemons_own_user_gets_its_list_whole_and_saves_it_whole() {
    let bed = bed("enforce");
    let ran = bed.pm2_in(&bed.nowhere(), &["jlist", "--silent"]);
    assert!(ran.text.contains(CANARY));
    assert_eq!(bed.pm2_in(&bed.nowhere(), &["save"]).exit, Some(0));
    let dump = std::fs::read_to_string(bed.pm2.home().join("dump.pm2")).unwrap();
    assert!(dump.contains(CANARY));
}

#[test]
fn another_users_listener_on_the_bus_is_shown_events_and_no_value() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root, to act as another user");
    let bed = bed("enforce");
    let (heard, ready) = (bed.folder.join("heard"), bed.folder.join("ready"));
    for file in [&heard, &ready] {
        std::fs::write(file, "").unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o666)).unwrap();
    }
    let listen = |file: &std::path::Path| {
        format!(
            "node -e 'const fs = require(\"fs\"); const bus = require(\"net\").connect(\"{}\"); \
             bus.on(\"connect\", () => fs.writeFileSync(\"{}\", \"x\")); \
             bus.on(\"data\", data => {{ fs.appendFileSync(\"{}\", data); \
             if (fs.readFileSync(\"{}\", \"latin1\").includes(\"online\")) process.exit(0); }})'",
            bed.pm2.home().join("pub.sock").display(),
            ready.display(),
            file.display(),
            file.display(),
        )
    };
    let script = format!("{AS_USER} {}", listen(&heard));
    std::thread::scope(|scope| {
        let listener = scope.spawn(|| bed.script_in(&bed.nowhere(), &script));
        eventually("it listens", || (!std::fs::read(&ready).unwrap().is_empty()).then_some(()));
        while !listener.is_finished() {
            bed.directly(&["restart", "shop"]);
        }
        assert_eq!(listener.join().unwrap().exit, Some(0));
    });
    let heard = String::from_utf8_lossy(&std::fs::read(heard).unwrap()).into_owned();
    assert!(heard.contains("process:event") && heard.contains("DATABASE_URL"), "{heard}");
    assert!(!heard.contains(CANARY), "{heard}");
}
