//! Child processes with a part to play: this test binary, started again with one role.
//!
//! A child says one line when it is ready and ends when its input does, so that nothing has to sleep.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use palisade_core::Scope;
use palisade_host::Environment;
use palisade_host::lease::{self, Acquired};

use crate::lease::applicant;

const ROLE: &str = "PALISADE_TEST_ROLE";
const FOLDER: &str = "PALISADE_TEST_FOLDER";
/// Marks a child's lines among those of the test harness.
const MARK: &str = "role> ";

/// A child that plays a role. Dropping it kills it and waits for it.
pub(crate) struct Actor {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Actor {
    pub(crate) fn start(role: &str, folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "roles::a_child_plays_its_role", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// The child's next line.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if let Some((_, said)) = line.split_once(MARK) {
                return said.trim_end().to_owned();
            }
            line.clear();
        }
        panic!("the child ended without a word");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Takes the child's input away, so that it stays open when the child has ended.
    pub(crate) fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// SIGKILL; returns once the child has been reaped.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Lets the child end on its own.
    pub(crate) fn finish(&mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{line}").unwrap();
    out.flush().unwrap();
}

fn wait_for_the_end_of_input() {
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Does nothing unless this process was started by [`Actor::start`].
#[test]
fn a_child_plays_its_role() {
    let environment = Environment::of_this_process();
    let (Some(role), Some(folder)) = (environment.text(ROLE), environment.absolute_path(FOLDER)) else {
        return;
    };
    let scope = crate::lease::scope();
    match role.as_str() {
        "hold" => hold(&folder, &scope),
        "hold-with-children" => hold_with_children(&folder, &scope),
        "connect" => {
            let _connection = UnixStream::connect(folder.join("socket")).unwrap();
            say("connected");
            wait_for_the_end_of_input();
        }
        "ask" => say(&answer(&lease::acquire(&folder, &scope, &applicant("child")))),
        "hold-and-have-a-child-ask" => {
            let held = lease::acquire(&folder, &scope, &applicant("parent"));
            say(&answer(&held));
            say(&Actor::start("ask", &folder).line());
            say(&Actor::start("have-a-child-ask", &folder).line());
        }
        "have-a-child-ask" => say(&Actor::start("ask", &folder).line()),
        other => panic!("no role {other}"),
    }
}

fn hold(folder: &Path, scope: &Scope) {
    let held = lease::acquire(folder, scope, &applicant("child"));
    say(&answer(&held));
    wait_for_the_end_of_input();
}

/// One child from before the lease and one from after it. Both read our input, which the test keeps open.
fn hold_with_children(folder: &Path, scope: &Scope) {
    let child = || Command::new("cat").stdout(Stdio::null()).spawn().unwrap();
    let mut before = child();
    let held = lease::acquire(folder, scope, &applicant("child"));
    let mut after = child();
    say(&answer(&held));
    say(&format!("{} {}", before.id(), after.id()));
    wait_for_the_end_of_input();
    before.wait().unwrap();
    after.wait().unwrap();
}

fn answer(acquired: &Result<Acquired, lease::Error>) -> String {
    match acquired {
        Ok(Acquired::Held(lease)) => format!("held {}", lease.term().number),
        Ok(Acquired::Joined(joined)) => {
            joined.confirm().unwrap();
            format!("joined {} of {}", joined.term().number, joined.holder().program)
        }
        Ok(Acquired::Busy(holder)) => format!("busy {} by {}", holder.term, holder.program),
        Err(error) => format!("error {error}"),
    }
}
