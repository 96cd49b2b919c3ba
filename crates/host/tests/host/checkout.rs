use std::fs;
use std::path::Path;

use palisade_host::checkout::{Head, head, top_of};
use tempfile::TempDir;

const ONE: &str = "1111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222";

/// A checkout whose `.git` has these files.
pub(crate) fn checkout(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        write(folder.path(), path, text);
    }
    folder
}

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn at(commit: Option<&str>, branch: Option<&str>) -> Option<Head> {
    Some(Head { commit: commit.map(str::to_owned), branch: branch.map(str::to_owned) })
}

#[test]
fn a_branch_is_read_from_its_own_file_before_the_packed_ones() {
    let packed = format!("# pack-refs with: peeled\n{TWO} refs/heads/main\n^{ONE}\n{ONE} refs/tags/v1\n");
    let loose = checkout(&[
        (".git/HEAD", "ref: refs/heads/main\n"),
        (".git/refs/heads/main", &format!("{ONE}\n")),
        (".git/packed-refs", &packed),
    ]);
    assert_eq!(head(loose.path()), at(Some(ONE), Some("main")));
    let only_packed = checkout(&[(".git/HEAD", "ref: refs/heads/main\n"), (".git/packed-refs", &packed)]);
    assert_eq!(head(only_packed.path()), at(Some(TWO), Some("main")));
}

#[test]
fn a_branch_name_may_have_slashes() {
    let folder = checkout(&[
        (".git/HEAD", "ref: refs/heads/fix/a/b\n"),
        (".git/refs/heads/fix/a/b", &format!("{ONE}\n")),
    ]);
    assert_eq!(head(folder.path()), at(Some(ONE), Some("fix/a/b")));
}

#[test]
fn a_detached_head_has_a_commit_and_no_branch() {
    let long = "3".repeat(64);
    for commit in [ONE, &long] {
        let folder = checkout(&[(".git/HEAD", &format!("{commit}\n"))]);
        assert_eq!(head(folder.path()), at(Some(commit), None));
    }
}

#[test]
fn a_branch_before_its_first_commit_has_no_commit() {
    let folder = checkout(&[(".git/HEAD", "ref: refs/heads/main\n")]);
    assert_eq!(head(folder.path()), at(None, Some("main")));
}

#[test]
fn a_worktree_has_its_own_head_and_shares_the_branches() {
    let main = checkout(&[
        (".git/HEAD", "ref: refs/heads/main\n"),
        (".git/refs/heads/main", ONE),
        (".git/refs/heads/side", TWO),
        (".git/worktrees/side/HEAD", "ref: refs/heads/side\n"),
        (".git/worktrees/side/commondir", "../..\n"),
    ]);
    let own = main.path().join(".git/worktrees/side");
    let side = checkout(&[(".git", &format!("gitdir: {}\n", own.display()))]);
    assert_eq!(head(side.path()), at(Some(TWO), Some("side")));
}

#[test]
fn a_submodule_is_found_through_a_relative_git_file() {
    let folder = checkout(&[
        (".git/modules/lib/HEAD", &format!("{TWO}\n")),
        ("lib/.git", "gitdir: ../.git/modules/lib\n"),
        ("lib/src/main.c", ""),
    ]);
    let top = top_of(&folder.path().join("lib/src")).unwrap();
    assert_eq!(top, folder.path().join("lib"));
    assert_eq!(head(&top), at(Some(TWO), None));
}

#[test]
fn a_symbolic_branch_is_followed_but_not_for_ever() {
    let folder = checkout(&[
        (".git/HEAD", "ref: refs/heads/alias\n"),
        (".git/refs/heads/alias", "ref: refs/heads/main\n"),
        (".git/refs/heads/main", ONE),
    ]);
    assert_eq!(head(folder.path()), at(Some(ONE), Some("alias")));
    write(folder.path(), ".git/refs/heads/main", "ref: refs/heads/alias\n");
    assert_eq!(head(folder.path()), at(None, Some("alias")));
}

#[test]
fn a_head_that_leads_out_of_the_git_folder_or_says_nothing_is_no_answer() {
    for text in [
        "ref: ../../etc/passwd\n",
        "ref: /etc/passwd\n",
        "ref: refs/../../x\n",
        "ref: refs/heads/.invalid\n",
        "",
    ] {
        let folder = checkout(&[(".git/HEAD", text), ("x", ONE)]);
        assert_eq!(head(folder.path()), None, "{text:?}");
    }
    let junk = checkout(&[(".git/HEAD", "hello\n")]);
    assert_eq!(head(junk.path()), at(None, None));
    let pointless = checkout(&[(".git", "nowhere\n")]);
    assert_eq!(head(pointless.path()), None);
}

#[test]
fn the_top_is_the_nearest_folder_with_git() {
    let folder = checkout(&[(".git/HEAD", ONE), ("a/b/c", "")]);
    assert_eq!(top_of(&folder.path().join("a/b")).as_deref(), Some(folder.path()));
    assert_eq!(top_of(folder.path()).as_deref(), Some(folder.path()));
    assert_eq!(top_of(Path::new("/proc/self")), None);
}

#[test]
fn what_git_itself_writes_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
        let output = command.current_dir(folder.path()).args(identity).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "--quiet", "--initial-branch=trunk"]);
    assert_eq!(head(folder.path()), at(None, Some("trunk")));
    git(&["commit", "--quiet", "--allow-empty", "--message=one"]);
    let commit = git(&["rev-parse", "HEAD"]);
    assert_eq!(head(folder.path()), at(Some(&commit), Some("trunk")));
    git(&["pack-refs", "--all"]);
    assert_eq!(head(folder.path()), at(Some(&commit), Some("trunk")));
    git(&["worktree", "add", "--quiet", "-b", "side", "side"]);
    assert_eq!(head(&folder.path().join("side")), at(Some(&commit), Some("side")));
    git(&["checkout", "--quiet", "--detach"]);
    assert_eq!(head(folder.path()), at(Some(&commit), None));
}

#[test]
fn the_repository_is_read_from_the_address_of_origin() {
    let folder = checkout(&[]);
    let config = "[core]\n\turl = no\n[remote \"other\"]\n\turl = no\n[remote \"origin\"]\n\tfetch = x\n\turl = https://h/a/b.git\n[x]\n\turl = no\n";
    std::fs::create_dir_all(folder.path().join(".git")).unwrap();
    std::fs::write(folder.path().join(".git/config"), config).unwrap();
    assert_eq!(palisade_host::checkout::origin(folder.path()).as_deref(), Some("https://h/a/b.git"));
    for (address, repository) in [
        ("https://git.example/acme/shop.git", Some("acme/shop")),
        ("https://user:word@git.example/acme/shop/", Some("acme/shop")),
        ("ssh://git@git.example:22/acme/shop.git", Some("acme/shop")),
        ("git@git.example:group/sub/shop.git", Some("group/sub/shop")),
        ("file:///srv/git/acme/shop.git", Some("srv/git/acme/shop")),
        ("https://git.example/shop", None),
        ("../shop", None),
        ("", None),
    ] {
        assert_eq!(palisade_host::checkout::repository_of(address).as_deref(), repository, "{address}");
    }
}
