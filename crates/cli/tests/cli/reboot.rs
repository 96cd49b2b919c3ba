//! After a reboot: the units that `guard install` wrote, their lines run in the order in which systemd would.
//!
//! systemd is not in charge where these tests run, so `systemd-socket-activate` stands for the socket units, and what
//! stands in the files is run by hand.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use palisade_core::Exit;
use palisade_testkit::{Fleet, Scratch, eventually, process};

use crate::env::POLICY;
use crate::guard::{Guarded, of_this_home};

/// What follows `KEY=` in a unit, each time it is there.
fn settings(folder: &Path, name: &str, key: &str) -> Vec<String> {
    let text = fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned)).collect()
}

struct Socketed(Child);

impl Drop for Socketed {
    fn drop(&mut self) {
        process::kill(self.0.id());
        drop(self.0.wait());
    }
}

#[test]
fn after_a_reboot_the_guard_is_in_force_before_the_first_client_and_every_saved_app_is_back() {
    let guarded = Guarded::not_yet();
    let env = &guarded.0;
    env.write_policy(
        &POLICY.replace("[environments.production]", "[environments.production]\nmode = \"enforce\""),
    );
    let units = Scratch::new();
    let pm2 = env.pm2.bin().join("pm2").display().to_string();
    // What `pm2 startup` writes.
    let startup = format!(
        "[Service]\nType=forking\nUser=root\nEnvironment=PM2_HOME={}\nExecStart={pm2} resurrect\n",
        env.pm2.home().display()
    );
    fs::write(units.join("pm2-root.service"), startup).unwrap();
    let folder = units.path().display().to_string();
    env.palisade(&["guard", "install", "pm2", "--unit-folder", &folder]).ends(Exit::Done);
    for app in ["flyer-crawler", "stock-alert", "projectium-site"] {
        env.palisade(&["pm2", "save", "--app", app, "--environment", "production"]).ends(Exit::Done);
    }
    env.palisade(&["pm2", "save", "--app", "flyer-crawler", "--environment", "test"]).ends(Exit::Done);
    env.pm2.pm2_with(
        &["start", "/bin/sleep", "--name", "never-saved", "--interpreter", "none", "--", "100000"],
        &[("PM2_DAEMON_RPC_PORT", env.pm2.home().join("private/rpc.sock").to_str().unwrap())],
    );
    env.palisade(&["pm2", "snapshot"]).ends(Exit::Done);
    let before = Fleet::of(&env.pm2);
    assert_eq!(before.names().len(), 9, "{before:?}");

    // The power goes. The files of the sockets stay.
    for pid in guarded.firewalls() {
        process::kill(pid);
    }
    eventually("no firewall is left", || {
        guarded.firewalls().into_iter().for_each(process::kill);
        guarded.firewalls().is_empty().then_some(())
    });
    env.pm2.kill_daemon();
    before.apps.iter().for_each(|app| process::kill(app.pid));
    fs::remove_file(env.pm2.home().join("rpc.sock")).unwrap_or_default();
    fs::remove_file(env.pm2.home().join("pub.sock")).unwrap_or_default();

    // sockets.target: before any service.
    let mut sockets = Command::new("systemd-socket-activate");
    for name in ["rpc", "pub"] {
        let unit = format!("palisade-pm2-root-{name}.socket");
        sockets.arg("-l").arg(&settings(units.path(), &unit, "ListenStream")[0]);
        assert_eq!(settings(units.path(), &unit, "FileDescriptorName"), [name]);
    }
    sockets.arg("--fdname=rpc:pub");
    for (name, folder) in
        [("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state"), ("PALISADE_RUNTIME", "runtime")]
    {
        sockets.arg(format!("--setenv={name}={}", env.path(folder)));
    }
    let exec = &settings(units.path(), "palisade-pm2-root.service", "ExecStart")[0];
    sockets.args(exec.split(' ')).env("HOME", env.home());
    sockets.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _sockets = Socketed(sockets.spawn().unwrap());
    eventually("the sockets listen", || env.pm2.rpc_socket().exists().then_some(()));

    // A client that is there before the daemon is answered by the guard, and starts none.
    let early = env.pm2.pm2(&["delete", "all"]);
    assert!(early.exit != Some(0) || early.stdout.contains("PAL-"), "{} {}", early.stdout, early.stderr);
    assert!(env.pm2.daemons().is_empty(), "{} {}", early.stdout, early.stderr);

    // PM2's own unit, with our drop-in, after the sockets.
    let drop_in = "pm2-root.service.d/palisade.conf";
    assert!(settings(units.path(), drop_in, "After")[0].contains("palisade-pm2-root-rpc.socket"));
    let variables = settings(units.path(), drop_in, "Environment");
    let variables: Vec<(&str, &str)> = variables.iter().filter_map(|line| line.split_once('=')).collect();
    assert_eq!(variables.len(), 2, "{variables:?}");
    let ran = env.pm2.pm2_with(&["resurrect"], &variables);
    assert_eq!(ran.exit, Some(0), "{} {}", ran.stdout, ran.stderr);

    let after = Fleet::of(&env.pm2);
    assert_eq!(after.daemons.len(), 1, "{after:?}");
    assert_eq!(after.names().len(), 8, "every saved app is back: {after:?}");
    let list = of_this_home(env, &["guard", "list", "--json"]).json();
    assert_eq!(
        (&list["guards"][0]["guarded"], &list["guards"][0]["private"]),
        (&true.into(), &true.into()),
        "{list}"
    );
    let refused = env.pm2.pm2(&["delete", "all"]);
    assert!(refused.exit == Some(1), "{} {}", refused.stdout, refused.stderr);
    assert_eq!(Fleet::of(&env.pm2).names(), after.names());
    // What was never saved is named, with the way back.
    let told = env.palisade(&["pm2", "runbook"]).ends(Exit::Done);
    assert!(
        told.stdout.contains("never-saved") && told.stdout.contains("palisade pm2 restore"),
        "{}",
        told.stdout
    );
}
