//! What every module here needs.

use std::path::Path;

use palisade_config::{HostPolicy, Problems, parse_host};
use palisade_core::actor::ProcessRef;
use palisade_core::process::{ExecMode, Pin, Status};
use palisade_core::snapshot::SnapshotId;
use palisade_core::{DaemonIdentity, Process, Snapshot, Timestamp};

/// The least file that is a policy.
pub(crate) const LEAST: &str = r#"revision = 1
[environments.production]
[environments.test]
suffix = "-test"
[[app]]
name = "flyer-crawler"
environment = "production"
processes = ["flyer-crawler-api", "flyer-crawler-worker"]
"#;

pub(crate) fn host(text: &str) -> HostPolicy {
    match parse_host(text, Path::new("/etc/palisade/palisade.toml")) {
        Ok(host) => host,
        Err(problems) => panic!("not accepted:\n{problems}\n---\n{text}"),
    }
}

pub(crate) fn problems(text: &str) -> Problems {
    match parse_host(text, Path::new("palisade.toml")) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(problems) => problems,
    }
}

/// The messages alone, in the order of the file.
pub(crate) fn messages(problems: &Problems) -> Vec<&str> {
    problems.list().iter().map(|problem| problem.message.as_str()).collect()
}

/// A daemon that runs processes of these names, in this order.
pub(crate) fn snapshot<'n>(names: impl IntoIterator<Item = &'n str>) -> Snapshot {
    let taken_at = Timestamp::from_unix_ms(1_771_323_180_123);
    let daemon = DaemonIdentity {
        process: ProcessRef { pid: 1, start_ticks: 1 },
        uid: 1000,
        boot_id: "boot".to_owned(),
        version: "7.0.4".to_owned(),
        home: "/home/deploy/.pm2".to_owned(),
        socket: "/home/deploy/.pm2/rpc.sock".to_owned(),
    };
    let processes = names.into_iter().zip(0..).map(|(name, pm_id)| process(name, pm_id)).collect();
    Snapshot { id: SnapshotId::new(taken_at, "op"), taken_at, daemon, processes, bundle: None }
}

fn process(name: &str, pm_id: u32) -> Process {
    let pin = Pin { pm_id, name: name.to_owned(), unique_id: format!("u{pm_id}"), process: None };
    Process {
        pin,
        status: Status::Online,
        namespace: "default".to_owned(),
        exec_mode: ExecMode::Fork,
        watch: false,
        module: false,
        restarts: 0,
        cwd: None,
        script: None,
        environment: [].into(),
        environment_names: [].into(),
    }
}
