//! What a request comes to, and that what was judged is what is written.

use palisade_pm2::asked::{Asked, BadCall, Kind};
use palisade_pm2::deed::{Aim, Deed};
use palisade_pm2::methods::{Method, TABLE};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::bed::call;

pub(crate) fn every_method() -> Vec<Method> {
    TABLE.iter().map(|entry| entry.method).collect()
}

pub(crate) fn read(method: &str, args: &Value) -> Result<Asked, BadCall> {
    Asked::read(&call(method, args), &every_method())
}

fn act(method: &str, args: &Value) -> (Deed, Vec<Aim>) {
    match read(method, args).unwrap().kind() {
        Kind::Act(act) => (act.deed, act.aims.clone()),
        other => panic!("{method} is {other:?}"),
    }
}

#[test]
fn a_number_of_a_process_has_two_forms_and_the_daemon_gets_one() {
    for id in [json!(4), json!("4")] {
        let asked = read("deleteProcessId", &json!([id])).unwrap();
        assert_eq!(asked.body(), r#"{"args":[4],"method":"deleteProcessId","type":"call"}"#);
        assert_eq!(act("deleteProcessId", &json!([id])), (Deed::Delete, vec![Aim::Id(4)]));
        assert_eq!(act("stopProcessId", &json!([{ "id": id }])), (Deed::Stop, vec![Aim::Id(4)]));
    }
    let far = [
        json!("01"),
        json!(" 1"),
        json!("+1"),
        json!(1.0),
        json!(-1),
        json!(1_u64 << 53),
        json!([1]),
        json!(true),
    ];
    for id in far {
        assert!(read("deleteProcessId", &json!([id])).is_err(), "{id} was taken");
        assert!(read("sendSignalToProcessId", &json!([{ "process_id": id, "signal": "SIGTERM" }])).is_err());
        assert!(read("restartProcessId", &json!([{ "id": id, "env": {} }])).is_err());
        assert!(read("stopWatch", &json!(["deleteProcessId", id])).is_err());
        assert!(read("prepare", &json!([{ "name": "x", "pm_id": id }])).is_err());
    }
}

#[test]
fn a_fraction_is_written_as_it_was_read() {
    let start = r#"{"args":[{"name":"x","tiny":-6.763404722849604e-143}],"method":"prepare","type":"call"}"#;
    assert_eq!(Asked::read(start, &every_method()).unwrap().body(), start);
}

#[test]
fn a_watch_is_read_as_the_daemon_reads_it() {
    assert_eq!(act("stopWatch", &json!(["deleteProcessId", "3"])), (Deed::Touch, vec![Aim::Id(3)]));
    assert_eq!(act("stopWatch", &json!(["deleteAll", {}])), (Deed::Touch, vec![Aim::All]));
    assert!(matches!(read("stopWatch", &json!(["stopAll", 3])), Err(BadCall::Watch(_))));
    assert!(matches!(read("stopWatch", &json!(["restartProcessName", 3])), Err(BadCall::Watch(_))));
}

#[test]
fn a_start_is_judged_by_every_name_and_slot_that_the_daemon_may_take_it_for() {
    let start = json!([{ "name": "a", "pm_id": 2, "env": { "name": "b", "pm_id": "3" } }]);
    let aims = vec![Aim::NewName("a".into()), Aim::Slot(2), Aim::NewName("b".into()), Aim::Slot(3)];
    assert_eq!(act("prepare", &start), (Deed::Create, aims));
    assert!(matches!(read("prepare", &json!([{ "script": "x" }])), Err(BadCall::Name(_))));
}

#[test]
fn a_restart_cannot_move_its_target_and_tells_which_environment_it_carries() {
    let carries =
        json!({ "NODE_ENV": "test", "PATH": "/bin", "current_conf": { "name": "other", "pm_id": 4 } });
    let asked = read("restartProcessId", &json!([{ "id": 4, "env": carries }])).unwrap();
    let Kind::Act(act) = asked.kind() else { panic!() };
    assert_eq!(act.aims, [Aim::Id(4), Aim::NewName("other".into())]);
    assert_eq!(act.carries.iter().collect::<Vec<_>>(), [(&"NODE_ENV".to_owned(), &"test".to_owned())]);
    let moved = json!([{ "id": 4, "env": { "current_conf": { "pm_id": 5 } } }]);
    assert!(matches!(read("restartProcessId", &moved), Err(BadCall::Id(_))));
}

#[test]
fn a_notice_of_a_name_reaches_the_daemon_as_one_of_nobody() {
    let notice = |id: Value| read("notifyByProcessId", &json!([{ "id": id, "action_name": "reload" }]));
    for name in ["flyer-crawler-api", "constructor", "01"] {
        let body: Value = serde_json::from_str(&notice(json!(name)).unwrap().body()).unwrap();
        assert_eq!(body["args"][0]["id"], u32::MAX);
    }
    assert!(notice(json!(["constructor"])).is_err());
}

#[test]
fn a_message_has_one_addressee() {
    let address = |fields: Value| read("msgProcess", &json!([fields]));
    assert_eq!(act("msgProcess", &json!([{ "msg": "x", "name": "all" }])).1, [Aim::Address("all".into())]);
    assert!(address(json!({ "msg": "x" })).is_err());
    assert!(address(json!({ "msg": "x", "name": "a", "id": 1 })).is_err());
}

#[test]
fn a_method_that_the_daemon_does_not_offer_is_not_sent() {
    let asked = Asked::read(&call("getSystemData", &json!([{}])), &[Method::Ping]);
    assert_eq!(asked.unwrap_err(), BadCall::NotOffered(Method::GetSystemData));
}

/// JSON as a client may send it, with the keys that matter among others.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0_u32..12).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("JSON has no such number", |n| serde_json::Number::from_f64(n)
            .map(Value::Number)),
        "[a-z]{0,4}|[0-9]{1,3}|deleteProcessId|deleteAll|all".prop_map(Value::from),
    ];
    let key = "id|pm_id|name|env|current_conf|msg|signal|process_id|process_name|NODE_ENV|[a-z]{1,3}";
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Where the daemon looks for the number of a process, if it is there.
fn number_in(method: Method, args: &[Value]) -> Option<&Value> {
    match method.name() {
        "restartProcessId"
        | "reloadProcessId"
        | "softReloadProcessId"
        | "sendDataToProcessId"
        | "msgProcess" => args[0].get("id"),
        "sendSignalToProcessId" => args[0].get("process_id"),
        "sendLineToStdin" | "prepare" => args[0].get("pm_id"),
        "stopWatch" | "startWatch" | "toggleWatch" => args.get(1).filter(|value| !value.is_object()),
        "sendSignalToProcessName" | "reloadLogs" => None,
        _ => args.first(),
    }
}

proptest! {
    #[test]
    fn what_was_judged_is_what_is_written(at in 0..TABLE.len(), args in prop::collection::vec(value(), 0..3)) {
        let offered = every_method();
        if let Ok(asked) = Asked::read(&call(TABLE[at].name, &Value::from(args)), &offered) {
            let body: Value = serde_json::from_str(&asked.body()).unwrap();
            let written = body["args"].as_array().unwrap();
            prop_assert_eq!(TABLE[at].method.check(written), Ok(()));
            let again = Asked::read(&asked.body(), &offered).unwrap();
            prop_assert_eq!(again.kind(), asked.kind());
            prop_assert_eq!(again.body(), asked.body());
            // The number that the daemon will act on is a plain one, and is among those that were judged.
            if let (Kind::Act(act), Some(id)) = (asked.kind(), number_in(TABLE[at].method, written)) {
                let id = u32::try_from(id.as_u64().unwrap()).unwrap();
                prop_assert!(act.aims.contains(&Aim::Id(id)) || act.aims.contains(&Aim::Slot(id)));
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(text in ".{0,200}") {
        drop(Asked::read(&text, &every_method()));
    }
}
