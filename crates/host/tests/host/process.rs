use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use palisade_core::actor::ProcessRef;
use palisade_host::process::{self, Error, State};

use crate::roles::Actor;

/// A shell that runs `script` and then waits for the end of its input. Ready once it has said so.
struct Shell(Child);

impl Shell {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    fn run(script: &str) -> Self {
        Self::start(Command::new("sh").args(["-c", &format!("{script}\necho ready\nread _")]))
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn this_process_is_alive_and_below_its_parent() {
    let own = process::this().unwrap();
    assert!(process::is_alive(own));
    let stat = process::stat(own.pid).unwrap();
    assert_eq!((stat.process, stat.state), (own, State::Present));
    assert_eq!(stat.parent, std::os::unix::process::parent_id());
    assert_eq!(process::command(own.pid).unwrap(), stat.command);
    let parents = process::ancestors(own.pid);
    assert_eq!(parents[0].process.pid, stat.parent);
    assert!(parents.len() <= process::MAX_ANCESTORS);
    assert!(parents.is_sorted_by(|near, far| near.process.start_ticks >= far.process.start_ticks));
}

#[test]
fn a_child_has_this_process_among_its_parents() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Actor::start("hold", folder.path());
    child.line();
    let parents = process::ancestors(child.pid());
    assert_eq!(parents[0].process, process::this().unwrap());
    assert_eq!(parents[0].uid, process::credentials(std::process::id()).unwrap().uid);
    let own = std::env::current_exe().unwrap();
    assert_eq!(parents[0].executable.as_deref(), own.to_str());
}

#[test]
fn the_same_number_with_another_start_is_another_process() {
    let own = process::this().unwrap();
    assert!(!process::is_alive(ProcessRef { start_ticks: own.start_ticks + 1, ..own }));
    assert!(!process::is_alive(ProcessRef { pid: 0, ..own }));
    assert!(!process::is_alive(ProcessRef { pid: u32::MAX, ..own }));
}

#[test]
fn a_zombie_is_not_alive() {
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let process = process::stat(child.id()).unwrap().process;
    assert!(process::is_alive(process));
    child.kill().unwrap();
    // Waits until the child has ended and leaves it unreaped.
    let pid = rustix::process::Pid::from_child(&child);
    let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(rustix::process::WaitId::Pid(pid), options).unwrap();
    assert_eq!(process::stat(process.pid).unwrap().state, State::Zombie);
    assert!(!process::is_alive(process));
    assert_eq!(process::command_line(process.pid).unwrap(), Vec::<std::ffi::OsString>::new());
    child.wait().unwrap();
    assert!(!process::is_alive(process));
    assert!(matches!(process::stat(process.pid), Err(Error::Gone { .. })));
    assert_eq!(process::ancestors(process.pid), []);
}

#[test]
fn a_command_may_be_called_anything() {
    for name in [") (", "a) R 1 2 3", "tab\there", "(sd-pam)"] {
        let shell = Shell::run(&format!("printf '%s' '{name}' > /proc/$$/comm"));
        let stat = process::stat(shell.0.id()).unwrap();
        assert_eq!(stat.command, name);
        assert_eq!(stat.parent, std::process::id(), "{name:?}");
        assert_eq!(process::ancestors(shell.0.id())[0].process, process::this().unwrap(), "{name:?}");
    }
}

#[test]
fn the_script_of_a_parent_is_kept_and_its_other_arguments_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("deploy it.sh");
    std::fs::write(&script, "sh -c 'echo ready; read _; :'; :\n").unwrap();
    let arguments = ["-u", "deploy it.sh", "--token=hunter2", "hunter3"];
    let shell = Shell::start(Command::new("sh").args(arguments).current_dir(folder.path()));
    let inner = child_of(shell.0.id());
    let parents = process::ancestors(inner);
    assert_eq!(parents[0].process.pid, shell.0.id());
    assert_eq!(parents[0].script.as_deref().map(Path::new), Some(script.canonicalize().unwrap().as_path()));
    assert!(!format!("{parents:?}").contains("hunter"), "{parents:?}");
    let mut input = shell.0.stdin.as_ref().unwrap();
    writeln!(input).unwrap();
}

#[test]
fn a_script_given_by_its_whole_path_is_found_and_a_folder_is_no_script() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("run.sh");
    std::fs::write(&script, "sh -c 'echo ready; read _; :'; :\n").unwrap();
    let shell = Shell::start(Command::new("sh").arg("-u").arg(&script).arg(folder.path()));
    let parents = process::ancestors(child_of(shell.0.id()));
    assert_eq!(parents[0].script.as_deref(), script.to_str());
    let plain =
        Shell::start(Command::new("sh").args(["-c", "sh -c 'echo ready; read _; :'; :"]).arg(folder.path()));
    assert_eq!(process::ancestors(child_of(plain.0.id()))[0].script, None);
}

fn child_of(parent: u32) -> u32 {
    let [child] = process::children(parent)[..] else { panic!("{parent} has one child") };
    assert_eq!(process::stat(child).unwrap().parent, parent);
    child
}

#[test]
fn who_has_no_children_or_is_gone_has_none() {
    let alone = Shell::start(Command::new("sh").args(["-c", "echo ready; read _; :"]));
    let pid = alone.0.id();
    assert_eq!(process::children(pid), [0; 0]);
    drop(alone);
    assert_eq!(process::children(pid), [0; 0]);
}

#[test]
fn a_daemon_is_found_by_its_title() {
    use std::os::unix::process::CommandExt as _;
    let title = format!("PM2 v7.0.4: God Daemon (/tmp/home of {})", std::process::id());
    let daemon = Shell::start(Command::new("sh").arg0(&title).args(["-c", "echo ready; read _; :"]));
    let found = process::find_all("sh", |seen| seen.starts_with(&title)).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].process, process::stat(daemon.0.id()).unwrap().process);
    assert_eq!(found[0].uid, process::credentials(std::process::id()).unwrap().uid);
    assert!(process::find_all("sh", |_| false).unwrap().is_empty());
    assert!(
        process::find_all("PM2 v", |seen| seen.starts_with(&title)).unwrap().is_empty(),
        "it is called sh"
    );
    let but = [daemon.0.id()];
    assert!(process::find_all_but(&but, "sh", |seen| seen.starts_with(&title)).unwrap().is_empty());
    let long = "sh and much more than a short name can be";
    assert!(process::find_all(long, |_| true).unwrap().is_empty());
}

#[test]
fn working_folder_executable_and_words_are_those_of_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let shell = Shell::start(
        Command::new("sh").args(["-c", "echo ready; read _; :", "two words", ""]).current_dir(folder.path()),
    );
    let pid = shell.0.id();
    assert_eq!(process::cwd(pid), Some(folder.path().canonicalize().unwrap()));
    assert!(process::executable(pid).is_some());
    let words = process::command_line(pid).unwrap();
    assert_eq!(words[..4], ["sh", "-c", "echo ready; read _; :", "two words"]);
    assert_eq!(process::cgroup(pid), process::cgroup(std::process::id()));
}

#[test]
fn a_process_that_is_not_there_gives_no_facts() {
    let pid = u32::MAX;
    assert!(matches!(process::stat(pid), Err(Error::Gone { .. })));
    assert!(matches!(process::credentials(pid), Err(Error::Gone { .. })));
    assert!(matches!(process::command_line(pid), Err(Error::Gone { .. })));
    assert_eq!((process::cwd(pid), process::executable(pid), process::cgroup(pid)), (None, None, None));
}
