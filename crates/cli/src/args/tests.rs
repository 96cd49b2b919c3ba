use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;

use super::Cli;

/// The help page of a command: arguments are built late, so only asking for it shows what a person gets.
fn page(path: &[String]) -> String {
    let words = ["palisade"].into_iter().chain(path.iter().map(String::as_str)).chain(["--help"]);
    let error = Cli::try_parse_from(words).expect_err("a help page is told as an error");
    assert_eq!(error.kind(), ErrorKind::DisplayHelp, "{path:?}");
    error.render().to_string()
}

/// The commands that a page lists, with what it says of each.
fn listed(page: &str) -> Vec<(String, String)> {
    let Some((_, rest)) = page.split_once("Commands:\n") else { return Vec::new() };
    let mut found: Vec<(String, String)> = Vec::new();
    for line in rest.lines().take_while(|line| !line.is_empty()) {
        let text = line.trim_start();
        // A line that goes on from the one above begins further to the right.
        match (line.len() - text.len(), found.last_mut()) {
            (2, _) => {
                let (name, about) = text.split_once(' ').unwrap_or((text, ""));
                found.push((name.to_owned(), about.trim().to_owned()));
            }
            (_, Some((_, about))) => *about = format!("{about} {text}"),
            (_, None) => {}
        }
    }
    found.retain(|(name, _)| name != "help");
    found
}

/// Every command with its page and the line by which the page above lists it.
fn pages() -> Vec<(Vec<String>, String, String)> {
    let mut all = Vec::new();
    let mut open = vec![(Vec::new(), String::new())];
    while let Some((path, about)) = open.pop() {
        let page = page(&path);
        for (name, about) in listed(&page) {
            open.push(([&path[..], &[name]].concat(), about));
        }
        all.push((path, about, page));
    }
    assert!(all.len() > 100, "{} pages", all.len());
    all
}

/// The words of a command line as a shell splits them, without what stands after it: a remark, a pipe, a redirection.
/// `None` where it is no whole command line.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let (mut word, mut quote, mut spaces) = (None::<String>, None, 0);
    for c in line.chars() {
        match (quote, c) {
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (Some(open), c) if open == c => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, ' ') => {
                words.extend(word.take());
                spaces += 1;
                // What follows at a distance says what the line is for.
                if spaces > 1 {
                    break;
                }
                continue;
            }
            (None, '#' | '|' | '>' | '<' | ';' | '&' | ')') if word.is_none() => break,
            (None, ';' | ')') => break,
            (None, c) => word.get_or_insert_default().push(c),
        }
        spaces = 0;
    }
    words.extend(word);
    let left_out = |word: &String| word.contains('…') || word.contains("...") || word.contains('$');
    (quote.is_none() && !words.iter().any(left_out)).then_some(words)
}

/// Whether `palisade` takes these words; a page of help is an answer too.
fn taken(words: &[String]) -> Result<(), String> {
    match Cli::try_parse_from(words) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Lines of a text, those that a backslash continues as one.
fn joined(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut continued = false;
    for line in text.lines() {
        let (part, goes_on) = line.strip_suffix('\\').map_or((line, false), |part| (part.trim_end(), true));
        match lines.last_mut().filter(|_| continued) {
            Some(last) => *last = format!("{last} {}", part.trim()),
            None => lines.push(part.to_owned()),
        }
        continued = goes_on;
    }
    lines
}

#[test]
fn every_command_says_of_itself_what_the_list_of_commands_says_of_it() {
    for (path, about, page) in pages() {
        let own = page.split("\n\nUsage:").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>();
        if !path.is_empty() {
            assert_eq!(own.join(" "), about, "palisade {}", path.join(" "));
        }
    }
}

#[test]
fn every_command_shows_an_example_of_itself_and_each_example_is_a_command_line() {
    let mut wrong = Vec::new();
    for (path, _, page) in pages() {
        if !listed(&page).is_empty() && path != ["db", "stamp"] {
            continue;
        }
        let own = [&["palisade".to_owned()][..], &path].concat();
        let (_, examples) = page.split_once("Example").unwrap_or_default();
        let lines = joined(examples);
        let lines = lines.iter().map(|line| line.trim()).filter(|line| line.starts_with("palisade "));
        let lines: Vec<Vec<String>> = lines.filter_map(words).collect();
        if !lines.iter().any(|line| line.starts_with(&own)) {
            wrong.push(format!("{own:?} shows no example of itself: {lines:?}"));
        }
        let errors = lines.iter().filter_map(|line| Some(format!("{line:?}: {}", taken(line).err()?)));
        wrong.extend(errors);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Markdown files of the repository, but for the history of changes.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folders = ["", "docs", "docs/errors", "docs/adr"].map(|folder| root.join(folder));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let documents: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .filter(|path| !path.ends_with("CHANGELOG.md"))
        .collect();
    assert!(documents.len() > 100, "{}", documents.len());
    documents
}

#[test]
fn every_command_line_of_the_documents_is_one() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for path in documents() {
        for line in joined(&fs::read_to_string(&path).unwrap()) {
            let text = line.trim_start();
            let text = text.strip_prefix("$ ").unwrap_or(text);
            let Some(words) = words(text).filter(|_| text.starts_with("palisade ")) else { continue };
            seen += 1;
            if let Err(error) = taken(&words) {
                wrong.push(format!("{}: {text}: {error}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 150, "{seen} lines");
}
