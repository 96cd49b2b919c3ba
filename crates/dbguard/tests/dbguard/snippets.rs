//! The snippets of docs/identity.md, run as they stand there.

use std::path::Path;
use std::process::{Command, Output};

use palisade_testkit::{Scratch, clients};

use crate::fixture::Jobs;
use crate::identities::{key_of, must_ask, stamped};

/// Writes every block of the document that has a file's name into a folder, and the key of an app.
fn written(jobs: &Jobs) -> Scratch {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/identity.md");
    let text = std::fs::read_to_string(document).unwrap();
    let folder = Scratch::new();
    let mut blocks = 0;
    for block in text.split("\n```").skip(1) {
        let Some((head, body)) = block.split_once('\n') else { continue };
        if let Some((_, name)) = head.split_once(' ') {
            folder.write(name, body);
            blocks += 1;
        }
    }
    assert_eq!(blocks, 7, "blocks of docs/identity.md that name a file");
    folder.write("app.key", &key_of(jobs, "atom").file());
    folder
}

/// Runs a snippet against the database, through whatever stands before it.
fn run(jobs: &Jobs, folder: &Scratch, program: &str, file: &str, variable: (&str, &Path)) {
    let ran = ran(jobs, folder, program, file, variable);
    assert!(ran.status.success(), "{file}: {}", String::from_utf8_lossy(&ran.stderr));
}

fn ran(jobs: &Jobs, folder: &Scratch, program: &str, file: &str, variable: (&str, &Path)) -> Output {
    Command::new(program)
        .arg(folder.join(file))
        .env(variable.0, variable.1)
        .env("DATABASE_URL", jobs.url())
        .env("PALISADE_KEY_FILE", folder.join("app.key"))
        .output()
        .unwrap_or_else(|error| panic!("{program} is missing: {error}"))
}

#[test]
fn the_python_snippets_prove_who_they_are_also_through_a_pooler() {
    let jobs = stamped("15").through_a_pooler();
    let folder = written(&jobs);
    let modules = clients::python();
    run(&jobs, &folder, "python3", "with_psycopg.py", ("PYTHONPATH", &modules));
    assert_eq!(jobs.count("cancelled"), 1);
    must_ask(&jobs, true, None);
    run(&jobs, &folder, "python3", "with_sqlalchemy.py", ("PYTHONPATH", &modules));
    let rows = "SELECT identity, term, epoch FROM palisade.history WHERE identity IS NOT NULL ORDER BY id";
    assert_eq!(jobs.admin(rows), "atom/production|1|412\natom/production||");
}

#[test]
fn the_node_snippets_prove_who_they_are() {
    let jobs = stamped("18");
    let folder = written(&jobs);
    must_ask(&jobs, true, None);
    // Node looks for a module beside its script and above it.
    std::os::unix::fs::symlink(clients::atom().canonicalize().unwrap(), folder.join("node_modules")).unwrap();
    run(&jobs, &folder, "node", "with-pg.mjs", ("NODE_NO_WARNINGS", Path::new("1")));
    let rows = "SELECT identity FROM palisade.history WHERE event = 'entry' AND identity IS NOT NULL";
    assert_eq!(jobs.admin(rows), "atom/production");
}

#[test]
fn the_prisma_snippet_proves_who_it_is_and_without_its_first_line_it_is_refused() {
    let jobs = stamped("15");
    let folder = written(&jobs);
    must_ask(&jobs, true, None);
    let (modules, client) = clients::prisma();
    std::os::unix::fs::symlink(modules.canonicalize().unwrap(), folder.join("node_modules")).unwrap();
    folder.write("client.mjs", &std::fs::read_to_string(client).unwrap());
    let quiet = ("NODE_NO_WARNINGS", Path::new("1"));
    run(&jobs, &folder, "node", "with-prisma.mjs", quiet);
    let rows = "SELECT identity FROM palisade.history WHERE event = 'entry' AND identity IS NOT NULL";
    assert_eq!(jobs.admin(rows), "atom/production");
    let whole = std::fs::read_to_string(folder.join("with-prisma.mjs")).unwrap();
    let silent: String = whole
        .lines()
        .filter(|line| !line.contains("palisade.begin"))
        .map(|line| format!("{line}\n"))
        .collect();
    folder.write("silent.mjs", &silent.replace("\"p\"", "\"q\""));
    let refused = ran(&jobs, &folder, "node", "silent.mjs", quiet);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("PL321"));
    assert_eq!(jobs.admin("SELECT count(*) FROM backfill_jobs WHERE name = 'q'"), "0");
}

#[test]
fn the_ruby_snippet_proves_who_it_is() {
    let jobs = stamped("15");
    let folder = written(&jobs);
    must_ask(&jobs, true, None);
    run(&jobs, &folder, "ruby", "with_active_record.rb", ("LANG", Path::new("C.UTF-8")));
    let rows = "SELECT identity FROM palisade.history WHERE identity IS NOT NULL";
    assert_eq!(jobs.admin(rows), "atom/production");
}
