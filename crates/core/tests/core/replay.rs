//! What was seen in observe, read as the question whether an app may be enforced.

use palisade_core::record::{Called, Event, Record, Repeated, Ruling};
use palisade_core::replay::{AppReport, Readiness, Whose, replay};
use palisade_core::request::OperationId;
use palisade_core::{Code, Finding, Scope};

use crate::support::{NOW, actor, policy, scope, snapshot};

fn call(number: u8, by: Option<Scope>, target: &str, code: Option<Code>) -> Record {
    let finding = |code| Finding { code, message: "why".into(), fix: "so".into(), subjects: Vec::new() };
    let mut caller = actor("41");
    caller.observed.cwd = Some("/srv/shop".into());
    Record {
        v: 1,
        at: NOW,
        boot_ms: 0,
        boot_id: "boot".into(),
        op: OperationId::new(NOW, [number; 10]),
        actor: caller,
        policy: None,
        event: Event::Called(Called {
            method: "deleteProcessId".into(),
            ruling: if code.is_some() { Ruling::Observed } else { Ruling::Passed },
            scope: by,
            evidence: Vec::new(),
            daemon: snapshot(&[]).daemon,
            targets: vec![target.into()],
            takes_down: true,
            total: 8,
            findings: code.map(finding).into_iter().collect(),
            bypass: None,
            decided_us: None,
        }),
    }
}

fn report(records: &[Record], of: &Scope) -> AppReport {
    let numbered = (0..).zip(records);
    let replayed = replay(&policy(), numbered);
    replayed.apps.into_iter().find(|app| app.scope == *of).unwrap()
}

#[test]
fn an_app_whose_deployments_passed_is_safe_and_a_strangers_calls_do_not_change_that() {
    let (own, other) = (scope("flyer-crawler", "production"), scope("stock-alert", "production"));
    let records = [
        call(1, Some(own.clone()), "flyer-crawler-api", None),
        call(2, Some(other), "flyer-crawler-api", Some(Code::ForeignTarget)),
    ];
    let found = report(&records, &own);
    assert_eq!((found.readiness, found.passed), (Readiness::Safe, 1));
    assert_eq!((found.objections[0].whose, found.objections[0].allow.clone()), (Whose::Foreign, None));
    let unseen = report(&records, &scope("stock-alert", "production"));
    assert_eq!(unseen.readiness, Readiness::NothingSeen);
}

#[test]
fn a_good_deployment_that_would_be_refused_is_counted_with_what_would_allow_it() {
    let own = scope("flyer-crawler", "production");
    let first = call(1, None, "flyer-crawler-api", Some(Code::UnidentifiedCaller));
    let repeated = Record {
        event: Event::Repeated(Repeated { count: 4, first: first.op.clone(), last_at: NOW }),
        ..call(2, None, "", None)
    };
    let own_budget = call(3, Some(own.clone()), "flyer-crawler-worker", Some(Code::Budget));
    let found = report(&[first, repeated, own_budget], &own);
    assert_eq!(found.readiness, Readiness::WouldRefuse);
    let told: Vec<(Whose, u64, String)> = found
        .objections
        .iter()
        .map(|objection| (objection.whose, objection.count, objection.allow.clone().unwrap()))
        .collect();
    assert_eq!(told[0], (Whose::Own, 1, "[limits] budget = 8".to_owned()));
    assert_eq!((told[1].0, told[1].1), (Whose::Unknown, 5));
    assert!(told[1].2.contains("folder = \"/srv/shop\""), "{told:?}");
}
