//! `palisade guard` by root, for the daemon of another user: nothing of it belongs to root.
//!
//! It makes a user of its own, which takes root, and removes it in the end.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use palisade_core::Exit;
use palisade_testkit::pm2::list_at;
use palisade_testkit::scratch::random_hex;
use palisade_testkit::{Scratch, eventually, installed, process};
use serde_json::json;

use crate::guard::firewall;
use crate::said::Said;

/// A user with a home, a PM2 daemon of its own and two apps.
struct Owner {
    name: String,
    uid: u32,
    home: PathBuf,
    /// Programs that every user may run, and root's own folders.
    place: Scratch,
}

impl Owner {
    fn new() -> Self {
        let place = Scratch::new();
        assert_eq!(place.path().metadata().unwrap().uid(), 0, "run this as root: it makes a user");
        fs::copy(env!("CARGO_BIN_EXE_palisade"), place.join("palisade")).unwrap();
        fs::copy(firewall(), place.join("palisade-firewall")).unwrap();
        fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        let (name, home) = (format!("pal{}", random_hex(3)), place.join("home"));
        let made = Command::new("useradd")
            .args(["--system", "--no-log-init", "--create-home", "--home-dir"])
            .args([home.to_str().unwrap(), &name])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let uid = home.metadata().unwrap().uid();
        let owner = Self { name, uid, home, place };
        let app = |name: &str| json!({ "name": name, "script": "/bin/sleep", "args": ["100000"], "interpreter": "none", "cwd": owner.home });
        let apps = owner.home.join("apps.json");
        fs::write(&apps, json!({ "apps": [app("shop"), app("blog")] }).to_string()).unwrap();
        owner.pm2(&["start", apps.to_str().unwrap()]).ends(Exit::Done);
        owner
    }

    fn pm2_home(&self) -> PathBuf {
        self.home.join(".pm2")
    }

    /// An unmodified `pm2` of that user.
    fn pm2(&self, words: &[&str]) -> Said {
        let script = installed("7.0.4").unwrap().join("node_modules/pm2/bin/pm2");
        let mut command = Command::new("setpriv");
        let (uid, gid) = (self.uid.to_string(), self.home.metadata().unwrap().gid().to_string());
        command.args(["--reuid", &uid, "--regid", &gid, "--clear-groups", "node"]).arg(script).args(words);
        self.run(command.env_clear().current_dir(&self.home).env("HOME", &self.home))
    }

    /// `palisade guard WORD pm2` of root.
    fn guard(&self, words: &[&str]) -> Said {
        let mut command = Command::new(self.place.join("palisade"));
        command.arg("guard").args(words).arg("--pm2-home").arg(self.pm2_home()).env_clear();
        self.run(command.current_dir("/").env("HOME", self.place.join("root")))
    }

    fn run(&self, command: &mut Command) -> Said {
        #[expect(clippy::disallowed_methods, reason = "node is found by the caller's PATH")]
        command.env("PATH", std::env::var_os("PATH").unwrap());
        // The daemon inherits both, and would keep a pipe open for ever.
        let (out, err) = (self.place.join("out"), self.place.join("err"));
        command.stdin(Stdio::null()).stdout(fs::File::create(&out).unwrap());
        let status = command.stderr(fs::File::create(&err).unwrap()).status().unwrap();
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        Said { exit: status.code(), stdout: read(&out), stderr: read(&err) }
    }

    /// Names and pids of what runs.
    fn running(&self) -> Vec<(String, u64)> {
        let row = |row: &serde_json::Value| {
            (row["name"].as_str().unwrap().to_owned(), row["pid"].as_u64().unwrap())
        };
        list_at(&self.pm2_home().join("rpc.sock")).iter().map(row).collect()
    }

    fn firewalls(&self) -> Vec<u32> {
        let home = self.pm2_home().display().to_string();
        process::titled(|title| title.contains("palisade-firewall") && title.contains(&home))
    }

    /// What below the home does not belong to the user.
    fn foreign_files(&self) -> Vec<PathBuf> {
        let (mut folders, mut foreign) = (vec![self.home.clone()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let found = entry.metadata().unwrap();
                if found.uid() != self.uid && entry.file_name() != "apps.json" {
                    foreign.push(entry.path());
                }
                if found.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        foreign
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        for _ in 0..200 {
            let left = process::of_user(self.uid);
            if left.is_empty() {
                break;
            }
            left.into_iter().for_each(process::kill);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        drop(Command::new("userdel").arg(&self.name).output());
    }
}

#[test]
fn root_guards_another_users_daemon_and_takes_the_guard_away_again() {
    let owner = Owner::new();
    let before = owner.running();
    let units = owner.place.join("units").display().to_string();
    let install = ["install", "pm2", "--unit-folder", &units];
    let shown = owner.guard(&["install", "pm2", "--dry-run"]).ends(Exit::Done);
    assert!(shown.stdout.contains("takes the public places by a rename"), "{}", shown.stdout);
    assert!(owner.firewalls().is_empty());

    let said = owner.guard(&install).ends(Exit::Done);
    assert!(said.stdout.contains("none was restarted"), "{}", said.stdout);
    assert_eq!((owner.running(), owner.foreign_files()), (before.clone(), vec![]));
    let firewalls = owner.firewalls();
    assert!(!firewalls.is_empty() && firewalls.iter().all(|pid| process::of_user(owner.uid).contains(pid)));
    assert!(owner.home.join(".config/palisade/palisade.toml").exists(), "the policy is that user's own");
    assert!(owner.home.join(".local/state/palisade/journal").exists(), "and so is the state");
    let service: Vec<_> = fs::read_dir(&units).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(
        service.iter().all(|unit| unit.metadata().unwrap().uid() == 0) && service.len() > 2,
        "{service:?}"
    );

    let again = owner.guard(&install).ends(Exit::Done);
    assert!(again.stdout.contains("as before"), "{}", again.stdout);
    assert_eq!((owner.firewalls(), owner.running()), (firewalls, before.clone()));
    // Its user goes through the guard, and so does root.
    owner.pm2(&["restart", "shop"]).ends(Exit::Done);
    let list = owner.guard(&["list"]).ends(Exit::Done);
    assert!(list.stdout.contains("same-uid"), "{}", list.stdout);

    let guarded = owner.running();
    owner.guard(&["remove", "pm2", "--unit-folder", &units]).ends(Exit::Done);
    eventually("the firewall is gone", || owner.firewalls().is_empty().then_some(()));
    assert_eq!((owner.running(), owner.foreign_files()), (guarded.clone(), vec![]));
    assert_eq!(
        fs::read_dir(&units).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count(),
        0
    );
    let again = owner.guard(&["remove", "pm2"]).ends(Exit::Done);
    assert!(again.stdout.contains("as before"), "{}", again.stdout);
    owner.pm2(&["list"]).ends(Exit::Done);
    owner.guard(&["install", "pm2"]).ends(Exit::Done);
    assert_eq!((owner.running(), owner.foreign_files()), (guarded, vec![]));
}
