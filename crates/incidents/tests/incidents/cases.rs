//! Cases A to D of the first incident: the clean-up step with and without ADR-061's layers, and through Palisade.

use palisade_testkit::{EightApps, Fleet};

use crate::site::{Caller, EIGHT, Ended as _, OWN, PRODUCTION, Site, fixture};

const FOREIGN: [&str; 5] = [
    "flyer-crawler-analytics-worker-test",
    "flyer-crawler-api-test",
    "flyer-crawler-worker-test",
    "projectium-site",
    "stock-alert",
];

#[test]
fn case_a_unguarded_the_stale_script_leaves_nothing_and_calls_that_a_success() {
    let host = EightApps::start("7.0.4");
    let site = Site::new(&host.pm2, EIGHT);
    let ran = site.script(&Caller::job().with("TAKE", "pm2 delete"), &[&fixture("stale-cleanup.sh")]);
    ran.with(0);
    assert!(Fleet::of(&host.pm2).apps.is_empty());
}

#[test]
fn case_a_through_palisade_the_same_loop_takes_its_own_and_stops_at_the_first_foreign_process() {
    let host = EightApps::start("7.0.4");
    let site = Site::new(&host.pm2, EIGHT);
    let before = Fleet::of(&host.pm2);
    let take = "palisade pm2 delete --app flyer-crawler --environment production";
    let caller = Caller::job().with("TAKE", take);
    site.script(&caller, &[&fixture("stale-cleanup.sh")]).refused(&["PAL-101", "PAL-108", "PAL-109"]);
    assert_eq!(Fleet::of(&host.pm2), before.without(&OWN));
}

#[test]
fn case_a_through_palisade_a_loop_that_goes_on_after_refusals_takes_no_foreign_process_either() {
    let host = EightApps::start("7.0.4");
    let site = Site::new(&host.pm2, EIGHT);
    let before = Fleet::of(&host.pm2);
    let caller = Caller::job();
    for name in EightApps::NAMES {
        let ran = site.operate(&caller, "delete", PRODUCTION, &[name]);
        if OWN.contains(&name) {
            ran.with(0)
        } else {
            ran.refused(&["PAL-101", "PAL-109"])
        };
    }
    assert_eq!(Fleet::of(&host.pm2), before.without(&OWN));
}

#[test]
fn case_b_the_right_filter_takes_three_of_eight_with_the_layers_and_through_palisade() {
    let host = EightApps::start("7.0.4");
    let site = Site::new(&host.pm2, EIGHT);
    let before = Fleet::of(&host.pm2);
    let filter = r#"p.name.startsWith("flyer-crawler-") && !p.name.endsWith("-test")"#;
    site.script(&Caller::job(), &[&fixture("layered-cleanup.sh"), filter]).with(0);
    assert_eq!(Fleet::of(&host.pm2), before.without(&OWN));
    assert_eq!(before.without(&OWN).names(), FOREIGN);

    host.pm2.pm2(&["start", "apps.json", "--only", &OWN.join(",")]).with(0);
    let again = Fleet::of(&host.pm2);
    assert_eq!(again.names(), before.names());
    let ran = site.operate(&Caller::job(), "delete", PRODUCTION, &[]).with(0);
    assert!(ran.stdout.contains("5 spared processes untouched"), "{}", ran.stdout);
    assert_eq!(Fleet::of(&host.pm2), before.without(&OWN));
}

#[test]
fn case_c_a_filter_that_takes_all_is_stopped_by_layer_three_and_refused_by_palisade() {
    let host = EightApps::start("7.0.4");
    let site = Site::new(&host.pm2, EIGHT);
    let before = Fleet::of(&host.pm2);
    let ran = site.script(&Caller::job(), &[&fixture("layered-cleanup.sh"), "true"]).with(3);
    assert!(ran.stderr.contains("SAFETY ABORT"), "{}", ran.stderr);
    assert_eq!(Fleet::of(&host.pm2), before);

    let ran = site.operate(&Caller::job(), "delete", PRODUCTION, &EightApps::NAMES);
    let ran = ran.refused(&["PAL-102", "PAL-101", "PAL-103", "SAFETY ABORT"]);
    assert!(ran.stdout.contains("touched:  nothing"), "{}", ran.stdout);
    site.operate(&Caller::job(), "delete", PRODUCTION, &["all", "--confirm=flyer-crawler"])
        .refused(&["PAL-102"]);
    assert_eq!(Fleet::of(&host.pm2), before);
}

#[test]
fn case_d_a_filter_that_spares_one_passes_every_layer_and_is_refused_whole_by_palisade() {
    let host = EightApps::start("7.0.4");
    let site = Site::new(&host.pm2, EIGHT);
    let before = Fleet::of(&host.pm2);
    let seven: Vec<&str> = EightApps::NAMES.into_iter().filter(|name| *name != "projectium-site").collect();
    let ran = site.operate(&Caller::job(), "delete", PRODUCTION, &seven).refused(&["PAL-103", "PAL-101"]);
    assert!(!ran.stdout.contains("PAL-102"), "{}", ran.stdout);
    assert_eq!(Fleet::of(&host.pm2), before);

    let filter = r#"p.name !== "projectium-site""#;
    site.script(&Caller::job(), &[&fixture("layered-cleanup.sh"), filter]).with(0);
    assert_eq!(Fleet::of(&host.pm2), before.without(&seven));
    assert_eq!(Fleet::of(&host.pm2).names(), ["projectium-site"]);
}
