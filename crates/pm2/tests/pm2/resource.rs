//! Deleting and stopping under pins, on real daemons.

use palisade_core::outcome::{Outcome, TargetResult};
use palisade_core::{Code, Operation};
use palisade_pipeline::Resource as _;
use palisade_testkit::{App, EightApps, Pm2, process};

use crate::bed::{Bed, ablate, all_done, block_on, results};

const OURS: [&str; 3] =
    ["flyer-crawler-api-test", "flyer-crawler-worker-test", "flyer-crawler-analytics-worker-test"];

#[test]
fn three_of_eight_are_deleted_and_five_run_on_untouched() {
    for version in ["7.0.4", "6.0.14", "5.4.3"] {
        let bed = Bed::new(EightApps::start(version).pm2);
        let before_pids = bed.pm2.running();
        block_on(async {
            let before = bed.snapshot().await;
            let armed = bed.armed_from(Operation::Delete, &OURS, &before);
            let outcomes = bed.resource().execute(&armed).await;
            assert!(all_done(&outcomes), "{version}: {outcomes:?}");
            assert_eq!(Outcome::of(&outcomes), Outcome::Done);
            let verification = bed.verify(&armed, &outcomes, &before).await;
            assert!(verification.is_clean(), "{version}: {verification:?}");
        });
        let expected: Vec<_> =
            before_pids.into_iter().filter(|(name, _)| !OURS.contains(&name.as_str())).collect();
        assert_eq!(bed.pm2.running(), expected, "{version}");
    }
}

#[test]
fn a_stopped_process_stays_listed_and_its_operating_system_process_ends() {
    let bed = Bed::new(Pm2::start("7.0.4"));
    bed.pm2.start_apps(&[App::sleep("worker"), App::cluster("site", 2), App::sleep("other")]);
    let pids = bed.pm2.running();
    block_on(async {
        let before = bed.snapshot().await;
        let armed = bed.armed_from(Operation::Stop, &["worker", "site"], &before);
        let outcomes = bed.resource().execute(&armed).await;
        assert_eq!(outcomes.len(), 3, "a cluster counts with each instance");
        assert!(all_done(&outcomes), "{outcomes:?}");
        let verification = bed.verify(&armed, &outcomes, &before).await;
        assert!(verification.is_clean(), "{verification:?}");
    });
    for (name, pid) in pids {
        assert_eq!(process::is_running(pid), name == "other", "{name}");
    }
}

#[test]
fn a_watched_process_does_not_come_back_when_its_files_change_after_a_stop() {
    let bed = Bed::new(Pm2::start("7.0.4"));
    bed.pm2.start_app(bed.watched("watched"));
    block_on(async {
        assert!(bed.snapshot().await.processes[0].watch);
        let outcomes = bed.run(Operation::Stop, &["watched"]).await;
        assert!(all_done(&outcomes), "{outcomes:?}");
        std::fs::write(bed.pm2.home().join("watched/changed.js"), "1").expect("the home is ours");
        let now = bed.snapshot().await;
        assert!(!now.processes[0].watch, "the watch would start it again");
        assert_eq!(now.processes[0].status.as_str(), "stopped");
    });
}

#[test]
fn canonical_target_pin_a_number_that_was_given_to_another_app_is_not_touched() {
    ablate();
    for version in ["7.0.4", "5.4.3"] {
        let bed = Bed::new(Pm2::start(version));
        bed.pm2.start_app(App::sleep("planned"));
        block_on(async {
            let before = bed.snapshot().await;
            assert_eq!(before.processes[0].pin.pm_id, 0);
            let armed = bed.armed_from(Operation::Delete, &["planned"], &before);
            bed.pm2.pm2(&["delete", "planned"]);
            bed.pm2.start_app(App::sleep("innocent"));
            let outcomes = bed.resource().execute(&armed).await;
            let [TargetResult::Changed(reason)] = results(&outcomes)[..] else { panic!("{outcomes:?}") };
            assert!(reason.contains("innocent"), "{reason}");
        });
        let running = bed.pm2.running();
        assert_eq!(running.len(), 1, "{version}");
        assert_eq!(running[0].0, "innocent", "{version}");
        assert_eq!(bed.pm2.list()[0]["pm_id"], 0, "the number was reused, or this test shows nothing");
    }
}

#[test]
fn a_target_that_was_replaced_meanwhile_is_left_alone_and_the_others_are_done() {
    let bed = Bed::new(Pm2::start("7.0.4"));
    bed.pm2.start_apps(&["replaced", "gone", "restarted", "as-planned"].map(App::sleep));
    block_on(async {
        let before = bed.snapshot().await;
        let armed =
            bed.armed_from(Operation::Delete, &["replaced", "gone", "restarted", "as-planned"], &before);
        bed.pm2.pm2(&["delete", "replaced", "gone"]);
        bed.pm2.start_app(App::sleep("replaced"));
        bed.pm2.pm2(&["restart", "restarted"]);
        let running = bed.pm2.running();
        let outcomes = bed.resource().execute(&armed).await;
        let changed = |name: &str| {
            let outcome = outcomes.iter().find(|outcome| outcome.pin.name == name);
            matches!(outcome.map(|outcome| &outcome.result), Some(TargetResult::Changed(_)))
        };
        assert!(changed("replaced") && changed("gone") && changed("restarted"), "{outcomes:?}");
        assert!(!changed("as-planned"), "{outcomes:?}");
        assert_eq!(Outcome::of(&outcomes), Outcome::Partial);
        let left: Vec<_> = running.into_iter().filter(|(name, _)| name != "as-planned").collect();
        assert_eq!(bed.pm2.running(), left);
    });
}

#[test]
fn canonical_daemon_pin_a_daemon_that_was_replaced_gets_nothing_of_the_plan() {
    ablate();
    let bed = Bed::new(Pm2::start("7.0.4"));
    bed.pm2.start_app(App::sleep("worker"));
    block_on(async {
        let armed = bed.armed(Operation::Delete, &["worker"]).await;
        bed.pm2.pm2(&["save"]);
        bed.pm2.pm2(&["kill"]);
        bed.pm2.pm2(&["resurrect"]);
        let outcomes = bed.resource().execute(&armed).await;
        let [TargetResult::Changed(reason)] = results(&outcomes)[..] else { panic!("{outcomes:?}") };
        assert!(reason.contains("daemon"), "{reason}");
    });
    assert_eq!(bed.pm2.running().len(), 1);
}

#[test]
fn a_daemon_that_dies_before_the_act_fails_it_and_is_not_started_again() {
    let bed = Bed::new(Pm2::start("7.0.4"));
    bed.pm2.start_app(App::sleep("worker"));
    block_on(async {
        let armed = bed.armed(Operation::Delete, &["worker"]).await;
        bed.pm2.kill_daemon();
        let mut resource = bed.resource();
        let outcomes = resource.execute(&armed).await;
        assert!(matches!(results(&outcomes)[..], [TargetResult::Failed(_)]), "{outcomes:?}");
        let fault = resource.identify().await.expect_err("it is dead");
        assert_eq!(fault.kind.code(), Code::Unreachable);
    });
    assert_eq!(bed.pm2.daemons(), [0; 0]);
}

#[test]
fn a_process_that_outlives_its_stop_is_a_survivor_and_one_that_vanished_is_named() {
    let bed = Bed::new(Pm2::start("7.0.4"));
    bed.pm2.start_apps(&["target", "spared"].map(App::sleep));
    block_on(async {
        let armed = bed.armed(Operation::Delete, &["target"]).await;
        let before_the_act = bed.after(armed.plan()).await;
        assert_eq!(before_the_act.survivors, [armed.plan().targets[0].pin.process.expect("it runs")]);
        assert_eq!(before_the_act.vanished, []);
        let spared = armed.plan().spared[0].pin.process.expect("it runs");
        process::kill(spared.pid);
        process::wait_gone(spared.pid);
        let outcomes = bed.resource().execute(&armed).await;
        assert!(all_done(&outcomes), "{outcomes:?}");
        let after = bed.after(armed.plan()).await;
        assert_eq!((after.survivors, after.vanished), (Vec::new(), vec![spared]));
    });
}

#[test]
fn forty_processes_are_deleted_in_batches_that_are_each_looked_at_first() {
    let bed = Bed::new(Pm2::start("7.0.4"));
    let apps: Vec<App> = (0..40).map(|number| App::sleep(&format!("app-{number}"))).collect();
    bed.pm2.start_apps(&apps);
    let names: Vec<String> = (0..40).map(|number| format!("app-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let outcomes = block_on(bed.run(Operation::Delete, &names));
    assert_eq!(outcomes.len(), 40);
    assert!(all_done(&outcomes), "{outcomes:?}");
    assert!(outcomes.iter().map(|outcome| outcome.pin.name.as_str()).eq(names), "in the plan's order");
    assert!(bed.pm2.list().is_empty());
}
