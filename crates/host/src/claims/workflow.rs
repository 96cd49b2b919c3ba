//! The workflow's file in the checkout. What runs may be another version of it: the digest is a clue, not a proof.

use std::path::{Component, Path, PathBuf};

use palisade_core::canonical::sha256_hex;

use crate::files;

/// Where forges keep workflows, in the order in which they are looked for.
const FOLDERS: [&str; 3] = [".forgejo/workflows", ".gitea/workflows", ".github/workflows"];
/// Most files that are looked at in one folder.
const MAX_FILES: usize = 200;
/// Largest workflow that is read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The path in `OWNER/NAME/PATH@REF`, if it stays inside the checkout and belongs to `repository`.
pub(super) fn file_of_reference(reference: &str, repository: Option<&str>) -> Option<String> {
    // A ref may hold an '@' and a path hardly does.
    let (path, _) = reference.split_once('@')?;
    let mut parts = path.splitn(3, '/');
    let named = format!("{}/{}", parts.next()?, parts.next()?);
    let file = parts.next()?;
    let ours = repository.is_none_or(|repository| repository.eq_ignore_ascii_case(&named));
    (ours && is_inside(file)).then(|| file.to_owned())
}

/// The one file that a workflow of this name comes from: its path, its file name or its `name:` is `workflow`.
/// The first folder with a match decides; two matches in it are no answer.
pub(super) fn find(top: &Path, workflow: &str) -> Option<String> {
    let mut folders = FOLDERS.iter().map(|folder| matches_in(top, folder, workflow));
    match folders.find(|found| !found.is_empty())?.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    }
}

/// SHA-256 of the file in hex.
pub(super) fn digest(top: &Path, file: &str) -> Option<String> {
    if !is_inside(file) {
        return None;
    }
    files::read_bounded(&top.join(file), MAX_FILE_BYTES).ok().map(|bytes| sha256_hex(&bytes))
}

fn matches_in(top: &Path, folder: &str, workflow: &str) -> Vec<String> {
    let Ok(entries) = top.join(folder).read_dir() else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_workflow(name)).take(MAX_FILES).collect();
    names.sort_unstable();
    let path = |name: &String| format!("{folder}/{name}");
    names
        .iter()
        .filter(|name| {
            *name == workflow || path(name) == workflow || is_called(&top.join(path(name)), workflow)
        })
        .map(path)
        .collect()
}

fn is_workflow(name: &str) -> bool {
    let extension = PathBuf::from(name);
    extension.extension().is_some_and(|extension| extension == "yml" || extension == "yaml")
}

fn is_called(file: &Path, workflow: &str) -> bool {
    files::read_bounded(file, MAX_FILE_BYTES)
        .is_ok_and(|bytes| name_of(&String::from_utf8_lossy(&bytes)).is_some_and(|name| name == workflow))
}

/// The value of the top-level key `name`. Workflow names are plain or quoted scalars on one line, so no YAML parser
/// is needed; a name in another form is not found, which is said in `missing`.
fn name_of(text: &str) -> Option<&str> {
    let value =
        text.trim_start_matches('\u{feff}').lines().find_map(|line| line.strip_prefix("name:"))?.trim();
    for quote in ['"', '\''] {
        if let Some(quoted) = value.strip_prefix(quote) {
            return quoted.split_once(quote).map(|(name, _)| name);
        }
    }
    Some(value.split_once(" #").map_or(value, |(name, _)| name.trim_end()))
}

fn is_inside(file: &str) -> bool {
    !file.is_empty() && Path::new(file).components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_plain_quoted_and_with_a_remark() {
        for (text, name) in [
            ("name: Deploy\non: push\n", Some("Deploy")),
            ("# first\nname: Deploy to production  # careful\n", Some("Deploy to production")),
            ("on: push\nname: \"Deploy: all # really\" # x\n", Some("Deploy: all # really")),
            ("\u{feff}name: 'Deploy'\r\n", Some("Deploy")),
            ("name: a#b\n", Some("a#b")),
            ("jobs:\n  a:\n    name: Inner\n", None),
            ("", None),
        ] {
            assert_eq!(name_of(text), name, "{text:?}");
        }
    }

    #[test]
    fn the_path_in_a_reference_must_stay_inside_its_repository() {
        let path = |reference| file_of_reference(reference, Some("octo/Site"));
        assert_eq!(
            path("octo/site/.github/workflows/a.yml@refs/heads/x@y"),
            Some(".github/workflows/a.yml".into())
        );
        for bad in [
            "",
            "octo/site",
            "octo/site/a.yml",
            "octo/site/@refs/heads/main",
            "octo/site/../../etc/passwd@refs/heads/main",
            "octo/site//etc/passwd@refs/heads/main",
            "other/repo/.github/workflows/a.yml@refs/heads/main",
        ] {
            assert_eq!(path(bad), None, "{bad:?}");
        }
    }
}
