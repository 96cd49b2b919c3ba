//! A real PM2 daemon with a home of its own.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::apps::App;
use crate::scratch::Scratch;
use crate::{PATIENCE, eventually, installed, process, within_patience};

/// What a PM2 command line came to.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit status; `None` if a signal ended it.
    pub exit: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// A real daemon in a home of its own. Dropping it ends the daemon and every app, and removes the home.
#[derive(Debug)]
pub struct Pm2 {
    version: String,
    folder: PathBuf,
    scratch: Scratch,
}

impl Pm2 {
    /// Starts a daemon of that version, without apps.
    ///
    /// # Panics
    /// If PM2 cannot be installed or the daemon does not come up.
    #[must_use]
    pub fn start(version: &str) -> Self {
        let pm2 = Self::home_only(version);
        pm2.start_daemon();
        pm2
    }

    /// A home without a daemon: what a client finds on a host where PM2 never ran.
    ///
    /// # Panics
    /// If PM2 cannot be installed.
    #[must_use]
    pub fn home_only(version: &str) -> Self {
        let folder = installed(version).unwrap_or_else(|error| panic!("{error}"));
        let scratch = Scratch::new();
        // Without this marker the first command prints a banner on standard output.
        scratch.write("touch", "");
        scratch.write("idle.js", "setInterval(() => {}, 1 << 30);\n");
        scratch.write("listen.js", "require('net').createServer().listen(0, '127.0.0.1');\n");
        Self { version: version.to_owned(), folder, scratch }
    }

    /// Starts the daemon, with no caller's variables but PATH and HOME.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_daemon(&self) {
        let ran = self.pm2(&["ping"]);
        assert_eq!(ran.exit, Some(0), "`pm2 ping` failed: {} {}", ran.stdout, ran.stderr);
    }

    /// Starts one more daemon on this home, with sockets of its own (`rpc2.sock`, `pub2.sock`): what a shell does
    /// in which `PM2_DAEMON_RPC_PORT` is set and a service in which it is not. Returns its pid.
    ///
    /// # Panics
    /// If there was no daemon before, or no second one comes up.
    pub fn start_second_daemon(&self) -> u32 {
        let first = self.daemon_pid();
        let [rpc, publish] =
            ["rpc2.sock", "pub2.sock"].map(|name| self.scratch.join(name).display().to_string());
        let ran = self.pm2_with(
            &["ping"],
            &[("PM2_DAEMON_RPC_PORT", rpc.as_str()), ("PM2_DAEMON_PUB_PORT", publish.as_str())],
        );
        assert_eq!(ran.exit, Some(0), "`pm2 ping` failed: {} {}", ran.stdout, ran.stderr);
        eventually("a second daemon comes up", || self.daemons().into_iter().find(|pid| *pid != first))
    }

    /// The version that was asked for.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its `PM2_HOME`.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.scratch.path()
    }

    /// The folder of the real command line, for the PATH of a script that calls `pm2`.
    #[must_use]
    pub fn bin(&self) -> PathBuf {
        self.folder.join("node_modules/.bin")
    }

    /// The socket that takes commands.
    #[must_use]
    pub fn rpc_socket(&self) -> PathBuf {
        self.scratch.join("rpc.sock")
    }

    /// Pids of all daemons on this home, by their title.
    #[must_use]
    pub fn daemons(&self) -> Vec<u32> {
        let ending = format!("God Daemon ({})", self.home().display());
        process::titled(|title| title.starts_with("PM2 v") && title.ends_with(&ending))
    }

    /// Pid of the daemon.
    ///
    /// # Panics
    /// If there is not exactly one.
    #[must_use]
    pub fn daemon_pid(&self) -> u32 {
        match self.daemons()[..] {
            [pid] => pid,
            ref other => panic!("expected one daemon on {}, found {other:?}", self.home().display()),
        }
    }

    /// Runs the real command line with this home and no variables of the caller but PATH.
    ///
    /// # Panics
    /// If node cannot be started.
    pub fn pm2(&self, args: &[&str]) -> Ran {
        self.pm2_with(args, &[])
    }

    /// Like [`Pm2::pm2`], with variables added to its environment.
    ///
    /// # Panics
    /// If node cannot be started.
    pub fn pm2_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = self.command(args);
        command.envs(variables.iter().copied());
        self.run(command, args)
    }

    /// Installs a PM2 module that idles, from a folder of its own, and gives its pid. Takes no network.
    ///
    /// # Panics
    /// If PM2 refuses.
    pub fn install_module(&self, name: &str) -> u32 {
        let folder = self.scratch.join(format!("module-{name}"));
        std::fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let package = serde_json::json!({
            "name": name, "version": "1.0.0", "main": "index.js", "apps": [{ "script": "index.js" }],
        });
        self.scratch.write(&format!("module-{name}/package.json"), &package.to_string());
        self.scratch.write(&format!("module-{name}/index.js"), "setInterval(() => {}, 1 << 30);\n");
        // Only the folder that it is called in can PM2 install without npm.
        let args = ["install", "."];
        let mut command = self.command(&args);
        command.current_dir(&folder);
        let ran = self.run(command, &args);
        assert_eq!(ran.exit, Some(0), "`pm2 install .` failed: {} {}", ran.stdout, ran.stderr);
        let running = || self.running().into_iter().find(|(running, _)| running == name);
        eventually("the module runs", running).1
    }

    fn run(&self, mut command: Command, args: &[&str]) -> Ran {
        // The daemon inherits both, and would keep a pipe open for ever: files end with the command.
        let (out, err) = (self.scratch.join(".stdout"), self.scratch.join(".stderr"));
        let create = |path: &Path| {
            std::fs::File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        command.stdin(Stdio::null()).stdout(create(&out)).stderr(create(&err));
        let mut child = command.spawn().unwrap_or_else(|error| panic!("node has to be on the PATH: {error}"));
        // PM2's command line waits for ever for a daemon that takes connections and does not answer.
        let status = within_patience(|| child.try_wait().expect("it is our child"));
        if status.is_none() {
            process::kill(child.id());
        }
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let (stdout, stderr) = (read(&out), read(&err));
        let status = status.unwrap_or_else(|| panic!("`pm2 {args:?}` hangs: {stdout} {stderr}"));
        Ran { exit: status.code(), stdout, stderr }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("node");
        command.arg(self.folder.join("node_modules/pm2/bin/pm2")).args(args).current_dir(self.home());
        command.env_clear().env("HOME", self.home()).env("PM2_HOME", self.home());
        #[expect(clippy::disallowed_methods, reason = "PM2 and its apps need the caller's PATH to find node")]
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    /// Starts one app.
    ///
    /// # Panics
    /// If PM2 refuses.
    pub fn start_app(&self, app: App) {
        self.start_apps(&[app]);
    }

    /// Starts apps from one ecosystem file: one command for all of them.
    ///
    /// # Panics
    /// If PM2 refuses.
    pub fn start_apps(&self, apps: &[App]) {
        let entries: Vec<Value> = apps.iter().map(App::to_json).collect();
        let file = self.scratch.write("apps.json", &serde_json::json!({ "apps": entries }).to_string());
        let ran = self.pm2(&["start", &file.display().to_string()]);
        assert_eq!(ran.exit, Some(0), "`pm2 start` failed: {} {}", ran.stdout, ran.stderr);
    }

    /// The daemon's list, as `pm2 jlist` gives it: asked over the socket, for a start of node takes longer than the rest.
    ///
    /// # Panics
    /// If nobody answers.
    #[must_use]
    pub fn list(&self) -> Vec<Value> {
        list_at(&self.rpc_socket())
    }

    /// Names and pids of what runs, in the daemon's order.
    #[must_use]
    pub fn running(&self) -> Vec<(String, u32)> {
        let entry = |entry: &Value| {
            let pid = u32::try_from(entry["pid"].as_u64()?).ok().filter(|pid| *pid > 0)?;
            Some((entry["name"].as_str()?.to_owned(), pid))
        };
        self.list().iter().filter_map(entry).collect()
    }

    /// Ends the daemon by SIGKILL and leaves its apps running as orphans.
    pub fn kill_daemon(&self) {
        for pid in self.daemons() {
            process::kill(pid);
            process::wait_gone(pid);
        }
    }
}

/// The list of the daemon that is reached at `socket`.
///
/// # Panics
/// If nobody answers.
#[must_use]
pub fn list_at(socket: &Path) -> Vec<Value> {
    // Two parts: the call and its id, each with its length before it.
    let parts = [r#"j:{"type":"call","method":"getMonitorData","args":[{}]}"#, "s:0:0"];
    let mut request = vec![0x12];
    for part in parts {
        request.extend(u32::try_from(part.len()).unwrap_or_default().to_be_bytes());
        request.extend(part.as_bytes());
    }
    let asked = || -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&request)?;
        let mut header = [0; 5];
        stream.read_exact(&mut header)?;
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let mut reply = vec![0; length as usize];
        stream.read_exact(&mut reply)?;
        Ok(reply)
    };
    let reply = asked().unwrap_or_else(|error| panic!("no list from {}: {error}", socket.display()));
    let json = reply.strip_prefix(b"j:").unwrap_or(&reply);
    match serde_json::from_slice::<Value>(json) {
        Ok(mut reply) if reply["args"][0].is_array() => {
            reply["args"][0].as_array_mut().map(std::mem::take).unwrap_or_default()
        }
        other => panic!("no list from {}: {other:?}", socket.display()),
    }
}

impl Drop for Pm2 {
    fn drop(&mut self) {
        // Daemons first, for they start ended apps again. Apps carry the home in their environment.
        let mut ending = self.daemons();
        ending.iter().for_each(|pid| process::kill(*pid));
        // A process that is ending has no environment any more and runs still: who was found once is waited for.
        within_patience(|| {
            let left = [self.daemons(), process::with_variable("PM2_HOME", self.home())].concat();
            left.iter().for_each(|pid| process::kill(*pid));
            ending.extend(left);
            ending.retain(|pid| process::is_running(*pid));
            ending.is_empty().then_some(())
        });
    }
}
