//! The head of a branch, asked of a remote with `git ls-remote`. No repository's own configuration is read.

use std::process::Stdio;
use std::time::Duration;

use palisade_ci::admit::Head;
use palisade_host::environment::Environment;
use tokio::process::Command;

/// How long a remote may take: the hook stands before every job.
const PATIENCE: Duration = Duration::from_secs(10);
/// What git may need to reach a remote, and nothing that could turn it elsewhere.
const HANDED_ON: [&str; 9] = [
    "PATH",
    "HOME",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSH_AUTH_SOCK",
];

/// The address of the job's repository, as its forge says it.
pub(super) fn address(environment: &Environment, repository: Option<&str>) -> Option<String> {
    if let Some(address) = environment.text("CI_PROJECT_URL") {
        return Some(address);
    }
    let names = ["FORGEJO_SERVER_URL", "GITHUB_SERVER_URL"];
    let server = names.iter().find_map(|name| environment.text(name))?;
    Some(format!("{}/{}", server.trim_end_matches('/'), repository?))
}

/// The commit that `branch` stands at over there.
pub(super) async fn head(environment: &Environment, address: &str, branch: &str) -> Head {
    let unknown = |why: String| Head::Unknown(why);
    let mut command = Command::new("git");
    // Prompts would hang the job, and other transports of git run programs.
    command.args(["ls-remote", "--exit-code", "--", address, &format!("refs/heads/{branch}")]);
    command.env_clear().current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ASKPASS", "true").env("SSH_ASKPASS", "true");
    command.env("GIT_ALLOW_PROTOCOL", "file:http:https:ssh:git");
    command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=5");
    for name in HANDED_ON {
        if let Some(value) = environment.get(name) {
            command.env(name, value);
        }
    }
    let said = match tokio::time::timeout(PATIENCE, command.output()).await {
        Err(_) => return unknown(format!("the remote did not answer within {} s", PATIENCE.as_secs())),
        Ok(Err(error)) => return unknown(format!("git cannot be run: {error}")),
        Ok(Ok(said)) => said,
    };
    match said.status.code() {
        Some(0) => {}
        Some(2) => return unknown("the remote has no branch of that name; a tag is none".to_owned()),
        // git's own words may hold an address with credentials.
        Some(_) | None => return unknown("the remote cannot be read; give one with --remote".to_owned()),
    }
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let commit = text.split_whitespace().next().unwrap_or_default();
    let is_commit = matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_commit {
        Head::Is(commit.to_owned())
    } else {
        unknown("the remote's answer is no commit".to_owned())
    }
}
