//! The checkout around the working folder: its workflows, and which repository it is of.

use std::path::{Path, PathBuf};

use palisade_core::Exit;
use palisade_host::{checkout, files};

use crate::failure::Failure;
use crate::session::Session;

/// The largest file of a checkout that is read.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 20;
/// Where forges keep workflows.
const FOLDERS: [&str; 3] = [".forgejo/workflows", ".gitea/workflows", ".github/workflows"];
/// Files of GitLab's dialect at the top.
const TOP_FILES: [&str; 2] = [".gitlab-ci.yml", ".gitlab-ci.yaml"];

/// The top folder of the checkout around the working folder.
pub(super) fn top() -> Option<PathBuf> {
    checkout::top_of(&std::env::current_dir().ok()?)
}

/// Paths of all workflows below `top`, in order.
pub(super) fn workflows(top: &Path) -> Vec<PathBuf> {
    let in_folder = |folder: &&str| -> Vec<PathBuf> {
        let entries = top.join(folder).read_dir().into_iter().flatten();
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        paths.retain(|path| {
            path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml")
        });
        paths
    };
    let at_top = TOP_FILES.iter().map(|file| top.join(file)).filter(|path| path.is_file());
    FOLDERS.iter().flat_map(in_folder).chain(at_top).collect()
}

/// The text of a file.
pub(super) fn text(path: &Path) -> Result<String, Failure> {
    let bytes = files::read_bounded(path, MAX_FILE_BYTES)?;
    String::from_utf8(bytes).map_err(|_| {
        Failure::new(Exit::Failure, format!("{} is not UTF-8", path.display()))
            .hint("workflows are UTF-8 text")
    })
}

/// The path as the checkout's files name it: below `top`, with `/`.
pub(super) fn shown(top: Option<&Path>, path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let top = top.and_then(|top| top.canonicalize().ok());
    let below = top.and_then(|top| whole.strip_prefix(top).ok().map(Path::to_owned));
    below.unwrap_or_else(|| path.to_owned()).to_string_lossy().into_owned()
}

/// The repository: as given, else as the CI job claims, else that of the remote `origin`.
pub(super) fn repository(
    session: &Session,
    given: Option<&str>,
    top: Option<&Path>,
) -> Result<String, Failure> {
    let claimed = || session.actor().ok().and_then(|actor| actor.claimed.repository);
    let origin = || checkout::repository_of(&checkout::origin(top?)?);
    let repository = given.map(str::to_owned).or_else(claimed).or_else(origin).unwrap_or_default();
    let repository = repository.trim();
    if repository.split('/').count() < 2 || repository.split('/').any(str::is_empty) {
        return Err(Failure::usage(format!("{repository:?} is no repository: it is written OWNER/NAME"))
            .hint("add --repository OWNER/NAME, as the forge writes it, without its address"));
    }
    Ok(repository.to_owned())
}
