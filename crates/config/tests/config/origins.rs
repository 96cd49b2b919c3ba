//! Where each value comes from.

use std::path::Path;

use palisade_config::{HostPolicy, narrow};

use crate::support::{LEAST, host};

/// Every row on a line of its own.
fn shown(host: &HostPolicy) -> String {
    let rows = host.origins();
    let lines = rows.iter().map(|row| {
        format!("{} = {} [{}; default {}] {}", row.key, row.value, row.unit, row.default, row.origin)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_value_of_the_least_file_is_there_with_unit_default_and_origin() {
    let expected = "\
revision = 1 [number; default none, must be set] /etc/palisade/palisade.toml:1
environments.production.suffix = none [end of names; default none] default
environments.production.mode = observe [mode; default observe] default
environments.test.suffix = -test [end of names; default none] /etc/palisade/palisade.toml:4
environments.test.mode = observe [mode; default observe] default
limits.all_above = 3 [processes; default 3] default
limits.share = 0.8 [share of the daemon's processes; default 0.8] default
limits.budget = as many as the largest scope has [processes per caller and window; default as many as the largest scope has] default
limits.job_budget = 1000 [jobs per caller and window; default 1000] default
limits.window = 10m [duration; default 10m] default
protected = none [process names; default none] default
notify.command = none [program and arguments; default none] default
notify.webhook = none [address; default none] default
notify.webhook_file = none [file; default none] default
notify.signing_key_file = none [file; default none] default
notify.ca_file = those of the system [file; default those of the system] default
notify.about = refused, bypass, gap, fault [kinds of notices; default refused, bypass, gap, fault] default
notify.window = 1m [duration; default 1m] default
app.flyer-crawler/production.processes = flyer-crawler-api [process names; default none, must be set] /etc/palisade/palisade.toml:8
app.flyer-crawler/production.processes = flyer-crawler-worker [process names; default none, must be set] /etc/palisade/palisade.toml:8
app.flyer-crawler/production.confirm = none [operations; default none] default
app.flyer-crawler/production.mode = observe [mode; default observe, as the environment] default
app.flyer-crawler/production.folder = none [folders; default those of its processes] default
app.flyer-crawler/production.namespace = none [PM2 namespace; default none] default
app.flyer-crawler/production.deployers = none [callers; default whoever may connect] default";
    assert_eq!(shown(&host(LEAST)), expected);
}

#[test]
fn a_project_file_is_the_origin_of_what_it_narrowed_and_of_nothing_else() {
    let project = "\
revision = 1
protected = [\"db\"]
[limits]
share = 0.5
all_above = 3
[environments.production]
mode = \"enforce\"
[[app]]
name = \"flyer-crawler\"
environment = \"production\"
processes = [\"flyer-crawler-api\"]
confirm = [\"delete\"]
";
    let narrowed = narrow(host(LEAST), project, Path::new("/srv/palisade.toml")).unwrap();
    let rows = shown(&narrowed);
    let changed: Vec<&str> = rows.lines().filter(|line| line.contains(" project ")).collect();
    let expected = [
        "environments.production.mode = enforce [mode; default observe] project /srv/palisade.toml:7",
        "limits.share = 0.5 [share of the daemon's processes; default 0.8] project /srv/palisade.toml:4",
        "protected = db [process names; default none] project /srv/palisade.toml:2",
        "app.flyer-crawler/production.confirm = delete [operations; default none] project /srv/palisade.toml:12",
        // It has the environment's mode, so it has that from there.
        "app.flyer-crawler/production.mode = enforce [mode; default enforce, as the environment] project /srv/palisade.toml:7",
    ];
    assert_eq!(changed, expected);
    assert!(!rows.contains("flyer-crawler-worker"), "what is left out is no value any more");
}

#[test]
fn rows_are_data_for_programs_too() {
    let rows = serde_json::to_value(host(LEAST).origins()).unwrap();
    let expected = serde_json::json!({
        "key": "revision", "value": "1", "unit": "number", "default": "none, must be set",
        "origin": { "from": "host", "path": "/etc/palisade/palisade.toml", "line": 1 },
    });
    assert_eq!(rows[0], expected);
    assert_eq!(rows[1]["origin"], serde_json::json!({ "from": "default" }));
}
