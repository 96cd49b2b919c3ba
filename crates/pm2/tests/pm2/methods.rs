//! The table of methods against what real daemons say of themselves.

use std::collections::{BTreeMap, BTreeSet};

use palisade_pm2::client::Answer;
use palisade_pm2::methods::{Call, Class, Kind, Method, Param, Release, ShapeError, TABLE, Watched};
use palisade_testkit::{App, PATIENCE, Pm2, process};
use serde_json::{Value, json};

use crate::bed::{block_on, connect};

#[test]
fn every_method_of_every_daemon_is_in_the_table_of_its_release_and_no_other() {
    for (version, release) in [("7.0.4", Release::Seven), ("6.0.14", Release::Six), ("5.4.3", Release::Five)]
    {
        let pm2 = Pm2::start(version);
        let client = block_on(connect(pm2.home()));
        assert_eq!(client.unknown_methods(), [""; 0], "{version} has methods that the table lacks");
        assert_eq!((client.version(), Release::of(version)), (version, Some(release)));
        let named: BTreeSet<&str> = client.methods().iter().map(|method| method.name()).collect();
        let known: BTreeSet<&str> = release.methods().map(Method::name).collect();
        assert_eq!(named, known, "{version}");
    }
    assert_eq!(Release::of("8.0.0"), Some(Release::Seven));
    for version in ["4.5.6", "", "x"] {
        assert_eq!(Release::of(version), None, "{version:?}");
    }
}

#[test]
fn no_call_that_this_client_makes_costs_the_daemon_or_an_app_its_life() {
    for version in ["7.0.4", "5.4.3"] {
        let pm2 = Pm2::start(version);
        pm2.start_apps(&[App::sleep("gone"), App::sleep("bystander"), App::cluster("site", 1)]);
        let (daemon, started) = (pm2.daemon_pid(), process::start_ticks(pm2.daemon_pid()));
        let pids: BTreeMap<String, u32> = pm2.running().into_iter().collect();
        let none = BTreeMap::new();
        let calls = [
            Call::ping(),
            Call::version(),
            Call::list(),
            Call::stop_watch(Watched::Stop, 0),
            Call::stop(0),
            Call::restart(0, &none),
            Call::reload(2, &none),
            Call::stop_watch(Watched::Delete, 0),
            Call::delete(0),
        ];
        block_on(async {
            let mut client = connect(pm2.home()).await;
            for call in calls {
                let answer = client.call(&call, PATIENCE).await;
                assert!(matches!(answer, Answer::Done(_)), "{version} {call:?}: {answer:?}");
            }
            // What does not exist is refused, and costs nothing either.
            for call in [Call::delete(99), Call::stop(99), Call::restart(99, &none), Call::reload(99, &none)]
            {
                let answer = client.call(&call, PATIENCE).await;
                assert!(matches!(answer, Answer::Refused(_)), "{version} {call:?}: {answer:?}");
            }
        });
        assert_eq!(pm2.daemon_pid(), daemon, "{version}");
        assert_eq!(process::start_ticks(daemon), started, "{version}");
        assert!(process::is_running(pids["bystander"]), "{version}");
    }
}

#[test]
fn arguments_that_would_restart_the_fleet_do_not_fit_the_table() {
    let deadly: [(&str, Value); 12] = [
        ("ping", json!([])),
        ("startProcessId", json!([])),
        ("stopWatch", json!([1])),
        ("sendSignalToProcessName", json!([{}])),
        ("deleteProcessId", json!(["constructor"])),
        ("stopProcessId", json!(["toString"])),
        ("deleteProcessId", json!([[3]])),
        ("deleteProcessId", json!(["01"])),
        ("deleteProcessId", json!([1.5])),
        ("deleteProcessId", json!([null])),
        ("restartProcessId", json!([{ "env": {} }])),
        ("deleteProcessId", json!([1, 2])),
    ];
    for (name, args) in deadly {
        let method = Method::named(name).expect(name);
        let args = args.as_array().expect("an array");
        assert!(method.check(args).is_err(), "{name} {args:?} was let through");
    }
    assert_eq!(Method::named("hasOwnProperty"), None);
    let arity = Method::Ping.check(&[]);
    assert_eq!(arity, Err(ShapeError::Arity { method: "ping", expected: 1, found: 0 }));
}

#[test]
fn what_the_command_line_sends_fits_the_table() {
    let sent: [(&str, Value); 10] = [
        ("getMonitorData", json!([{}])),
        ("deleteProcessId", json!([3])),
        ("deleteProcessId", json!(["3"])),
        ("stopProcessId", json!([{ "id": 3 }])),
        ("restartProcessId", json!([{ "id": "0", "env": { "current_conf": {} } }])),
        ("stopWatch", json!(["deleteAll", { "pid": 7 }])),
        ("stopWatch", json!(["deleteProcessId", 3])),
        ("sendSignalToProcessId", json!([{ "process_id": 0, "signal": "SIGUSR2" }])),
        ("notifyByProcessId", json!([{ "id": 0, "action_name": "restart", "manually": true }])),
        ("prepare", json!([{ "name": "x" }])),
    ];
    for (name, args) in sent {
        let method = Method::named(name).expect(name);
        assert_eq!(method.check(args.as_array().expect("an array")), Ok(()), "{name}");
    }
}

#[test]
fn the_table_is_in_the_order_of_its_methods_and_names_each_once() {
    let names: BTreeSet<&str> = TABLE.iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), TABLE.len());
    for entry in TABLE {
        assert_eq!(entry.method.entry().name, entry.name);
        assert_eq!(Method::named(entry.name), Some(entry.method));
        assert!(!entry.params.is_empty(), "{}: a method called without arguments throws", entry.name);
        if let Some(named) = entry.named_params {
            assert_eq!(entry.params.len() + 1, named, "{}: all but the callback", entry.name);
        }
    }
    let lifecycle = TABLE.iter().filter(|entry| entry.class == Class::Lifecycle).count();
    assert_eq!(lifecycle, 4);
    assert!(!Param::Object(&[("id", Kind::Id)]).accepts(&json!({ "id": "toString" })));
}

#[test]
fn a_calls_debug_form_shows_no_argument() {
    let carried = [("DATABASE_URL".to_owned(), "hunter2".to_owned())].into();
    assert!(!format!("{:?}", Call::restart(0, &carried)).contains("hunter2"));
}
