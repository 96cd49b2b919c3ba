//! Temporary folders with short paths.

use std::path::{Path, PathBuf};

/// A private temporary folder (0700) that is removed with all its content when dropped.
///
/// Its path is short (`/tmp/pal-` and 12 digits), because the path of a Unix socket allows 107 bytes.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a new folder.
    ///
    /// # Panics
    /// If the system's temporary folder cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("pal-{}", random_hex(6)));
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()));
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `name` in it.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file in it and says where.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, content)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A process that is just ending may still create a log file, so one more try is worth it.
        if std::fs::remove_dir_all(&self.path).is_err() {
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

/// `bytes` random bytes in hex, from the kernel.
///
/// # Panics
/// If `/dev/urandom` cannot be read.
#[must_use]
pub fn random_hex(bytes: usize) -> String {
    use std::io::Read as _;
    let mut random = vec![0; bytes];
    let mut source = std::fs::File::open("/dev/urandom").expect("every Linux has /dev/urandom");
    source.read_exact(&mut random).expect("/dev/urandom never ends");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}
