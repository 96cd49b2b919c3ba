//! Restore bundles on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use palisade_core::Timestamp;
use palisade_core::actor::ProcessRef;
use palisade_core::process::DaemonIdentity;
use palisade_core::redact::Salt;
use palisade_host::clock;
use palisade_pm2::bundle::{Bundle, BundleError, Bundles};
use palisade_pm2::list::Listing;
use palisade_testkit::Scratch;
use serde_json::json;

fn bundle(secret: &str) -> Bundle {
    let salt = Salt::new([5; 32]);
    let entry = |pm_id: u32, module: bool| {
        json!({ "name": format!("app-{pm_id}"), "pm_id": pm_id, "pid": 0, "pm2_env": {
            "status": "stopped", "exec_mode": "fork_mode", "unique_id": "shared", "pmx_module": module,
            "env": { "DATABASE_URL": secret } } })
    };
    let json = json!([entry(0, false), entry(1, false), entry(2, true)]).to_string();
    let listing = Listing::parse(&json, &salt).expect("as PM2 gives it");
    let daemon = DaemonIdentity {
        process: ProcessRef { pid: 1, start_ticks: 1 },
        uid: 0,
        boot_id: "boot".to_owned(),
        version: "7.0.4".to_owned(),
        home: "/home".to_owned(),
        socket: "/home/rpc.sock".to_owned(),
    };
    Bundle::new(&salt, daemon, &listing.entries)
}

/// Writes it and gives its name.
fn write(bundles: &Bundles, bundle: &Bundle) -> String {
    let sealed = bundle.seal();
    bundles.write(&sealed).expect("a scratch folder is private");
    sealed.hash().to_owned()
}

fn bundles(folder: &Scratch) -> Bundles {
    Bundles::new(folder.join("bundles"))
}

#[test]
fn a_bundle_is_private_named_by_its_content_and_read_back_whole() {
    let folder = Scratch::new();
    let bundles = bundles(&folder);
    let hash = write(&bundles, &bundle("hunter2"));
    assert_eq!(write(&bundles, &bundle("hunter2")), hash);
    assert_ne!(write(&bundles, &bundle("hunter3")), hash);
    let path = folder.join("bundles").join(format!("{hash}.bundle"));
    let mode = |path: &std::path::Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&folder.join("bundles"))), (0o600, 0o700));
    let back = bundles.read(&hash).expect("it is unchanged");
    assert_eq!(back.processes().len(), 2, "PM2 installs its modules itself");
    let second = &back.processes()[1];
    assert_eq!(back.find(&second.pin).map(|kept| kept.pin.pm_id), Some(1), "a UUID may be shared");
    assert!(second.secret_configuration().get().contains("hunter2"));
    assert!(!format!("{back:?}{second:?}").contains("hunter2"));
}

#[test]
fn a_changed_bundle_is_refused_whatever_was_changed() {
    let folder = Scratch::new();
    let hash = write(&bundles(&folder), &bundle("hunter2"));
    let path = folder.join("bundles").join(format!("{hash}.bundle"));
    let content = fs::read(&path).expect("it is there");
    for place in (0..content.len()).step_by(37) {
        let mut changed = content.clone();
        changed[place] ^= 1;
        fs::write(&path, &changed).expect("it is ours");
        let error = bundles(&folder).read(&hash).expect_err("it was changed");
        assert!(matches!(error, BundleError::Changed { .. }), "byte {place}: {error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
    fs::write(&path, &content[..content.len() / 2]).expect("it is ours");
    assert!(matches!(bundles(&folder).read(&hash), Err(BundleError::Changed { .. })));
}

#[test]
fn a_bundle_that_others_may_read_or_that_is_a_link_is_refused() {
    let folder = Scratch::new();
    let hash = write(&bundles(&folder), &bundle("hunter2"));
    let path = folder.join("bundles").join(format!("{hash}.bundle"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("it is ours");
    assert!(matches!(bundles(&folder).read(&hash), Err(BundleError::File { .. })));
    fs::rename(&path, folder.join("elsewhere")).expect("it is ours");
    std::os::unix::fs::symlink(folder.join("elsewhere"), &path).expect("it is ours");
    assert!(matches!(bundles(&folder).read(&hash), Err(BundleError::File { .. })));
}

#[test]
fn a_name_that_could_leave_the_folder_is_no_name() {
    let folder = Scratch::new();
    for name in ["", "../x", &"A".repeat(64), &"a".repeat(63), &format!("../{}", "a".repeat(61))] {
        assert!(matches!(bundles(&folder).read(name), Err(BundleError::Name(_))), "{name:?}");
    }
    assert!(matches!(bundles(&folder).read(&"a".repeat(64)), Err(BundleError::File { .. })));
}

#[test]
fn pruning_keeps_the_newest_and_whatever_is_young() {
    let folder = Scratch::new();
    let store = bundles(&folder);
    assert_eq!(store.prune(0, Duration::ZERO, clock::now()).expect("no folder, nothing to do"), [""; 0]);
    let mut hashes = Vec::new();
    for (number, age_days) in [40_u64, 30, 20, 1].into_iter().enumerate() {
        let hash = write(&store, &bundle(&number.to_string()));
        let file =
            fs::File::options().write(true).open(folder.join("bundles").join(format!("{hash}.bundle")));
        let then = clock::now().before(Duration::from_secs(age_days * 86_400));
        let then = std::time::UNIX_EPOCH + Duration::from_millis(then.unix_ms());
        file.and_then(|file| file.set_modified(then)).expect("it is ours");
        hashes.push(hash);
    }
    let month = Duration::from_secs(25 * 86_400);
    assert_eq!(store.prune(3, month, clock::now()).expect("ours"), [hashes[0].clone()], "three are kept");
    assert_eq!(store.prune(1, month, clock::now()).expect("ours"), [hashes[1].clone()], "one is too young");
    assert_eq!(store.prune(1, Duration::ZERO, clock::now()).expect("ours"), [hashes[2].clone()]);
    assert_eq!(
        store.prune(0, month, Timestamp::from_unix_ms(0)).expect("ours"),
        [""; 0],
        "a clock that went back"
    );
    assert!(store.read(&hashes[3]).is_ok());
}
