//! Disks that are full or fail, and memory that there is no more of.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use palisade_testkit::scratch::random_hex;
use palisade_testkit::{eventually, process};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use serde_json::json;

use crate::bed::{Bed, ask, call};
use crate::holder::{holder, judge, next_judge};

/// Runs a program of the system, as root, and gives what it says.
#[track_caller]
fn ran(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "run this as root: {program} {words:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A small file system of its own for the state; it goes with the test.
struct Small(PathBuf);

impl Small {
    /// Mounting takes root.
    fn at(folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        ran("mount", &["-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", folder.to_str().unwrap()]);
        Self(folder)
    }

    /// Takes every byte that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).output());
    }
}

#[test]
fn with_a_full_disk_nothing_is_taken_down_in_enforce_until_there_is_room() {
    let mut bed = Bed::without_firewall("enforce");
    let small = Small::at(bed.folder.join("state"));
    bed.start_firewall();
    let (before, own) = (bed.running(), bed.app_folder("flyer-crawler-api"));
    assert_eq!(bed.pm2_in(&own, &["restart", "flyer-crawler-api"]).exit, Some(0), "it has a journal");
    let filler = small.fill();
    // A refusal needs no room, nor does a list, nor a restart of one's own.
    let ran = bed.pm2_in(&bed.nowhere(), &["delete", "all"]);
    assert_eq!(ran.exit, Some(1), "{}", ran.text);
    let mut text = String::new();
    for _ in 0..20 {
        // Palisade has set some room aside; in the end that is used too.
        let ran = bed.pm2_in(&own, &["stop", "flyer-crawler-api"]);
        text = ran.text;
        if text.contains("PAL-802") {
            break;
        }
        drop(
            std::fs::OpenOptions::new().append(true).open(&filler).map(
                |mut file| {
                    while file.write_all(&[0]).is_ok() {}
                },
            ),
        );
    }
    assert!(text.contains("PAL-802"), "{text}");
    assert_eq!(bed.pm2_in(&own, &["list"]).exit, Some(0));
    let ran = bed.pm2_in(&own, &["restart", "flyer-crawler-api"]);
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
    let ran = bed.pm2_in(&own, &["delete", "flyer-crawler-api"]);
    assert!(ran.exit == Some(1) && ran.text.contains("PAL-802"), "{}", ran.text);
    assert_eq!(bed.running().len(), before.len());

    std::fs::remove_file(filler).unwrap();
    let ran = bed.pm2_in(&own, &["delete", "flyer-crawler-api"]);
    assert_eq!((ran.exit, bed.running().len()), (Some(0), 7), "{}", ran.text);
}

/// A file system on a disk that fails from a moment on: a loop device over a file in memory, which is then sealed, so that
/// the kernel itself answers what is written with EIO.
struct Failing {
    folder: PathBuf,
    device: String,
    memory: OwnedFd,
}

impl Failing {
    fn at(folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        let memory = memfd_create("palisade-disk", MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&memory, 32 << 20).unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
        // Without a journal of its own it does not go read-only: each write gets its own error.
        ran("mkfs.ext4", &["-q", "-F", "-b", "1024", "-O", "^has_journal", "-E", "nodiscard", &path]);
        let device = ran("losetup", &["--find", "--show", &path]);
        ran("mount", &["-o", "errors=continue", &device, folder.to_str().unwrap()]);
        Self { folder, device, memory }
    }

    fn fail(&self) {
        fcntl_add_seals(&self.memory, SealFlags::WRITE).unwrap();
        let file = File::create(self.folder.join("probe")).unwrap();
        let error = (&file).write_all(b"x").and_then(|()| file.sync_all()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5), "the disk has to fail with EIO: {error}");
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.folder).output());
        drop(Command::new("losetup").args(["--detach", &self.device]).output());
    }
}

#[test]
fn with_a_failing_disk_nothing_is_taken_down_in_enforce_and_observe_passes_all() {
    let mut bed = Bed::without_firewall("enforce");
    let disk = Failing::at(bed.folder.join("state"));
    bed.start_firewall();
    let own = bed.app_folder("flyer-crawler-api");
    assert_eq!(bed.pm2_in(&own, &["restart", "flyer-crawler-api"]).exit, Some(0), "it has a journal");
    disk.fail();
    let barred = |bed: &Bed, codes: &[&str]| {
        let ran = bed.pm2_in(&own, &["stop", "flyer-crawler-api"]);
        assert!(ran.exit == Some(1) && codes.iter().any(|code| ran.text.contains(code)), "{}", ran.text);
        assert_eq!(bed.running().len(), 8);
    };
    barred(&bed, &["PAL-802"]);
    let stale = bed.pm2_in(&bed.nowhere(), &["delete", "all"]);
    assert!(stale.exit == Some(1) && stale.text.contains("PAL-401"), "{}", stale.text);
    assert_eq!(bed.pm2_in(&own, &["list"]).exit, Some(0));
    let ran = bed.pm2_in(&own, &["restart", "flyer-crawler-api"]);
    assert_eq!((ran.exit, bed.running().len()), (Some(0), 8), "{}", ran.text);
    // A judge that begins on such a disk lets no more pass.
    let first = judge(&bed);
    process::kill(first);
    next_judge(&bed, first);
    barred(&bed, &["PAL-802", "PAL-411"]);

    let policy = bed.folder.join("config/palisade/palisade.toml");
    let observing = std::fs::read_to_string(&policy).unwrap().replace("enforce", "observe");
    std::fs::write(&policy, observing.replace("revision = 1", "revision = 2")).unwrap();
    let ran = bed.pm2_in(&bed.nowhere(), &["delete", "flyer-crawler-api"]);
    assert_eq!((ran.exit, bed.running().len()), (Some(0), 7), "{}", ran.text);
}

/// Memory that ends: by the limit of a process, whose next allocation fails, or by a control group, whose process the
/// kernel kills.
struct Starved(Option<PathBuf>);

impl Starved {
    fn of_addresses(pid: u32) -> Self {
        ran("prlimit", &["--pid", &pid.to_string(), "--as=1"]);
        Self(None)
    }

    fn of_pages(pid: u32) -> Self {
        let (root, limit) = match Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists() {
            true => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            false => ("/sys/fs/cgroup", "memory.max"),
        };
        let group = Path::new(root).join(format!("palisade-test-{}", random_hex(4)));
        std::fs::create_dir(&group).unwrap();
        std::fs::write(group.join(limit), "4096").unwrap();
        std::fs::write(group.join("cgroup.procs"), pid.to_string()).unwrap();
        Self(Some(group))
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        if let Some(group) = &self.0 {
            drop(std::fs::remove_dir(group));
        }
    }
}

#[test]
fn a_judge_or_a_holder_without_memory_is_replaced_and_nothing_foreign_is_touched() {
    let bed = Bed::new("enforce");
    let before = (bed.pm2.daemon_pid(), bed.running());
    let deletion = call("deleteProcessId", &json!([6]));
    for starve in [Starved::of_addresses, Starved::of_pages] {
        let first = judge(&bed);
        let starved = starve(first);
        eventually("the judge ends for want of memory", || {
            let answer = ask(&bed, &deletion);
            assert!(answer["error"].as_str().is_some_and(|text| text.contains("PAL-")), "{answer}");
            (!process::is_running(first)).then_some(())
        });
        next_judge(&bed, first);
        drop(starved);

        let first = holder(&bed);
        let starved = starve(first);
        let part = vec![0x12; 512 * 1024];
        let mut held = Vec::new();
        eventually("the holder ends for want of memory", || {
            if let Ok(mut stream) = UnixStream::connect(bed.pm2.rpc_socket()) {
                // Half a request, which is kept until the rest comes.
                let begun = [&[0x12, 0, 15, 0, 0][..], &part].concat();
                drop(stream.set_nonblocking(true).and_then(|()| stream.write_all(&begun)));
                held.push(stream);
            }
            (!process::is_running(first)).then_some(())
        });
        drop(starved);
        let ran = bed.pm2_in(&bed.nowhere(), &["list"]);
        assert_eq!((ran.exit, bed.pm2.daemons().len()), (Some(0), 1), "{}", ran.text);
        let ran = bed.pm2_in(&bed.nowhere(), &["delete", "all"]);
        assert_eq!(
            (ran.exit, bed.pm2.daemon_pid(), bed.running()),
            (Some(1), before.0, before.1.clone()),
            "{}",
            ran.text
        );
        assert_ne!(holder(&bed), first);
    }
}
