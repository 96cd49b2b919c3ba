//! The five layers, deleting three of eight: beside the daemon's own floor and the ADR's sequence.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use palisade_testkit::{App, Pm2};

use crate::Outcome;
use crate::commands::Commands;
use crate::raw;
use crate::report::{Section, Target};
use crate::rounds::{Plan, timed};
use crate::stats::Ratio;

/// What is deleted: flyer-crawler's production.
const THREE: [&str; 3] = ["flyer-crawler-api", "flyer-crawler-worker", "flyer-crawler-analytics-worker"];
const DELETE: [&str; 6] = ["pm2", "delete", "--app", "flyer-crawler", "--environment", "production"];
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/adr.mjs");

pub(super) fn three_of_eight(plan: &Plan, commands: &Commands, pm2: &Pm2) -> Outcome<Section> {
    let workflow = workflow(commands)?;
    let socket = pm2.rpc_socket();
    let series = plan.take_turns(
        plan.rounds(11),
        "ms",
        &mut [
            ("`palisade pm2 delete`, five layers", &mut || {
                ready(pm2)?;
                commands.palisade(&DELETE)
            }),
            ("floor: three bare deletes side by side", &mut || {
                let calls = ready(pm2)?;
                Ok(timed(|| raw::exchange(&socket, &calls))?.0)
            }),
            ("ADR-061's sequence by `pm2`", &mut || {
                ready(pm2)?;
                sequence(commands, &workflow)
            }),
        ],
    )?;
    let (floor, adr) = (Ratio::of(&series[0], &series[1]), Ratio::of(&series[2], &series[0]));
    let (over_floor, faster) = (floor.of_medians, adr.of_medians);
    Ok(Section {
        title: "Five layers, deleting 3 of 8",
        note: "Ours is the whole process: metadata, lease, durable snapshot and bundle, judgement, durable intent, \
               three deletes side by side, verification, durable outcome. The floor is one connection and three \
               `deleteProcessId` at once, inside the measuring process. The sequence is `bench/adr.mjs`: one Node \
               process that hashes the workflow file and runs `pm2 jlist`, `pm2 delete` three times and `pm2 jlist`. \
               Between the rounds the three are started again, which is not timed."
            .to_owned(),
        series,
        ratios: vec![floor, adr],
        targets: vec![
            Target::at_most("five layers, 3 of 8, within 1.25 of the daemon's floor", over_floor, 1.25, "x"),
            Target::at_least("five layers at least 8 times faster than the ADR's sequence", faster, 8.0, "x"),
        ],
    })
}

/// Starts what is missing of the three of eight, and gives the calls that delete them.
pub(super) fn ready(pm2: &Pm2) -> Outcome<Vec<(&'static str, serde_json::Value)>> {
    let there = raw::processes(&pm2.rpc_socket())?;
    let missing: Vec<App> = THREE
        .iter()
        .filter(|name| !there.iter().any(|(there, ..)| there == *name))
        .map(|name| App::sleep(name).env("NODE_ENV", "production").env("DATABASE_URL", "postgres://db/x"))
        .collect();
    if !missing.is_empty() {
        pm2.start_apps(&missing);
    }
    let there = raw::processes(&pm2.rpc_socket())?;
    if there.len() != 8 {
        return Err(format!("expected eight processes, found {}", there.len()).into());
    }
    let owned = there.iter().filter(|(name, ..)| THREE.contains(&name.as_str()));
    Ok(owned.map(|(_, pm_id, _)| ("deleteProcessId", serde_json::json!(pm_id))).collect())
}

fn sequence(commands: &Commands, workflow: &Path) -> Outcome<f64> {
    let fixed = [
        OsStr::new(SCRIPT),
        commands.pm2_path().as_os_str(),
        workflow.as_os_str(),
        commands.folder().as_os_str(),
    ];
    commands.node(fixed.into_iter().chain(THREE.iter().map(OsStr::new)))
}

/// A workflow file, for the sequence to hash.
fn workflow(commands: &Commands) -> Outcome<PathBuf> {
    let path = commands.folder().join("deploy.yml");
    std::fs::write(&path, "jobs:\n  deploy:\n    steps:\n      - run: node adr.mjs\n".repeat(40))?;
    Ok(path)
}
