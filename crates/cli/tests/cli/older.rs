//! A guard of an earlier version, by what it answered: this command says what to do about it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixListener;

use palisade_core::Exit;
use palisade_pm2::guarded::{FORMAT, Guarded, Isolation};
use serde_json::Value;

use crate::env::{TestEnv, crawler};

/// What the guard of version 1 of orders (palisade before 833a758) answers to an order of any other version.
const OF_VERSION_1: &str = "{\"refused\":\"the guard carried nothing out: the order is not understood; palisade and \
                            palisade-firewall should be of one version\"}\n";

#[test]
fn an_earlier_guard_is_named_with_the_way_to_a_later_one() {
    let env = TestEnv::without_daemon();
    let control = env.pm2.home().join("control.sock");
    let listener = UnixListener::bind(&control).unwrap();
    // To give a socket away takes root.
    chown(&control, Some(5102), None).unwrap();
    let guarded = Guarded {
        format: FORMAT,
        private_rpc: env.pm2.home().join("private/rpc.sock"),
        private_pub: env.pm2.home().join("private/pub.sock"),
        control: Some(control),
        isolation: Isolation::SeparateUid,
        pid: std::process::id(),
    };
    guarded.write(env.pm2.home()).unwrap();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            stream.write_all(OF_VERSION_1.as_bytes()).unwrap();
            serde_json::from_str::<Value>(&line).unwrap()
        });
        let said = env.palisade(&crawler(&["pm2", "restart", "flyer-crawler-api"])).ends(Exit::Refused);
        assert_eq!(asked.join().unwrap()["operation"], "restart");
        assert!(
            said.stderr.contains("of one version") && said.stderr.contains("kill -HUP"),
            "{}",
            said.stderr
        );
    });
}
