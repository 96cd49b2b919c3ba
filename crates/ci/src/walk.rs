//! Follows scripts from a step on, and notes what is dangerous in them.

use std::collections::BTreeSet;

use palisade_core::Code;

use crate::command::{self, Call};
use crate::shell::{self, Command, Input, Variables, Word};
use crate::{follow, pm2};

/// Deepest chain of scripts, and most commands that are looked at for one job.
const MAX_DEPTH: usize = 12;
const MAX_COMMANDS: usize = 20_000;
/// Deepest nest of texts in texts: a variable may hold the very line that runs it.
const MAX_NEST: usize = 24;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Spot {
    /// Path below the checkout.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
}

/// Something dangerous, where it stands and through what it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) fix: &'static str,
    /// From the step to the place itself, which is the last.
    pub(crate) spots: Vec<Spot>,
}

/// What following one job came to.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    pub(crate) shapes: Vec<Shape>,
    /// Whether it may change processes of a daemon.
    pub(crate) deploys: bool,
    /// Files that it names and that are not in the checkout.
    pub(crate) unread: BTreeSet<String>,
}

/// Where a piece of shell comes from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The lines that lead to it, of which the last is where it begins.
    pub(crate) spots: Vec<Spot>,
    /// Whether each of its lines stands on one of the file.
    pub(crate) keeps_lines: bool,
    /// Where it runs, below the checkout.
    pub(crate) folder: String,
}

impl Origin {
    /// The place of line `line`, from 0, of this text.
    fn at(&self, line: usize) -> Vec<Spot> {
        let mut spots = self.spots.clone();
        if let Some(last) = spots.last_mut().filter(|_| self.keeps_lines) {
            last.line += line;
        }
        spots
    }

    fn inner(&self, line: usize) -> Self {
        Self { spots: self.at(line), ..self.clone() }
    }
}

/// Follows the scripts of one job.
pub(crate) struct Walk<'a> {
    read: &'a dyn Fn(&str) -> Option<String>,
    variables: Variables,
    seen: BTreeSet<(String, String)>,
    commands: usize,
    nest: usize,
    pub(crate) walked: Walked,
}

const FETCHED: &str =
    "put the script into the repository, or fetch it, compare its checksum, and then run it";

impl<'a> Walk<'a> {
    pub(crate) fn new(read: &'a dyn Fn(&str) -> Option<String>, variables: Variables) -> Self {
        Self { read, variables, seen: BTreeSet::new(), commands: 0, nest: 0, walked: Walked::default() }
    }

    /// Looks at shell text.
    pub(crate) fn shell(&mut self, text: &str, origin: &Origin) {
        if origin.spots.len() > MAX_DEPTH || self.nest >= MAX_NEST {
            return;
        }
        self.nest += 1;
        self.commands_of(text, origin);
        self.nest -= 1;
    }

    fn commands_of(&mut self, text: &str, origin: &Origin) {
        let mut origin = origin.clone();
        let mut fetches = false;
        for command in shell::commands(text) {
            self.commands += 1;
            if self.commands > MAX_COMMANDS {
                return;
            }
            self.note_assignments(&command);
            for (inner, line) in command.words.iter().flat_map(|word| word.inner.clone()) {
                self.shell(&inner, &origin.inner(line));
            }
            let Some(call) = command::call(&command, &self.variables) else { continue };
            fetches = command::is_fetcher(&call.program) || (fetches && command.is_piped);
            self.call(&command, &call, &mut origin, fetches);
        }
    }

    /// `NAME=VALUE` without a command, and `export NAME=VALUE`.
    fn note_assignments(&mut self, command: &Command) {
        let texts: Vec<Option<String>> =
            command.words.iter().map(|word| word.resolved(&self.variables)).collect();
        let shown: Vec<String> = command.words.iter().map(|word| word.shown(&self.variables)).collect();
        let skip =
            usize::from(matches!(shown.first().map(String::as_str), Some("export" | "readonly" | "local")));
        let assignments: Vec<_> = shown[skip..].iter().map(|text| command::assignment(text)).collect();
        if assignments.iter().any(Option::is_none) {
            return;
        }
        for ((name, value), known) in assignments.into_iter().flatten().zip(&texts[skip..]) {
            match known {
                Some(_) => self.variables.insert(name.to_owned(), value.to_owned()),
                None => self.variables.remove(name),
            };
        }
    }

    fn call(&mut self, command: &Command, call: &Call<'_>, origin: &mut Origin, fetches: bool) {
        let here = origin.inner(command.line);
        let arguments = &call.arguments;
        let text = |at: usize| arguments.get(at).map(|word| word.shown(&self.variables)).unwrap_or_default();
        match (call.program.as_str(), text(0)) {
            ("pm2", _) => self.pm2(arguments, &here),
            ("palisade", first) => self.palisade(&first, &text(1)),
            ("cd", first) => {
                origin.folder = joined(&origin.folder, &first).unwrap_or_default();
            }
            ("eval" | "trap", first) => self.shell(&first, &here),
            ("source" | ".", first) => self.file(&first, &here),
            ("su", _) => {
                let script = arguments.iter().position(|word| word.shown(&self.variables) == "-c");
                let script = script.and_then(|at| arguments.get(at + 1));
                if let Some(script) = script.map(|word| word.shown(&self.variables)) {
                    self.shell(&script, &here);
                }
                self.inputs(command, &here, origin);
            }
            ("ssh", _) => {
                let remote = command::remote(arguments, &self.variables);
                self.shell(&remote, &here);
                self.inputs(command, &here, origin);
            }
            (program, _) if command::is_shell(program) => self.run_shell(command, call, &here, origin),
            ("node" | "bun" | "deno" | "tsx" | "ts-node" | "python" | "python3" | "ruby", _) => {
                self.interpreter(call, &here);
            }
            ("npm" | "pnpm" | "yarn" | "make" | "gmake", _) => self.task(call, &here),
            (_, _) if call.path.contains('/') => self.file(&call.path, &here),
            ("", _) => self.inputs(command, &here, origin),
            (_, _) => {}
        }
        let reads_stdin = command::is_shell(&call.program) || matches!(call.program.as_str(), "su" | "ssh");
        let inner = |word: &&Word| word.inner.iter().any(|(text, _)| starts_with_fetcher(text));
        let fetched = (fetches && command.is_piped && reads_stdin)
            || (matches!(call.program.as_str(), "eval" | "source" | ".") && arguments.iter().any(inner))
            || (command::is_shell(&call.program) && arguments.iter().any(inner));
        if fetched {
            let message = format!("what was just fetched from the network is run by `{}`", call.program);
            self.note(Code::PipedInstaller, message, FETCHED, &here);
        }
    }

    fn note(&mut self, code: Code, message: String, fix: &'static str, here: &Origin) {
        self.walked.shapes.push(Shape { code, message, fix, spots: here.spots.clone() });
    }

    fn pm2(&mut self, arguments: &[&Word], here: &Origin) {
        let seen = pm2::read(arguments, &self.variables);
        self.walked.deploys |= seen.changes;
        for (code, message, fix) in seen.shapes {
            self.note(code, message, fix, here);
        }
    }

    fn palisade(&mut self, first: &str, second: &str) {
        let changes = first == "deploy"
            || (first == "pm2"
                && matches!(second, "delete" | "stop" | "restart" | "reload" | "apply" | "restore"));
        self.walked.deploys |= changes;
    }

    /// A shell with a text, a file, or what it reads.
    fn run_shell(&mut self, command: &Command, call: &Call<'_>, here: &Origin, origin: &Origin) {
        let mut words = call.arguments.iter();
        while let Some(word) = words.next() {
            let text = word.shown(&self.variables);
            match text.as_str() {
                "-o" | "+o" => {
                    words.next();
                }
                option if option.starts_with('-') && option.ends_with('c') && !option.starts_with("--") => {
                    if let Some(script) = words.next() {
                        self.shell(&script.shown(&self.variables), here);
                    }
                    return;
                }
                option if option.starts_with('-') || option.starts_with('+') => {}
                file => return self.file(file, here),
            }
        }
        self.inputs(command, here, origin);
    }

    fn inputs(&mut self, command: &Command, here: &Origin, origin: &Origin) {
        for input in &command.inputs {
            match input {
                Input::Text(text, line) => self.shell(text, &origin.inner(*line)),
                Input::File(word) => self.file(&word.shown(&self.variables), here),
            }
        }
    }

    /// `node FILE`, `node -e TEXT`; PM2's own command line may be called this way too.
    fn interpreter(&mut self, call: &Call<'_>, here: &Origin) {
        let mut words = call.arguments.iter().enumerate();
        while let Some((at, word)) = words.next() {
            let text = word.shown(&self.variables);
            match text.as_str() {
                "-e" | "--eval" | "-p" | "--print" | "-c" => {
                    if let Some((_, script)) = words.next() {
                        self.program(
                            &script.shown(&self.variables),
                            &Origin { keeps_lines: false, ..here.clone() },
                        );
                    }
                    return;
                }
                "-r" | "--require" | "--import" => {
                    words.next();
                }
                option if option.starts_with('-') => {}
                file if file.rsplit('/').next() == Some("pm2") => {
                    return self.pm2(&call.arguments[at + 1..], here);
                }
                file => return self.file(file, here),
            }
        }
    }

    /// `npm run X`, `yarn X`, `make X`.
    fn task(&mut self, call: &Call<'_>, here: &Origin) {
        let words: Vec<String> = call.arguments.iter().map(|word| word.shown(&self.variables)).collect();
        let value_of = |names: &[&str]| {
            let at = words.iter().position(|word| names.contains(&word.as_str()))?;
            words.get(at + 1).cloned()
        };
        let folder = value_of(&["-C", "--prefix", "--dir", "--cwd"]);
        let folder = folder.map_or(Some(here.folder.clone()), |below| joined(&here.folder, &below));
        let named = value_of(&["-f", "--file", "--makefile"]);
        let is_value = |at: usize| at > 0 && words[at - 1].starts_with('-') && words[at - 1].len() == 2;
        let plain: Vec<&str> = words
            .iter()
            .enumerate()
            .filter(|(at, word)| !word.starts_with('-') && !word.contains('=') && !is_value(*at))
            .map(|(_, word)| word.as_str())
            .collect();
        let Some(folder) = folder else { return };
        if call.program.ends_with("make") {
            let names = named.map_or_else(
                || vec!["Makefile".to_owned(), "makefile".to_owned(), "GNUmakefile".to_owned()],
                |name| vec![name],
            );
            let targets: Vec<Option<&str>> =
                if plain.is_empty() { vec![None] } else { plain.into_iter().map(Some).collect() };
            for target in targets {
                let recipes = |text: &str| follow::make_recipes(text, target);
                self.recipes(&names, &folder, target.unwrap_or_default(), recipes, here);
            }
            return;
        }
        let script = match plain.as_slice() {
            ["run" | "run-script", name, ..] => name,
            [name @ ("start" | "stop" | "test" | "restart"), ..] => name,
            [name, ..] if call.program == "yarn" || call.program == "pnpm" => name,
            _ => return,
        };
        let names = ["package.json".to_owned()];
        self.recipes(&names, &folder, script, |text| follow::package_scripts(text, script), here);
    }

    fn recipes(
        &mut self,
        names: &[String],
        folder: &str,
        target: &str,
        found: impl Fn(&str) -> Vec<follow::Found>,
        here: &Origin,
    ) {
        let paths = names.iter().filter_map(|name| joined(folder, name));
        let Some((path, text)) = paths.into_iter().find_map(|path| Some((path.clone(), (self.read)(&path)?)))
        else {
            return;
        };
        if !self.seen.insert((path.clone(), target.to_owned())) {
            return;
        }
        for (script, line) in found(&text) {
            let mut spots = here.spots.clone();
            spots.push(Spot { file: path.clone(), line: line + 1 });
            self.shell(&script, &Origin { spots, keeps_lines: false, folder: folder.to_owned() });
        }
    }

    /// A script of the checkout, from where it is called or from the top.
    fn file(&mut self, named: &str, here: &Origin) {
        let below = ["${GITHUB_WORKSPACE}/", "${CI_PROJECT_DIR}/", "${PWD}/", "${?}/"];
        let named = below.iter().find_map(|lead| named.strip_prefix(lead)).unwrap_or(named);
        if named.is_empty() || named.starts_with('/') || named.contains("${") || named == "-" {
            return;
        }
        let candidates = [joined(&here.folder, named), joined("", named)];
        let found =
            candidates.into_iter().flatten().find_map(|path| Some((path.clone(), (self.read)(&path)?)));
        let Some((path, text)) = found else {
            self.walked.unread.insert(named.to_owned());
            return;
        };
        if !self.seen.insert((path.clone(), String::new())) {
            return;
        }
        let mut spots = here.spots.clone();
        spots.push(Spot { file: path.clone(), line: 1 });
        let origin = Origin { spots, keeps_lines: true, folder: here.folder.clone() };
        if is_program(&path, &text) {
            self.program(&text, &origin);
        } else {
            self.shell(&text, &origin);
        }
    }

    /// A program that is no shell: the command lines in its texts, and calls of PM2's interface.
    pub(crate) fn program(&mut self, text: &str, origin: &Origin) {
        for (method, line) in follow::interface_calls(text) {
            let here = origin.inner(line);
            self.walked.deploys = true;
            let code = if method == "kill" { Code::ScriptEndsDaemon } else { Code::ScriptTakesAll };
            let message = format!("the program calls pm2.{method} for every process of the daemon");
            self.note(code, message, "select the app's own processes by their exact names", &here);
        }
        for (quoted, line) in follow::quoted_texts(text) {
            let is_command = quoted.trim_start().starts_with("pm2 ") || quoted.contains("&& pm2 ");
            if is_command {
                self.shell(&quoted, &Origin { keeps_lines: false, ..origin.inner(line) });
            }
        }
    }
}

fn starts_with_fetcher(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    command::is_fetcher(first.rsplit('/').next().unwrap_or(first))
}

fn is_program(path: &str, text: &str) -> bool {
    let by_name = [".js", ".cjs", ".mjs", ".ts", ".py", ".rb"].iter().any(|end| path.ends_with(end));
    let first = text.lines().next().unwrap_or_default();
    by_name
        || (first.starts_with("#!")
            && ["node", "python", "ruby", "deno"].iter().any(|name| first.contains(name)))
}

/// `below` seen from `folder`, without `.` and `..`; `None` outside the checkout or if it is not known.
pub(crate) fn joined(folder: &str, below: &str) -> Option<String> {
    if below.starts_with('/') || below.starts_with('~') || below.contains("${") {
        return None;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in below.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
