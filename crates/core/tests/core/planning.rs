//! Plans: what they list, when they are stale, what a restore lacks.

use palisade_core::process::Status;
use palisade_core::snapshot::SnapshotId;
use palisade_core::{Code, Operation, Plan, Selection};

use crate::support::{EIGHT, NOW, judge, names, policy, process, request, scope, snapshot};

fn drawn(before: &palisade_core::Snapshot) -> Plan {
    let asked = request(Operation::Delete, scope("flyer-crawler", "production"), Selection::Scope);
    Plan::draw(&asked, before, &policy())
}

#[test]
fn a_plan_lists_what_it_takes_and_what_it_spares() {
    let plan = drawn(&snapshot(&EIGHT));
    let named = |targets: &[palisade_core::plan::Target]| {
        targets.iter().map(|target| format!("{}:{}", target.pin.pm_id, target.owner)).collect::<Vec<_>>()
    };
    assert_eq!(
        named(&plan.targets),
        ["0:flyer-crawler/production", "1:flyer-crawler/production", "2:flyer-crawler/production"]
    );
    assert_eq!(plan.spared.len(), 5);
    assert_eq!(named(&plan.spared)[4], "7:unclaimed");
}

#[test]
fn clusters_count_apps_and_instances() {
    let plan =
        drawn(&snapshot(&["flyer-crawler-api", "flyer-crawler-api", "flyer-crawler-api", "stock-alert"]));
    let radius = plan.blast_radius();
    assert_eq!((radius.apps, radius.targets, radius.total, radius.per_mille()), (1, 3, 4, 750));
}

#[test]
fn a_plan_survives_its_file() {
    let plan = drawn(&snapshot(&EIGHT));
    let text = serde_json::to_string(&plan).unwrap();
    let read: Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(read.digest(), plan.digest());
    assert!(plan.staleness(&read).is_empty());
}

#[test]
fn a_changed_state_makes_a_plan_stale() {
    let before = snapshot(&EIGHT);
    let plan = drawn(&before);
    let stale = |change: &dyn Fn(&mut palisade_core::Snapshot)| {
        let mut now = before.clone();
        change(&mut now);
        plan.staleness(&drawn(&now)).join("; ")
    };
    assert!(stale(&|now| now.daemon.process.pid = 78).contains("it was restarted"));
    assert!(
        stale(&|now| now.processes[0].pin.unique_id = "other".into()).contains("is no longer as planned")
    );
    assert!(stale(&|now| now.processes[1].pin.process = None).contains("is no longer as planned"));
    assert!(
        stale(&|now| now.processes.push(process(9, "flyer-crawler-new"))).contains("would be a target now")
    );
    assert!(stale(&|now| now.processes.truncate(7)).contains("would be spared are not the same"));
    assert_eq!(stale(&|now| now.processes[6].status = Status::Stopped), "", "a status may change");
}

#[test]
fn a_restore_that_finds_nothing_is_told_what_a_restore_can_do_about_it() {
    let source = snapshot(&["api", "worker"]);
    for names in [None, Some(vec!["nobody".to_owned()])] {
        let selection = Selection::Missing { snapshot: SnapshotId::new(NOW, "s"), names };
        let mut asked = request(Operation::Restore, scope("x", "production"), selection);
        asked.source = Some(source.clone());
        let verdict = judge(&policy(), &asked, &source);
        let finding = verdict.findings.iter().find(|finding| finding.code == Code::EmptySelection).unwrap();
        assert!(!finding.fix.contains("--ignore-not-found"), "restore has no such flag: {}", finding.fix);
    }
}

#[test]
fn a_restore_lists_what_the_snapshot_has_and_the_daemon_lacks() {
    let source = snapshot(&["api", "api", "worker", "site"]);
    let mut now = snapshot(&["api"]);
    now.processes[0] = source.processes[1].clone();
    let asked = |names: Option<Vec<String>>, now: &palisade_core::Snapshot| {
        let selection = Selection::Missing { snapshot: SnapshotId::new(NOW, "s"), names };
        let mut asked = request(Operation::Restore, scope("x", "production"), selection);
        asked.source = Some(source.clone());
        let plan = Plan::draw(&asked, now, &policy());
        let lacking = plan.targets.iter().map(|target| (target.pin.pm_id, target.pin.name.clone()));
        (lacking.collect::<Vec<_>>(), plan.missing)
    };
    let lacking = vec![(0, "api".to_owned()), (2, "worker".to_owned()), (3, "site".to_owned())];
    assert_eq!(asked(None, &now), (lacking, vec![]));
    let only = Some(vec!["site".to_owned(), "nobody".to_owned()]);
    assert_eq!(asked(only, &now), (vec![(3, "site".to_owned())], vec!["nobody".to_owned()]));

    // Instances of a cluster share their UUID: one that is lost is missing all the same.
    let mut cluster = source.clone();
    cluster.processes[1].pin.unique_id = cluster.processes[0].pin.unique_id.clone();
    let mut asked_of_cluster = request(
        Operation::Restore,
        scope("x", "production"),
        Selection::Missing { snapshot: SnapshotId::new(NOW, "s"), names: None },
    );
    asked_of_cluster.source = Some(cluster.clone());
    cluster.processes.remove(1);
    let lost = Plan::draw(&asked_of_cluster, &cluster, &policy()).targets;
    assert_eq!(lost.iter().map(|target| target.pin.pm_id).collect::<Vec<_>>(), [1]);

    // Restored processes have new UUIDs: a second restore must not start them again.
    let mut restored = snapshot(&["api", "api", "worker", "site"]);
    for process in &mut restored.processes {
        process.pin.unique_id.push_str("-new");
    }
    assert_eq!(asked(None, &restored).0, []);
}

#[test]
fn names_that_are_not_there_are_named() {
    let asked = request(
        Operation::Stop,
        scope("flyer-crawler", "production"),
        names(&["flyer-crawler-api", "ghost"]),
    );
    assert_eq!(Plan::draw(&asked, &snapshot(&EIGHT), &policy()).missing, ["ghost"]);
}
