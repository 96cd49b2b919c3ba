//! Which crate may use which: the table of ARCHITECTURE.md.

use crate::repository::Repository;
use crate::source::Source;
use crate::violation::Violation;

const PREFIX: &str = "palisade-";

/// Every library that a binary at the top may use.
const LIBRARIES: &[&str] = &[
    "core", "audit", "ci", "journal", "host", "config", "pipeline", "pm2", "firewall", "install", "postgres",
    "dbguard", "lease", "jobs", "notify", "reaper", "store", "webhook", "worker", "scan", "server",
];

/// Crates, without their prefix, and what each may depend on. Crates that do not exist yet are listed too.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("ci", &["core"]),
    ("audit", &["core"]),
    ("journal", &["core"]),
    ("host", &["core"]),
    ("config", &["core"]),
    ("pipeline", &["core", "journal", "host"]),
    ("pm2", &["core", "host", "pipeline"]),
    ("install", &["core", "host", "pm2"]),
    ("notify", &["core", "host"]),
    ("webhook", &["core"]),
    ("firewall", &["core", "config", "host", "journal", "notify", "pipeline", "pm2"]),
    ("postgres", &["core"]),
    ("dbguard", &["core", "audit", "host", "jobs", "lease", "notify", "pipeline", "postgres", "reaper"]),
    ("lease", &["core"]),
    ("jobs", &["core", "lease"]),
    ("store", &["core", "host", "lease", "jobs", "postgres"]),
    ("reaper", &["core", "host", "jobs", "lease", "notify"]),
    ("worker", &["core", "host", "jobs", "lease", "notify", "reaper"]),
    ("scan", &["core"]),
    ("server", LIBRARIES),
    ("cli", LIBRARIES),
    ("incidents", LIBRARIES),
    ("testkit", &[]),
];

/// Compares the dependencies of every crate with the table. What tests alone depend on is free, but for testkit.
pub(crate) fn check(repository: &Repository) -> Vec<Violation> {
    let manifests = repository.files().filter_map(|file| {
        let name = file.path().strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?;
        // A fuzz target is a workspace of its own, outside the house.
        (!name.ends_with("/fuzz")).then_some((name, file))
    });
    manifests.flat_map(|(name, manifest)| arrows_of(name, manifest)).collect()
}

fn arrows_of(name: &str, manifest: &Source) -> Vec<Violation> {
    let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
        let message = format!("crate {name} is not in the table of arrows (xtask/src/checks/arrows.rs)");
        return vec![Violation::new(manifest.path(), 1, message)];
    };
    let mut found = Vec::new();
    let mut judged = false;
    for (number, line) in manifest.lines() {
        if let Some(section) = line.trim().strip_prefix('[') {
            judged = is_judged(name, section.trim_end_matches(']'));
        }
        let Some(used) = dependency(line).filter(|used| judged && !allowed.contains(used)) else { continue };
        let message = format!("{name} may not use {used}: {}", rule(allowed));
        found.push(Violation::new(manifest.path(), number, message));
    }
    found
}

/// `[dependencies]` and what becomes part of the crate; for testkit every kind.
fn is_judged(name: &str, section: &str) -> bool {
    let section = section.split_once(&format!(".{PREFIX}")).map_or(section, |(section, _)| section);
    let all = name == "testkit" && section.ends_with("dependencies");
    let own = section.ends_with("dependencies") && !section.ends_with("dev-dependencies");
    all || own
}

/// The Palisade crate, without its prefix, that a line of a manifest names as a dependency.
fn dependency(line: &str) -> Option<&str> {
    let line = line.trim();
    let key = match line.strip_prefix('[') {
        Some(section) => section.trim_end_matches(']').rsplit_once('.')?.1,
        None => line,
    };
    let end = key.find(['.', ' ', '=']).unwrap_or(key.len());
    key[..end].trim_matches('"').strip_prefix(PREFIX)
}

fn rule(allowed: &[&str]) -> String {
    if allowed.is_empty() {
        "it uses no Palisade crate".to_owned()
    } else {
        format!("its arrows lead to {}", allowed.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::found;
    use super::*;

    #[test]
    fn an_arrow_outside_the_table_is_found_in_every_spelling() {
        let manifest = "[package]\nname = \"palisade-journal\"\n[dependencies]\npalisade-core.workspace = true\n\
                        palisade-host = { path = \"../host\" }\n[dependencies.palisade-pm2]\nworkspace = true\n\
                        [target.'cfg(unix)'.dependencies]\npalisade-config.workspace = true\n\
                        [dev-dependencies]\npalisade-testkit.workspace = true\n";
        assert_eq!(
            found(check, &[("crates/journal/Cargo.toml", manifest)]),
            [
                "crates/journal/Cargo.toml:5: journal may not use host: its arrows lead to core",
                "crates/journal/Cargo.toml:6: journal may not use pm2: its arrows lead to core",
                "crates/journal/Cargo.toml:9: journal may not use config: its arrows lead to core",
            ]
        );
    }

    #[test]
    fn testkit_knows_no_palisade_crate_even_in_its_tests() {
        let manifest = "[dev-dependencies]\npalisade-core.workspace = true\n";
        assert_eq!(
            found(check, &[("crates/testkit/Cargo.toml", manifest)]),
            ["crates/testkit/Cargo.toml:2: testkit may not use core: it uses no Palisade crate",]
        );
    }

    #[test]
    fn features_are_no_dependencies_and_a_new_crate_needs_a_row() {
        let manifest = "[features]\nablation = [\"palisade-core/ablation\"]\n";
        assert_eq!(found(check, &[("crates/host/Cargo.toml", manifest)]), [""; 0]);
        assert_eq!(found(check, &[("crates/host/fuzz/Cargo.toml", manifest)]), [""; 0]);
        assert_eq!(
            found(check, &[("crates/extra/Cargo.toml", "")]),
            [
                "crates/extra/Cargo.toml:1: crate extra is not in the table of arrows (xtask/src/checks/arrows.rs)",
            ]
        );
    }
}
