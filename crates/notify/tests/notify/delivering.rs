//! One process that delivers, until nothing waits.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use palisade_core::notice::Receivers;
use palisade_core::record::NoticeUndelivered;
use palisade_core::{Code, Timestamp};
use palisade_host::clock;
use palisade_notify::deliver::{Delivered, run};
use palisade_notify::{Letter, Outbox, Receiver, command};
use palisade_testkit::{Scratch, eventually};
use serde_json::Value;

use crate::refusal;

/// A policy that names a command, with a window that ends at once.
fn receivers(words: &[&str]) -> Receivers {
    let command = words.iter().map(|word| (*word).to_owned()).collect();
    Receivers { command, window: Duration::from_millis(300), ..Receivers::default() }
}

#[test]
fn a_real_command_gets_each_letter_once_with_its_count() {
    let scratch = Scratch::new();
    let outbox = Outbox::of(scratch.path());
    let out = scratch.join("told");
    let script = format!("cat >> {0}; echo \" $PALISADE_CODE $PALISADE_KIND\" >> {0}", out.display());
    let receivers = receivers(&["/bin/sh", "-c", &script]);
    for _ in 0..3 {
        outbox.put(refusal(Code::ForeignTarget, "session:1"), clock::now()).unwrap();
    }
    let hand = |_: Receiver, letter: &Letter| {
        let body = letter.body("host").to_string();
        command::run(&receivers.command, letter, body.as_bytes()).map_err(|error| error.to_string())
    };
    let done = run(&outbox, &receivers, hand, |lost| panic!("{lost:?}")).unwrap();
    assert_eq!(done, Delivered { letters: 1, given_up: 0 });
    let told = std::fs::read_to_string(&out).unwrap();
    let (body, rest) = told.split_once("} ").unwrap();
    let body: Value = serde_json::from_str(&format!("{body}}}")).unwrap();
    assert_eq!((&body["count"], &body["code"]), (&Value::from(3), &Value::from("PAL-101")));
    assert_eq!(rest, "PAL-101 refused\n");
    assert_eq!(outbox.letters().unwrap(), [], "nothing stays once the window is over");
}

#[test]
fn a_receiver_that_fails_is_tried_again_and_the_one_that_took_it_is_not() {
    let scratch = Scratch::new();
    let outbox = Outbox::of(scratch.path());
    let webhook = Some("https://example.org/secret".to_owned().try_into().unwrap());
    let receivers = Receivers { webhook, ..receivers(&["/bin/true"]) };
    outbox.put(refusal(Code::ForeignTarget, "session:1"), clock::now()).unwrap();
    let (tries, reported) = (RefCell::new(Vec::new()), RefCell::new(Vec::<NoticeUndelivered>::new()));
    let hand = |receiver: Receiver, letter: &Letter| {
        tries.borrow_mut().push((receiver, letter.id.clone()));
        let fails = receiver == Receiver::Webhook && tries.borrow().len() == 2;
        if fails { Err("it is down".to_owned()) } else { Ok(()) }
    };
    let done = run(&outbox, &receivers, hand, |lost| reported.borrow_mut().push(lost)).unwrap();
    assert_eq!(done, Delivered { letters: 1, given_up: 0 });
    let tries = tries.into_inner();
    let order: Vec<Receiver> = tries.iter().map(|(receiver, _)| *receiver).collect();
    assert_eq!(order, [Receiver::Command, Receiver::Webhook, Receiver::Webhook]);
    assert!(tries.iter().all(|(_, id)| *id == tries[0].1), "a repeat can be told by its id");
    let reported = reported.into_inner();
    assert_eq!(reported.len(), 1);
    assert_eq!((reported[0].tries, reported[0].given_up), (1, false));
    assert!(!reported[0].receiver.contains("secret"), "{}", reported[0].receiver);
}

#[test]
fn only_one_delivers_and_what_comes_meanwhile_is_taken_along() {
    let scratch = Scratch::new();
    let outbox = Outbox::of(scratch.path());
    let receivers = receivers(&["/bin/true"]);
    let seen = Arc::new(AtomicU64::new(0));
    for round in 0..20 {
        let tellers: Vec<_> = (0..4)
            .map(|teller| {
                let (outbox, receivers, seen) = (outbox.clone(), receivers.clone(), Arc::clone(&seen));
                std::thread::spawn(move || {
                    let notice = refusal(Code::ForeignTarget, &format!("session:{round}-{teller}"));
                    outbox.put(notice, clock::now()).unwrap();
                    let hand = |_: Receiver, letter: &Letter| {
                        seen.fetch_add(letter.count, Ordering::SeqCst);
                        Ok::<(), String>(())
                    };
                    let window = Duration::ZERO;
                    run(&outbox, &Receivers { window, ..receivers }, hand, |lost| panic!("{lost:?}"))
                        .unwrap();
                })
            })
            .collect();
        for teller in tellers {
            teller.join().unwrap();
        }
    }
    eventually("nothing waits", || outbox.letters().unwrap().is_empty().then_some(()));
    assert_eq!(seen.load(Ordering::SeqCst), 80);
}

#[test]
fn a_command_that_fails_hangs_or_is_not_there_says_so_without_its_output() {
    let letter = Letter::new("x".to_owned(), refusal(Code::Share, "session:1"), Timestamp::from_unix_ms(0));
    let run = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        command::run(&words, &letter, b"{}").map_err(|error| error.to_string())
    };
    assert_eq!(run(&["/bin/true"]), Ok(()));
    let failed = run(&["/bin/sh", "-c", "echo token=abc >&2; exit 3"]).unwrap_err();
    assert!(failed.contains("exit status: 3") && !failed.contains("abc"), "{failed}");
    assert!(run(&["/nowhere/at/all"]).unwrap_err().contains("cannot be run"));
    assert_eq!(run(&[]), Err("the policy names no command".to_owned()));
}

#[test]
fn nobody_is_told_of_what_the_policy_does_not_name() {
    use palisade_core::notice::Kind;
    let receivers = receivers(&["/bin/true"]);
    assert!(receivers.want(Kind::Refused) && receivers.want(Kind::Test) && !receivers.want(Kind::Observed));
    assert!(!Receivers::default().want(Kind::Refused));
}
