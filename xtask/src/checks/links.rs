//! Links between files of the repository lead somewhere.

use crate::repository::Repository;
use crate::source::Source;
use crate::violation::Violation;

/// Follows every relative link of every Markdown file. Headings after `#` are not looked for.
pub(crate) fn check(repository: &Repository) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in repository.files().filter(|file| file.path().ends_with(".md")) {
        for (number, target) in links(file) {
            let path = target.split(['#', '?']).next().unwrap_or_default();
            if path.is_empty() || is_elsewhere(target) {
                continue;
            }
            if !resolve(file.path(), path).is_some_and(|path| repository.holds(&path)) {
                found.push(Violation::new(file.path(), number, format!("the link {target} leads nowhere")));
            }
        }
    }
    found
}

/// A target with a scheme, such as `https:` or `mailto:`.
fn is_elsewhere(target: &str) -> bool {
    let scheme = target.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric()))
}

/// Targets of `[text](target)` and `[name]: target`, outside of fenced code and code spans.
fn links(file: &Source) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in file.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced || line.starts_with("    ") {
            continue;
        }
        if let Some(target) = definition(line) {
            found.push((number, target));
        }
        let prose = line.split('`').step_by(2);
        found.extend(prose.flat_map(inline).map(|target| (number, target)));
    }
    found
}

fn definition(line: &str) -> Option<&str> {
    let (name, target) = line.strip_prefix('[')?.split_once("]:")?;
    let target = target.split_whitespace().next()?;
    (!name.starts_with('^')).then_some(target)
}

fn inline(prose: &str) -> impl Iterator<Item = &str> {
    prose.split("](").skip(1).filter_map(|rest| {
        let (target, _) = rest.split_once(')')?;
        target.split_whitespace().next()
    })
}

/// `target` as seen from `file`, from the repository's root; `None` if it leads out of it.
fn resolve(file: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => file.split('/').collect(),
    };
    parts.pop();
    for part in target.split('/') {
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

#[cfg(test)]
mod tests {
    use super::super::found;
    use super::*;

    #[test]
    fn links_are_followed_from_where_they_stand() {
        let text =
            "[a](../GLOSSARY.md#lease) [b](errors/) [c](https://x.org/y.md) [d](#here) [e](/docs/a.md)\n";
        assert_eq!(
            found(check, &[("docs/a.md", text), ("GLOSSARY.md", ""), ("docs/errors/P.md", "")]),
            [""; 0]
        );
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let text = "one\n[a](b.md) and [c](../../d.md)\n[e]: f.md\n";
        assert_eq!(
            found(check, &[("docs/a.md", text)]),
            [
                "docs/a.md:2: the link b.md leads nowhere",
                "docs/a.md:2: the link ../../d.md leads nowhere",
                "docs/a.md:3: the link f.md leads nowhere",
            ]
        );
    }

    #[test]
    fn code_is_no_link() {
        let text = "`[a](b.md)`\n```\n[c](d.md)\n```\n    [e](f.md)\n";
        assert_eq!(found(check, &[("a.md", text)]), [""; 0]);
    }
}
