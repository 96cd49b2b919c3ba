//! What of a file is a job, a step and a script.

use crate::yaml::{self, Node, Unreadable, Written};

/// Which language a workflow is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// GitHub, Gitea and Forgejo Actions.
    Actions,
    /// GitLab CI/CD.
    GitLab,
}

impl Dialect {
    /// The top-level key of a workflow's own variables.
    #[must_use]
    pub const fn variables_key(self) -> &'static str {
        match self {
            Self::Actions => "env",
            Self::GitLab => "variables",
        }
    }
}

/// The dialect that a file is in by its path; `None` if no forge would take it for a workflow.
#[must_use]
pub fn dialect_of(path: &str) -> Option<Dialect> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_yaml = name.ends_with(".yml") || name.ends_with(".yaml");
    let in_actions = [".github/workflows", ".gitea/workflows", ".forgejo/workflows"]
        .iter()
        .any(|known| folder == *known || folder.ends_with(&format!("/{known}")));
    let in_gitlab = name == ".gitlab-ci.yml" || name == ".gitlab-ci.yaml" || name.ends_with(".gitlab-ci.yml");
    match (is_yaml, in_actions, in_gitlab) {
        (true, true, _) => Some(Dialect::Actions),
        (true, false, true) => Some(Dialect::GitLab),
        (true | false, _, _) => None,
    }
}

/// The dialect by what a file holds, for one whose path says nothing.
#[must_use]
pub fn dialect_of_content(root: &Node) -> Option<Dialect> {
    if root.get("jobs").is_some() {
        return Some(Dialect::Actions);
    }
    let has_script = |(_, job): &(Node, Node)| job.get("script").is_some();
    root.entries().iter().any(has_script).then_some(Dialect::GitLab)
}

/// A file as a workflow.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// Its language.
    pub dialect: Dialect,
    /// The whole of it.
    pub root: Node,
}

/// Why a file is no workflow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no YAML.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// It is YAML, and neither dialect.
    #[error("it is no workflow: it has neither `jobs:` nor a job with `script:`")]
    NotAWorkflow,
}

/// Reads a workflow; `path` says the dialect where it can.
///
/// # Errors
/// It is no YAML or no workflow.
pub fn read(path: &str, text: &str) -> Result<Workflow, Error> {
    let root = yaml::parse(text)?.filter(|root| !root.entries().is_empty()).ok_or(Error::NotAWorkflow)?;
    let dialect = dialect_of(path).or_else(|| dialect_of_content(&root)).ok_or(Error::NotAWorkflow)?;
    if dialect == Dialect::Actions && root.get("jobs").is_none() {
        return Err(Error::NotAWorkflow);
    }
    Ok(Workflow { dialect, root })
}

/// A piece of shell in a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its text.
    pub text: String,
    /// The line of the file on which its first line stands.
    pub line: usize,
    /// Whether each of its lines stands on a line of its own in the file.
    pub keeps_lines: bool,
    /// Where it runs, below the checkout; `None` for its top.
    pub folder: Option<String>,
    /// The shell, where one is named.
    pub shell: Option<String>,
}

/// A reference to code of elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uses {
    /// What it says.
    pub what: String,
    /// On which line.
    pub line: usize,
    /// Whether it is a workflow and not an action.
    pub is_workflow: bool,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its key.
    pub id: String,
    /// Line of its key.
    pub line: usize,
    /// What it runs, in order.
    pub scripts: Vec<Script>,
    /// What it takes from elsewhere.
    pub uses: Vec<Uses>,
    /// Variables that are literals, those of the workflow included.
    pub variables: Vec<(String, String)>,
    /// Whether it waits for others of its kind.
    pub is_serial: bool,
}

impl Workflow {
    /// The `name:` of the workflow, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self.dialect {
            Dialect::Actions => self.root.get("name")?.text(),
            Dialect::GitLab => None,
        }
    }

    /// Its jobs, in the order of the file.
    #[must_use]
    pub fn jobs(&self) -> Vec<Job> {
        match self.dialect {
            Dialect::Actions => self.jobs_of_actions(),
            Dialect::GitLab => self.jobs_of_gitlab(),
        }
    }

    /// What the whole workflow takes from elsewhere.
    #[must_use]
    pub fn includes(&self) -> Vec<Uses> {
        let Some(include) = self.root.get("include").filter(|_| self.dialect == Dialect::GitLab) else {
            return Vec::new();
        };
        let one = std::slice::from_ref(include);
        let entries = if include.items().is_empty() { one } else { include.items() };
        entries.iter().filter_map(included).collect()
    }

    fn jobs_of_actions(&self) -> Vec<Job> {
        let serial = is_set(self.root.get("concurrency"));
        let outer = literals(self.root.get("env"));
        let jobs = self.root.get("jobs").map(Node::entries).unwrap_or_default();
        let defaults = default_of(&self.root);
        let job = |(key, node): &(Node, Node)| {
            let own = default_of(node);
            let folder = own.0.or_else(|| defaults.0.clone());
            let shell = own.1.or_else(|| defaults.1.clone());
            let steps = node.get("steps").map(Node::items).unwrap_or_default();
            let mut uses: Vec<Uses> = steps.iter().filter_map(|step| used(step, false)).collect();
            uses.extend(used(node, true));
            let mut variables = outer.clone();
            variables.extend(literals(node.get("env")));
            Job {
                id: key.text().unwrap_or_default().to_owned(),
                line: key.start.line,
                scripts: steps.iter().flat_map(|step| step_scripts(step, &folder, &shell)).collect(),
                uses,
                variables,
                is_serial: serial || is_set(node.get("concurrency")),
            }
        };
        jobs.iter().map(job).collect()
    }

    fn jobs_of_gitlab(&self) -> Vec<Job> {
        let outer = literals(self.root.get("variables"));
        let shared =
            |key: &str| self.root.get("default").and_then(|node| node.get(key)).or(self.root.get(key));
        let is_job = |(_, node): &&(Node, Node)| node.get("script").is_some() || node.get("run").is_some();
        let job = |(key, node): &(Node, Node)| {
            let mut scripts = Vec::new();
            for part in ["before_script", "script", "after_script"] {
                let own = node.get(part).or_else(|| shared(part));
                scripts.extend(own.into_iter().flat_map(lines_of));
            }
            let mut variables = outer.clone();
            variables.extend(literals(node.get("variables")));
            let is_serial = is_set(node.get("resource_group"));
            let id = key.text().unwrap_or_default().to_owned();
            Job { id, line: key.start.line, scripts, uses: Vec::new(), variables, is_serial }
        };
        self.root.entries().iter().filter(is_job).map(job).collect()
    }
}

fn is_set(node: Option<&Node>) -> bool {
    node.is_some_and(|node| !node.is_empty())
}

/// Working folder and shell of `defaults.run`.
fn default_of(node: &Node) -> (Option<String>, Option<String>) {
    let run = node.get("defaults").and_then(|defaults| defaults.get("run"));
    let text = |key: &str| run.and_then(|run| run.get(key)?.text()).map(str::to_owned);
    (text("working-directory"), text("shell"))
}

fn used(node: &Node, is_workflow: bool) -> Option<Uses> {
    let uses = node.get("uses")?;
    Some(Uses { what: uses.text()?.trim().to_owned(), line: uses.start.line, is_workflow })
}

fn included(node: &Node) -> Option<Uses> {
    let uses = |what: String| Some(Uses { what, line: node.start.line, is_workflow: true });
    if let Some(text) = node.text() {
        return if text.contains("://") { uses(text.to_owned()) } else { None };
    }
    if let Some(remote) = node.get("remote").and_then(Node::text) {
        return uses(remote.to_owned());
    }
    let project = node.get("project")?.text()?;
    let reference = node.get("ref").and_then(Node::text).unwrap_or("HEAD");
    uses(format!("{project}@{reference}"))
}

/// Inputs of actions that run what they are given, on this machine or over ssh. Letter case does not count.
const SCRIPT_INPUTS: [&str; 7] =
    ["script", "script_before", "script_after", "run", "command", "commands", "post_deploy_command"];

fn step_scripts(step: &Node, folder: &Option<String>, shell: &Option<String>) -> Vec<Script> {
    let text = |key: &str| step.get(key).and_then(Node::text).map(str::to_owned);
    if let Some(mut script) = step.get("run").and_then(script_of) {
        script.folder = text("working-directory").or_else(|| folder.clone());
        script.shell = text("shell").or_else(|| shell.clone());
        return vec![script];
    }
    let is_javascript = text("uses").is_some_and(|uses| uses.contains("/github-script@"));
    let inputs = step.get("with").map(Node::entries).unwrap_or_default();
    let is_script = |name: &Node| {
        name.text().is_some_and(|name| SCRIPT_INPUTS.contains(&name.to_ascii_lowercase().as_str()))
    };
    let given = inputs.iter().filter(|(name, _)| is_script(name)).filter_map(|(_, value)| script_of(value));
    given.map(|script| Script { shell: is_javascript.then(|| "node".to_owned()), ..script }).collect()
}

fn script_of(node: &Node) -> Option<Script> {
    let yaml::Value::Text(text, written) = &node.value else { return None };
    let keeps_lines = *written == Written::Literal;
    // The parser's place is that of the first line that is not empty.
    let empty = if keeps_lines { text.chars().take_while(|c| *c == '\n').count() } else { 0 };
    let line = node.start.line.saturating_sub(empty);
    Some(Script { text: text.clone(), line, keeps_lines, folder: None, shell: None })
}

/// Each line of a GitLab script is a script; lists may hold lists.
fn lines_of(node: &Node) -> Vec<Script> {
    match &node.value {
        yaml::Value::List(items) => items.iter().flat_map(lines_of).collect(),
        yaml::Value::Text(..) => script_of(node).into_iter().collect(),
        yaml::Value::Map(_) => Vec::new(),
    }
}

/// Variables whose values are texts without expressions.
fn literals(node: Option<&Node>) -> Vec<(String, String)> {
    let entries = node.map(Node::entries).unwrap_or_default();
    let literal = |(key, value): &(Node, Node)| {
        let value = value.text().or_else(|| value.get("value")?.text())?;
        Some((key.text()?.to_owned(), value.to_owned())).filter(|(_, value)| !value.contains("${{"))
    };
    entries.iter().filter_map(literal).collect()
}
