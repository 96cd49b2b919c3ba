//! One test for each rule, in a situation where that rule alone objects: switch the rule off, and it fails.

use std::collections::BTreeMap;

use palisade_core::policy::Limits;
use palisade_core::{Code, Decision, Exit, Ledger, Operation, Pattern, Selection};

use crate::support::{
    EIGHT, NOW, ablate, app, codes, intent, judge, judge_after, names, policy, request, scope, snapshot,
};

#[test]
fn canonical_foreign_target_a_process_of_another_app_is_refused() {
    ablate();
    let asked = request(Operation::Delete, scope("flyer-crawler", "production"), names(&["stock-alert"]));
    let verdict = judge(&policy(), &asked, &snapshot(&EIGHT));
    assert_eq!(codes(&verdict), [Code::ForeignTarget]);
    let Decision::Refuse(refusal) = verdict.decision else { panic!("permitted") };
    assert_eq!(refusal.exit(), Exit::Refused);
    assert_eq!(
        refusal.findings[0].message,
        "stock-alert does not belong to flyer-crawler/production but to stock-alert/production"
    );
}

#[test]
fn canonical_all_processes_selecting_every_process_is_refused() {
    ablate();
    let mine = ["flyer-crawler-a", "flyer-crawler-b", "flyer-crawler-c", "flyer-crawler-d"];
    let mut policy = policy();
    policy.limits.share_per_mille = 1000;
    let asked = request(Operation::Delete, scope("flyer-crawler", "production"), Selection::Scope);
    assert_eq!(codes(&judge(&policy, &asked, &snapshot(&mine))), [Code::AllProcesses]);
    assert_eq!(
        codes(&judge(&policy, &asked, &snapshot(&mine[..3]))),
        [],
        "three of three is the ADR's normal case"
    );
}

#[test]
fn canonical_share_seven_of_eight_is_refused() {
    ablate();
    let own = ["f-a", "f-b", "f-c", "f-d", "f-e", "f-f", "f-g", "stock-alert"];
    let mut policy = policy();
    policy.apps.push(app("f", "production", &["f-*"]));
    let asked = request(Operation::Delete, scope("f", "production"), Selection::Scope);
    assert_eq!(codes(&judge(&policy, &asked, &snapshot(&own))), [Code::Share]);
    let four_of_five = ["f-a", "f-b", "f-c", "f-d", "stock-alert"];
    assert_eq!(
        codes(&judge(&policy, &asked, &snapshot(&four_of_five))),
        [],
        "0.8 is the limit, not above it"
    );
}

#[test]
fn canonical_protected_a_protected_process_is_refused_even_to_its_owner() {
    ablate();
    let mut policy = policy();
    policy.protected.push(Pattern::new("flyer-crawler-api").unwrap());
    let asked = request(Operation::Restart, scope("flyer-crawler", "production"), Selection::Scope);
    let verdict = judge(&policy, &asked, &snapshot(&EIGHT));
    assert_eq!(codes(&verdict), [Code::Protected]);
    assert_eq!(verdict.findings[0].subjects, ["flyer-crawler-api"]);
}

#[test]
fn canonical_empty_selection_never_means_all() {
    ablate();
    let mine = scope("flyer-crawler", "production");
    let empty = request(Operation::Delete, mine.clone(), names(&[]));
    assert_eq!(codes(&judge(&policy(), &empty, &snapshot(&EIGHT))), [Code::EmptySelection]);
    let nothing_owned = request(Operation::Delete, mine.clone(), Selection::Scope);
    assert_eq!(codes(&judge(&policy(), &nothing_owned, &snapshot(&["stock-alert"]))), [Code::EmptySelection]);
    let typo = request(Operation::Delete, mine, names(&["flyer-crawler-pai"]));
    let verdict = judge(&policy(), &typo, &snapshot(&EIGHT));
    assert_eq!(codes(&verdict), [Code::EmptySelection]);
    assert!(verdict.findings[0].message.ends_with("(did you mean flyer-crawler-api?)"), "{verdict:?}");
}

#[test]
fn canonical_unknown_scope_is_refused_with_a_suggestion() {
    ablate();
    let mut policy = policy();
    policy.apps.push(app("flyer-crawler-old", "production", &["old"]));
    for (app_name, environment, says) in [
        ("flyer-crawlr", "production", "did you mean flyer-crawler?"),
        ("flyer-crawler", "prodution", "did you mean production?"),
        ("stock-alert", "test", "stock-alert has no entry for test"),
    ] {
        let asked = request(Operation::Reload, scope(app_name, environment), Selection::Scope);
        let verdict = judge(&policy, &asked, &snapshot(&EIGHT));
        assert_eq!(
            verdict.findings.first().map(|finding| finding.code),
            Some(Code::UnknownScope),
            "{app_name}"
        );
        assert!(verdict.findings[0].message.contains(says), "{verdict:?}");
    }
}

#[test]
fn canonical_unclaimed_a_process_that_nobody_claims_is_refused() {
    ablate();
    let asked = request(Operation::Stop, scope("flyer-crawler", "production"), names(&["projectium-site"]));
    assert_eq!(codes(&judge(&policy(), &asked, &snapshot(&EIGHT))), [Code::Unclaimed]);
}

#[test]
fn canonical_suffix_a_test_name_is_refused_to_production() {
    ablate();
    let mut policy = policy();
    policy.apps.push(app("careless", "production", &["careless-api-test"]));
    policy.apps.push(app("careless-test", "production", &["careless"]));
    let processes = snapshot(&["careless-api-test", "careless", "stock-alert"]);
    let by_process = request(Operation::Delete, scope("careless", "production"), Selection::Scope);
    assert_eq!(codes(&judge(&policy, &by_process, &processes)), [Code::Suffix]);
    let by_app = request(Operation::Delete, scope("careless-test", "production"), Selection::Scope);
    assert_eq!(codes(&judge(&policy, &by_app, &processes)), [Code::Suffix]);
}

#[test]
fn canonical_budget_one_by_one_is_caught() {
    ablate();
    let taken = [
        intent("41", 300, Operation::Delete, &["flyer-crawler-api-test"]),
        intent("41", 200, Operation::Delete, &["flyer-crawler-worker-test"]),
        intent("41", 100, Operation::Delete, &["flyer-crawler-analytics-worker-test"]),
    ];
    let policy = policy();
    let asked = request(Operation::Delete, scope("stock-alert", "production"), Selection::Scope);
    let ledger = Ledger::from_records(&taken, NOW, Limits::default().window);
    let verdict = judge_after(&policy, &asked, &snapshot(&EIGHT), &ledger);
    assert_eq!(codes(&verdict), [Code::Budget]);
    assert!(verdict.findings[0].message.contains("taken 3 processes down within 10m"), "{verdict:?}");

    let mut other_run = asked;
    other_run.actor = crate::support::actor("42");
    assert_eq!(
        codes(&judge_after(&policy, &other_run, &snapshot(&EIGHT), &ledger)),
        [],
        "another run is fresh"
    );
}

#[test]
fn canonical_carried_variables_of_another_environment_are_refused() {
    ablate();
    let mine = scope("flyer-crawler", "production");
    let mut asked = request(Operation::Restart, mine, Selection::Scope);
    let mut processes = snapshot(&EIGHT);
    processes.processes[0].environment_names =
        BTreeMap::from([("NODE_ENV".to_owned(), "production".to_owned())]);
    for (variable, value, expected) in [
        ("PALISADE_ENVIRONMENT", "test", vec![Code::CarriedVariables]),
        ("NODE_ENV", "test", vec![Code::CarriedVariables]),
        ("NODE_ENV", "production", vec![]),
        ("PALISADE_ENVIRONMENT", "production", vec![]),
    ] {
        asked.carries = Some(BTreeMap::from([(variable.to_owned(), value.to_owned())]));
        assert_eq!(codes(&judge(&policy(), &asked, &processes)), expected, "{variable}={value}");
    }
}

#[test]
fn canonical_confirmation_a_severe_act_needs_the_typed_name() {
    ablate();
    let mut policy = policy();
    policy.apps[2].confirm.insert(Operation::Delete);
    let mut asked = request(Operation::Delete, scope("stock-alert", "production"), Selection::Scope);
    for (typed, expected) in [
        (None, vec![Code::ConfirmationNeeded]),
        (Some("yes"), vec![Code::ConfirmationNeeded]),
        (Some("stock-alert"), vec![]),
    ] {
        asked.confirmed = typed.map(str::to_owned);
        let verdict = judge(&policy, &asked, &snapshot(&EIGHT));
        assert_eq!(codes(&verdict), expected, "{typed:?}");
        if let Decision::Refuse(refusal) = verdict.decision {
            assert_eq!(refusal.exit(), Exit::ConfirmationNeeded);
        }
    }
}
