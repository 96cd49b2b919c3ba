use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

use palisade_host::files::{self, Error};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The rule that `result` was refused by.
fn rule<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    match result.unwrap_err() {
        Error::Unsafe { rule, fix, path } => {
            assert!(!fix.is_empty() && path.is_absolute());
            rule
        }
        other => panic!("not refused for safety: {other:?}"),
    }
}

/// Whether files can be given away here: only root can.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_written_file_is_whole_has_its_mode_and_leaves_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshot.json");
    for (bytes, wanted) in [(&b"one"[..], 0o600), (&b"longer than before"[..], 0o644), (&b""[..], 0o400)] {
        files::write_atomic(&path, bytes, wanted).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(mode(&path), wanted);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_reader_sees_the_old_file_or_the_new_one_and_nothing_between() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record");
    let (old, new) = (vec![b'o'; 100_000], vec![b'n'; 70_000]);
    files::write_atomic(&path, &old, 0o600).unwrap();
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            for bytes in [&new, &old].into_iter().cycle().take(40) {
                files::write_atomic(&path, bytes, 0o600).unwrap();
            }
        });
        while !writer.is_finished() {
            let seen = files::read_bounded(&path, 1_000_000).unwrap();
            assert!(seen == old || seen == new, "{} bytes", seen.len());
        }
        writer.join().unwrap();
    });
}

#[test]
fn a_link_in_the_place_of_a_file_is_replaced_and_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (victim, path) = (folder.path().join("victim"), folder.path().join("record"));
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, &path).unwrap();
    files::write_atomic(&path, b"new", 0o600).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
}

#[test]
fn a_write_that_fails_leaves_the_old_state_and_no_temporary_file() {
    let folder = tempfile::tempdir().unwrap();
    let occupied = folder.path().join("folder");
    fs::create_dir(&occupied).unwrap();
    let error = files::write_atomic(&occupied, b"x", 0o600).unwrap_err();
    assert!(error.to_string().starts_with("cannot rename "), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let absent = files::write_atomic(&folder.path().join("absent/file"), b"x", 0o600).unwrap_err();
    assert!(absent.is_not_found(), "{absent:?}");
    assert_eq!(rule(files::write_atomic(Path::new("/"), b"x", 0o600)), "has no file name");
}

#[test]
fn a_file_over_the_limit_is_not_read_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big");
    fs::write(&path, [b'x'; 100]).unwrap();
    assert_eq!(files::read_bounded(&path, 100).unwrap().len(), 100);
    assert!(matches!(files::read_bounded(&path, 99), Err(Error::TooLarge { max_bytes: 99, .. })));
    assert!(files::read_bounded(&folder.path().join("absent"), 9).unwrap_err().is_not_found());
}

#[test]
fn reading_a_pipe_a_folder_or_a_device_is_refused_and_does_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap();
    assert!(made.success());
    for path in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
        assert_eq!(rule(files::read_bounded(path, 9)), "is not a regular file", "{path:?}");
    }
    assert_eq!(rule(files::open_private(&pipe)), "is not a regular file");
}

#[test]
fn a_private_folder_is_made_with_its_parents_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/palisade");
    files::private_folder(&path).unwrap();
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o700, 0o700));
    files::private_folder(&path).unwrap();
    set_mode(&path, 0o755);
    files::private_folder(&path).unwrap();
}

#[test]
fn a_folder_that_others_can_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    fs::create_dir(&path).unwrap();
    for loose in [0o770, 0o720, 0o702, 0o777, 0o1777] {
        set_mode(&path, loose);
        assert_eq!(rule(files::private_folder(&path)), "is writable by its group or by others", "{loose:o}");
    }
}

#[test]
fn a_link_or_a_file_in_the_place_of_a_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    assert_eq!(rule(files::private_folder(&link)), "is a symbolic link");
    let dangling = folder.path().join("dangling");
    symlink(folder.path().join("nowhere"), &dangling).unwrap();
    assert_eq!(rule(files::private_folder(&dangling)), "is a symbolic link");
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(rule(files::private_folder(&file)), "is not a folder");
}

#[test]
fn a_folder_that_anybody_could_swap_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let parent = folder.path().join("open");
    fs::create_dir(&parent).unwrap();
    set_mode(&parent, 0o777);
    assert_eq!(rule(files::private_folder(&parent.join("state"))), "is writable by everybody");
    set_mode(&parent, 0o1777);
    files::private_folder(&parent.join("state")).unwrap();
}

#[test]
fn what_belongs_to_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (state, key) = (folder.path().join("state"), folder.path().join("key"));
    files::private_folder(&state).unwrap();
    files::write_atomic(&key, b"k", 0o600).unwrap();
    for path in [&state, &key] {
        chown(path, Some(65_534), None).unwrap();
    }
    assert_eq!(rule(files::private_folder(&state)), "belongs to another user");
    assert_eq!(rule(files::open_private(&key)), "belongs to another user");
    assert_eq!(rule(files::open_or_create_private(&key)), "belongs to another user");
}

#[test]
fn only_modes_0600_and_0400_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    files::write_atomic(&path, b"k", 0o600).unwrap();
    for (bits, private) in
        [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false), (0o700, false)]
    {
        set_mode(&path, bits);
        match files::open_private(&path) {
            Ok(_) => assert!(private, "{bits:o} was opened"),
            refused => {
                assert!(!private, "{bits:o} was refused");
                assert_eq!(rule(refused), "is open to others than its owner");
            }
        }
    }
}

#[test]
fn a_private_file_is_never_opened_or_made_through_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    symlink(&real, &link).unwrap();
    assert_eq!(rule(files::open_or_create_private(&link)), "is a symbolic link");
    assert!(!real.exists());
    drop(files::open_or_create_private(&real).unwrap());
    assert_eq!(mode(&real), 0o600);
    assert_eq!(rule(files::open_private(&link)), "is a symbolic link");
    assert!(files::open_private(&folder.path().join("absent")).unwrap_err().is_not_found());
}

#[test]
fn an_error_names_path_rule_and_fix_and_does_not_repeat_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    files::write_atomic(&path, b"k", 0o644).unwrap();
    let shown = files::open_private(&path).unwrap_err().to_string();
    for part in [path.to_str().unwrap(), "is open to others than its owner", "chmod 0600"] {
        assert!(shown.contains(part), "{shown}");
    }
    let absent = files::open_private(&folder.path().join("absent")).unwrap_err();
    assert!(!absent.to_string().contains("os error"), "{absent}");
    assert!(std::error::Error::source(&absent).is_some());
}
