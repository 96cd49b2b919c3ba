//! Older policies from older checkouts: they may not widen what the host allows.

use palisade_testkit::{App, Fleet, Pm2};

use crate::site::{Caller, Ended as _, Site};

const HOST: &str = r#"revision = 7
[limits]
all_above = 3
[environments.production]
[environments.test]
suffix = "-test"
[[app]]
name = "shop"
environment = "production"
processes = ["shop-api"]
[[app]]
name = "shop"
environment = "test"
processes = ["shop-api-test"]
"#;

/// The host's file from before its limits were narrowed.
const ROLLED_BACK: &str = r#"revision = 2
[limits]
all_above = 20
[environments.production]
[[app]]
name = "shop"
environment = "production"
processes = ["shop-*"]
"#;

/// The host's file as a checkout from before shop's production moved out of test still has it.
const OLDER: &str = r#"revision = 2
[limits]
all_above = 20
[environments.production]
[environments.test]
suffix = "-test"
[[app]]
name = "shop"
environment = "test"
processes = ["shop-api-test", "shop-api"]
"#;

#[test]
fn a_stale_checkout_with_a_wider_policy_is_refused_whatever_it_asks_for() {
    let pm2 = Pm2::start("7.0.4");
    pm2.start_apps(&["shop-api", "shop-api-test"].map(App::sleep));
    let site = Site::new(&pm2, HOST);
    let before = Fleet::of(&pm2);
    let checkout = site.folder("checkout/src");
    std::fs::write(site.folder("checkout").join("palisade.toml"), OLDER).unwrap();
    let stale = Caller::job().at(&checkout);
    let ran = site.operate(&stale, "delete", "shop/test", &[]).refused(&["PAL-003"]);
    for widened in ["limits.all_above", "shop-api"] {
        assert!(ran.stderr.contains(widened), "{}", ran.stderr);
    }
    site.operate(&stale, "delete", "shop/test", &["shop-api"]).refused(&["PAL-003"]);
    let inner = ["deploy", "--app=shop", "--environment=test", "--", "pm2", "delete", "all"];
    site.palisade(&stale, &inner).refused(&["PAL-003"]);
    assert_eq!(Fleet::of(&pm2), before);
    site.operate(&Caller::job(), "delete", "shop/test", &[]).with(0);
    assert_eq!(Fleet::of(&pm2), before.without(&["shop-api-test"]));
}

#[test]
fn a_host_policy_that_is_older_than_the_last_one_recorded_is_refused() {
    let pm2 = Pm2::start("7.0.4");
    pm2.start_apps(&["shop-api", "shop-api-test"].map(App::sleep));
    let site = Site::new(&pm2, HOST);
    site.operate(&Caller::job(), "restart", "shop/test", &[]).with(0);
    let before = Fleet::of(&pm2);
    site.write_policy(ROLLED_BACK);
    let all = ["shop-api", "shop-api-test"];
    site.operate(&Caller::job(), "delete", "shop/production", &all).refused(&["PAL-004", "from 7 to 2"]);
    site.palisade(&Caller::job(), &["deploy", "--app=shop", "--environment=production", "--", "true"])
        .refused(&["PAL-004"]);
    assert_eq!(Fleet::of(&pm2), before);
    site.write_policy(&HOST.replace("revision = 7", "revision = 8"));
    site.operate(&Caller::job(), "delete", "shop/test", &[]).with(0);
    assert_eq!(Fleet::of(&pm2), before.without(&["shop-api-test"]));
}
