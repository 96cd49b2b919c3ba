//! The cases that the guard in PostgreSQL answers too, put to the rules before PM2.

use palisade_core::epoch::{Epoch, Job, Minimum, Ratchet, Subject};
use palisade_core::policy::{Limits, Mode};
use palisade_core::{BypassId, Code, Decision, Ledger, Operation, Plan, Request, Selection};
use palisade_testkit::cases::{CASES, Deed};

use crate::support::{
    EIGHT, NOW, codes, intent, judge, judge_after, names, policy, request, scope, snapshot,
};

fn delete(selection: Selection) -> Request {
    request(Operation::Delete, scope("flyer-crawler", "production"), selection)
}

/// What a workflow of that epoch is told where seven is the minimum.
fn workflow(epoch: Option<&str>) -> Vec<Code> {
    let subject =
        Subject { repository: "flyer/crawler".to_owned(), workflow: Some("Deploy".to_owned()), file: None };
    let mut ratchet = Ratchet::default();
    let epoch_seven = Epoch::try_from(7).unwrap();
    ratchet
        .raise(Minimum { subject, epoch: epoch_seven, raised_at: NOW, raised_by: "ada".to_owned() })
        .unwrap();
    let job = Job {
        forge: None,
        repository: Some("flyer/crawler".to_owned()),
        workflow: Some("Deploy".to_owned()),
        file: None,
        epoch: epoch.map(str::to_owned),
        run: None,
    };
    ratchet.objection(&job).map(|finding| finding.code).into_iter().collect()
}

/// Four of eight processes of one's own were taken that long ago; the next two are asked for.
fn after(seconds_ago: u64) -> Vec<Code> {
    let own: Vec<String> = (0..6).map(|n| format!("flyer-crawler-{n}")).collect();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let taken = intent("41", seconds_ago, Operation::Delete, &own[..4]);
    let ledger = Ledger::from_records([&taken], NOW, Limits::default().window);
    let rest = [&own[4..], &EIGHT[3..]].concat();
    let mut rules = policy();
    rules.limits.budget = Some(4);
    codes(&judge_after(&rules, &delete(names(&own[4..])), &snapshot(&rest), &ledger))
}

/// What is said to a deed, and nothing where it is permitted.
fn said(deed: Deed) -> Vec<Code> {
    let foreign = delete(names(&["flyer-crawler-api-test"]));
    let (before, rules) = (snapshot(&EIGHT), policy());
    let permitted = |decision: Decision| match decision {
        Decision::Permit(_) => Vec::new(),
        Decision::Refuse(_) => vec![Code::ForeignTarget],
    };
    match deed {
        Deed::Own => codes(&judge(&rules, &delete(names(&["flyer-crawler-api"])), &before)),
        Deed::Foreign => codes(&judge(&rules, &foreign, &before)),
        Deed::StaleBuild => workflow(Some("6")),
        Deed::UnknownBuild => workflow(None),
        Deed::Everything => codes(&judge(&rules, &delete(Selection::All), &before)),
        Deed::OverBudget => after(60),
        Deed::AfterTheWindow => after(Limits::default().window.as_secs() + 1),
        Deed::Observed => {
            let plan = Plan::draw(&foreign, &before, &rules);
            permitted(rules.judge(Mode::Observe, &foreign, plan, &Ledger::default(), NOW).decision)
        }
        Deed::Opened => {
            let plan = Plan::draw(&foreign, &before, &rules);
            let bypass = BypassId::new("1");
            permitted(rules.judge_bypassed(&bypass, &foreign, plan, &Ledger::default(), NOW).decision)
        }
    }
}

#[test]
fn the_rules_answer_every_case_that_the_guard_in_postgresql_answers() {
    for case in CASES {
        let said: Vec<u16> = said(case.deed).into_iter().map(Code::number).collect();
        match case.pm2 {
            Some(code) => assert!(said.contains(&code), "{:?}: {said:?}", case.deed),
            None => assert_eq!(said, [0; 0], "{:?}", case.deed),
        }
    }
}
