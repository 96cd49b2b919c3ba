//! Whom a caller is taken for.

use std::path::{Path, PathBuf};

use palisade_core::actor::ProcessRef;
use palisade_core::{AppName, EnvironmentName, Scope};
use palisade_firewall::evidence::{Folders, Leased, Link, Standing, app_folder, weigh};

pub(crate) fn scope(app: &str) -> Scope {
    Scope::new(AppName::new(app).unwrap(), EnvironmentName::new("production").unwrap())
}

const fn process(pid: u32) -> ProcessRef {
    ProcessRef { pid, start_ticks: 1 }
}

/// A chain of working folders, the caller's first; `script:` before a parent's script instead.
fn chain(places: &[&str]) -> Vec<Link> {
    let link = |(pid, place): (u32, &&str)| {
        let script = place.strip_prefix("script:").map(PathBuf::from);
        let cwd = script.is_none().then(|| PathBuf::from(place));
        Link { process: process(pid), cwd, script }
    };
    (100..).zip(places).map(link).collect()
}

fn folders() -> Folders {
    let mut folders = Folders::new([PathBuf::from("/home/deploy")]);
    let table = [
        ("/srv/shop", "shop"),
        ("/srv/shop/blog", "blog"),
        ("/srv/both", "shop"),
        ("/srv/both", "blog"),
        ("/home/deploy", "shop"),
        ("/", "blog"),
    ];
    for (folder, app) in table {
        folders.add(folder.into(), scope(app));
    }
    folders
}

/// The app that the caller is taken for, `?` for none, `!` for two.
fn taken_for(places: &[&str], lease: Option<(&str, u32)>) -> String {
    let leases: Vec<Leased> = lease
        .map(|(app, pid)| Leased { scope: scope(app), term: 3, holder: process(pid) })
        .into_iter()
        .collect();
    match weigh(&chain(places), process(103), &leases, &folders()) {
        Standing::Of { scope, .. } => scope.app.to_string(),
        Standing::Contradicting { .. } => "!".to_owned(),
        Standing::Unknown => "?".to_owned(),
    }
}

#[test]
fn folders_decide_by_the_longest_match_of_the_nearest_process() {
    let cases: [(&[&str], &str); 13] = [
        (&["/srv/shop"], "shop"),
        (&["/srv/shop/releases/7/bin"], "shop"),
        (&["/srv/shop/blog/x"], "blog"),
        (&["/srv/shopping"], "?"),
        (&["/srv/both/x"], "?"),
        (&["/home/deploy/x"], "?"),
        (&["/tmp"], "?"),
        (&["/tmp", "/srv/shop"], "shop"),
        (&["/srv/shop", "/srv/shop/blog"], "shop"),
        (&["/tmp", "script:/srv/shop/deploy.sh"], "shop"),
        (&["script:/srv/shop/node_modules/.bin/pm2"], "?"),
        (&["/srv/shop/blog", "script:/srv/shop/deploy.sh"], "!"),
        // The fourth process is the daemon: its folder, and that of its parents, is nobody's.
        (&["/tmp", "/tmp", "/tmp", "/srv/shop", "/srv/shop"], "?"),
    ];
    for (places, expected) in cases {
        assert_eq!(taken_for(places, None), expected, "{places:?}");
    }
}

#[test]
fn a_lease_counts_for_its_holders_children_and_a_folder_may_contradict_it() {
    assert_eq!(taken_for(&["/tmp", "/tmp"], Some(("blog", 101))), "blog");
    assert_eq!(taken_for(&["/tmp"], Some(("blog", 100))), "blog");
    assert_eq!(taken_for(&["/tmp"], Some(("blog", 99))), "?");
    assert_eq!(taken_for(&["/srv/shop"], Some(("blog", 100))), "!");
    assert_eq!(taken_for(&["/srv/shop"], Some(("shop", 100))), "shop");
    // The same number with another start time is another process.
    let reused = [Leased { scope: scope("shop"), term: 1, holder: ProcessRef { pid: 100, start_ticks: 2 } }];
    assert_eq!(weigh(&chain(&["/tmp"]), process(9), &reused, &folders()), Standing::Unknown);
}

#[test]
fn an_apps_folder_is_its_working_folder_without_its_release() {
    let cases = [
        ("/srv/shop", "/srv/shop"),
        ("/srv/shop/current", "/srv/shop"),
        ("/srv/shop/source", "/srv/shop"),
        ("/srv/shop/releases/20260217", "/srv/shop"),
        ("/srv/releases", "/srv/releases"),
        ("/", "/"),
    ];
    for (cwd, folder) in cases {
        assert_eq!(app_folder(Path::new(cwd)), Path::new(folder));
    }
}
