//! What can be wrong with a file before a word of it is read.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use palisade_config::{Error, MAX_BYTES, expect_environment, load, load_project};
use palisade_core::{Code, EnvironmentName};

use crate::support::LEAST;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

#[test]
fn a_good_file_is_read() {
    let folder = Folder::new();
    for mode in [0o644, 0o600, 0o444] {
        let path = folder.file(&format!("{mode:o}.toml"), LEAST, mode);
        assert_eq!(load(&path).unwrap().path(), path);
    }
}

#[test]
fn a_missing_file_is_answered_with_init() {
    let error = load("/nonexistent/palisade.toml".as_ref()).unwrap_err();
    assert_eq!(error.code(), Code::PolicyMissing);
    assert_eq!(error.to_string(), "no policy at /nonexistent/palisade.toml");
    let fix = "run `palisade init`: it drafts /nonexistent/palisade.toml from what the daemon runs";
    assert_eq!(error.fix().as_deref(), Some(fix));
}

#[test]
fn an_environment_is_one_of_the_policys_or_of_this_processs_and_any_where_there_is_no_policy() {
    let (folder, absent) = (Folder::new(), PathBuf::from("/nonexistent/palisade.toml"));
    let path = folder.file("palisade.toml", LEAST, 0o644);
    let production = EnvironmentName::new("production").unwrap();
    let mistyped = EnvironmentName::new("prodution").unwrap();
    expect_environment(&path, None, &production).unwrap();
    expect_environment(&path, Some("prodution"), &mistyped).unwrap();
    expect_environment(&absent, None, &mistyped).unwrap();
    // What is there and cannot be read is no absence.
    for (name, leads_to) in [("dangling", "nowhere"), ("circle", "circle")] {
        let path = folder.0.path().join(name);
        symlink(folder.0.path().join(leads_to), &path).unwrap();
        assert!(expect_environment(&path, None, &mistyped).is_err(), "{name}");
    }
    let error = expect_environment(&path, Some("test"), &mistyped).unwrap_err();
    assert_eq!(error.code(), Code::UnknownScope);
    assert_eq!(error.to_string(), "the policy has no environment prodution (did you mean production?)");
    assert!(error.fix().unwrap().contains("or add [environments.prodution] to "), "{:?}", error.fix());
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    let folder = Folder::new();
    for mode in [0o664, 0o646, 0o666, 0o620] {
        let path = folder.file("palisade.toml", LEAST, mode);
        let error = load(&path).unwrap_err();
        assert_eq!(error.code(), Code::PolicyInvalid);
        let expected =
            format!("{} may be written by others than its owner (mode {mode:03o})", path.display());
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.fix(), Some(format!("run: chmod go-w {}", path.display())));
    }
}

#[test]
fn a_folder_is_not_a_file() {
    let folder = Folder::new();
    let error = load(folder.0.path()).unwrap_err();
    assert!(matches!(error, Error::NotAFile { .. }), "{error:?}");
    assert!(error.fix().is_some());
}

#[test]
fn a_file_of_more_than_a_mebibyte_is_refused() {
    let folder = Folder::new();
    let comment = |bytes: u64| format!("#{}", "x".repeat(usize::try_from(bytes).unwrap() - 1));
    let fits = folder.file("fits", &comment(MAX_BYTES), 0o644);
    assert!(matches!(load(&fits).unwrap_err(), Error::Invalid(_)));
    let large = folder.file("large", &comment(MAX_BYTES + 1), 0o644);
    let error = load(&large).unwrap_err();
    assert_eq!(error.to_string(), format!("{} has more than 1048576 bytes", large.display()));
}

#[test]
fn bytes_that_are_no_text_are_unreadable_and_name_the_path() {
    let folder = Folder::new();
    let path = folder.0.path().join("binary");
    fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = load(&path).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read the policy {}", path.display()));
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn problems_of_the_content_come_through_with_the_path() {
    let folder = Folder::new();
    let path = folder.file("palisade.toml", "revision = 0", 0o644);
    let error = load(&path).unwrap_err();
    assert_eq!(error.code(), Code::PolicyInvalid);
    assert!(error.to_string().contains(&format!("--> {}:1:12", path.display())), "{error}");
    assert_eq!(error.fix(), None);
}

#[test]
fn the_host_file_found_as_a_project_file_changes_nothing() {
    let folder = Folder::new();
    let path = folder.file("palisade.toml", LEAST, 0o644);
    let link = folder.0.path().join("link.toml");
    symlink(&path, &link).unwrap();
    let host = load(&path).unwrap();
    assert_eq!(load_project(host.clone(), &path).unwrap(), host);
    assert_eq!(load_project(host.clone(), &link).unwrap(), host);
}

#[test]
fn a_project_file_may_be_writable_for_it_can_only_narrow() {
    let folder = Folder::new();
    let host = load(&folder.file("host.toml", LEAST, 0o644)).unwrap();
    let narrower = folder.file("palisade.toml", "[limits]\nall_above = 1\n", 0o666);
    assert_eq!(load_project(host.clone(), &narrower).unwrap().policy().limits.all_above, 1);
    let wider = folder.file("palisade.toml", "[limits]\nall_above = 9\n", 0o666);
    assert_eq!(load_project(host, &wider).unwrap_err().code(), Code::PolicyWidened);
}
