//! What a caller of another user is shown of the environments of apps: their names, and no value. Pure.
//!
//! PM2 gives the whole environment of every app to whoever asks for the list or listens on the bus, and twice:
//! nested under `env`, and flattened beside it. A caller that may write the daemon's dump gets it whole, for `pm2
//! save` writes what it got; another user's caller has no use for the values.

use serde_json::Value;

/// What stands in a value's place.
pub const REDACTED: &str = "[redacted by Palisade]";

/// PM2's own settings of a process. Whatever else stands beside them was flattened from an environment; in the events
/// of the bus nothing but the name tells the two apart (measured on 7.0.4), so what is not listed is hidden.
const OWN: [&str; 73] = [
    "_pm2_version",
    "_tree_pids",
    "args",
    "automation",
    "autorestart",
    "autostart",
    "axm_actions",
    "axm_dynamic",
    "axm_monitor",
    "axm_options",
    "combine_logs",
    "created_at",
    "cron_restart",
    "cwd",
    "exec_interpreter",
    "exec_mode",
    "exit_code",
    "exp_backoff_restart_delay",
    "filter_env",
    "gid",
    "ignore_watch",
    "increment_var",
    "instance_var",
    "instances",
    "interpreter",
    "kill_retry_time",
    "kill_timeout",
    "km_link",
    "listen_timeout",
    "log_date_format",
    "log_type",
    "max_memory_restart",
    "max_restarts",
    "merge_logs",
    "min_uptime",
    "name",
    "namespace",
    "node_args",
    "node_version",
    "pid",
    "pm_cwd",
    "pm_err_log_path",
    "pm_exec_path",
    "pm_id",
    "pm_log_path",
    "pm_out_log_path",
    "pm_pid_path",
    "pm_uptime",
    "pmx",
    "pmx_module",
    "prev_restart_delay",
    "restart_delay",
    "restart_time",
    "rev",
    "script",
    "shutdown_with_message",
    "source_map_support",
    "status",
    "stop_exit_codes",
    "time",
    "treekill",
    "uid",
    "unique_id",
    "unstable_restarts",
    "user",
    "username",
    "version",
    "vizion",
    "vizion_running",
    "wait_ready",
    "watch",
    "watch_delay",
    "windowsHide",
];

/// The JSON with every environment's values left out. `None` if it is no JSON: then nothing of it may be shown.
#[must_use]
pub fn redacted(json: &str) -> Option<String> {
    let mut value: Value = serde_json::from_str(json).ok()?;
    redact(&mut value);
    serde_json::to_string(&value).ok()
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let is_a_process = fields.contains_key("pm_id") && fields.contains_key("pm_exec_path");
            if is_a_process {
                let is_own = |name: &str| OWN.contains(&name) || name == "env";
                hide(fields.iter_mut().filter(|(name, _)| !is_own(name)).map(|(_, value)| value));
            }
            if let Some(Value::Object(environment)) = fields.get_mut("env") {
                hide(environment.values_mut());
            }
            fields.iter_mut().filter(|(name, _)| *name != "env").for_each(|(_, value)| redact(value));
        }
        Value::Array(values) => values.iter_mut().for_each(redact),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Objects and lists too: an ecosystem file may nest what it likes.
fn hide<'a>(values: impl Iterator<Item = &'a mut Value>) {
    values.for_each(|value| *value = Value::from(REDACTED));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_stay_and_no_value_does_wherever_an_environment_stands() {
        let environment =
            json!({ "DATABASE_URL": "hunter2", "name": "hunter2", "nested": { "a": ["hunter2"] } });
        let settings = json!({
            "name": "api", "pm_id": 3, "status": "online", "pm_cwd": "/srv/api", "pm_exec_path": "/srv/api/a.js",
            "DATABASE_URL": "hunter2", "nested": { "a": ["hunter2"] }, "env": environment,
        });
        let list = json!([{ "name": "api", "monit": { "memory": 1 }, "pm2_env": settings }]);
        let mut flat = settings.clone();
        flat.as_object_mut().unwrap().remove("env");
        let event = json!({ "event": "online", "at": 1, "process": flat });
        let reply = json!({ "args": [list] });
        for whole in [list, event, reply] {
            let text = redacted(&whole.to_string()).unwrap();
            assert!(!text.contains("hunter2"), "{text}");
            assert!(text.contains("DATABASE_URL") && text.contains("\"name\":\"api\""), "{text}");
            assert!(text.contains("\"pm_id\":3") && text.contains("/srv/api"), "{text}");
        }
        assert_eq!(redacted("{"), None);
        let plain = r#"{"args":[{"msg":"pong"}]}"#;
        assert_eq!(redacted(plain).as_deref(), Some(plain));
    }
}
