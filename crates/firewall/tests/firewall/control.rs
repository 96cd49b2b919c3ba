//! The control socket, which registers process trees, and the sockets of apps.

use std::os::unix::fs::PermissionsExt as _;

use palisade_core::{AppName, Code, EnvironmentName, Scope};
use palisade_host::order;
use palisade_host::registration::{self, Announcement, announce, list};
use palisade_testkit::{Scratch, eventually};
use serde_json::{Value, json};

use crate::bed::{Bed, Ran, ask, call};

const POLICY: &str = r#"revision = 1
[environments.production]
mode = "enforce"
[[app]]
name = "shop"
environment = "production"
processes = ["shop"]
deployers = [{ socket = "FOLDER/shop.sock" }, { uid = 5003 }]
[[app]]
name = "blog"
environment = "production"
processes = ["blog"]
[notify]
command = ["/bin/true"]
"#;

fn apps(folder: &Scratch) -> Vec<Value> {
    ["shop", "blog"]
        .map(|name| {
            let cwd = folder.join(name);
            std::fs::create_dir_all(&cwd).unwrap();
            json!({ "name": name, "script": "/bin/sleep", "args": ["100000"], "interpreter": "none", "cwd": cwd })
        })
        .into()
}

fn bed() -> Bed {
    let mut bed = Bed::with("7.0.4", POLICY, apps);
    bed.end_firewall();
    let path = |name: &str| bed.folder.join(name).canonicalize_parent();
    let (control, shop) = (path("control.sock"), path("shop.sock"));
    bed.start_firewall_with(&["--group", "--leave-notices", "--control", &control, "--app-socket", &shop]);
    for folder in [bed.folder.path(), bed.pm2.home()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    bed
}

trait CanonicalParent {
    fn canonicalize_parent(self) -> String;
}

impl CanonicalParent for std::path::PathBuf {
    /// The path as the policy names it: its folder without symbolic links.
    fn canonicalize_parent(self) -> String {
        let folder = self.parent().unwrap().canonicalize().unwrap();
        folder.join(self.file_name().unwrap()).display().to_string()
    }
}

fn asked(app: &str) -> Announcement {
    let scope = Scope::new(AppName::new(app).unwrap(), EnvironmentName::new("production").unwrap());
    Announcement { format: registration::FORMAT, scope, pid: None, run: None, program: "a test".to_owned() }
}

#[test]
fn a_caller_registers_itself_and_its_tree_is_identified_from_then_on() {
    let bed = bed();
    let blog = |bed: &Bed| bed.pm2_in(&bed.nowhere(), &["restart", "blog"]);
    assert!(blog(&bed).text.contains("PAL-401"));
    announce(&bed.folder.join("control.sock"), &asked("blog")).unwrap();
    let ran = blog(&bed);
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
    let (_, called) = bed.calls().pop().unwrap();
    assert!(called.evidence.iter().any(|ground| ground.contains("is registered for blog/production")));
    let registered = list(&bed.folder.join("state/palisade/registrations")).unwrap();
    assert_eq!((registered.len(), registered[0].process.pid), (1, std::process::id()));
}

#[test]
fn nothing_but_itself_and_its_parents_of_its_own_user_can_be_registered() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root, to act as another user");
    let bed = bed();
    let line = |announcement: &Announcement| format!("{}\n", serde_json::to_string(announcement).unwrap());
    for (line, told) in [
        (line(&Announcement { pid: Some(bed.pm2.daemon_pid()), ..asked("blog") }), "is neither the caller"),
        (line(&Announcement { pid: Some(u32::MAX), ..asked("blog") }), "is neither the caller"),
        (line(&asked("nothing")), "the policy has no nothing/production"),
        (line(&Announcement { format: 2, ..asked("blog") }), "is not understood"),
        ("delete all\n".to_owned(), "is not understood"),
        (line(&asked("blog")).replace('{', "{\"force\":true,"), "is not understood"),
    ] {
        let answer = bed.control(&line);
        assert!(answer.contains("PAL-433") && answer.contains(told), "{line}: {answer}");
    }
    let endless = "x".repeat(order::MAX_LINE_BYTES + 16 * 1024);
    let long = format!("{}\n", "x".repeat(registration::MAX_LINE_BYTES + 1));
    for line in [endless, long] {
        assert_eq!(
            bed.control(&line),
            "",
            "what has no end, and what is no order and too long, is hung up on"
        );
    }
    // Another user's process: its shell is its own, and the parent of that is root's.
    let ask = "const line = pid => JSON.stringify({ format: 1, scope: { app: \"blog\", environment: \"production\" }, \
               pid: pid, program: \"a test\" }) + \"\\n\"; const [pid] = process.argv.slice(1); \
               const stream = require(\"net\").connect(process.env.CONTROL, () => \
               stream.write(line(pid === \"parent\" ? process.ppid : Number(pid)))); \
               stream.on(\"data\", data => console.log(String(data)));";
    let as_user = |script: &str| {
        let control = bed.folder.join("control.sock").display().to_string();
        let script = format!(
            "setpriv --reuid 5004 --regid 5004 --groups 0 env HOME=/ CONTROL={control} PM2=\"$PM2\" \
             sh -c '{}'",
            script.replace("ASK", "node -e \"$ASK\"")
        );
        bed.script_with(&bed.nowhere(), &script, &[("ASK", ask)])
    };
    let ran = as_user(&format!("ASK {}; node \"$PM2\" restart blog", std::process::id()));
    assert!(ran.text.contains("PAL-433") && ran.text.contains("PAL-401"), "{}", ran.text);
    let ran = as_user("ASK parent; node \"$PM2\" restart blog");
    assert!(ran.text.contains("\"done\"") && ran.exit == Some(0), "{}", ran.text);
    // It registers what it likes, and may touch what the policy opens to it.
    let ran = as_user("ASK parent; node \"$PM2\" restart shop");
    assert!(ran.text.contains("PAL-101") && ran.exit == Some(1), "{}", ran.text);
}

#[test]
fn a_refused_registration_is_recorded_and_told_as_a_refused_call_is_and_bars_nobody() {
    let bed = bed();
    let socket = bed.folder.join("control.sock");
    let refused = announce(&socket, &asked("nothing")).unwrap_err().to_string();
    assert!(refused.contains("PAL-433"), "{refused}");
    let (record, called) = bed.refused().pop().expect("it is on record");
    assert_eq!((called.method.as_str(), called.findings[0].code), ("a registration", Code::NotRegistered));
    assert_eq!(record.actor.observed.process.pid, std::process::id());
    assert!(called.findings[0].message.contains("nothing/production"), "{called:?}");
    eventually("others are told", || {
        bed.notices().iter().any(|notice| notice.contains("PAL-433")).then_some(())
    });
    // It asked nothing of the daemon, so the tree that asked is not held to it.
    announce(&socket, &asked("blog")).unwrap();
    let answer = ask(&bed, &call("restartProcessId", &json!([{ "id": 1, "env": {} }])));
    assert!(answer["error"].is_null(), "{answer}");
}

#[test]
fn an_apps_socket_serves_that_app_only_from_wherever_it_is_called() {
    let bed = bed();
    let socket = bed.folder.join("shop.sock").canonicalize_parent();
    let through = |place: &str, args: &[&str]| -> Ran {
        let variables = [("PM2_DAEMON_RPC_PORT", socket.as_str())];
        bed.pm2_with(&bed.folder.join(place), args, &variables)
    };
    for place in ["nowhere", "shop"] {
        let ran = through(place, &["restart", "shop"]);
        assert_eq!(ran.exit, Some(0), "{place}: {}", ran.text);
    }
    let before = bed.running();
    for (place, args) in
        [("nowhere", ["restart", "blog"]), ("blog", ["restart", "blog"]), ("nowhere", ["delete", "all"])]
    {
        let ran = through(place, &args);
        assert!(ran.exit == Some(1) && ran.text.contains("PAL-101"), "{place}: {}", ran.text);
    }
    // At the common socket that app is open to its user only, and root is not that user.
    let ran = bed.pm2_in(&bed.folder.join("shop"), &["restart", "shop"]);
    assert!(ran.text.contains("PAL-431"), "{}", ran.text);
    assert_eq!(bed.running(), before);
    let ran = bed.pm2_in(&bed.folder.join("blog"), &["restart", "blog"]);
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
}

/// What a container runtime would do, by hand, for none is at hand here: a mount and a process namespace of its own, and
/// the app's socket mounted where its PM2 looks.
#[test]
fn a_container_reaches_its_app_through_the_apps_socket_and_nothing_by_a_folder() {
    let bed = bed();
    let shop = bed.folder.join("shop.sock").canonicalize_parent();
    let home = bed.folder.join("container");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("rpc.sock"), "").unwrap();
    std::fs::write(home.join("touch"), "").unwrap();
    let inside = |mount: &str, folder: &str, command: &str| -> Ran {
        let (home, folder) = (home.display(), bed.folder.join(folder).canonicalize_parent());
        let inner = format!(
            "mount --bind {mount} {home}/rpc.sock && cd {folder} && export PM2_HOME={home} && exec node \"$0\" {command}"
        );
        let script = format!("unshare --mount --pid --fork --mount-proc sh -c '{inner}' \"$PM2\"");
        bed.script_in(&bed.nowhere(), &script)
    };
    let before = bed.running();
    let blog = before.iter().find(|(name, _)| name == "blog").cloned();
    let ran = inside(&shop, "nowhere", "restart shop");
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
    for command in ["restart blog", "delete all"] {
        let ran = inside(&shop, "nowhere", command);
        assert!(ran.exit == Some(1) && ran.text.contains("PAL-101"), "{command}: {}", ran.text);
    }
    // At the common socket a path of another mount namespace names no app, though it looks like the app's folder.
    let common = bed.pm2.rpc_socket().display().to_string();
    let ran = inside(&common, "blog", "restart blog");
    assert!(ran.exit == Some(1) && ran.text.contains("PAL-401"), "{}", ran.text);
    let ran = bed.pm2_in(&bed.folder.join("blog"), &["restart", "blog"]);
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
    assert!(blog.is_some() && bed.running().len() == before.len());
}
