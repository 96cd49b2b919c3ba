//! Orders over the control socket: what is told on the way, and what is left when the judge dies while it carries one out.

use palisade_core::actor::Claimed;
use palisade_core::outcome::Outcome;
use palisade_core::record::Event;
use palisade_core::{AppName, EnvironmentName, Operation, Plan, Progress, Record, Scope, Selection};
use palisade_host::order::{self, Order, Reply};
use palisade_host::state::StateDirectory;
use palisade_host::{Environment, context};
use palisade_journal::Reader;
use palisade_pipeline::reconcile::{Settled, reconcile};
use palisade_pm2::Pm2;
use palisade_pm2::bundle::Bundles;
use palisade_pm2::locate::{Location, Origin};
use palisade_testkit::{Scratch, eventually, process};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::holder::{judge, next_judge};

const POLICY: &str = r#"revision = 1
[environments.production]
mode = "enforce"
[[app]]
name = "shop"
environment = "production"
processes = ["shop-*"]
"#;

/// Two apps that take a while to end, and a bystander.
fn apps(folder: &Scratch) -> Vec<Value> {
    let cwd = folder.join("shop");
    std::fs::create_dir_all(&cwd).unwrap();
    let stubborn = |name: &str| {
        json!({
            "name": name, "script": "/bin/sh", "args": ["-c", "trap '' INT TERM; exec sleep 100000"],
            "interpreter": "none", "cwd": cwd, "kill_timeout": 2500, "env": { "NODE_ENV": "production" },
        })
    };
    let blog = json!({ "name": "blog", "script": "/bin/sleep", "args": ["100000"], "interpreter": "none" });
    vec![stubborn("shop-1"), stubborn("shop-2"), blog]
}

fn bed() -> Bed {
    let mut bed = Bed::with("7.0.4", POLICY, apps);
    bed.end_firewall();
    let control = bed.folder.join("control.sock").display().to_string();
    bed.start_firewall_with(&["--control", &control]);
    bed
}

fn restart(name: &str) -> Order {
    Order {
        format: order::FORMAT,
        operation: Operation::Restart,
        scope: Scope::new(AppName::new("shop").unwrap(), EnvironmentName::new("production").unwrap()),
        selection: Selection::Names(vec![name.to_owned()]),
        tolerates_absence: false,
        confirmed: None,
        dry_run: false,
        wait_ms: 0,
        claimed: Claimed::default(),
        expected: None,
        snapshot: None,
    }
}

/// The steps that are told, and the end.
fn placed(bed: &Bed, order: &Order) -> (Vec<Progress>, Reply) {
    let mut steps = Vec::new();
    let reply = order::place(&bed.folder.join("control.sock"), order, |step| steps.push(step)).unwrap();
    (steps, reply)
}

fn state(bed: &Bed) -> StateDirectory {
    StateDirectory::at(bed.folder.join("state/palisade"))
}

fn count(bed: &Bed, counts: impl Fn(&Event) -> bool) -> usize {
    let records = Reader::open(&state(bed).journal()).into_iter().flatten();
    let records = records.map(|entry| entry.unwrap().record().unwrap());
    records.filter(|record: &Record| counts(&record.event)).count()
}

fn settle(bed: &Bed) -> Vec<Settled> {
    let location = Location {
        home: bed.pm2.home().to_owned(),
        socket: bed.private("rpc.sock"),
        origin: Origin::Explicit,
    };
    let mut pm2 = Pm2::new(location, Bundles::new(state(bed).bundles()));
    let policy = palisade_config::load(&bed.folder.join("config/palisade/palisade.toml")).unwrap();
    let actor = context::observe(&Environment::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(reconcile(&mut pm2, policy.reference(), &state(bed), &actor)).unwrap()
}

fn entry(bed: &Bed, name: &str) -> Value {
    let list = palisade_testkit::pm2::list_at(&bed.private("rpc.sock"));
    list.into_iter().find(|entry| entry["name"] == name).unwrap()
}

/// How often the daemon has started it anew, and its pid.
fn restarts(bed: &Bed, name: &str) -> (u64, u64) {
    let entry = entry(bed, name);
    (entry["pm2_env"]["restart_time"].as_u64().unwrap(), entry["pid"].as_u64().unwrap())
}

#[test]
fn an_order_whose_judge_dies_is_settled_by_looking_and_nothing_is_done_twice() {
    let bed = bed();
    let blog = restarts(&bed, "blog");
    let strikes = [("shop-1", process::kill as fn(u32)), ("shop-2", process::freeze)];
    for (at, (name, strike)) in strikes.into_iter().enumerate() {
        let old = judge(&bed);
        let reply = std::thread::scope(|scope| {
            let placed = scope.spawn(|| placed(&bed, &restart(name)).1);
            let intents = || count(&bed, |event| matches!(event, Event::Intent(_)));
            eventually("the intent is on record", || (intents() > at).then_some(()));
            // Its executor lives: whoever looks meanwhile leaves it alone.
            assert!(settle(&bed).is_empty(), "{name}");
            // What a judge had not sent yet when it died was never done, and is no matter of twice.
            eventually("the daemon is at it", || {
                (entry(&bed, name)["pm2_env"]["status"] == "stopping").then_some(())
            });
            strike(old);
            placed.join().unwrap()
        });
        let Reply::Refused(text) = reply else { panic!("{name}: {reply:?}") };
        assert!(text.contains("PAL-803") && text.contains("palisade pm2 reconcile"), "{text}");
        next_judge(&bed, old);
        assert!(!process::is_running(old));
        eventually("the daemon has ended what it was asked", || (restarts(&bed, name).0 == 1).then_some(()));
        let settled = eventually("it can be settled", || settle(&bed).pop());
        assert_eq!((settled.outcome, settled.targets.len()), (Outcome::Done, 1), "{settled:?}");
        assert!(settle(&bed).is_empty());
    }
    // The judges that followed have asked the daemon for nothing.
    let after: Vec<u64> = ["shop-1", "shop-2"].iter().map(|name| restarts(&bed, name).0).collect();
    assert_eq!((after, restarts(&bed, "blog")), (vec![1, 1], blog));
    assert_eq!(count(&bed, |event| matches!(event, Event::Intent(_) | Event::Reconciled(_))), 4);
    assert_eq!(count(&bed, |event| matches!(event, Event::Outcome(_))), 0);
}

#[test]
fn the_steps_of_an_order_are_told_and_a_plan_is_carried_out_as_shown_or_not_at_all() {
    let bed = bed();
    let (steps, reply) = placed(&bed, &Order { dry_run: true, ..restart("shop-1") });
    assert!(
        matches!(steps[..], [Progress::Identified(_), Progress::Snapshot { processes: 3, .. }]),
        "{steps:?}"
    );
    let Reply::Report(planned) = reply else { panic!("{reply:?}") };
    let plan: Plan = serde_json::from_value(planned["plan"].clone()).unwrap();

    let exactly = Order { expected: Some(Box::new(plan.clone())), ..restart("shop-1") };
    let (steps, reply) = placed(&bed, &exactly);
    assert!(
        matches!(steps.last(), Some(Progress::Permitted(shown)) if shown.targets == plan.targets),
        "{steps:?}"
    );
    let Reply::Report(done) = reply else { panic!("{reply:?}") };
    assert_eq!((&done["result"], restarts(&bed, "shop-1").0), (&json!("done"), 1), "{done}");

    // It is another process by now, so the same plan is not carried out again.
    let Reply::Report(stale) = placed(&bed, &exactly).1 else { panic!("no report") };
    assert_eq!((&stale["result"], restarts(&bed, "shop-1").0), (&json!("stale"), 1), "{stale}");
    // A command of an earlier version reads one line, and gets the end.
    let earlier = Order { format: 1, dry_run: true, ..restart("shop-1") };
    let (steps, reply) = placed(&bed, &earlier);
    assert!(steps.is_empty() && matches!(reply, Reply::Report(_)), "{steps:?} {reply:?}");
    let later = Order { format: order::FORMAT + 1, ..restart("shop-1") };
    let (_, reply) = placed(&bed, &later);
    assert!(matches!(&reply, Reply::Refused(text) if text.contains("one version")), "{reply:?}");
    let carrying = Plan { carries_variables: true, ..plan };
    let (_, reply) = placed(&bed, &Order { expected: Some(Box::new(carrying)), ..restart("shop-1") });
    assert!(matches!(&reply, Reply::Refused(text) if text.contains("--update-env")), "{reply:?}");
}

/// What `palisade` of version 1 of orders (the last before 833a758) says over the control socket, as its own code wrote it.
const OF_VERSION_1: &str = include_str!("golden/orders-of-version-1.jsonl");

/// It reads one line, and takes it for the end: a step would be a report that it does not understand.
#[test]
fn the_orders_of_an_earlier_palisade_get_one_line_that_it_can_read() {
    let bed = bed();
    let answer = |line: &str| -> Value {
        let said = bed.control(&format!("{line}\n"));
        assert_eq!(said.lines().count(), 1, "{said}");
        serde_json::from_str(&said).unwrap()
    };
    let lines: Vec<&str> = OF_VERSION_1.lines().collect();
    let [planned, restarted, foreign, all] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(answer(planned)["report"]["result"], "planned");
    assert_eq!(restarts(&bed, "shop-1").0, 0);
    let done = &answer(restarted)["report"];
    // The fields that its report is made of.
    for field in ["plan", "targets", "verification", "snapshot", "outcome", "took_ms", "exit"] {
        assert!(!done[field].is_null(), "{field}: {done}");
    }
    assert_eq!((&done["result"], restarts(&bed, "shop-1").0), (&json!("done"), 1));
    assert_eq!(answer(foreign)["report"]["result"], "refused");
    assert_eq!(answer(all)["report"]["result"], "planned");
}
