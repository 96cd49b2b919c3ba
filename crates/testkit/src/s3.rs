//! A real S3 server: moto's, from the Python package index.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::listening::on_a_free_port;
use crate::{Scratch, process};

/// A server of its own that keeps its objects in memory. Dropping it ends it.
#[derive(Debug)]
pub struct S3 {
    port: u16,
    child: Child,
    _scratch: Scratch,
}

impl S3 {
    /// The variables that an S3 client takes its credentials from. They protect nothing.
    pub const CREDENTIALS: [(&'static str, &'static str); 3] = [
        ("AWS_ACCESS_KEY_ID", "test-only"),
        ("AWS_SECRET_ACCESS_KEY", "test-only-secret"),
        ("AWS_REGION", "us-east-1"),
    ];

    /// Starts one, without any bucket.
    ///
    /// # Panics
    /// If Python is missing (the message says how to install it) or the server does not come up.
    #[must_use]
    pub fn start() -> Self {
        let program = installed().join("bin/moto_server");
        let scratch = Scratch::new();
        let up = on_a_free_port("setpriv cannot be started", |port| {
            let log = File::create(scratch.join("log")).expect("the files of a test can be written");
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(&program);
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            command
        });
        if let Some((child, port)) = up {
            return Self { port, child, _scratch: scratch };
        }
        panic!(
            "the S3 server does not come up: {}",
            fs::read_to_string(scratch.join("log")).unwrap_or_default()
        );
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes a bucket.
    ///
    /// # Panics
    /// If the server does not answer with 200.
    pub fn bucket(&self, name: &str) {
        let (status, _) = self.request("PUT", name, b"");
        assert_eq!(status, 200, "bucket {name}");
    }

    /// What lies under a key of a bucket, past every check of a client; `None` where nothing does.
    #[must_use]
    pub fn get(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        let (status, body) = self.request("GET", &format!("{bucket}/{key}"), b"");
        (status == 200).then_some(body)
    }

    /// Replaces what lies under a key, past every check of a client.
    ///
    /// # Panics
    /// If the server does not answer with 200.
    pub fn put(&self, bucket: &str, key: &str, bytes: &[u8]) {
        let (status, _) = self.request("PUT", &format!("{bucket}/{key}"), bytes);
        assert_eq!(status, 200, "{bucket}/{key}");
    }

    fn request(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        use std::io::{Read as _, Write as _};
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the S3 server listens");
        // The server compares no signature, but without any a request is anonymous and sees public objects only.
        let head = format!(
            "{method} /{path} HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("it takes a request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
        let head = String::from_utf8_lossy(&answer[..end]);
        let status =
            head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("an answer has a status");
        (status, answer[end + 4..].to_vec())
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        process::kill(self.child.id());
        drop(self.child.wait());
    }
}

/// The folder of the Python environment with the server; made once, from the list of this crate.
fn installed() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = here.join("s3/requirements.txt");
    let folder = here.join("../../.cache/s3/moto-5.2.5");
    let complete = folder.join(".complete");
    if complete.exists() {
        return folder;
    }
    fs::create_dir_all(&folder).expect("the files of a test can be written");
    let lock = File::create(folder.with_extension("lock")).expect("the files of a test can be written");
    lock.lock().expect("the files of a test can be written");
    if complete.exists() {
        return folder;
    }
    let run = |command: &mut Command| {
        let ran = command.output().unwrap_or_else(|error| {
            panic!("python3 is missing: `./run test` installs it (apt-get install python3-venv): {error}")
        });
        assert!(
            ran.status.success(),
            "the S3 server for tests cannot be installed; python3 with its module venv has to be there, and the \
             Python package index reachable once: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    run(Command::new(folder.join("bin/python3")).args(pip).arg(&list));
    fs::write(&complete, "").expect("the files of a test can be written");
    folder
}
