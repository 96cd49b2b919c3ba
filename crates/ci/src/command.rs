//! What a simple command comes to: the program behind `sudo`, `env`, `npx` and the like, and scripts in its arguments.

use crate::shell::{Command, Variables, Word};

/// A program and its arguments, without what only surrounds it.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    /// Name without its folder and version; empty if it is not known.
    pub(crate) program: String,
    /// As it is written.
    pub(crate) path: String,
    pub(crate) arguments: Vec<&'a Word>,
}

/// Words of the shell that stand before a command.
const KEYWORDS: [&str; 15] = [
    "if", "then", "elif", "else", "while", "until", "do", "!", "{", "time", "exec", "command", "builtin",
    "nohup", "coproc",
];

/// Programs that call what follows, with those of their options that take a value.
const WRAPPERS: [(&str, &[&str]); 19] = [
    ("sudo", &["-u", "-g", "-h", "-p", "-C", "-D", "-R", "-T", "--user", "--group"]),
    ("doas", &["-u", "-C"]),
    ("env", &["-u", "-C", "--unset", "--chdir"]),
    ("nice", &["-n"]),
    ("ionice", &["-c", "-n"]),
    ("setsid", &[]),
    ("stdbuf", &["-i", "-o", "-e"]),
    ("timeout", &["-k", "-s", "--kill-after", "--signal"]),
    ("flock", &["-w", "-E", "--timeout"]),
    ("xargs", &["-I", "-n", "-P", "-d", "-L", "-a", "-s", "--max-args", "--replace", "--delimiter"]),
    ("npx", &["-p", "--package"]),
    ("bunx", &[]),
    ("pnpx", &[]),
    ("runuser", &["-u", "-g"]),
    ("chroot", &[]),
    ("dotenv", &["-e"]),
    ("cross-env", &[]),
    ("unbuffer", &[]),
    ("sshpass", &["-p", "-f", "-d", "-P"]),
];

/// The call behind a command; `None` if it only assigns.
pub(crate) fn call<'a>(command: &'a Command, variables: &Variables) -> Option<Call<'a>> {
    let mut words: &[Word] = &command.words;
    loop {
        let first = words.first()?;
        let text = first.shown(variables);
        if KEYWORDS.contains(&text.as_str()) || assignment(&text).is_some() {
            words = &words[1..];
            continue;
        }
        let name = base_name(&text);
        let rest = &words[1..];
        if let Some((_, valued)) = WRAPPERS.iter().find(|(wrapper, _)| *wrapper == name) {
            words = behind_options(rest, valued, variables);
            // A duration, a file, a new root.
            if matches!(name.as_str(), "timeout" | "flock" | "chroot") && !words.is_empty() {
                words = &words[1..];
            }
            continue;
        }
        if let Some(inner) = behind_manager(&name, rest, variables) {
            words = inner;
            continue;
        }
        return Some(Call { program: name, path: text, arguments: rest.iter().collect() });
    }
}

/// Skips options, and the values of those that take one.
fn behind_options<'a>(words: &'a [Word], valued: &[&str], variables: &Variables) -> &'a [Word] {
    let mut words = words;
    while let Some(first) = words.first() {
        let text = first.shown(variables);
        if text == "--" {
            return &words[1..];
        }
        if !text.starts_with('-') || text == "-" {
            break;
        }
        let skip = if valued.contains(&text.as_str()) { 2 } else { 1 };
        words = words.get(skip..).unwrap_or_default();
    }
    words
}

/// `pnpm exec X`, `docker exec C X`, `palisade deploy .. -- X`: what they call.
fn behind_manager<'a>(name: &str, rest: &'a [Word], variables: &Variables) -> Option<&'a [Word]> {
    let text = |at: usize| rest.get(at).map(|word| word.shown(variables)).unwrap_or_default();
    match (name, text(0).as_str()) {
        ("npm" | "pnpm" | "yarn" | "bun", "exec" | "dlx" | "x") => {
            Some(behind_options(rest.get(1..)?, &["-p", "--package"], variables))
        }
        ("yarn" | "pnpm", "pm2") => Some(rest),
        ("docker" | "podman", "exec") => {
            let valued = ["-e", "-u", "-w", "--env", "--user", "--workdir", "--env-file"];
            behind_options(rest.get(1..)?, &valued, variables).get(1..)
        }
        ("palisade", "deploy") => {
            let at = rest.iter().position(|word| word.shown(variables) == "--")?;
            rest.get(at + 1..)
        }
        (_, _) => None,
    }
}

/// `NAME=VALUE`.
pub(crate) fn assignment(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some((name, value))
}

/// The name without folder, and without a version behind `@`.
fn base_name(text: &str) -> String {
    let name = text.rsplit('/').next().unwrap_or(text);
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    name.to_owned()
}

/// Whether a program is a shell that runs what it is given.
pub(crate) fn is_shell(program: &str) -> bool {
    matches!(program, "sh" | "bash" | "dash" | "zsh" | "ksh" | "ash")
}

/// Whether a program fetches from the network.
pub(crate) fn is_fetcher(program: &str) -> bool {
    matches!(program, "curl" | "wget" | "fetch")
}

/// Options of ssh that take a value.
const SSH_VALUED: [&str; 18] = [
    "-b", "-c", "-D", "-E", "-e", "-F", "-I", "-i", "-J", "-L", "-l", "-m", "-O", "-o", "-p", "-R", "-S",
    "-W",
];

/// The command that ssh runs on the other side, as text; empty for a login shell.
pub(crate) fn remote(arguments: &[&Word], variables: &Variables) -> String {
    let mut words = arguments.iter().map(|word| word.shown(variables)).peekable();
    while let Some(word) = words.peek().cloned() {
        if !word.starts_with('-') {
            break;
        }
        words.next();
        if SSH_VALUED.contains(&word.as_str()) {
            words.next();
        }
    }
    // The host.
    words.next();
    // As ssh does it: joined by blanks, and read again by a shell over there.
    words.collect::<Vec<_>>().join(" ")
}
