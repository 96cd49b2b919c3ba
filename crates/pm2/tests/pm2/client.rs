//! The client against real daemons, and against sockets that behave badly.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use palisade_pm2::Client;
use palisade_pm2::client::{Answer, ConnectError, Lost, ProtocolError, Unreachable};
use palisade_pm2::methods::Call;
use palisade_pm2::wire::{Arg, Decoder, encode};
use palisade_testkit::{App, PATIENCE, Pm2, Scratch, process};

use crate::bed::{block_on, connect};

const SHORT: Duration = Duration::from_millis(150);

fn unreachable(socket: PathBuf) -> Unreachable {
    match block_on(Client::connect(&socket, SHORT)) {
        Err(ConnectError::Unreachable(unreachable)) => unreachable,
        other => panic!("expected to find nobody, got {other:?}"),
    }
}

#[test]
fn a_host_without_a_daemon_is_unreachable_and_stays_without_one() {
    let pm2 = Pm2::home_only("7.0.4");
    let error = unreachable(pm2.rpc_socket());
    assert!(matches!(error, Unreachable::NoSocket { .. }), "{error}");
    assert!(error.fix().contains("PM2_HOME"));
    assert_eq!(pm2.daemons(), [0; 0]);
}

#[test]
fn a_killed_daemon_is_unreachable_and_is_not_replaced() {
    let pm2 = Pm2::start("7.0.4");
    pm2.start_app(App::sleep("orphan"));
    let (_, app) = pm2.running()[0].clone();
    pm2.kill_daemon();
    assert!(pm2.rpc_socket().exists(), "SIGKILL leaves the socket behind");
    let error = unreachable(pm2.rpc_socket());
    assert!(matches!(error, Unreachable::NobodyListens { .. }), "{error}");
    assert!(error.fix().contains("left behind"));
    assert_eq!(pm2.daemons(), [0; 0], "a daemon was started");
    assert!(process::is_running(app));
}

#[test]
fn a_daemon_that_stands_still_is_unreachable_within_the_deadline() {
    let pm2 = Pm2::start("7.0.4");
    let daemon = pm2.daemon_pid();
    process::freeze(daemon);
    let error = unreachable(pm2.rpc_socket());
    process::thaw(daemon);
    assert!(matches!(error, Unreachable::Silent { .. }), "{error}");
    assert!(matches!(block_on(connect(pm2.home())).version(), "7.0.4"));
}

#[test]
fn an_answer_that_never_comes_is_told_from_a_call_that_was_never_sent() {
    let pm2 = Pm2::start("7.0.4");
    let answers = block_on(async {
        let mut client = connect(pm2.home()).await;
        process::freeze(pm2.daemon_pid());
        let first = client.batch(&[Call::ping(), Call::list()], SHORT).await;
        process::thaw(pm2.daemon_pid());
        let later = client.batch(&[Call::ping()], SHORT).await;
        [first, later].concat_answers()
    });
    assert!(matches!(answers[..2], [Answer::NoReply(Lost::Deadline(_)), Answer::NoReply(_)]), "{answers:?}");
    assert!(
        matches!(answers[2], Answer::NotSent(Lost::GivenUp)),
        "a late reply could be taken for this one's"
    );
}

trait Concat {
    fn concat_answers(self) -> Vec<Answer>;
}

impl Concat for [Vec<Answer>; 2] {
    fn concat_answers(self) -> Vec<Answer> {
        self.into_iter().flatten().collect()
    }
}

#[test]
fn calls_go_side_by_side_and_answers_come_back_in_the_order_of_the_calls() {
    let pm2 = Pm2::start("7.0.4");
    let apps: Vec<App> = (0..20).map(|number| App::sleep(&format!("app-{number}"))).collect();
    pm2.start_apps(&apps);
    block_on(async {
        let mut client = connect(pm2.home()).await;
        let mut calls: Vec<Call> = (0..20).map(Call::delete).collect();
        calls.insert(10, Call::delete(99));
        calls.push(Call::ping());
        let answers = client.batch(&calls, PATIENCE).await;
        assert_eq!(answers.len(), 22);
        for (place, answer) in answers.iter().enumerate() {
            let refused = matches!(answer, Answer::Refused(_));
            assert_eq!(refused, place == 10, "{place}: {answer:?}");
        }
    });
    assert!(pm2.list().is_empty());
}

/// A listener that introduces itself as PM2 and then answers the next request with `answer(its id)`.
fn impostor(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> (Scratch, PathBuf) {
    let folder = Scratch::new();
    let socket = folder.join("rpc.sock");
    let listener = UnixListener::bind(&socket).expect("a scratch folder takes sockets");
    std::thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let (mut decoder, mut buffer, mut asked) = (Decoder::new(), [0; 4096], 0);
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            decoder.push(&buffer[..count]);
            while let Ok(Some(frame)) = decoder.next_frame() {
                let Ok(args) = frame.args() else { return };
                let [Arg::Json(_), Arg::Text(id)] = args[..] else { return };
                let bytes = match asked {
                    0 => reply(METHODS, id),
                    1 => reply(r#"{"args":["7.0.4"]}"#, id),
                    _ => answer(id),
                };
                asked += 1;
                if bytes.is_empty() || stream.write_all(&bytes).is_err() {
                    return;
                }
            }
        }
    });
    (folder, socket)
}

const METHODS: &str = r#"{"methods":{
    "ping":{"params":["env","cb"]},
    "getVersion":{"params":["env","cb"]},
    "getMonitorData":{"params":["env","cb"]},
    "hasOwnProperty":{"params":[]}}}"#;

fn reply(body: &str, id: &str) -> Vec<u8> {
    encode(&[Arg::Json(body), Arg::Text(id)]).expect("small")
}

fn lost(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Lost {
    let (_folder, socket) = impostor(answer);
    let answer = block_on(async {
        let mut client = Client::connect(&socket, PATIENCE).await.expect("it introduces itself");
        client.call(&Call::ping(), PATIENCE).await
    });
    match answer {
        Answer::NoReply(lost) => lost,
        other => panic!("expected no reply, got {other:?}"),
    }
}

#[test]
fn anything_but_one_reply_to_each_call_is_a_protocol_error() {
    type Bytes = fn(&str) -> Vec<u8>;
    let cases: [(Lost, Bytes); 6] = [
        (Lost::Protocol(ProtocolError::Unmatched), |_| reply(r#"{"args":[]}"#, "1:1")),
        (Lost::Protocol(ProtocolError::Body), |id| reply("{}", id)),
        (Lost::Protocol(ProtocolError::Body), |id| reply("{bad", id)),
        (Lost::Protocol(ProtocolError::NotAReply), |_| encode(&[Arg::Blob(b"x")]).expect("small")),
        (Lost::Protocol(ProtocolError::Frame(palisade_pm2::wire::DecodeError::Version(4))), |_| {
            b"GET /".to_vec()
        }),
        (Lost::Closed, |_| Vec::new()),
    ];
    for (expected, answer) in cases {
        assert_eq!(lost(answer), expected);
    }
}

#[test]
fn a_second_reply_to_one_call_gives_the_connection_up() {
    let (_folder, socket) =
        impostor(|id| [reply(r#"{"args":[1]}"#, id), reply(r#"{"args":[2]}"#, id)].concat());
    block_on(async {
        let mut client = Client::connect(&socket, PATIENCE).await.expect("it introduces itself");
        let first = client.call(&Call::ping(), PATIENCE).await;
        let second = client.call(&Call::ping(), PATIENCE).await;
        let orderly = matches!(first, Answer::Done(_)) && matches!(second, Answer::Done(_));
        assert!(!orderly, "the second reply was taken for another call's: {first:?} {second:?}");
    });
}

#[test]
fn a_method_that_the_daemon_did_not_name_is_never_sent() {
    let (_folder, socket) = impostor(|_| panic!("something was sent"));
    block_on(async {
        let mut client = Client::connect(&socket, PATIENCE).await.expect("it introduces itself");
        assert_eq!(client.unknown_methods(), ["hasOwnProperty"]);
        let answer = client.call(&Call::delete(0), PATIENCE).await;
        assert!(matches!(answer, Answer::NotSent(Lost::NotOffered(_))), "{answer:?}");
    });
}

#[test]
fn a_listener_that_does_not_speak_the_protocol_is_no_daemon() {
    let folder = Scratch::new();
    let socket = folder.join("rpc.sock");
    let listener = UnixListener::bind(&socket).expect("a scratch folder takes sockets");
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client connects");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("the client reads");
    });
    let error = block_on(Client::connect(&socket, PATIENCE)).expect_err("it is no daemon");
    assert!(matches!(error, ConnectError::Protocol { .. }), "{error}");
    thread.join().expect("it wrote");
}
