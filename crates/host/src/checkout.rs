//! What a checkout says of itself: its top folder, commit and branch, read from `.git` without running git.
//!
//! Reading files runs no hook, no filter and no alias of a checkout that somebody else wrote.

use std::path::{Component, Path, PathBuf};

use crate::files;

/// Most folders that are climbed from the working folder to the top.
const MAX_CLIMB: usize = 64;
/// Most symbolic references that are followed one after another; git itself stops at 5.
const MAX_SYMBOLIC: usize = 5;
const MAX_REF_BYTES: u64 = 4096;
const MAX_CONFIG_BYTES: u64 = 1024 * 1024;
const MAX_PACKED_BYTES: u64 = 32 * 1024 * 1024;

/// Where a checkout stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Commit in hex, 40 or 64 digits. `None` before the first commit, or in a repository of another storage form.
    pub commit: Option<String>,
    /// Branch without `refs/heads/`. `None` when detached.
    pub branch: Option<String>,
}

/// The nearest folder from `folder` upwards that has a `.git` folder or file.
#[must_use]
pub fn top_of(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().take(MAX_CLIMB).find(|folder| folder.join(".git").exists()).map(Path::to_owned)
}

/// Where the checkout at `top` stands; `None` if its `.git` cannot be read.
#[must_use]
pub fn head(top: &Path) -> Option<Head> {
    let own = git_folder(top)?;
    let common = common_folder(&own);
    let mut target = line(&own.join("HEAD"))?;
    let mut branch = None;
    for _ in 0..MAX_SYMBOLIC {
        let Some(name) = target.strip_prefix("ref:").map(|name| name.trim().to_owned()) else { break };
        if !is_ref_name(&name) {
            return None;
        }
        branch = branch.or_else(|| name.strip_prefix("refs/heads/").map(str::to_owned));
        let found =
            line(&own.join(&name)).or_else(|| line(&common.join(&name))).or_else(|| packed(&common, &name));
        let Some(next) = found else { return Some(Head { commit: None, branch }) };
        target = next;
    }
    Some(Head { commit: is_commit(&target).then_some(target), branch })
}

/// Where the checkout at `top` was cloned from: the address of its remote `origin`, which may hold credentials.
#[must_use]
pub fn origin(top: &Path) -> Option<String> {
    let own = git_folder(top)?;
    let bytes = files::read_bounded(&common_folder(&own).join("config"), MAX_CONFIG_BYTES).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut lines = text.lines().map(str::trim).skip_while(|line| *line != "[remote \"origin\"]").skip(1);
    let own = lines.by_ref().take_while(|line| !line.starts_with('['));
    let mut values = own.filter_map(|line| line.strip_prefix("url")?.trim_start().strip_prefix('='));
    values.next().map(|value| value.trim().to_owned())
}

/// The repository as forges write it, `OWNER/NAME`, from an address: its last two parts, or on GitLab all of them.
#[must_use]
pub fn repository_of(address: &str) -> Option<String> {
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => address.split_once(':')?.1,
    };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let parts = path.split('/').filter(|part| !part.is_empty()).count();
    (parts >= 2 && !path.contains(char::is_whitespace)).then(|| path.to_owned())
}

/// `.git` itself, or the folder that a `.git` file names: worktrees and submodules have one.
fn git_folder(top: &Path) -> Option<PathBuf> {
    let git = top.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let named = line(&git)?;
    Some(top.join(named.strip_prefix("gitdir:")?.trim()))
}

/// Where branches live: a worktree shares them with its main checkout.
fn common_folder(own: &Path) -> PathBuf {
    line(&own.join("commondir")).map_or_else(|| own.to_owned(), |named| own.join(named))
}

fn packed(common: &Path, name: &str) -> Option<String> {
    let bytes = files::read_bounded(&common.join("packed-refs"), MAX_PACKED_BYTES).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let found = text.lines().find_map(|line| line.split_once(' ').filter(|(_, listed)| *listed == name))?;
    Some(found.0.to_owned())
}

fn line(path: &Path) -> Option<String> {
    let bytes = files::read_bounded(path, MAX_REF_BYTES).ok()?;
    String::from_utf8(bytes).ok()?.lines().next().map(|line| line.trim().to_owned())
}

/// A name that stays below the git folder. `.invalid` stands in HEAD where references are stored in another form.
fn is_ref_name(name: &str) -> bool {
    let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    name.starts_with("refs/") && inside && !name.ends_with("/.invalid")
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
