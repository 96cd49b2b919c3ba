//! Through the firewall beside directly: what it adds, what it takes, how large it is.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use palisade_core::Record;
use palisade_core::record::Event;
use palisade_host::{Environment, process};
use palisade_journal::Reader;
use palisade_testkit::{Pm2, Scratch};
use serde_json::{Value, json};

use crate::report::{Section, Target};
use crate::rounds::{Plan, SETTLE, timed};
use crate::stats::{Ratio, Series, added};
use crate::{Outcome, raw};

/// Processes of the app that the measuring process may change.
const OWN: usize = 495;
/// Processes of another app.
const FOREIGN: usize = 5;
/// How many of them there are for the list of a megabyte.
const LISTED: usize = 200;
/// Connections that are open and ask for nothing.
const IDLE: usize = 100;
/// Pings of a round, each way: ten of them are slower than its p99.
const PINGS: usize = 1000;
const PING_ROUNDS: usize = 10;
const DELETES: usize = 24;

/// A daemon on private sockets with a firewall in front, both with folders of their own.
struct Guarded {
    pm2: Pm2,
    folder: Scratch,
    firewall: Option<Child>,
}

impl Guarded {
    /// The app `bench` owns the folder that this process works in, so that its calls are told to be the app's.
    fn start(own: usize, foreign: usize) -> Outcome<Self> {
        let (pm2, folder) = (Pm2::home_only("7.0.4"), Scratch::new());
        let here = std::env::current_dir()?;
        std::fs::create_dir_all(pm2.home().join("private"))?;
        std::fs::create_dir_all(folder.join("config/palisade"))?;
        for name in ["bench", "other"] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        let app = |name: &str, folder: &Path| {
            format!(
                "[[app]]\nname = \"{name}\"\nenvironment = \"production\"\nprocesses = [\"{name}-*\"]\n\
                 folder = \"{}\"\n",
                folder.display()
            )
        };
        let policy = format!(
            "revision = 1\n[limits]\nall_above = 10000\nshare = 1.0\nbudget = 10000\n\
             [environments.production]\nmode = \"enforce\"\n{}{}",
            app("bench", &here),
            app("other", &folder.join("other"))
        );
        folder.write("config/palisade/palisade.toml", &policy);
        let mut guarded = Self { pm2, folder, firewall: None };
        guarded.directly(&["ping"])?;
        guarded.fill("bench", own)?;
        guarded.fill("other", foreign)?;
        guarded.firewall = Some(guarded.front()?);
        Ok(guarded)
    }

    fn fill(&self, app: &str, count: usize) -> Outcome<()> {
        let variables: serde_json::Map<String, Value> =
            (0..24).map(|n| (format!("SETTING_{n}"), json!("x".repeat(48)))).collect();
        let entry = |number: usize| {
            json!({
                "name": format!("{app}-{number:03}"), "script": "/bin/sleep", "args": ["100000"],
                "interpreter": "none", "cwd": self.folder.join(app), "env": variables,
            })
        };
        let apps: Vec<Value> = (0..count).map(entry).collect();
        let file = self.folder.write(&format!("{app}.json"), &json!({ "apps": apps }).to_string());
        self.directly(&["start", &file.display().to_string()])
    }

    fn private(&self, name: &str) -> PathBuf {
        self.pm2.home().join("private").join(name)
    }

    /// `pm2 WORDS` past the firewall.
    fn directly(&self, words: &[&str]) -> Outcome<()> {
        let [rpc, publish] = ["rpc.sock", "pub.sock"].map(|name| self.private(name).display().to_string());
        let variables = [("PM2_DAEMON_RPC_PORT", rpc.as_str()), ("PM2_DAEMON_PUB_PORT", publish.as_str())];
        let ran = self.pm2.pm2_with(words, &variables);
        if ran.exit == Some(0) { Ok(()) } else { Err(format!("pm2 {words:?}: {}", ran.stderr).into()) }
    }

    /// How long the firewall took to decide on each deletion, by its own records, in milliseconds.
    fn decisions(&self) -> Outcome<Series> {
        let mut series = Series::new("the decision on a delete", "ms");
        for entry in Reader::open(&self.folder.join("state/palisade/journal"))? {
            let Record { event: Event::Called(called), .. } = entry?.record()? else { continue };
            if let ("deleteProcessId", Some(us)) = (called.method.as_str(), called.decided_us) {
                series.values.push(std::time::Duration::from_micros(us).as_secs_f64() * 1000.0);
            }
        }
        Ok(series)
    }

    fn front(&self) -> Outcome<Child> {
        let program = std::env::current_exe()?.with_file_name("palisade-firewall");
        let mut command = Command::new(&program);
        command.arg("--pm2-home").arg(self.pm2.home()).env_clear().env("HOME", self.folder.path());
        command.env("XDG_CONFIG_HOME", self.folder.join("config"));
        command.env("XDG_STATE_HOME", self.folder.join("state"));
        if let Some(path) = Environment::of_this_process().get("PATH") {
            command.env("PATH", path);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        palisade_testkit::eventually("the firewall listens", || {
            raw::list(&self.pm2.rpc_socket()).ok().map(drop)
        });
        Ok(child)
    }

    /// Pid of the firewall and of the processes that it has started.
    fn processes(&self) -> Vec<u32> {
        let own = self.firewall.as_ref().map(Child::id);
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let child =
            |pid: &u32| Some(*pid) == own || process::stat(*pid).is_ok_and(|stat| Some(stat.parent) == own);
        pids.filter(child).collect()
    }

    /// MiB of `field` of the firewall's processes together.
    fn memory(&self, field: &str) -> f64 {
        let of = |pid: u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            kib.unwrap_or_default() / 1024.0
        };
        self.processes().into_iter().map(of).sum()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(mut firewall) = self.firewall.take() {
            // A holder that is killed is replaced by its judge: it has to end by itself.
            palisade_testkit::process::terminate(firewall.id());
            firewall.wait().map(drop).unwrap_or_default();
        }
    }
}

/// Ping, the list of a megabyte, and memory with idle connections.
pub(super) fn reads(plan: &Plan) -> Outcome<Vec<Section>> {
    let guarded = Guarded::start(LISTED, 0)?;
    Ok(vec![pings(plan, &guarded)?, lists(plan, &guarded)?])
}

fn pings(plan: &Plan, guarded: &Guarded) -> Outcome<Section> {
    let (public, private) = (guarded.pm2.rpc_socket(), guarded.private("rpc.sock"));
    let ping = |socket: &Path| Ok(timed(|| raw::exchange(socket, &[("ping", json!({}))]))?.0);
    let (rounds, size) = if plan.quick { (3, 20) } else { (PING_ROUNDS, PINGS) };
    let pings = plan.take_turns(
        rounds * size,
        "ms",
        &mut [
            ("`ping` through the firewall", &mut || ping(&public)),
            ("`ping` directly", &mut || ping(&private)),
        ],
    )?;
    let added = added(&pings[0], &pings[1], 0.99, size);
    let note = format!(
        "Connect, one `ping`, its reply, by turns through the firewall and directly: {rounds} rounds of {size} each way. \
         Over all of them the p99 is {:.2} ms through it and {:.2} ms directly. A p99 rests on its slowest hundredth, \
         which the machine's own stalls fall into; the difference of two of them changes by more than it is from run to \
         run. So the target is the median of what the rounds say, each with a p99 of its own; they said {:.2} to {:.2} ms.",
        pings[0].quantile(0.99),
        pings[1].quantile(0.99),
        added.min(),
        added.max()
    );
    let target = "ping's p99, added by the firewall, under 1 ms";
    Ok(Section {
        title: "Firewall: ping",
        note,
        targets: vec![Target::at_most(target, added.median(), 1.0, " ms")],
        ratios: vec![Ratio::of(&pings[0], &pings[1])],
        series: pings.into_iter().chain([added]).collect(),
    })
}

fn lists(plan: &Plan, guarded: &Guarded) -> Outcome<Section> {
    let (public, private) = (guarded.pm2.rpc_socket(), guarded.private("rpc.sock"));
    let bytes = raw::list(&private)?.len();
    let list = |socket: &Path| {
        std::thread::sleep(SETTLE);
        Ok(timed(|| raw::list(socket))?.0)
    };
    let lists = plan.take_turns(
        plan.rounds(31),
        "ms",
        &mut [
            ("list through the firewall", &mut || list(&public)),
            ("list directly", &mut || list(&private)),
        ],
    )?;
    let connected: Vec<UnixStream> =
        (0..IDLE).map(|_| UnixStream::connect(&public)).collect::<Result<_, _>>()?;
    let idle = guarded.memory("VmRSS");
    drop(connected);
    let ratio = Ratio::of(&lists[0], &lists[1]);
    Ok(Section {
        title: "Firewall: list of a megabyte",
        note: format!(
            "{LISTED} processes, {bytes} bytes, read and not decoded. Before each the daemon gets {} ms to clean up after \
             the last list.",
            SETTLE.as_millis()
        ),
        targets: vec![
            Target::at_most("list of 200 through the firewall within 10 %", ratio.of_medians, 1.1, "x"),
            Target::at_most("firewall's resident memory with 100 idle connections", idle, 16.0, " MiB"),
        ],
        ratios: vec![ratio],
        series: lists,
    })
}

/// One legitimate delete at 500 processes, a refusal, and the peak of memory.
pub(super) fn changes(plan: &Plan) -> Outcome<Section> {
    let guarded = Guarded::start(OWN, FOREIGN)?;
    let (public, private) = (guarded.pm2.rpc_socket(), guarded.private("rpc.sock"));
    let listed = raw::processes(&private)?;
    let mut series = deletes(plan, &guarded, &pm_ids(&listed, "bench-"))?;
    // The second and later refusals of a caller are counted, so that they show the decision and not the disk.
    let foreign = pm_ids(&listed, "other-")[0];
    let refusals = plan.take_turns(
        plan.rounds(15),
        "ms",
        &mut [
            ("a delete that is refused", &mut || delete(&public, foreign)),
            ("list of 500 directly", &mut || Ok(timed(|| raw::list(&private))?.0)),
        ],
    )?;
    let decisions = guarded.decisions()?;
    let decision = decisions.median();
    let added = |q: f64| series[0].quantile(q) - series[1].quantile(q);
    let note = format!(
        "{} processes. Before a change the firewall asks the daemon for its list, so that this is in what it adds: \
         {:.1} ms at p50, {:.1} ms at p99. The decision is what the firewall itself records of each: from the question to \
         the ruling (the caller's processes, evidence, rules), without the wait for the list, which is read while it \
         arrives; its p99 is {:.1} ms.",
        OWN + FOREIGN,
        added(0.5),
        added(0.99),
        decisions.quantile(0.99)
    );
    let peak = guarded.memory("VmHWM");
    series.extend(refusals);
    series.push(decisions);
    Ok(Section {
        title: "Firewall: a change at 500 processes",
        note,
        targets: vec![
            Target::at_most(
                "decision at 500 processes, p50, the wait for the list left out",
                decision,
                5.0,
                " ms",
            ),
            Target::at_most("firewall's resident memory at its peak", peak, 64.0, " MiB"),
        ],
        ratios: vec![Ratio::of(&series[0], &series[1])],
        series,
    })
}

/// The numbers of an app's processes.
fn pm_ids(listed: &[(String, u64, String)], app: &str) -> Vec<u64> {
    listed.iter().filter(|(name, ..)| name.starts_with(app)).map(|(_, pm_id, _)| *pm_id).collect()
}

fn delete(socket: &Path, pm_id: u64) -> Outcome<f64> {
    Ok(timed(|| raw::exchange(socket, &[("deleteProcessId", json!(pm_id))]))?.0)
}

/// Deletes of the caller's own processes, by turns through the firewall and directly; each is carried out.
fn deletes(plan: &Plan, guarded: &Guarded, own: &[u64]) -> Outcome<Vec<Series>> {
    let (public, private) = (guarded.pm2.rpc_socket(), guarded.private("rpc.sock"));
    let mut own = own.iter().copied();
    let mut next = || own.next().ok_or("too few processes");
    let mut series = Vec::from(
        ["through the firewall", "directly"]
            .map(|how| Series::new(format!("a delete of one's own {how}"), "ms")),
    );
    for _ in 0..if plan.quick { 4 } else { DELETES } {
        series[0].values.push(delete(&public, next()?)?);
        series[1].values.push(delete(&private, next()?)?);
    }
    let left = raw::processes(&private)?.len();
    if left != OWN + FOREIGN - series.iter().map(|one| one.values.len()).sum::<usize>() {
        return Err(format!("{left} processes are left: not every delete was carried out").into());
    }
    Ok(series)
}

/// Lines and crates of the firewall, as `./run tidy` counts them.
pub(super) fn size() -> Outcome<Section> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("bench has a parent")?;
    let tidy = Command::new("cargo").args(["xtask", "tidy"]).current_dir(root).output()?;
    let said = String::from_utf8_lossy(&tidy.stdout).into_owned();
    let lines = number_before(&said, " lines of the firewall's own").ok_or("tidy says no lines")?;
    let crates = number_before(&said, " in the firewall").ok_or("tidy says no crates")?;
    Ok(Section {
        title: "Firewall: size",
        note: "As `./run tidy` counts: lines of `crates/firewall/src` without empty ones, comments and tests; crates of \
               its binary with its own."
            .to_owned(),
        series: vec![
            Series { values: vec![lines], ..Series::new("lines", "n") },
            Series { values: vec![crates], ..Series::new("crates", "n") },
        ],
        ratios: Vec::new(),
        targets: vec![
            Target::at_most("the firewall's own lines at most 4000", lines, 4000.0, ""),
            Target::at_most("the firewall's crates at most 60", crates, 60.0, ""),
        ],
    })
}

fn number_before(text: &str, words: &str) -> Option<f64> {
    text.split(words).next().filter(|before| *before != text)?.split_whitespace().last()?.parse().ok()
}
