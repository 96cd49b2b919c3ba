//! The keys of each section, with an example of each.

/// One key that a section takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    /// A line that would be accepted, for help texts.
    pub(crate) example: &'static str,
}

const fn spec(name: &'static str, example: &'static str) -> Spec {
    Spec { name, example }
}

/// The top of the file.
pub(crate) const TOP: &[Spec] = &[
    spec("revision", "revision = 1"),
    spec("environments", "[environments.production]"),
    spec("app", "[[app]]"),
    spec("protected", "protected = [\"pm2-logrotate\"]"),
    spec("limits", "[limits]"),
    spec("notify", "[notify]"),
];

/// `[environments.NAME]`.
pub(crate) const ENVIRONMENT: &[Spec] =
    &[spec("suffix", "suffix = \"-test\""), spec("mode", "mode = \"enforce\"")];

/// `[[app]]`.
pub(crate) const APP: &[Spec] = &[
    spec("name", "name = \"flyer-crawler\""),
    spec("environment", "environment = \"production\""),
    spec("processes", "processes = [\"flyer-crawler-api\"]"),
    spec("confirm", "confirm = [\"delete\"]"),
    spec("mode", "mode = \"enforce\""),
    spec("folder", "folder = \"/srv/flyer-crawler\""),
    spec("namespace", "namespace = \"flyer-crawler-prod\""),
    spec("deployers", "deployers = [{ uid = 1001 }]"),
];

/// One entry of `deployers`.
pub(crate) const DEPLOYER: &[Spec] = &[
    spec("uid", "uid = 1001"),
    spec("gid", "gid = 1001"),
    spec("cgroup", "cgroup = \"/system.slice/runner.service\""),
    spec("socket", "socket = \"/run/palisade/flyer-crawler.sock\""),
    spec("repository", "repository = \"torbo/flyer-crawler\""),
    spec("workflow", "workflow = \"deploy.yml\""),
    spec("branch", "branch = \"main\""),
    spec("folder", "folder = \"/srv/flyer-crawler\""),
    spec("unit", "unit = \"runner.service\""),
];

/// `[limits]`.
pub(crate) const LIMITS: &[Spec] = &[
    spec("all_above", "all_above = 3"),
    spec("share", "share = 0.8"),
    spec("budget", "budget = 5"),
    spec("job_budget", "job_budget = 1000"),
    spec("window", "window = \"10m\""),
];

/// `[notify]`.
pub(crate) const NOTIFY: &[Spec] = &[
    spec("command", "command = [\"/usr/local/bin/tell-us\"]"),
    spec("webhook", "webhook = \"https://alerts.example.org/palisade\""),
    spec("webhook_file", "webhook_file = \"/etc/palisade/webhook\""),
    spec("signing_key_file", "signing_key_file = \"/etc/palisade/webhook.key\""),
    spec("ca_file", "ca_file = \"/etc/palisade/ca.pem\""),
    spec("about", "about = [\"refused\", \"bypass\", \"gap\", \"fault\"]"),
    spec("window", "window = \"1m\""),
];
