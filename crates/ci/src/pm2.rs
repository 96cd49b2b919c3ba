//! Dangerous shapes of PM2's command line.

use palisade_core::Code;

use crate::shell::{Variables, Word};

/// Options of PM2 that take a value.
const VALUED: [&str; 25] = [
    "-n",
    "--name",
    "-i",
    "--instances",
    "--env",
    "--only",
    "-c",
    "--cron",
    "--cron-restart",
    "--interpreter",
    "--namespace",
    "-o",
    "--output",
    "-e",
    "--error",
    "-l",
    "--log",
    "-u",
    "--user",
    "--cwd",
    "--parallel",
    "-p",
    "--max-memory-restart",
    "--kill-timeout",
    "--filter-env",
];

/// Commands that take processes down or restart them.
const TAKING: [&str; 9] =
    ["delete", "del", "stop", "restart", "reload", "gracefulReload", "softReload", "scale", "sendSignal"];

/// Commands that change nothing.
const READING: [&str; 22] = [
    "list",
    "ls",
    "l",
    "ps",
    "status",
    "jlist",
    "prettylist",
    "show",
    "describe",
    "info",
    "desc",
    "logs",
    "log",
    "monit",
    "imonit",
    "dash",
    "dashboard",
    "ping",
    "id",
    "pid",
    "env",
    "report",
];

/// What one command line of PM2 comes to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Whether it may change something.
    pub(crate) changes: bool,
    /// What is dangerous in it: code, message, fix.
    pub(crate) shapes: Vec<(Code, String, &'static str)>,
}

const BY_NAME: &str = "name the app's own processes, or use `palisade pm2 COMMAND --app A --environment E`";

/// Reads the arguments of `pm2`.
pub(crate) fn read(arguments: &[&Word], variables: &Variables) -> Seen {
    let (mut plain, mut namespace) = (Vec::new(), false);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let text = word.shown(variables);
        if text == "--" {
            break;
        }
        namespace |= text == "--namespace" || text.starts_with("--namespace=");
        if VALUED.contains(&text.as_str()) {
            words.next();
        } else if !text.starts_with('-') || text.len() == 1 {
            plain.push(text);
        }
    }
    let Some((command, rest)) = plain.split_first() else { return Seen::default() };
    let command = command.as_str();
    let mut seen = Seen { changes: !READING.contains(&command), shapes: Vec::new() };
    if matches!(command, "kill" | "update" | "updatePM2") {
        seen.shapes.push((
            Code::ScriptEndsDaemon,
            format!("`pm2 {command}` takes every app of the daemon down, those of others too"),
            "leave it out of deployments: an administrator does it with everybody's consent",
        ));
    }
    if namespace && (TAKING.contains(&command) || command == "save") {
        seen.shapes.push((
            Code::ScriptNamespace,
            format!(
                "`pm2 {command} --namespace` does not narrow: the option only counts when an app is started"
            ),
            BY_NAME,
        ));
    }
    if TAKING.contains(&command) {
        let targets = if command == "sendSignal" { rest.get(1..).unwrap_or_default() } else { rest };
        seen.shapes.extend(targets.iter().filter_map(|target| of_target(command, target)));
    }
    seen
}

fn of_target(command: &str, target: &str) -> Option<(Code, String, &'static str)> {
    match target {
        "all" => Some((
            Code::ScriptTakesAll,
            format!("`pm2 {command} all` takes every process of the daemon, those of other apps too"),
            BY_NAME,
        )),
        "default" => Some((
            Code::ScriptTakesAll,
            format!(
                "`pm2 {command} default` takes the namespace of every app that names none: in practice all"
            ),
            BY_NAME,
        )),
        target if target.len() > 2 && target.starts_with('/') && target.ends_with('/') => Some((
            Code::ScriptRegex,
            format!(
                "`pm2 {command} {target}` takes whatever matches, and a text between slashes is a regular expression"
            ),
            BY_NAME,
        )),
        _ => None,
    }
}
