//! The units as systemd reads them.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has nobody to return an error to")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use palisade_install::Places;
use palisade_install::units::{Wanted, startup_unit};
use palisade_pm2::Isolation;

/// The highest exposure that each service may have. docs/guard.md says what systemd 252 made of them, as root; others rate
/// a little otherwise.
const MOST_EXPOSED: [(&str, f64); 3] =
    [("palisade-pm2-root.service", 3.0), ("palisade-notify-root.service", 2.5), (VERIFY, 2.0)];
/// The unit of a database's guard is copied as it is.
const VERIFY: &str = "palisade-verify.service";

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("palisade-units-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// PM2's own unit, as `pm2 startup systemd` writes it.
const STARTUP: &str = "[Unit]\nDescription=PM2 process manager\nAfter=network.target\n\n[Service]\nType=forking\n\
     User=root\nEnvironment=PM2_HOME=/srv/pm2\nPIDFile=/srv/pm2/pm2.pid\nRestart=on-failure\n\
     ExecStart=/bin/true resurrect\nExecStop=/bin/true kill\n\n[Install]\nWantedBy=multi-user.target\n";

fn written(folder: &Path) -> Vec<PathBuf> {
    fs::write(folder.join("pm2-root.service"), STARTUP).unwrap();
    let home = Path::new("/srv/pm2");
    let wanted = Wanted {
        places: Places::of(home, None),
        user: "root".to_owned(),
        owner: "root".to_owned(),
        group: "root".to_owned(),
        isolation: Isolation::SameUid,
        firewall: "/bin/true".into(),
        palisade: "/bin/true".into(),
        state: "/var/lib/palisade".into(),
        startup: startup_unit(folder, "root", home),
    };
    let mut paths = Vec::new();
    for unit in wanted.units().unwrap() {
        let path = folder.join(unit.name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, unit.text).unwrap();
        paths.push(path);
    }
    paths
}

#[test]
fn systemd_accepts_every_unit_and_the_drop_in_beside_pm2s_own() {
    let folder = Folder::new("verify");
    let paths = written(&folder.0);
    assert_eq!(paths.len(), 6);
    let own = paths.iter().filter(|path| !path.ends_with("palisade.conf"));
    let said = Command::new("systemd-analyze")
        .arg("verify")
        .args(own)
        .arg(folder.0.join("pm2-root.service"))
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.0.display()))
        .output()
        .expect("systemd-analyze is needed: install the package systemd");
    let text = String::from_utf8_lossy(&said.stderr);
    let ours: Vec<&str> =
        text.lines().filter(|line| line.contains("palisade") || line.contains("pm2-")).collect();
    assert!(said.status.success() && ours.is_empty(), "{text}");
}

#[test]
fn no_service_is_more_exposed_than_the_documents_say() {
    let folder = Folder::new("security");
    written(&folder.0);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd").join(VERIFY);
    fs::copy(shipped, folder.0.join(VERIFY)).unwrap();
    for (unit, most) in MOST_EXPOSED {
        let said = Command::new("systemd-analyze")
            .args(["security", "--offline=yes", "--no-pager"])
            .arg(folder.0.join(unit))
            .output()
            .expect("systemd-analyze is needed: install the package systemd");
        let text = String::from_utf8_lossy(&said.stdout);
        let line = text.lines().find(|line| line.contains("Overall exposure level"));
        let line = line.unwrap_or_else(|| panic!("{unit}: {text} {}", String::from_utf8_lossy(&said.stderr)));
        let score: f64 = line.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
        println!("{unit}: {score}");
        assert!(score <= most, "{line}");
    }
}
