//! Rules in combination, and what must pass.

use palisade_core::policy::{Limits, Mode, Owner};
use palisade_core::verdict::Authority;
use palisade_core::{BypassId, Code, Decision, Ledger, Operation, Plan, Policy, Selection};
use proptest::prelude::*;

use crate::support::{
    EIGHT, NOW, actor, app, codes, intent, judge, judge_after, names, policy, request, scope, snapshot,
};

#[test]
fn legitimate_operations_meet_no_finding() {
    let production = scope("flyer-crawler", "production");
    let test = scope("flyer-crawler", "test");
    for operation in [Operation::Delete, Operation::Stop, Operation::Restart, Operation::Reload] {
        for (scope, selection) in [
            (&production, Selection::Scope),
            (&production, names(&["flyer-crawler-api"])),
            (&production, names(&["flyer-crawler-api", "flyer-crawler-analytics-worker"])),
            (&test, Selection::Scope),
            (&test, names(&["flyer-crawler-worker-test"])),
        ] {
            let asked = request(operation, scope.clone(), selection.clone());
            assert_eq!(codes(&judge(&policy(), &asked, &snapshot(&EIGHT))), [], "{operation} {selection:?}");
        }
    }
}

#[test]
fn the_word_all_is_refused_with_every_ground_that_holds() {
    let asked = request(Operation::Delete, scope("flyer-crawler", "production"), Selection::All);
    assert_eq!(
        codes(&judge(&policy(), &asked, &snapshot(&EIGHT))),
        [
            Code::AllProcesses,
            Code::ForeignTarget,
            Code::Unclaimed,
            Code::Suffix,
            Code::Share,
            Code::ConfirmationNeeded,
        ]
    );
}

#[test]
fn the_filter_that_spares_one_is_refused() {
    let seven = names(&EIGHT[..7]);
    let asked = request(Operation::Delete, scope("flyer-crawler", "production"), seven);
    let found = codes(&judge(&policy(), &asked, &snapshot(&EIGHT)));
    assert!(found.contains(&Code::ForeignTarget) && found.contains(&Code::Share), "{found:?}");
    assert!(!found.contains(&Code::AllProcesses), "the ADR's own rule does not see this one");
}

#[test]
fn observing_tells_the_findings_and_permits() {
    let asked = request(Operation::Delete, scope("flyer-crawler", "production"), Selection::All);
    let (policy, before) = (policy(), snapshot(&EIGHT));
    let plan = Plan::draw(&asked, &before, &policy);
    let verdict = policy.judge(Mode::Observe, &asked, plan, &Ledger::default(), NOW);
    assert!(!verdict.findings.is_empty());
    let Decision::Permit(permit) = verdict.decision else { panic!("refused") };
    let term = palisade_core::Term { scope: asked.scope.clone(), number: 1 };
    let armed = permit.arm(palisade_core::Receipt::for_durable_record(0, String::new()), term);
    assert_eq!(armed.authority(), &Authority::Observed);
}

#[test]
fn a_bypass_permits_what_the_rules_refuse_and_the_permit_names_it() {
    let asked = request(Operation::Delete, scope("flyer-crawler", "production"), Selection::All);
    let (policy, before, bypass) = (policy(), snapshot(&EIGHT), BypassId::new("1"));
    let plan = Plan::draw(&asked, &before, &policy);
    let verdict = policy.judge_bypassed(&bypass, &asked, plan, &Ledger::default(), NOW);
    assert!(!verdict.findings.is_empty(), "they are told all the same");
    let Decision::Permit(permit) = verdict.decision else { panic!("refused") };
    assert_eq!(permit.authority(), &Authority::Bypassed(bypass.clone()));

    let nothing = request(Operation::Delete, scope("flyer-crawler", "production"), names(&[]));
    let plan = Plan::draw(&nothing, &before, &policy);
    let verdict = policy.judge_bypassed(&bypass, &nothing, plan, &Ledger::default(), NOW);
    assert!(matches!(verdict.decision, Decision::Refuse(_)), "an empty selection never means all");
}

#[test]
fn ownership_goes_by_exact_name_then_glob_and_never_across_a_suffix() {
    let mut policy = policy();
    policy.apps.push(app("crawler-admin", "production", &["flyer-crawler-admin"]));
    let owner = |name: &str| match policy.owner_of(name) {
        Owner::Scope(scope) => scope.to_string(),
        Owner::Unclaimed => "unclaimed".to_owned(),
    };
    assert_eq!(owner("flyer-crawler-api"), "flyer-crawler/production");
    assert_eq!(owner("flyer-crawler-admin"), "crawler-admin/production");
    assert_eq!(owner("flyer-crawler-api-test"), "flyer-crawler/test");
    assert_eq!(owner("flyer-crawler-test"), "unclaimed");
    assert_eq!(owner("flyer-crawlers"), "unclaimed");
}

#[test]
fn a_production_glob_leaves_test_names_alone_even_where_test_claims_nothing() {
    let mut policy = policy();
    policy.apps.retain(|app| app.scope.environment.as_str() == "production");
    assert_eq!(policy.owner_of("flyer-crawler-api-test"), Owner::Unclaimed);
}

#[test]
fn deleting_ones_own_one_by_one_stays_within_the_budget() {
    let (policy, mine) = (policy(), scope("flyer-crawler", "production"));
    let first = intent("41", 60, Operation::Delete, &["flyer-crawler-api"]);
    let second = intent("41", 30, Operation::Delete, &["flyer-crawler-worker"]);
    let ledger = Ledger::from_records([&first, &second], NOW, Limits::default().window);
    let left = snapshot(&EIGHT[2..]);
    let third = request(Operation::Delete, mine, names(&["flyer-crawler-analytics-worker"]));
    assert_eq!(codes(&judge_after(&policy, &third, &left, &ledger)), []);
}

#[test]
fn deploying_the_same_app_again_is_not_counted_twice() {
    let (policy, mine) = (policy(), scope("flyer-crawler", "production"));
    let earlier: Vec<_> = (1..5).map(|n| intent("41", n * 60, Operation::Delete, &EIGHT[..3])).collect();
    let ledger = Ledger::from_records(&earlier, NOW, Limits::default().window);
    let again = request(Operation::Delete, mine, Selection::Scope);
    assert_eq!(codes(&judge_after(&policy, &again, &snapshot(&EIGHT), &ledger)), []);
}

#[test]
fn the_budget_forgets_what_left_the_window() {
    let old = intent("41", 601, Operation::Delete, &EIGHT[3..6]);
    let ledger = Ledger::from_records([&old], NOW, Limits::default().window);
    assert!(ledger.taken_by(&actor("41").tree, NOW.before(Limits::default().window)).is_empty());
}

#[test]
fn restarts_and_reloads_are_not_charged_to_the_budget() {
    let restarts = [
        intent("41", 60, Operation::Restart, &EIGHT[..3]),
        intent("41", 60, Operation::Reload, &EIGHT[3..6]),
    ];
    let ledger = Ledger::from_records(&restarts, NOW, Limits::default().window);
    assert_eq!(ledger, Ledger::default());
}

#[test]
fn modules_are_neither_selected_nor_counted() {
    let mut before = snapshot(&["stock-alert", "pm2-logrotate"]);
    before.processes[1].module = true;
    let asked = request(Operation::Delete, scope("stock-alert", "production"), Selection::All);
    let plan = Plan::draw(&asked, &before, &policy());
    assert_eq!((plan.blast_radius().targets, plan.blast_radius().total), (1, 1));
}

/// Any policy of a few apps over a few names, drawn at random.
fn any_policy() -> impl Strategy<Value = Policy> {
    proptest::collection::vec((0..3_usize, 0..2_usize, "[ab](-[ab*]){0,2}"), 1..5).prop_map(|entries| {
        let mut policy = policy();
        policy.apps = entries
            .iter()
            .filter(|(_, _, pattern)| palisade_core::Pattern::new(pattern).is_ok())
            .map(|(app_index, env, pattern)| {
                let environment = ["production", "test"][*env];
                let pattern = if *env == 1 { format!("{pattern}-test") } else { pattern.clone() };
                app(["x", "y", "z"][*app_index], environment, &[pattern.as_str()])
            })
            .collect();
        policy
    })
}

proptest! {
    /// The heart of it: whatever is asked for, what is permitted is owned by who asks.
    #[test]
    fn nothing_foreign_is_ever_permitted(
        policy in any_policy(),
        listed in proptest::collection::vec("[ab](-[ab]){0,2}(-test)?", 1..7),
        wanted in proptest::collection::vec("[ab](-[ab]){0,2}(-test)?", 0..4),
        all in any::<bool>(),
        env in 0..2_usize,
    ) {
        let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
        let mine = scope("x", ["production", "test"][env]);
        let selection = if all { Selection::All } else { Selection::Names(wanted) };
        let asked = request(Operation::Delete, mine.clone(), selection);
        let verdict = judge(&policy, &asked, &snapshot(&listed));
        if let Decision::Permit(permit) = verdict.decision {
            prop_assert!(!permit.plan().targets.is_empty());
            for target in &permit.plan().targets {
                prop_assert_eq!(&target.owner, &Owner::Scope(mine.clone()));
            }
        }
    }
}
