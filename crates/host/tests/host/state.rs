use std::fs;
use std::path::{Path, PathBuf};

use palisade_host::state::{home_of, user_name};
use palisade_host::{Environment, Locations};
use tempfile::TempDir;

const PASSWD: &str = "root:x:0:0:root:/home/chief:/bin/bash\n# remark\ndeploy:x:1000:1000:De,Ploy:/srv/deploy:/bin/sh\n\
                      odd:x:1001:1001::relative:/bin/sh\ncut:x:1002\n";

/// A machine without a system policy.
fn machine() -> (TempDir, Locations) {
    let folder = tempfile::tempdir().unwrap();
    let passwd = folder.path().join("passwd");
    fs::write(&passwd, PASSWD).unwrap();
    let system_policy = folder.path().join("etc/palisade/palisade.toml");
    let system_state = folder.path().join("var/lib/palisade");
    (folder, Locations { system_policy, system_state, passwd })
}

/// Policy and state of user `uid` with these variables.
fn places(locations: &Locations, variables: &[(&str, &str)], uid: u32) -> (PathBuf, PathBuf) {
    let environment = variables.iter().copied().collect::<Environment>();
    let state = locations.state(&environment, uid).unwrap();
    (locations.policy_path(&environment, uid).unwrap(), state.root().to_owned())
}

#[test]
fn a_user_without_a_system_policy_has_both_in_folders_of_their_own() {
    let (_folder, locations) = machine();
    for (variables, uid, policy, state) in [
        (
            &[("HOME", "/home/a"), ("XDG_CONFIG_HOME", "/c"), ("XDG_STATE_HOME", "/s")][..],
            1000,
            "/c/palisade/palisade.toml",
            "/s/palisade",
        ),
        (
            &[("HOME", "/home/a")],
            1000,
            "/home/a/.config/palisade/palisade.toml",
            "/home/a/.local/state/palisade",
        ),
        (&[], 1000, "/srv/deploy/.config/palisade/palisade.toml", "/srv/deploy/.local/state/palisade"),
        (
            &[("HOME", ""), ("XDG_CONFIG_HOME", "relative"), ("XDG_STATE_HOME", "")],
            0,
            "/home/chief/.config/palisade/palisade.toml",
            "/home/chief/.local/state/palisade",
        ),
    ] {
        assert_eq!(places(&locations, variables, uid), (policy.into(), state.into()), "{variables:?}");
    }
}

#[test]
fn where_the_system_has_a_policy_no_variable_leads_elsewhere() {
    let (_folder, locations) = machine();
    fs::create_dir_all(locations.system_policy.parent().unwrap()).unwrap();
    fs::write(&locations.system_policy, "").unwrap();
    let variables = [
        ("HOME", "/home/a"),
        ("XDG_CONFIG_HOME", "/c"),
        ("XDG_STATE_HOME", "/s"),
        ("PALISADE_STATE", "/mine"),
        ("PALISADE_POLICY", "/mine"),
    ];
    for uid in [0, 1000, 4242] {
        let system = (locations.system_policy.clone(), locations.system_state.clone());
        assert_eq!(places(&locations, &variables, uid), system);
        assert_eq!(places(&locations, &[], uid), system);
    }
}

#[test]
fn a_system_policy_that_cannot_be_looked_at_is_in_force() {
    let (folder, mut locations) = machine();
    // A loop of links stands for anything that is neither there nor provably absent.
    std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
    locations.system_policy = folder.path().join("loop/palisade.toml");
    assert!(locations.system_policy_is_in_force());
    let dangling = folder.path().join("dangling");
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    locations.system_policy = dangling;
    assert!(locations.system_policy_is_in_force());
}

#[test]
fn a_user_without_a_home_is_told_so() {
    let (_folder, locations) = machine();
    for uid in [4242, 1001, 1002] {
        let error = locations.state(&Environment::default(), uid).unwrap_err();
        assert!(error.to_string().contains(&format!("user {uid}")), "{error}");
        assert!(locations.policy_path(&Environment::default(), uid).is_err());
    }
}

#[test]
fn users_are_looked_up_by_number() {
    let (_folder, locations) = machine();
    let passwd = locations.passwd.as_path();
    assert_eq!(user_name(passwd, 1000).as_deref(), Some("deploy"));
    assert_eq!(home_of(passwd, 1000), Some(PathBuf::from("/srv/deploy")));
    assert_eq!(home_of(passwd, 1001), None);
    assert_eq!(user_name(passwd, 7), None);
    assert_eq!(user_name(Path::new("/nonexistent"), 0), None);
}

#[test]
fn everything_of_the_state_lies_below_its_root() {
    let (folder, locations) = machine();
    let home = folder.path().to_str().unwrap();
    let state = locations.state(&Environment::from_iter([("HOME", home)]), 0).unwrap();
    for path in [state.journal(), state.snapshots(), state.bundles(), state.leases(), state.key()] {
        assert!(path.starts_with(state.root()) && !path.exists(), "{path:?}");
    }
}

#[test]
fn a_release_uses_the_places_that_the_documentation_names() {
    let locations = Locations::default();
    assert_eq!(locations.system_policy, Path::new("/etc/palisade/palisade.toml"));
    assert_eq!(locations.system_state, Path::new("/var/lib/palisade"));
    assert_eq!(locations.passwd, Path::new("/etc/passwd"));
}
