//! A bypass counts by its owner, its mode and its moment, and lies where a full disk does not matter.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use palisade_core::bypass::{Bypass, BypassId, Moment, Opened};
use palisade_host::bypass::Folders;
use palisade_host::{Environment, clock};

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn bypass(id: &str, opened: Opened, span: Duration) -> Bypass {
    let moment = Moment { at: clock::now(), boot_id: clock::boot_id().unwrap(), boot_ms: clock::boot_ms() };
    let who = (own_uid(), "a person".to_owned());
    Bypass::begin(BypassId::new(id), opened, "a rule is wrong", who, moment, span).unwrap()
}

fn hour(id: &str, opened: Opened) -> Bypass {
    bypass(id, opened, Duration::from_secs(3600))
}

fn folders(folder: &Path) -> Folders {
    Folders::only(vec![folder.join("palisade")], own_uid())
}

#[test]
fn a_bypass_opens_what_it_names_until_it_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let folders = folders(folder.path());
    let (home, other) = (Opened::pm2_home("/srv/pm2"), Opened::pm2_home("/srv/other"));
    assert_eq!(folders.opening(&home), None);
    folders.begin(&hour("1", home.clone())).unwrap();
    assert_eq!(folders.opening(&home).unwrap().id, BypassId::new("1"));
    assert_eq!(folders.opening(&other), None);
    folders.begin(&hour("2", Opened::Pm2)).unwrap();
    assert_eq!(folders.opening(&other).unwrap().id, BypassId::new("2"));

    let ended = folders.end(&home).unwrap();
    assert_eq!(ended.iter().map(|bypass| bypass.id.as_str()).collect::<Vec<_>>(), ["off-1"]);
    assert!(folders.opening(&home).is_some(), "the wider one still holds");
    assert_eq!(folders.end(&Opened::Every).unwrap().len(), 1);
    assert_eq!(folders.in_force(), []);
}

#[test]
fn a_second_one_for_the_same_takes_the_place_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let folders = folders(folder.path());
    folders.begin(&hour("1", Opened::Pm2)).unwrap();
    folders.begin(&bypass("2", Opened::Pm2, Duration::from_secs(60))).unwrap();
    assert_eq!(folders.in_force().len(), 1);
    assert_eq!(folders.opening(&Opened::Pm2).unwrap().id, BypassId::new("2"));
}

#[test]
fn one_whose_time_is_over_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folders = folders(folder.path());
    let path = folders.begin(&hour("1", Opened::Pm2)).unwrap();
    let mut over: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let now = clock::boot_ms();
    over["from_boot_ms"] = (now - 2).into();
    over["until_boot_ms"] = (now - 1).into();
    fs::write(&path, over.to_string()).unwrap();
    assert_eq!(folders.opening(&Opened::Pm2), None);
    over["until_boot_ms"] = (now + 3_600_000).into();
    over["boot_id"] = "another boot".into();
    fs::write(&path, over.to_string()).unwrap();
    assert_eq!(folders.opening(&Opened::Pm2), None);
}

#[test]
fn a_file_of_another_user_one_that_others_may_write_and_a_link_open_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folders = folders(folder.path());
    let path = folders.begin(&hour("1", Opened::Pm2)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o620)).unwrap();
    assert_eq!(folders.opening(&Opened::Pm2), None, "its group may write it");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert!(folders.opening(&Opened::Pm2).is_some());

    let elsewhere = folder.path().join("elsewhere.json");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert_eq!(folders.opening(&Opened::Pm2), None, "it is a link");
    fs::rename(&elsewhere, &path).unwrap();

    assert_eq!(own_uid(), 0, "this test gives a file away, which only root may: run it as root");
    std::os::unix::fs::chown(&path, Some(54_321), None).unwrap();
    assert_eq!(folders.opening(&Opened::Pm2), None, "it is somebody else's");
    let theirs = Folders::only(vec![folder.path().join("palisade")], 54_321);
    assert!(theirs.opening(&Opened::Pm2).is_some(), "it counts for its owner");
    std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    assert!(theirs.opening(&Opened::Pm2).is_some(), "one of root's counts for everybody");
}

#[test]
fn a_folder_that_cannot_be_written_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (absent, good) = (folder.path().join("no/such"), folder.path().join("good"));
    let folders = Folders::only(vec![absent.clone(), good.clone()], own_uid());
    let path = folders.begin(&hour("1", Opened::Every)).unwrap();
    assert_eq!(path.parent(), Some(good.as_path()));
    let none = Folders::only(vec![absent], own_uid());
    assert!(none.begin(&hour("2", Opened::Every)).unwrap_err().to_string().contains("no/such"));
}

#[test]
fn a_guard_without_variables_looks_where_its_users_shell_writes() {
    let shell = Environment::from_iter([("XDG_RUNTIME_DIR", "/run/user/1001")]);
    let bare = Environment::from_iter([("HOME", "/")]);
    assert_eq!(Folders::of(&shell, 1001), Folders::of(&bare, 1001));
}
