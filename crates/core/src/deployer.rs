//! Who deploys an app, as the policy names it, and whether a caller is one of them. Pure.
//!
//! A deployer is named by *facts*, which the kernel vouches for (user, group, control group, socket), and by
//! *evidence*, which the caller's surroundings say (repository, workflow, branch, folder, unit). Within one entry
//! everything has to hold; of several entries one is enough. Facts are a boundary. Evidence picks one of the apps
//! within it, and adds none.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::actor::Claimed;

/// An absolute folder that can belong to one app: not `/`, not everybody's home, without `.` and `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Folder(String);

/// Why a text is no folder of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FolderError {
    /// It depends on where one stands.
    #[error("a folder must be an absolute path")]
    Relative,
    /// Everything lies in it.
    #[error("everything lies in `/`, so it says nothing about an app")]
    Root,
    /// A user's home, or where homes are.
    #[error("a home belongs to its user and not to an app: name the app's own folder in it")]
    Home,
    /// The path can mean another one.
    #[error("a folder is written without `.`, `..` and control characters")]
    NotPlain,
}

impl Folder {
    /// Checks a folder. A trailing `/` is left out.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn new(text: &str) -> Result<Self, FolderError> {
        let path = Path::new(text);
        if !path.is_absolute() {
            return Err(FolderError::Relative);
        }
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::RootDir => {}
                Component::Normal(name) => names.push(name),
                Component::CurDir | Component::ParentDir | Component::Prefix(_) => {
                    return Err(FolderError::NotPlain);
                }
            }
        }
        // `components` swallows a `.` in the middle, which would make two texts one folder.
        if text.chars().any(char::is_control) || text.contains("/./") || text.ends_with("/.") {
            return Err(FolderError::NotPlain);
        }
        let first = names.first().and_then(|name| name.to_str());
        match (first, names.len()) {
            (None, 0) => Err(FolderError::Root),
            (Some("root" | "home" | "Users"), 1) | (Some("home" | "Users"), 2) => Err(FolderError::Home),
            _ => Ok(Self(Path::new("/").join(names.iter().collect::<PathBuf>()).display().to_string())),
        }
    }

    /// The folder as a path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// The folder as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for Folder {
    type Error = FolderError;
    fn try_from(text: String) -> Result<Self, FolderError> {
        Self::new(&text)
    }
}

impl From<Folder> for String {
    fn from(folder: Folder) -> Self {
        folder.0
    }
}

/// A PM2 namespace that belongs to one scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(String);

/// Why a text is no namespace of one scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NamespaceError {
    /// Nothing was written.
    #[error("a namespace must not be empty")]
    Empty,
    /// PM2 puts every process there that names none.
    #[error("`default` is where PM2 puts everything that names no namespace, so it can be nobody's own")]
    Default,
    /// PM2's word for everything.
    #[error("`all` is PM2's word for every process")]
    All,
    /// PM2 would read it as something else on its command line.
    #[error("a namespace may hold letters, digits, '.', '_' and '-' only")]
    NotPlain,
}

impl Namespace {
    /// Checks a namespace.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn new(text: &str) -> Result<Self, NamespaceError> {
        match text {
            "" => Err(NamespaceError::Empty),
            "default" => Err(NamespaceError::Default),
            "all" => Err(NamespaceError::All),
            _ if text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(NamespaceError::NotPlain),
        }
    }

    /// The namespace as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for Namespace {
    type Error = NamespaceError;
    fn try_from(text: String) -> Result<Self, NamespaceError> {
        Self::new(&text)
    }
}

impl From<Namespace> for String {
    fn from(namespace: Namespace) -> Self {
        namespace.0
    }
}

/// One entry of an app's `deployers`. At least one field is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deployer {
    /// Effective user id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Effective group id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Control group that the caller is in, or below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Path of the public socket that the caller came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// Repository of the CI run, `owner/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Workflow of the CI run: its name, its file or its file's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// Branch or tag of the CI run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// A folder that the caller works in, or has its script in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<Folder>,
    /// A systemd unit that the caller runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// What is known of a caller, for [`Deployer::fits`].
#[derive(Debug, Clone, Copy)]
pub struct CallerFacts<'a> {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Control group path, where readable.
    pub cgroup: Option<&'a str>,
    /// The socket that it came through.
    pub socket: Option<&'a str>,
    /// What its surroundings say.
    pub claimed: &'a Claimed,
    /// Working folders and scripts that count.
    pub places: &'a [PathBuf],
}

impl Deployer {
    /// Whether it names anything that a caller's surroundings say.
    #[must_use]
    pub const fn names_evidence(&self) -> bool {
        self.repository.is_some()
            || self.workflow.is_some()
            || self.branch.is_some()
            || self.folder.is_some()
            || self.unit.is_some()
    }

    /// Whether everything that it names holds for the caller.
    #[must_use]
    pub fn fits(&self, caller: CallerFacts<'_>) -> bool {
        self.facts_fit(caller) && self.evidence_fits(caller)
    }

    /// Whether the facts that it names hold.
    #[must_use]
    pub fn facts_fit(&self, caller: CallerFacts<'_>) -> bool {
        let in_group =
            |group: &String| caller.cgroup.is_some_and(|own| Path::new(own).starts_with(Path::new(group)));
        self.uid.is_none_or(|uid| uid == caller.uid)
            && self.gid.is_none_or(|gid| gid == caller.gid)
            && self.cgroup.as_ref().is_none_or(in_group)
            && self.socket.as_ref().is_none_or(|socket| caller.socket == Some(socket))
    }

    fn evidence_fits(&self, caller: CallerFacts<'_>) -> bool {
        let claimed = caller.claimed;
        let workflow = |named: &String| {
            let file = claimed.workflow_file.as_deref();
            let file_name = file.and_then(|file| Path::new(file).file_name()?.to_str());
            [claimed.workflow.as_deref(), file, file_name].contains(&Some(named))
        };
        let in_unit = |unit: &String| {
            let mut parts = caller.cgroup.into_iter().flat_map(|group| group.split('/'));
            parts.any(|part| part == unit)
        };
        let works_in =
            |folder: &Folder| caller.places.iter().any(|place| place.starts_with(folder.as_path()));
        let repository = claimed.repository.as_deref();
        self.repository
            .as_ref()
            .is_none_or(|named| repository.is_some_and(|own| own.eq_ignore_ascii_case(named)))
            && self.workflow.as_ref().is_none_or(workflow)
            && self.branch.as_ref().is_none_or(|branch| claimed.branch.as_ref() == Some(branch))
            && self.folder.as_ref().is_none_or(works_in)
            && self.unit.as_ref().is_none_or(in_unit)
    }
}

impl fmt::Display for Deployer {
    /// As a policy file writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |name: &str, value: Option<u32>| value.map(|value| format!("{name} = {value}"));
        let text = |name: &str, value: Option<&str>| value.map(|value| format!("{name} = {value:?}"));
        let parts = [
            number("uid", self.uid),
            number("gid", self.gid),
            text("cgroup", self.cgroup.as_deref()),
            text("socket", self.socket.as_deref()),
            text("repository", self.repository.as_deref()),
            text("workflow", self.workflow.as_deref()),
            text("branch", self.branch.as_deref()),
            text("folder", self.folder.as_ref().map(Folder::as_str)),
            text("unit", self.unit.as_deref()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.pad(&format!("{{ {} }}", parts.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_everybodys_is_refused() {
        let cases = [
            ("srv/shop", Err(FolderError::Relative)),
            ("/", Err(FolderError::Root)),
            ("//", Err(FolderError::Root)),
            ("/home", Err(FolderError::Home)),
            ("/home/deploy/", Err(FolderError::Home)),
            ("/root", Err(FolderError::Home)),
            ("/srv/../etc", Err(FolderError::NotPlain)),
            ("/srv/./shop", Err(FolderError::NotPlain)),
            ("/srv/shop\n", Err(FolderError::NotPlain)),
            ("/srv/shop/", Ok("/srv/shop")),
            ("/home/deploy/shop", Ok("/home/deploy/shop")),
        ];
        for (text, expected) in cases {
            let folder = Folder::new(text);
            assert_eq!(folder.as_ref().map(Folder::as_str), expected.as_ref().copied(), "{text:?}");
        }
    }

    #[test]
    fn a_namespace_that_is_everybodys_is_refused() {
        for bad in ["", "default", "all", "/x/", "a b"] {
            assert!(Namespace::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Namespace::new("shop-prod").unwrap().as_str(), "shop-prod");
    }

    fn fits(deployer: &Deployer, change: impl FnOnce(&mut Claimed)) -> bool {
        let mut claimed = Claimed {
            repository: Some("Octo/shop".to_owned()),
            workflow: Some("Deploy".to_owned()),
            workflow_file: Some(".github/workflows/deploy.yml".to_owned()),
            branch: Some("main".to_owned()),
            ..Claimed::default()
        };
        change(&mut claimed);
        let places = [PathBuf::from("/srv/shop/current")];
        let cgroup = Some("/system.slice/runner.service/job");
        let socket = Some("/run/shop.sock");
        deployer.fits(CallerFacts { uid: 7, gid: 8, cgroup, socket, claimed: &claimed, places: &places })
    }

    #[test]
    fn everything_that_an_entry_names_has_to_hold() {
        let text = |text: &str| Some(text.to_owned());
        let whole = Deployer {
            uid: Some(7),
            gid: Some(8),
            cgroup: text("/system.slice/runner.service"),
            socket: text("/run/shop.sock"),
            repository: text("octo/shop"),
            workflow: text("deploy.yml"),
            branch: text("main"),
            folder: Some(Folder::new("/srv/shop").unwrap()),
            unit: text("runner.service"),
        };
        assert!(fits(&whole, |_| {}));
        assert!(!fits(&whole, |claimed| claimed.branch = None));
        assert!(!fits(&whole, |claimed| claimed.repository = text("octo/blog")));
        let changes: [fn(&mut Deployer); 9] = [
            |entry| entry.uid = Some(0),
            |entry| entry.gid = Some(0),
            |entry| entry.cgroup = Some("/system.slice/run".to_owned()),
            |entry| entry.socket = Some("/run/blog.sock".to_owned()),
            |entry| entry.repository = Some("octo/blog".to_owned()),
            |entry| entry.workflow = Some("other.yml".to_owned()),
            |entry| entry.branch = Some("dev".to_owned()),
            |entry| entry.folder = Some(Folder::new("/srv/sho").unwrap()),
            |entry| entry.unit = Some("blog.service".to_owned()),
        ];
        for change in changes {
            let mut other = whole.clone();
            change(&mut other);
            assert!(!fits(&other, |_| {}), "{other}");
        }
        for workflow in ["Deploy", ".github/workflows/deploy.yml"] {
            assert!(
                fits(&Deployer { workflow: text(workflow), ..Deployer::default() }, |_| {}),
                "{workflow}"
            );
        }
    }

    #[test]
    fn an_entry_is_shown_as_a_policy_writes_it() {
        let entry = Deployer { uid: Some(7), branch: Some("main".to_owned()), ..Deployer::default() };
        assert_eq!(entry.to_string(), "{ uid = 7, branch = \"main\" }");
    }
}
