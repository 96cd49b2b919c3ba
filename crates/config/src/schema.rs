//! The JSON Schema of a host file, for editors.

use palisade_core::Operation;
use palisade_core::policy::Limits;
use serde_json::{Value, json};

use crate::origin;
use crate::written::{MAX_REVISION, OPERATIONS};

/// The JSON Schema (draft 2020-12) of a host's policy.
///
/// It knows every key and type. Rules between values, such as two owners of one process, are checked by
/// [`crate::parse_host`] only.
#[must_use]
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Palisade host policy",
        "description": "Who owns which process of a host, and how far one operation may reach.",
        "type": "object",
        "additionalProperties": false,
        "required": ["revision"],
        "properties": {
            "revision": {
                "description": "Grows with every change; Palisade refuses a policy older than the last it saw.",
                "type": "integer", "minimum": 1, "maximum": MAX_REVISION,
            },
            "environments": {
                "description": "The environments, by name.",
                "type": "object",
                "propertyNames": { "pattern": NAME },
                "additionalProperties": environment(),
            },
            "app": {
                "description": "One entry per app and environment.",
                "type": "array",
                "items": app(),
            },
            "protected": patterns("Names that no operation may take down, whoever asks.", 0),
            "limits": limits(),
            "notify": crate::notify::schema(),
        },
    })
}

const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";
/// An absolute path that is neither `/` nor a home nor where homes are.
const FOLDER: &str = "^/(?!(root|home|Users)/*$)(?!(home|Users)/[^/]+/*$)[^/]";
const NAMESPACE: &str = "^(?!(default|all)$)[A-Za-z0-9._-]+$";
const SUFFIX: &str = "^(-[A-Za-z0-9._]+)+$";
/// Words between hyphens, each without a star or a star alone, and one of them no star.
const PATTERN: &str = r"^(?!(\*-)*\*$)([^*-]*|\*)(-([^*-]*|\*))*$";

fn environment() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "suffix": {
                "description": "What every process name of this environment ends with.",
                "type": "string", "pattern": SUFFIX,
            },
            "mode": mode("What guards do with findings."),
        },
    })
}

fn app() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "environment", "processes"],
        "properties": {
            "name": { "description": "The app.", "type": "string", "pattern": NAME },
            "environment": {
                "description": "One of the environments of this file.",
                "type": "string", "pattern": NAME,
            },
            "processes": patterns("The process names that it owns; `*` stands for whole words.", 1),
            "confirm": {
                "description": "Operations for which a person has to type --confirm=APP.",
                "type": "array",
                "items": { "enum": OPERATIONS.map(Operation::as_str) },
            },
            "mode": mode("Overrides the environment's mode."),
            "folder": {
                "description": "Folders that are its own besides those that its processes run in.",
                "oneOf": [folder(), { "type": "array", "minItems": 1, "uniqueItems": true, "items": folder() }],
            },
            "namespace": {
                "description": "The PM2 namespace that is its own; calls do not cross it.",
                "type": "string", "pattern": NAMESPACE,
            },
            "deployers": {
                "description": "Who deploys it; whoever may connect if unset. One entry has to fit in all it names.",
                "type": "array", "minItems": 1, "items": deployer(),
            },
        },
    })
}

fn folder() -> Value {
    json!({ "type": "string", "pattern": FOLDER })
}

fn deployer() -> Value {
    let number =
        |what: &str| json!({ "description": what, "type": "integer", "minimum": 0, "maximum": u32::MAX - 1 });
    let text = |what: &str| json!({ "description": what, "type": "string", "minLength": 1 });
    let path = |what: &str| json!({ "description": what, "type": "string", "pattern": "^/." });
    json!({
        "type": "object",
        "additionalProperties": false,
        "minProperties": 1,
        "properties": {
            "uid": number("Effective user id: a fact."),
            "gid": number("Effective group id: a fact."),
            "cgroup": path("Control group that the caller is in or below: a fact."),
            "socket": path("Public socket that the caller came through: a fact."),
            "repository": text("Repository of the CI run, owner/name: evidence."),
            "workflow": text("Workflow of the CI run, by name or file: evidence."),
            "branch": text("Branch or tag of the CI run: evidence."),
            "folder": folder(),
            "unit": text("systemd unit that the caller runs in: evidence."),
        },
    })
}

fn limits() -> Value {
    let defaults = Limits::default();
    json!({
        "description": "How far one operation, and one caller in a window, may reach.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "all_above": {
                "description": "With more processes than this, an operation may not take all of them.",
                "type": "integer", "minimum": 0, "maximum": u32::MAX, "default": defaults.all_above,
            },
            "share": {
                "description": "With more than all_above processes, the largest share for one operation.",
                "type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.001,
                "default": f64::from(defaults.share_per_mille) / 1000.0,
            },
            "budget": {
                "description": "Processes that one caller may take down within the window.",
                "type": "integer", "minimum": 1, "maximum": u32::MAX,
            },
            "job_budget": {
                "description": "Jobs that one caller may change by hand within the window.",
                "type": "integer", "minimum": 1, "maximum": u32::MAX, "default": Limits::JOBS,
            },
            "window": {
                "description": "Width of the budgets' window, such as 10m or 1h 30m.",
                "type": "string", "default": origin::window_text(&defaults),
            },
        },
    })
}

fn mode(description: &str) -> Value {
    json!({ "description": description, "enum": ["observe", "enforce"] })
}

fn patterns(description: &str, least: usize) -> Value {
    json!({
        "description": description,
        "type": "array",
        "minItems": least,
        "uniqueItems": true,
        "items": { "type": "string", "minLength": 1, "pattern": PATTERN },
    })
}
