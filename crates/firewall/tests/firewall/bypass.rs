//! `palisade off`: while it lasts the firewall passes on what it would refuse, and its records name the bypass.

use std::time::Duration;

use palisade_core::bypass::{Bypass, BypassId, Moment, Opened};
use palisade_core::record::Ruling;
use palisade_host::bypass::Folders;
use palisade_host::{Environment, clock};

use crate::bed::Bed;

/// A bypass of one firewall, which ends with the test.
pub(crate) struct Open(Folders, Opened);

impl Open {
    pub(crate) fn of(bed: &Bed) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let folders = Folders::of(&Environment::default(), uid);
        let opened = Opened::pm2_home(&bed.pm2.home().display().to_string());
        let moment =
            Moment { at: clock::now(), boot_id: clock::boot_id().unwrap(), boot_ms: clock::boot_ms() };
        let (id, hour) = (BypassId::new("test"), Duration::from_secs(3600));
        let bypass = Bypass::begin(id, opened.clone(), "a test", (uid, "test".to_owned()), moment, hour);
        folders.begin(&bypass.unwrap()).unwrap();
        Self(folders, opened)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.end(&self.1).unwrap();
    }
}

#[test]
fn a_bypass_passes_what_would_be_refused_until_it_ends() {
    let bed = Bed::new("enforce");
    let own = bed.app_folder("flyer-crawler-api");
    let delete = |name: &str| bed.pm2_in(&own, &["delete", name]);
    assert_eq!(delete("stock-alert").exit, Some(1));
    assert_eq!(bed.running().len(), 8);

    let open = Open::of(&bed);
    let ran = delete("stock-alert");
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
    let names: Vec<String> = bed.running().into_iter().map(|(name, _)| name).collect();
    assert!(!names.contains(&"stock-alert".to_owned()), "{names:?}");
    let bypassed = bed.calls().into_iter().filter(|(_, called)| called.ruling == Ruling::Bypassed);
    let ids: Vec<_> = bypassed.map(|(_, called)| called.bypass.unwrap()).collect();
    assert!(!ids.is_empty() && ids.iter().all(|id| *id == BypassId::new("test")), "{ids:?}");

    drop(open);
    assert_eq!(delete("projectium-site").exit, Some(1));
    assert_eq!(bed.running().len(), 7);
}
