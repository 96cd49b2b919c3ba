// What holds for every sequence of bytes: shared by the fuzz target and by the plain test that replays its corpus.

use palisade_firewall::session::{Session, Step, refusal};
use palisade_pm2::asked::Asked;
use palisade_pm2::methods::{Method, TABLE};
use palisade_pm2::wire::{Arg, Decoder, encode};

/// Gives the bytes to a session in pieces, and compares three readings of each request that passes: what was judged,
/// what the written frame says to us, and what it says to another reader of JSON.
///
/// # Panics
/// Where they differ.
pub(crate) fn check(bytes: &[u8]) {
    let offered: Vec<Method> = TABLE.iter().map(|entry| entry.method).collect();
    let piece = usize::from(bytes.first().copied().unwrap_or(1)).max(1);
    let (mut session, mut daemon, mut ours) = (Session::new(), Decoder::new(), 0_u64);
    for chunk in bytes.get(1..).unwrap_or_default().chunks(piece) {
        session.client_sent(chunk);
        loop {
            match session.next_request(&offered) {
                Ok(Some(Step::Judge(asking))) => {
                    let (kind, name, id) =
                        (asking.asked.kind().clone(), asking.asked.name(), asking.id.clone());
                    let frame = session.pass(asking).expect("a request below the cap can be written");
                    daemon.push(&frame);
                    let frame = daemon.next_frame().expect("it is a frame").expect("it is whole");
                    let args = frame.args().expect("its arguments can be read");
                    let [Arg::Json(body), Arg::Text(number)] = args[..] else {
                        panic!("a body and a number")
                    };
                    assert_eq!(number, ours.to_string(), "the daemon sees our number and not the client's");
                    let again = Asked::read(body, &offered).expect("what passed can be read again");
                    assert_eq!((again.kind(), again.name()), (&kind, name), "it is judged the same again");
                    assert_eq!(again.body(), body, "it is written the same again");
                    looks_like_what_was_judged(body, name);
                    let reply = encode(&[Arg::Json("{\"args\":[]}"), Arg::Text(number)]).expect("short");
                    session.daemon_sent(&reply);
                    let reply = session.next_reply().expect("it was asked").expect("it is whole");
                    let mut client = Decoder::new();
                    client.push(&reply);
                    let reply = client.next_frame().expect("it is a frame").expect("it is whole");
                    let theirs = reply.args().expect("its arguments can be read").pop();
                    assert_eq!(theirs, Some(Arg::Text(&id)), "the client gets its own id back");
                    ours += 1;
                }
                Ok(Some(Step::Reject { id, why })) => {
                    assert!(!refusal(&id, &why.to_string()).is_empty(), "a refusal can be written");
                }
                Ok(None) => break,
                // Where the next request begins is lost: the connection ends.
                Err(_) => return,
            }
        }
    }
}

/// PM2 reads the body as JavaScript would: by these keys, and by nothing else.
fn looks_like_what_was_judged(body: &str, name: &str) {
    let value: serde_json::Value = serde_json::from_str(body).expect("it is JSON");
    assert!(!has_prototype(&value), "{body}");
    if name == "methods" {
        assert_eq!(value, serde_json::json!({ "type": "methods" }));
        return;
    }
    assert_eq!((value["type"].as_str(), value["method"].as_str()), (Some("call"), Some(name)));
    let args = value["args"].as_array().expect("arguments");
    let entry = Method::named(name).expect("it is known").entry();
    assert_eq!(args.len(), entry.params.len(), "{name}");
}

fn has_prototype(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Object(fields) => {
            fields.iter().any(|(name, value)| name == "__proto__" || has_prototype(value))
        }
        serde_json::Value::Array(values) => values.iter().any(has_prototype),
        _ => false,
    }
}
