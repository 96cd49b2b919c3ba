//! A canonical third of everything on the older PM2 versions that are still in use.

use palisade_testkit::{EightApps, Fleet};

use crate::site::{Caller, EIGHT, Ended as _, OWN, PRODUCTION, Site};

#[test]
fn pm2_6_is_listed_guarded_and_restored_like_the_newest() {
    list_refuse_delete_restore("6.0.14");
}

#[test]
fn pm2_5_is_listed_guarded_and_restored_like_the_newest() {
    list_refuse_delete_restore("5.4.3");
}

fn list_refuse_delete_restore(version: &str) {
    let host = EightApps::start(version);
    let site = Site::new(&host.pm2, EIGHT);
    let before = Fleet::of(&host.pm2);
    let (_, document) = site.json(&Caller::job(), &["pm2", "list"]);
    let rows = document.as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["process"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, EightApps::NAMES);
    assert!(rows.iter().all(|row| row["process"]["status"] == "online"), "{document}");

    site.operate(&Caller::job(), "delete", PRODUCTION, &["all"]).refused(&["PAL-102", version]);
    site.operate(&Caller::job(), "restart", PRODUCTION, &["stock-alert"]).refused(&["PAL-101"]);
    assert_eq!(Fleet::of(&host.pm2), before);
    let ran = site.operate(&Caller::job(), "delete", PRODUCTION, &[]).with(0);
    assert!(ran.stdout.contains("5 spared processes untouched"), "{}", ran.stdout);
    assert_eq!(Fleet::of(&host.pm2), before.without(&OWN));
    site.palisade(&Caller::job(), &["pm2", "restore"]).with(0);
    let after = Fleet::of(&host.pm2);
    assert_eq!(after.names(), before.names());
    assert_eq!(after.without(&OWN), before.without(&OWN));
    for operation in ["restart", "reload", "stop"] {
        site.operate(&Caller::job(), operation, PRODUCTION, &[OWN[0]]).with(0);
    }
    assert_eq!(Fleet::of(&host.pm2), after.without(&OWN[..1]));
}
