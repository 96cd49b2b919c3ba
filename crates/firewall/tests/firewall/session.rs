//! The session machine, fed in every way that a socket can.

use palisade_firewall::session::{REQUEST_CAP, Session, Step, refusal};
use palisade_pm2::wire::{Arg, Decoder, encode};
use serde_json::{Value, json};

use crate::bed::{call, frame};
use crate::requests::every_method;

/// Requests by id, `!` before those that are rejected.
fn requests(session: &mut Session) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(step) = session.next_request(&every_method()).unwrap() {
        found.push(match step {
            Step::Judge(asking) => format!("{} {}", asking.id, asking.asked.name()),
            Step::Reject { id, .. } => format!("!{id}"),
        });
    }
    found
}

fn three() -> Vec<u8> {
    let bodies = [call("ping", &json!([{}])), "{bad".to_owned(), call("deleteProcessId", &json!(["7"]))];
    bodies.iter().enumerate().flat_map(|(n, body)| frame(body, &format!("9:{n}"))).collect()
}

#[test]
fn requests_are_the_same_wherever_the_bytes_are_cut() {
    let (bytes, expected) = (three(), ["9:0 ping", "!9:1", "9:2 deleteProcessId"]);
    for first in 0..=bytes.len() {
        for second in [first, usize::midpoint(first, bytes.len()), bytes.len()] {
            let mut session = Session::new();
            let mut found = Vec::new();
            for part in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                session.client_sent(part);
                found.extend(requests(&mut session));
            }
            assert_eq!(found, expected, "cut at {first} and {second}");
            assert_eq!(session.held(), 0);
        }
    }
}

#[test]
fn one_byte_at_a_time_is_enough_and_half_a_frame_is_nothing() {
    let mut session = Session::new();
    let mut found = Vec::new();
    for byte in three() {
        session.client_sent(&[byte]);
        found.extend(requests(&mut session));
    }
    assert_eq!(found.len(), 3);
    session.client_sent(&three()[..5]);
    assert!(requests(&mut session).is_empty() && session.is_half_asked());
}

/// Passes every request and gives the frames for the daemon.
fn pass_all(session: &mut Session) -> Vec<(Value, String)> {
    let mut frames = Vec::new();
    while let Some(step) = session.next_request(&every_method()).unwrap() {
        if let Step::Judge(asking) = step {
            frames.push(parts(&session.pass(asking).unwrap()));
        }
    }
    frames
}

fn parts(bytes: &[u8]) -> (Value, String) {
    let mut decoder = Decoder::new();
    decoder.push(bytes);
    let frame = decoder.next_frame().unwrap().unwrap();
    let args = frame.args().unwrap();
    let [Arg::Json(json), Arg::Text(id)] = args[..] else { panic!("{frame:?}") };
    (serde_json::from_str(json).unwrap(), id.to_owned())
}

#[test]
fn replies_find_their_requests_in_any_order_even_under_one_id() {
    let mut session = Session::new();
    // Two requests under one id, as a client that counts wrongly sends them.
    for id in ["1:1", "1:1", "1:2"] {
        session.client_sent(&frame(&call("ping", &json!([{}])), id));
    }
    let ours: Vec<String> = pass_all(&mut session).into_iter().map(|(_, id)| id).collect();
    assert_eq!(ours.len(), 3);
    assert!(ours[0] != ours[1] && ours.iter().all(|id| !id.contains(':')));
    for (id, n) in ours.iter().zip(0..3).rev() {
        session.daemon_sent(&frame(&format!("{{\"args\":[{n}]}}"), id));
    }
    let mut replies = Vec::new();
    while let Some(reply) = session.next_reply().unwrap() {
        replies.push(parts(&reply));
    }
    let expected: Vec<_> =
        [(2, "1:2"), (1, "1:1"), (0, "1:1")].map(|(n, id)| (json!({ "args": [n] }), id.to_owned())).into();
    assert_eq!((replies, session.waiting()), (expected, 0));
}

#[test]
fn a_reply_to_nothing_ends_the_connection() {
    for id in ["0", "x", "1:1", "-1", ""] {
        let mut session = Session::new();
        session.daemon_sent(&frame("{}", id));
        assert!(session.next_reply().is_err(), "{id:?} was taken");
    }
}

#[test]
fn what_waits_is_answered_when_the_daemon_is_gone() {
    let mut session = Session::new();
    session.client_sent(&three());
    assert_eq!(pass_all(&mut session).len(), 2);
    let bytes = session.abandon("gone");
    let mut decoder = Decoder::new();
    decoder.push(&bytes);
    let mut ids = Vec::new();
    while let Some(frame) = decoder.next_frame().unwrap() {
        let (json, id) = parts(frame.bytes());
        assert_eq!(json["error"], "gone");
        ids.push(id);
    }
    assert_eq!((ids, session.waiting()), (vec!["9:0".to_owned(), "9:2".to_owned()], 0));
}

#[test]
fn a_request_above_the_cap_is_refused_when_it_is_announced() {
    let mut session = Session::new();
    let mut bytes = vec![0x12];
    bytes.extend(u32::try_from(REQUEST_CAP).unwrap().to_be_bytes());
    session.client_sent(&bytes);
    assert!(session.next_request(&every_method()).is_err());
    session.client_sent(&vec![0; 10_000]);
    assert_eq!(session.held(), 0, "nothing is kept after that");
}

#[test]
fn the_daemon_gets_another_frame_than_the_client_sent() {
    let mut session = Session::new();
    let spaced = r#"{ "args" : [ "7" ] , "method":"deleteProcessId","type":"call","extra":1 }"#;
    session.client_sent(&frame(spaced, "1:1"));
    let frames = pass_all(&mut session);
    assert_eq!(frames[0].0, json!({ "type": "call", "method": "deleteProcessId", "args": [7] }));
}

#[test]
fn a_refusal_is_an_error_reply_under_the_clients_id() {
    assert_eq!(parts(&refusal("3:4", "no")), (json!({ "error": "no", "stack": "no" }), "3:4".to_owned()));
    let odd = encode(&[Arg::Text("only an id")]).unwrap();
    let mut session = Session::new();
    session.client_sent(&odd);
    assert_eq!(requests(&mut session), ["!only an id"]);
}
