//! PostgreSQL's own command line: the client that knows nothing of Palisade.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What SQL came to.
#[derive(Debug, Clone)]
pub struct Said {
    /// Whether every statement succeeded.
    pub success: bool,
    /// Rows, fields between `|`, without headings.
    pub stdout: String,
    /// Errors with SQLSTATE, detail and hint.
    pub stderr: String,
}

impl Said {
    /// The rows of SQL that has to succeed.
    ///
    /// # Panics
    /// If it failed.
    #[track_caller]
    pub fn succeeds(self) -> String {
        assert!(self.success, "SQL failed: {}", self.stderr);
        self.stdout.trim_end().to_owned()
    }

    /// The error text of SQL that has to fail with `sqlstate`.
    ///
    /// # Panics
    /// If it succeeded, or failed otherwise.
    #[track_caller]
    pub fn fails(self, sqlstate: &str) -> String {
        assert!(!self.success, "SQL succeeded and should have failed with {sqlstate}: {}", self.stdout);
        assert!(self.stderr.contains(&format!("{sqlstate}:")), "not {sqlstate}: {}", self.stderr);
        self.stderr
    }
}

fn command(url: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-A", "-t", "-v", "VERBOSITY=verbose", "-d", url]);
    command.env("PGCONNECT_TIMEOUT", "20");
    command
}

/// Runs SQL in a session of its own; statements are sent one by one, the first error ends it.
///
/// # Panics
/// If psql is not installed.
#[must_use]
pub fn psql(url: &str, sql: &str) -> Said {
    let mut command = command(url);
    command.args(["-v", "ON_ERROR_STOP=1", "-f", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("psql is missing: apt-get install postgresql-client-15");
    let mut stdin = child.stdin.take().expect("it is piped");
    // psql that could not connect is gone before it reads; its message is what the test sees.
    drop(stdin.write_all(sql.as_bytes()));
    drop(stdin);
    let ran = child.wait_with_output().expect("psql can be waited for");
    Said {
        success: ran.status.success(),
        stdout: String::from_utf8_lossy(&ran.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&ran.stderr).into_owned(),
    }
}

/// A session that stays open between statements.
#[derive(Debug)]
pub struct Psql {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Psql {
    /// Connects.
    ///
    /// # Panics
    /// If psql is not installed.
    #[must_use]
    pub fn open(url: &str) -> Self {
        let mut command = command(url);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("psql is missing: apt-get install postgresql-client-15");
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, stdin, stdout }
    }

    /// Sends SQL without waiting for its end.
    ///
    /// # Panics
    /// If the session has ended.
    pub fn send(&mut self, sql: &str) {
        writeln!(self.stdin, "{sql};\n\\echo :SQLSTATE palisade-done").expect("the session is open");
    }

    /// The rows of what was sent first and not yet read, and its SQLSTATE (`00000` is success).
    ///
    /// # Panics
    /// If the session has ended.
    pub fn answer(&mut self) -> (String, String) {
        let mut rows = String::new();
        loop {
            let mut line = String::new();
            let read = self.stdout.read_line(&mut line).expect("the session is open");
            assert!(read > 0, "the session has ended after {rows:?}");
            if let Some(sqlstate) = line.trim_end().strip_suffix(" palisade-done") {
                return (rows.trim_end().to_owned(), sqlstate.to_owned());
            }
            rows.push_str(&line);
        }
    }

    /// Sends SQL and waits for its rows and its SQLSTATE.
    ///
    /// # Panics
    /// If the session has ended.
    pub fn ask(&mut self, sql: &str) -> (String, String) {
        self.send(sql);
        self.answer()
    }
}

impl Drop for Psql {
    fn drop(&mut self) {
        crate::process::kill(self.child.id());
        drop(self.child.wait());
    }
}
