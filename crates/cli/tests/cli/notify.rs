//! Who is told: a real command and a real server, from the policy to the body.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use palisade_core::Exit;
use palisade_testkit::{PATIENCE, eventually, process};
use serde_json::Value;

use crate::env::{POLICY, TestEnv, crawler};
use crate::guard::Guarded;

/// A server on this machine that answers each POST with the next of `answers`, and the last one from then on.
pub(crate) fn server(answers: &'static [&'static str]) -> (u16, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, bodies) = channel();
    // It ends with the test's process.
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let body = take(stream.unwrap(), answers[number.min(answers.len() - 1)]);
            if heard.send(body).is_err() {
                return;
            }
        }
    });
    (port, bodies)
}

fn take(stream: TcpStream, answer: &str) -> Value {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" || line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (&stream).write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
    serde_json::from_slice(&body).unwrap()
}

fn told_by(env: &TestEnv, lines: &str) {
    env.write_policy(&format!("{POLICY}\n[notify]\n{lines}\n"));
}

#[test]
fn a_test_notice_reaches_a_command_and_a_webhook() {
    let env = TestEnv::without_daemon();
    let (port, bodies) = server(&["204 No Content"]);
    let out = env.path("told");
    told_by(
        &env,
        &format!(
            "webhook = \"http://127.0.0.1:{port}/secret-token\"\ncommand = [\"/bin/sh\", \"-c\", \"cat > {out}\"]"
        ),
    );
    let said = env.palisade(&["notify", "test"]).ends(Exit::Done);
    assert_eq!(said.stdout.lines().filter(|line| line.starts_with("told: ")).count(), 2, "{}", said.stdout);
    assert!(
        !said.stdout.contains("secret-token") && !said.stderr.contains("secret-token"),
        "{}",
        said.stdout
    );
    let body = bodies.recv_timeout(PATIENCE).unwrap();
    assert_eq!((&body["code"], &body["kind"]), (&"PAL-442".into(), &"test".into()));
    assert_eq!(serde_json::from_str::<Value>(&std::fs::read_to_string(out).unwrap()).unwrap(), body);
    let shown = env.palisade(&["config", "show", "--origin"]).ends(Exit::Done);
    assert!(
        shown.stdout.contains("notify.webhook") && !shown.stdout.contains("secret-token"),
        "{}",
        shown.stdout
    );
}

#[test]
fn without_a_receiver_a_test_says_which_line_is_missing() {
    let env = TestEnv::without_daemon();
    let said = env.palisade(&["notify", "test"]).ends(Exit::Failure);
    assert!(said.stderr.contains("PAL-445") && said.stderr.contains("[notify]"), "{}", said.stderr);
}

#[test]
fn a_refusal_is_told_and_its_repeats_are_counted() {
    let env = TestEnv::new();
    let (port, bodies) = server(&["200 OK"]);
    told_by(&env, &format!("webhook = \"http://127.0.0.1:{port}/\"\nwindow = \"2s\""));
    let foreign = crawler(&["pm2", "delete", "stock-alert"]);
    for _ in 0..3 {
        env.palisade(&foreign).ends(Exit::Refused);
    }
    let mut count = 0;
    while count < 3 {
        let body = bodies.recv_timeout(PATIENCE).unwrap();
        assert_eq!((&body["code"], &body["app"]), (&"PAL-101".into(), &"flyer-crawler".into()));
        count += body["count"].as_u64().unwrap();
    }
    assert_eq!(count, 3);
    eventually("nothing waits", || {
        let list = env.palisade(&["notify", "list", "--json"]).ends(Exit::Done).json();
        (list["waiting"].as_array().unwrap().is_empty()).then_some(())
    });
    env.assert_untouched_but(&[]);
}

#[test]
fn a_webhook_that_is_down_is_in_the_journal_and_gets_the_notice_later() {
    let env = TestEnv::new();
    let (port, bodies) = server(&["500 Oops", "200 OK"]);
    told_by(&env, &format!("webhook = \"http://127.0.0.1:{port}/secret-token\"\nwindow = \"1s\""));
    env.palisade(&crawler(&["pm2", "delete", "stock-alert"])).ends(Exit::Refused);
    let (first, second) = (bodies.recv_timeout(PATIENCE).unwrap(), bodies.recv_timeout(PATIENCE).unwrap());
    assert_eq!(first["id"], second["id"]);
    let lost = eventually("the failure is a record", || env.events("notice-undelivered").pop());
    assert_eq!((&lost["data"]["tries"], &lost["data"]["given_up"]), (&1.into(), &false.into()));
    assert!(lost.to_string().contains("status 500") && !lost.to_string().contains("secret-token"), "{lost}");
}

#[test]
fn a_bypass_is_told_once() {
    let env = TestEnv::without_daemon();
    let (port, bodies) = server(&["200 OK"]);
    told_by(&env, &format!("webhook = \"http://127.0.0.1:{port}/\"\nwindow = \"1s\""));
    env.palisade(&["off", "pm2", "--for", "1m", "--reason", "ticket 812"]).ends(Exit::Done);
    let body = bodies.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        (&body["code"], &body["kind"], &body["count"]),
        (&"PAL-443".into(), &"bypass".into(), &1.into())
    );
    assert!(body["line"].as_str().unwrap().contains("ticket 812"), "{body}");
}

#[test]
fn a_project_file_names_nobody_who_is_told() {
    let env = TestEnv::without_daemon();
    env.write("palisade.toml", "[notify]\ncommand = [\"/bin/true\"]\n");
    let said = env.palisade(&["config", "check"]).ends(Exit::Refused);
    assert!(said.stderr.contains("PAL-003"), "{}", said.stderr);
}

#[test]
fn an_address_may_lie_in_a_private_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let env = TestEnv::without_daemon();
    let (port, bodies) = server(&["200 OK"]);
    let file = env.write("address", &format!("http://127.0.0.1:{port}/secret-token\n"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    told_by(&env, &format!("webhook_file = \"{file}\""));
    let said = env.palisade(&["notify", "test"]).ends(Exit::Failure);
    assert!(said.stdout.contains("open to others than its owner"), "{}", said.stdout);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    env.palisade(&["notify", "test"]).ends(Exit::Done);
    assert_eq!(bodies.recv_timeout(PATIENCE).unwrap()["code"], "PAL-442");
}

#[test]
fn what_a_guard_refuses_and_a_gap_are_told() {
    let guarded = Guarded::not_yet();
    let env = &guarded.0;
    let (port, bodies) = server(&["200 OK"]);
    let enforced =
        POLICY.replace("[environments.production]", "[environments.production]\nmode = \"enforce\"");
    env.write_policy(&format!(
        "{enforced}\n[notify]\nwebhook = \"http://127.0.0.1:{port}/\"\nwindow = \"1s\"\n"
    ));
    env.palisade(&["guard", "install", "pm2"]).ends(Exit::Done);
    assert_eq!(env.pm2.pm2(&["delete", "all"]).exit, Some(1));
    let refused = bodies.recv_timeout(PATIENCE).unwrap();
    assert_eq!((&refused["kind"], &refused["code"]), (&"refused".into(), &"PAL-401".into()), "{refused}");
    assert_eq!(refused["resource"], format!("pm2:{}", env.pm2.home().display()), "{refused}");
    assert!(refused["fields"]["method"].is_string() && refused["fields"]["record"].is_u64(), "{refused}");

    let home = format!("--pm2-home {}", env.pm2.home().display());
    let judge = process::titled(|title| title.contains("--judge") && title.contains(&home))[0];
    process::kill(judge);
    let gap = eventually("the gap is told", || {
        env.pm2.pm2(&["delete", "stock-alert"]);
        bodies.try_iter().find(|body| body["kind"] == "gap")
    });
    assert_eq!(gap["code"], "PAL-444", "{gap}");
    env.assert_untouched_but(&[]);
}

#[test]
fn a_receiver_that_hangs_holds_up_no_call() {
    let guarded = Guarded::not_yet();
    let env = &guarded.0;
    // It takes connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let enforced =
        POLICY.replace("[environments.production]", "[environments.production]\nmode = \"enforce\"");
    env.write_policy(&format!("{enforced}\n[notify]\nwebhook = \"http://127.0.0.1:{port}/\"\n"));
    env.palisade(&["guard", "install", "pm2"]).ends(Exit::Done);
    for _ in 0..3 {
        assert_eq!(env.pm2.pm2(&["delete", "all"]).exit, Some(1));
        assert_eq!(env.pm2.pm2(&["jlist", "--silent"]).exit, Some(0));
    }
    let (_silent, _) = listener.accept().unwrap();
    let waiting = env.palisade(&["notify", "list", "--json"]).ends(Exit::Done).json();
    assert!(!waiting["waiting"].as_array().unwrap().is_empty(), "{waiting}");
    env.assert_untouched_but(&[]);
}
