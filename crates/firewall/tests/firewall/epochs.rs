//! A stale workflow at the daemon's socket: an unmodified `pm2` in a job with an older epoch changes nothing.

use palisade_core::epoch::{Epoch, Minimum, Ratchet, Subject};
use palisade_core::record::Ruling;
use palisade_core::{Code, Timestamp};
use palisade_host::epochs;
use palisade_host::state::StateDirectory;

use crate::bed::Bed;

/// What a Gitea runner sets for a step, without the epoch.
const JOB: [(&str, &str); 8] = [
    ("CI", "true"),
    ("GITHUB_ACTIONS", "true"),
    ("GITEA_ACTIONS", "true"),
    ("GITEA_ACTIONS_RUNNER_VERSION", "v3.0.0"),
    ("GITHUB_REPOSITORY", "acme/flyer-crawler"),
    ("GITHUB_WORKFLOW", "Deploy to production"),
    ("GITHUB_JOB", "deploy"),
    ("GITHUB_SHA", "1111111111111111111111111111111111111111"),
];

fn state(bed: &Bed) -> StateDirectory {
    StateDirectory::at(bed.folder.join("state/palisade"))
}

pub(crate) fn require(bed: &Bed, number: u32) {
    let mut ratchet = Ratchet::default();
    let subject = Subject {
        repository: "acme/flyer-crawler".to_owned(),
        workflow: Some("Deploy to production".to_owned()),
        file: None,
    };
    let raised_at = Timestamp::from_unix_ms(1_771_323_180_123);
    let epoch = Epoch::try_from(number).unwrap();
    ratchet.raise(Minimum { subject, epoch, raised_at, raised_by: "ada".to_owned() }).unwrap();
    epochs::lock(&state(bed)).unwrap().write(ratchet).unwrap();
}

/// The job's variables with its own run and epoch.
pub(crate) fn job<'a>(run: &'a str, epoch: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let own = [("GITHUB_RUN_ID", run), ("GITHUB_RUN_ATTEMPT", "1")];
    JOB.into_iter().chain(own).chain(epoch.map(|epoch| ("PALISADE_EPOCH", epoch))).collect()
}

#[test]
fn a_stale_workflow_is_refused_before_its_first_act_and_the_current_one_passes() {
    let bed = Bed::new("enforce");
    require(&bed, 7);
    let (daemon, before) = (bed.pm2.daemon_pid(), bed.running());
    let own = bed.app_folder("flyer-crawler-api");

    for (run, epoch, code) in [("40", Some("6"), Code::StaleWorkflow), ("41", None, Code::NoEpoch)] {
        let ran = bed.pm2_with(&own, &["delete", "all"], &job(run, epoch));
        assert_eq!(ran.exit, Some(1), "{}", ran.text);
        assert!(ran.text.contains(&code.to_string()), "{}", ran.text);
        assert_eq!((bed.pm2.daemon_pid(), bed.running()), (daemon, before.clone()), "{epoch:?}");
        let read = bed.pm2_with(&own, &["jlist", "--silent"], &job(run, epoch));
        assert_eq!(read.exit, Some(0), "reads pass: {}", read.text);
        let start = bed.pm2_with(&own, &["restart", "flyer-crawler-api"], &job(run, epoch));
        assert!(start.text.contains(&code.to_string()), "{}", start.text);
    }
    assert_eq!(bed.running(), before);
    let refused = bed.refused();
    assert!(refused.iter().all(|(_, called)| called.ruling == Ruling::Refused));
    assert_eq!(refused[0].0.actor.claimed.epoch.as_deref(), Some("6"));

    let ran = bed.pm2_with(&own, &["delete", "flyer-crawler-api"], &job("42", Some("7")));
    assert_eq!((ran.exit, bed.running().len()), (Some(0), 7), "{}", ran.text);
    // A person is no job, and another workflow of the repository has no minimum.
    let ran = bed.pm2_in(&own, &["restart", "flyer-crawler-worker"]);
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
    let mut test = job("43", None);
    test.retain(|(name, _)| *name != "GITHUB_WORKFLOW");
    test.push(("GITHUB_WORKFLOW", "Lint"));
    let ran = bed.pm2_with(&own, &["restart", "flyer-crawler-worker"], &test);
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
}

#[test]
fn a_job_whose_script_drops_its_variables_is_known_by_its_parents() {
    let bed = Bed::new("enforce");
    require(&bed, 7);
    let before = bed.running();
    let script = "env -i PATH=\"$PATH\" HOME=\"$HOME\" PM2_HOME=\"$PM2_HOME\" node \"$PM2\" delete all; true";
    let ran = bed.script_with(&bed.app_folder("flyer-crawler-api"), script, &job("44", Some("6")));
    assert!(ran.text.contains("PAL-701"), "{}", ran.text);
    assert_eq!(bed.running(), before);
}

#[test]
fn epochs_that_cannot_be_read_stop_changes_of_jobs_and_of_nobody_else() {
    let bed = Bed::new("enforce");
    require(&bed, 7);
    std::fs::remove_file(state(&bed).epochs()).unwrap();
    let before = bed.running();
    let own = bed.app_folder("flyer-crawler-api");
    let ran = bed.pm2_with(&own, &["delete", "flyer-crawler-api"], &job("45", Some("7")));
    assert!(ran.text.contains("PAL-703"), "{}", ran.text);
    assert_eq!(bed.running(), before);
    let ran = bed.pm2_in(&own, &["delete", "flyer-crawler-api"]);
    assert_eq!((ran.exit, bed.running().len()), (Some(0), 7), "{}", ran.text);
}

#[test]
fn in_observe_a_stale_workflow_passes_and_is_recorded() {
    let bed = Bed::new("observe");
    require(&bed, 7);
    let own = bed.app_folder("flyer-crawler-api");
    let ran = bed.pm2_with(&own, &["delete", "flyer-crawler-api"], &job("46", Some("6")));
    assert_eq!((ran.exit, bed.running().len()), (Some(0), 7), "{}", ran.text);
    let observed = |called: &palisade_core::record::Called| {
        called.ruling == Ruling::Observed && called.findings.iter().any(|f| f.code == Code::StaleWorkflow)
    };
    assert!(bed.calls().iter().any(|(_, called)| observed(called)), "{:?}", bed.calls());
}

#[test]
fn an_app_that_keeps_the_variables_of_an_old_job_is_no_job() {
    let bed = Bed::new("enforce");
    require(&bed, 7);
    let own = bed.app_folder("flyer-crawler-api");
    let pm2 = palisade_testkit::installed("7.0.4").unwrap().join("node_modules/pm2/bin/pm2");
    let said = bed.folder.join("hook.out");
    let script = format!(
        "unset PM2_DAEMON_RPC_PORT PM2_DAEMON_PUB_PORT; node {} restart flyer-crawler-worker >{} 2>&1; echo exit $? >>{}; \
         exec sleep 100000",
        pm2.display(),
        said.display(),
        said.display()
    );
    let mut env: std::collections::BTreeMap<&str, &str> = job("30", Some("5")).into_iter().collect();
    let home = bed.pm2.home().display().to_string();
    env.insert("PM2_HOME", &home);
    let app = serde_json::json!({
        "name": "flyer-crawler-hook", "script": "/bin/sh", "args": ["-c", script], "interpreter": "none",
        "cwd": own, "env": env,
    });
    bed.folder.write("hook.json", &serde_json::json!({ "apps": [app] }).to_string());
    bed.directly(&["start", &bed.folder.join("hook.json").display().to_string()]);
    let text = palisade_testkit::eventually("the app's own restart ends", || {
        let text = std::fs::read_to_string(&said).unwrap_or_default();
        text.contains("exit ").then_some(text)
    });
    assert!(text.contains("exit 0") && !text.contains("PAL-7"), "{text}");
}

#[test]
fn a_stale_job_in_a_container_with_the_socket_is_refused() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root, to make namespaces");
    let bed = Bed::new("enforce");
    require(&bed, 7);
    let before = bed.running();
    let script = "unshare --pid --fork --mount-proc node \"$PM2\" delete all; true";
    for (run, epoch, is_stale) in [("50", Some("6"), true), ("51", None, true), ("52", Some("7"), false)] {
        let ran = bed.script_with(&bed.nowhere(), script, &job(run, epoch));
        let told = ran.text.contains("PAL-701") || ran.text.contains("PAL-702");
        assert_eq!(told, is_stale, "{epoch:?}: {}", ran.text);
        assert!(ran.text.contains("PAL-401"), "from another mount namespace no folder counts: {}", ran.text);
        assert_eq!(bed.running(), before);
    }
}
