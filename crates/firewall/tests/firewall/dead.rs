//! A daemon that is gone, a place that is taken, a firewall that ends.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use serde_json::json;

use crate::bed::{Bed, ask, call};

#[test]
fn a_dead_daemon_is_an_error_text_and_never_a_second_daemon() {
    let bed = Bed::new("enforce");
    assert_eq!(ask(&bed, &call("ping", &json!([{}])))["args"][0]["msg"], "pong");
    bed.pm2.kill_daemon();
    let answer = ask(&bed, &call("getMonitorData", &json!([{}])));
    assert!(answer["error"].as_str().unwrap().contains("PAL-005"), "{answer}");
    let answer = ask(&bed, &call("deleteProcessId", &json!([0])));
    assert!(answer["error"].as_str().unwrap().contains("PAL-005"), "{answer}");
    assert_eq!(bed.pm2.daemons(), [0; 0]);
}

#[test]
fn a_daemon_that_comes_back_is_served_again() {
    let bed = Bed::new("observe");
    let mut first = bed.socket();
    bed.pm2.kill_daemon();
    bed.directly(&["ping"]);
    drop(std::io::Write::write_all(&mut first, &crate::bed::frame(&call("ping", &json!([{}])), "1:1")));
    assert_eq!(ask(&bed, &call("ping", &json!([{}])))["args"][0]["msg"], "pong");
    let answer = ask(&bed, &call("resetMetaProcessId", &json!([0])));
    assert!(!answer["error"].as_str().unwrap_or_default().contains("Palisade"), "{answer}");
}

#[test]
fn the_place_is_taken_over_from_nobody_who_lives_and_given_back_at_the_end() {
    let mut bed = Bed::without_firewall("enforce");
    let socket = bed.pm2.rpc_socket();
    let listener = UnixListener::bind(&socket).unwrap();
    let refused = bed.firewall_command().output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("something else listens"), "{said}");
    // Its file stays behind, as after a crash.
    drop(listener);
    bed.start_firewall();
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let second = bed.firewall_command().output().unwrap();
    assert!(String::from_utf8_lossy(&second.stderr).contains("another firewall"));
    assert_eq!(ask(&bed, &call("ping", &json!([{}])))["args"][0]["msg"], "pong");
    assert_eq!(bed.end_firewall(), Some(0));
    assert!(!socket.exists() && !bed.pm2.home().join("pub.sock").exists());
    assert_eq!(bed.running().len(), 8);
}
