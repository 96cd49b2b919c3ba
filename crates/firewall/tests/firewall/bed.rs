//! A real daemon on private sockets, eight apps in folders of their own, and the firewall in front.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use palisade_core::Record;
use palisade_core::record::{Called, Event, Ruling};
use palisade_journal::Reader;
use palisade_pm2::wire::{Arg, Decoder, encode};
use palisade_testkit::{EightApps, PATIENCE, Pm2, Scratch, eventually, installed, process, within_patience};
use serde_json::{Value, json};

const VERSION: &str = "7.0.4";

/// Every environment in `mode`.
fn policy(mode: &str) -> String {
    format!(
        "revision = 1\nprotected = [\"stock-alert\"]\n\n[environments.production]\nmode = \"{mode}\"\n\n\
         [environments.test]\nsuffix = \"-test\"\nmode = \"{mode}\"\n\n\
         [[app]]\nname = \"flyer-crawler\"\nenvironment = \"production\"\nprocesses = [\"flyer-crawler-*\"]\n\n\
         [[app]]\nname = \"flyer-crawler\"\nenvironment = \"test\"\nprocesses = [\"flyer-crawler-*-test\"]\n\n\
         [[app]]\nname = \"stock-alert\"\nenvironment = \"production\"\nprocesses = [\"stock-alert\"]\n"
    )
}

/// Where an app of the eight runs: one folder per app and environment.
fn folder_of(name: &str) -> &'static str {
    match name {
        "stock-alert" => "stock-alert/current",
        "projectium-site" => "projectium-site",
        name if name.ends_with("-test") => "flyer-crawler-test/releases/7",
        _ => "flyer-crawler/current",
    }
}

pub(crate) struct Bed {
    pub(crate) pm2: Pm2,
    pub(crate) folder: Scratch,
    firewall: Option<Child>,
}

pub(crate) struct Ran {
    pub(crate) exit: Option<i32>,
    pub(crate) text: String,
}

impl Bed {
    /// Eight apps, and the firewall with every environment in `mode`.
    pub(crate) fn new(mode: &str) -> Self {
        Self::of(VERSION, mode)
    }

    /// As [`Self::new`], with a daemon and a command line of that version.
    pub(crate) fn of(version: &str, mode: &str) -> Self {
        let mut bed = Self::empty(version, &policy(mode));
        bed.start_eight();
        bed.start_firewall();
        bed
    }

    /// The apps that `apps` gives for the folder of the bed, and the firewall under that policy; `FOLDER` in it
    /// stands for the folder.
    pub(crate) fn with(version: &str, policy: &str, apps: impl FnOnce(&Scratch) -> Vec<Value>) -> Self {
        let mut bed = Self::empty(version, "");
        let folder = bed.folder.path().canonicalize().unwrap();
        let policy = policy.replace("FOLDER", folder.to_str().unwrap());
        bed.folder.write("config/palisade/palisade.toml", &policy);
        bed.directly(&["ping"]);
        let apps = apps(&bed.folder);
        if !apps.is_empty() {
            bed.ecosystem("all.json", &apps);
            bed.directly(&["start", &bed.folder.join("all.json").display().to_string()]);
        }
        bed.start_firewall();
        bed
    }

    pub(crate) fn without_firewall(mode: &str) -> Self {
        let bed = Self::without_daemon(mode);
        bed.start_eight();
        bed
    }

    fn start_eight(&self) {
        let bed = self;
        bed.directly(&["ping"]);
        let apps: Vec<Value> = EightApps::NAMES.iter().map(|name| bed.app(name)).collect();
        bed.ecosystem("all.json", &apps);
        bed.directly(&["start", &bed.folder.join("all.json").display().to_string()]);
    }

    /// A home and a policy; nothing runs.
    pub(crate) fn without_daemon(mode: &str) -> Self {
        Self::empty(VERSION, &policy(mode))
    }

    fn empty(version: &str, policy: &str) -> Self {
        let (pm2, folder) = (Pm2::home_only(version), Scratch::new());
        let bed = Self { pm2, folder, firewall: None };
        std::fs::create_dir_all(bed.pm2.home().join("private")).unwrap();
        std::fs::create_dir_all(bed.folder.join("config/palisade")).unwrap();
        std::fs::create_dir_all(bed.folder.join("nowhere")).unwrap();
        bed.folder.write("config/palisade/palisade.toml", policy);
        bed
    }

    fn app(&self, name: &str) -> Value {
        let cwd = self.app_folder(name);
        std::fs::create_dir_all(&cwd).unwrap();
        let environment = if name.ends_with("-test") { "test" } else { "production" };
        json!({
            "name": name, "script": "/bin/sleep", "args": ["100000"], "interpreter": "none",
            "cwd": cwd, "env": { "NODE_ENV": environment },
        })
    }

    /// Writes an ecosystem file of apps with these names.
    pub(crate) fn ecosystem_of(&self, file: &str, names: &[&str]) -> String {
        let apps: Vec<Value> = names.iter().map(|name| self.app(name)).collect();
        self.ecosystem(file, &apps);
        self.folder.join(file).display().to_string()
    }

    fn ecosystem(&self, file: &str, apps: &[Value]) {
        self.folder.write(file, &json!({ "apps": apps }).to_string());
    }

    pub(crate) fn app_folder(&self, name: &str) -> PathBuf {
        self.folder.join(folder_of(name))
    }

    /// A folder that belongs to no app.
    pub(crate) fn nowhere(&self) -> PathBuf {
        self.folder.join("nowhere")
    }

    pub(crate) fn private(&self, name: &str) -> PathBuf {
        self.pm2.home().join("private").join(name)
    }

    /// PM2's command line on the daemon's private sockets, past the firewall.
    pub(crate) fn directly(&self, args: &[&str]) -> Ran {
        let (rpc, publish) = (self.private("rpc.sock"), self.private("pub.sock"));
        let variables = [
            ("PM2_DAEMON_RPC_PORT", rpc.to_str().unwrap()),
            ("PM2_DAEMON_PUB_PORT", publish.to_str().unwrap()),
        ];
        let ran = self.pm2.pm2_with(args, &variables);
        assert_eq!(ran.exit, Some(0), "{args:?}: {} {}", ran.stdout, ran.stderr);
        Ran { exit: ran.exit, text: ran.stdout }
    }

    /// Names and pids of what runs, asked past the firewall.
    pub(crate) fn running(&self) -> Vec<(String, u64)> {
        let list = palisade_testkit::pm2::list_at(&self.private("rpc.sock"));
        let entry = |entry: &Value| {
            Some((entry["name"].as_str()?.to_owned(), entry["pid"].as_u64().filter(|pid| *pid > 0)?))
        };
        list.iter().filter_map(entry).collect()
    }

    pub(crate) fn firewall_command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade-firewall"));
        command.arg("--pm2-home").arg(self.pm2.home()).env_clear();
        command.env("HOME", self.folder.path()).env("XDG_CONFIG_HOME", self.folder.join("config"));
        command.env("XDG_STATE_HOME", self.folder.join("state")).stdin(Stdio::null()).stdout(Stdio::null());
        #[expect(
            clippy::disallowed_methods,
            reason = "where it starts PM2, node is found by the caller's PATH"
        )]
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command
    }

    pub(crate) fn start_firewall(&mut self) {
        self.start_firewall_with(&[]);
    }

    pub(crate) fn start_firewall_with(&mut self, args: &[&str]) {
        let mut command = self.firewall_command();
        command.args(args);
        self.start(command);
    }

    /// Starts a command that becomes the firewall.
    pub(crate) fn start(&mut self, mut command: Command) {
        let said = self.folder.join("firewall.err");
        let mut child = command.stderr(File::create(&said).unwrap()).spawn().unwrap();
        let text = || std::fs::read_to_string(&said).unwrap_or_default();
        eventually("the firewall listens", || {
            assert_eq!(child.try_wait().unwrap(), None, "{}", text());
            text().contains("listening").then_some(())
        });
        self.firewall = Some(child);
    }

    /// Pids of the processes that hold this home's sockets: one.
    pub(crate) fn holders(&self) -> Vec<u32> {
        let home = format!("--pm2-home {}", self.pm2.home().display());
        process::titled(|title| {
            title.contains("palisade-firewall") && title.contains(&home) && !title.contains("--judge")
        })
    }

    /// Pids of the processes that judge: one.
    pub(crate) fn judges(&self) -> Vec<u32> {
        let home = format!("--pm2-home {}", self.pm2.home().display());
        process::titled(|title| title.contains("palisade-firewall --judge") && title.contains(&home))
    }

    /// Ends the firewall by SIGTERM, and says how it ended.
    pub(crate) fn end_firewall(&mut self) -> Option<i32> {
        let mut child = self.firewall.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        eventually("the firewall ends", || child.try_wait().unwrap()).code()
    }

    /// An unmodified `pm2` in a session of its own, through the firewall.
    pub(crate) fn pm2_in(&self, cwd: &Path, args: &[&str]) -> Ran {
        self.pm2_with(cwd, args, &[])
    }

    pub(crate) fn pm2_with(&self, cwd: &Path, args: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = Command::new("setsid");
        command
            .arg("--wait")
            .arg("node")
            .arg(installed(self.pm2.version()).unwrap().join("node_modules/pm2/bin/pm2"));
        self.run(command.args(args), cwd, variables)
    }

    /// A shell script in a session of its own, in which `pm2` is the unmodified command.
    pub(crate) fn script_in(&self, cwd: &Path, script: &str) -> Ran {
        self.script_with(cwd, script, &[])
    }

    /// As [`Self::script_in`], with further variables; `$PM2` is the path of the command.
    pub(crate) fn script_with(&self, cwd: &Path, script: &str, variables: &[(&str, &str)]) -> Ran {
        let pm2 = installed(self.pm2.version()).unwrap().join("node_modules/pm2/bin/pm2");
        let mut command = Command::new("setsid");
        let script = format!("PM2={}\npm2() {{ node \"$PM2\" \"$@\"; }}\n{script}", pm2.display());
        self.run(command.args(["--wait", "sh", "-c", &script]), cwd, variables)
    }

    fn run(&self, command: &mut Command, cwd: &Path, variables: &[(&str, &str)]) -> Ran {
        command.current_dir(cwd).env_clear().env("HOME", self.pm2.home()).env("PM2_HOME", self.pm2.home());
        #[expect(clippy::disallowed_methods, reason = "node is found by the caller's PATH")]
        command.env("PATH", std::env::var_os("PATH").unwrap()).envs(variables.iter().copied());
        let out = self.folder.join(format!("out-{}", palisade_testkit::scratch::random_hex(4)));
        let file = File::create(&out).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let mut child = command.spawn().unwrap();
        let status = within_patience(|| child.try_wait().unwrap());
        let text = std::fs::read_to_string(&out).unwrap_or_default();
        if status.is_none() {
            process::kill(child.id());
            panic!("it hangs: {text}");
        }
        Ran { exit: status.unwrap().code(), text }
    }

    /// What the journal says of calls, oldest first.
    pub(crate) fn calls(&self) -> Vec<(Record, Called)> {
        let records = Reader::open(&self.folder.join("state/palisade/journal")).into_iter().flatten();
        let called = |record: Record| match record.event.clone() {
            Event::Called(called) => Some((record, called)),
            _ => None,
        };
        records.filter_map(|entry| called(entry.unwrap().record().unwrap())).collect()
    }

    pub(crate) fn refused(&self) -> Vec<(Record, Called)> {
        self.calls().into_iter().filter(|(_, called)| called.ruling == Ruling::Refused).collect()
    }

    /// What the control socket `control.sock` of the bed's folder answers to `bytes`; nothing where it hangs up.
    pub(crate) fn control(&self, bytes: &str) -> String {
        let mut stream = UnixStream::connect(self.folder.join("control.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = String::new();
        // One that is hung up on may notice while it writes, or while it reads.
        let _ended = stream.write_all(bytes.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
        answer
    }

    /// Notices that nobody has delivered, as they lie in the state folder.
    pub(crate) fn notices(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder.join("state/palisade/notices")).into_iter().flatten();
        files.flatten().filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect()
    }

    pub(crate) fn socket(&self) -> UnixStream {
        let stream = UnixStream::connect(self.pm2.rpc_socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // Judges first, for they take the place of a holder that ends.
        for _ in 0..100 {
            let left = [self.judges(), self.holders()].concat();
            if left.is_empty() {
                break;
            }
            left.iter().for_each(|pid| process::kill(*pid));
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        if let Some(mut child) = self.firewall.take() {
            drop(child.wait());
        }
    }
}

/// The frame of a call.
pub(crate) fn frame(json: &str, id: &str) -> Vec<u8> {
    encode(&[Arg::Json(json), Arg::Text(id)]).unwrap()
}

pub(crate) fn call(method: &str, args: &Value) -> String {
    json!({ "type": "call", "method": method, "args": args }).to_string()
}

/// The next reply: its JSON and its id; `None` if the connection ended.
pub(crate) fn reply(stream: &mut UnixStream, decoder: &mut Decoder) -> Option<(Value, String)> {
    loop {
        if let Some(frame) = decoder.next_frame().unwrap() {
            let args = frame.args().unwrap();
            let [Arg::Json(json), Arg::Text(id)] = args[..] else { panic!("{frame:?}") };
            return Some((serde_json::from_str(json).unwrap(), id.to_owned()));
        }
        let mut buffer = [0; 65536];
        match stream.read(&mut buffer).unwrap() {
            0 => return None,
            count => decoder.push(&buffer[..count]),
        }
    }
}

/// Sends one request on a connection of its own and gives the reply's JSON.
pub(crate) fn ask(bed: &Bed, json: &str) -> Value {
    let mut stream = bed.socket();
    stream.write_all(&frame(json, "7:0")).unwrap();
    let (json, id) = reply(&mut stream, &mut Decoder::new()).expect("an answer");
    assert_eq!(id, "7:0");
    json
}
