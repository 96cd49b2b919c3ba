//! The text of `/proc/PID/stat`, `status` and `cgroup`, taken apart.

use palisade_core::actor::ProcessRef;

/// One process as `/proc/PID/stat` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Number and start time.
    pub process: ProcessRef,
    /// Short name, at most 15 bytes, as the process set it; may hold anything.
    pub command: String,
    /// Whether it still runs.
    pub state: State,
    /// Number of the parent; 0 if that is outside this pid namespace.
    pub parent: u32,
    /// Process group.
    pub group: u32,
    /// Session id: the number of the session's leader, who may be gone.
    pub session: u32,
    /// The terminal that it is run from, as the kernel numbers devices; 0 where there is none.
    pub terminal: u32,
    /// Whether it is a thread of the kernel's own, which nobody else can be.
    pub kernel: bool,
}

/// The flag by which the kernel knows its own threads (`PF_KTHREAD`).
const KERNEL_THREAD: u32 = 0x0020_0000;

/// Whether a listed process still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs, sleeps, waits or is stopped.
    Present,
    /// It has ended, and its parent has not asked for its exit code yet.
    Zombie,
    /// It is being taken off the list.
    Dead,
}

/// Effective ids of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// Parses `PID (COMM) STATE PPID PGRP SESSION ..`. COMM may hold spaces, parentheses and line breaks, so it ends at
/// the *last* `)`.
pub(super) fn parse_stat(pid: u32, bytes: &[u8]) -> Option<Stat> {
    let text = String::from_utf8_lossy(bytes);
    let (number, rest) = text.split_once(" (")?;
    let (command, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Field numbers of proc(5) start at 1 and the state is number 3.
    let field = |number: usize| fields.get(number - 3).copied();
    if number.parse() != Ok(pid) {
        return None;
    }
    // A start time with nothing behind it may have been cut short, and would then name another process.
    field(23)?;
    Some(Stat {
        process: ProcessRef { pid, start_ticks: field(22)?.parse().ok()? },
        command: command.to_owned(),
        state: match field(3)? {
            "Z" => State::Zombie,
            "X" | "x" => State::Dead,
            _ => State::Present,
        },
        parent: field(4)?.parse().ok()?,
        group: field(5)?.parse().ok()?,
        session: field(6)?.parse().ok()?,
        // The kernel prints it as a signed number.
        terminal: field(7)?.parse::<i32>().ok()?.cast_unsigned(),
        kernel: field(9)?.parse::<u32>().ok()? & KERNEL_THREAD != 0,
    })
}

/// Takes the effective ids, the second number, from the lines `Uid:` and `Gid:`.
pub(super) fn parse_status(bytes: &[u8]) -> Option<Credentials> {
    let text = String::from_utf8_lossy(bytes);
    let effective = |label: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(label))?;
        line.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    Some(Credentials { uid: effective("Uid:")?, gid: effective("Gid:")? })
}

/// The path of hierarchy 0 (cgroup v2), else that of the first line. Lines are `ID:CONTROLLERS:PATH`.
pub(super) fn parse_cgroup(text: &str) -> Option<String> {
    let path = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
    let unified = text.lines().find(|line| line.starts_with("0::"));
    unified.or_else(|| text.lines().next()).and_then(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(command: &str, state: &str) -> String {
        format!("42 ({command}) {state} 7 42 40 34816 42 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3\n")
    }

    #[test]
    fn a_name_with_spaces_parentheses_and_line_breaks_does_not_shift_the_fields() {
        for name in ["bash", "a b", ") (", "x) R 1 1 1", "(((", ")", "", "new\nline", "tmux: server"] {
            let stat = parse_stat(42, line(name, "S").as_bytes()).unwrap_or_else(|| panic!("{name:?}"));
            assert_eq!(stat.command, name);
            assert_eq!(stat.process, ProcessRef { pid: 42, start_ticks: 987_654 }, "{name:?}");
            assert_eq!((stat.parent, stat.group, stat.session), (7, 42, 40), "{name:?}");
        }
    }

    #[test]
    fn a_thread_of_the_kernel_is_told_by_its_flag_and_not_by_its_name() {
        let process = line("kthreadd", "S");
        assert!(!parse_stat(42, process.as_bytes()).unwrap().kernel);
        let thread = process.replace(" 4194560 ", " 2129984 ");
        assert!(parse_stat(42, thread.as_bytes()).unwrap().kernel);
    }

    #[test]
    fn only_zombies_and_the_dead_are_not_present() {
        for (letter, state) in [
            ("R", State::Present),
            ("S", State::Present),
            ("D", State::Present),
            ("T", State::Present),
            ("I", State::Present),
            ("Z", State::Zombie),
            ("X", State::Dead),
            ("x", State::Dead),
        ] {
            assert_eq!(parse_stat(42, line("a", letter).as_bytes()).unwrap().state, state, "{letter}");
        }
    }

    #[test]
    fn a_whole_number_behind_the_fields_is_needed_for_a_start_time() {
        let whole = line("a", "S");
        let (up_to_start, _) = whole.split_once(" 987654").unwrap();
        for end in ["", " ", " 9", " 987654", " 987654\n"] {
            assert_eq!(parse_stat(42, format!("{up_to_start}{end}").as_bytes()), None, "{end:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_process_calls_itself_its_fields_stay_in_place(name in "(?s).{0,15}") {
            let stat = parse_stat(42, line(&name, "S").as_bytes()).unwrap();
            prop_assert_eq!(stat.command, name);
            prop_assert_eq!((stat.process.start_ticks, stat.parent, stat.group, stat.session), (987_654, 7, 42, 40));
        }

        #[test]
        fn no_bytes_at_all_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse_stat(42, &bytes);
            parse_status(&bytes);
            parse_cgroup(&String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn a_cut_or_foreign_line_is_no_answer() {
        let whole = line("a", "S");
        for cut in [0, 1, 5, 12, 40, 60] {
            assert_eq!(parse_stat(42, &whole.as_bytes()[..cut]), None, "{cut} bytes");
        }
        assert_eq!(parse_stat(43, whole.as_bytes()), None);
        assert_eq!(parse_stat(42, b"\xff\xfe"), None);
    }

    #[test]
    fn the_effective_id_is_the_second_number() {
        let text = b"Name:\tsu\nUid:\t1000\t0\t0\t0\nGid:\t1000\t5\t5\t5\nGroups:\t1\n";
        assert_eq!(parse_status(text), Some(Credentials { uid: 0, gid: 5 }));
        assert_eq!(parse_status(b"Uid:\t1000\nGid:\t1\t1\t1\t1\n"), None);
        assert_eq!(parse_status(b""), None);
    }

    #[test]
    fn the_unified_control_group_wins_over_the_old_hierarchies() {
        let hybrid = "12:pids:/old\n0::/user.slice/a:b\n";
        assert_eq!(parse_cgroup(hybrid).as_deref(), Some("/user.slice/a:b"));
        assert_eq!(parse_cgroup("12:pids:/old\n11:cpu:/c\n").as_deref(), Some("/old"));
        assert_eq!(parse_cgroup(""), None);
    }
}
