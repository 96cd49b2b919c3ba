//! A small file system of its own, which can be filled to the last byte.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system of some MiB. It goes with this value, whatever is still open there.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one as the folder `at`, which is made.
    ///
    /// # Panics
    /// If it cannot be mounted: that takes root.
    #[must_use]
    pub fn mount(at: PathBuf, mib: u32) -> Self {
        fs::create_dir(&at).expect("the files of a test can be written");
        let mut mount = Command::new("mount");
        let said =
            mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "tmpfs"]).arg(&at).output();
        let said = said.expect("mount is there");
        let problem = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "only root can mount a file system for this test: {problem}");
        Self(at)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves not a byte.
    ///
    /// # Panics
    /// If it is not there any more.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).expect("the files of a test can be written");
        for size in [65_536, 4_096, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    /// Takes back what [`Self::fill`] took.
    ///
    /// # Panics
    /// If it is not filled.
    pub fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).expect("it was filled");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).output());
    }
}
