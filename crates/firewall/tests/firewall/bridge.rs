//! The firewall takes the places of a running daemon, and no client finds nobody meanwhile.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use palisade_testkit::{App, Fleet, eventually};

use crate::bed::{Bed, call};

/// Connects to `socket` again and again until `done`, and counts; panics where nobody listens.
fn knock(socket: &std::path::Path, done: &AtomicBool, knocks: &AtomicU64) {
    while !done.load(Ordering::Relaxed) {
        UnixStream::connect(socket).unwrap_or_else(|error| panic!("a client found nobody: {error}"));
        knocks.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ends the knocking also where the test fails meanwhile.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_running_daemon_is_taken_over_without_a_gap() {
    let mut bed = Bed::without_daemon("observe");
    bed.pm2.start_daemon();
    bed.pm2.start_apps(&["flyer-crawler-api", "stock-alert"].map(App::sleep));
    let before = Fleet::of(&bed.pm2);
    for name in ["rpc.sock", "pub.sock"] {
        fs::hard_link(bed.pm2.home().join(name), bed.private(name)).unwrap();
    }
    let (done, knocks) = (AtomicBool::new(false), AtomicU64::new(0));
    let socket = bed.pm2.rpc_socket();
    std::thread::scope(|scope| {
        let ended = Ended(&done);
        scope.spawn(|| knock(&socket, &done, &knocks));
        eventually("the client is at it", || (knocks.load(Ordering::Relaxed) > 10).then_some(()));
        bed.start_firewall_with(&["--take-over", "--detached"]);
        let seen = knocks.load(Ordering::Relaxed);
        eventually("it goes on", || (knocks.load(Ordering::Relaxed) > seen + 10).then_some(()));
        drop(ended);
    });
    let inode = |path: &std::path::Path| fs::metadata(path).unwrap().ino();
    assert_ne!(inode(&socket), inode(&bed.private("rpc.sock")), "the firewall's own socket is in the place");
    let list = crate::bed::ask(&bed, &call("getMonitorData", &serde_json::json!([{}])));
    assert_eq!(list["args"][0].as_array().unwrap().len(), 2);
    assert_eq!(Fleet::of(&bed.pm2), before, "nothing was restarted, and there is one daemon");
}
