//! The rule that ends silent jobs, with leases, fencing and stale clients, in a model checker.
//!
//! `./run model [--large] [--traces]` holds the full design against every promise, and eleven weakened designs, each of
//! which has to be caught. It ends with an exit code that is not 0 where one was not, or where the full design breaks.

mod design;
mod run;
mod steps;
mod system;
mod world;

use std::io::Write as _;
use std::process::ExitCode;

use crate::run::Found;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(word) = words.iter().find(|word| !matches!(word.as_str(), "--large" | "--traces")) {
        say(&format!("model: `{word}` is unknown\nusage: ./run model [--large] [--traces]"));
        return ExitCode::from(2);
    }
    let told = |option: &str| words.iter().any(|word| word == option);
    let (large, traces) = (told("--large"), told("--traces"));
    say(&format!(
        "{:<47} {:>9}  {:<34} {:>11} {:>11} {:>7}",
        "design", "H TTL W h", "broken (steps of the shortest trace)", "unique", "made", "s"
    ));
    let mut systems = run::weakened();
    systems.extend(run::bounded(1, 2));
    if large {
        systems.extend(run::bounded(2, 2));
    }
    systems.extend(run::restored(large));
    systems.extend(run::full(large));
    let mut wrong = 0;
    for system in systems {
        let found = run::check(system);
        wrong += u32::from(!found.right);
        row(&found, traces);
    }
    say("H: threshold, TTL: of the lease, W: steps of the job, h: horizon, all but W in ticks");
    if wrong == 0 {
        say("11 weakened designs are caught, the full design keeps every promise, the bound is tight");
        return ExitCode::SUCCESS;
    }
    say(&format!("{wrong} rows are not as they have to be"));
    ExitCode::FAILURE
}

/// One row of the table, and the traces below it.
fn row(found: &Found, traces: bool) {
    let system = &found.system;
    let mut name = system.design.name.to_owned();
    if let Some(bound) = system.bound {
        name.push_str(&format!(", taken up within {bound}"));
    }
    if system.faults.restores > 0 {
        name.push_str(", set back once");
    }
    let broken: Vec<String> =
        found.broken.iter().map(|(promise, steps)| format!("{} ({})", promise.name(), steps.len())).collect();
    let broken = if broken.is_empty() { "none".to_owned() } else { broken.join(" ") };
    say(&format!(
        "{name:<47} {:>9}  {broken:<34} {:>11} {:>11} {:>7.1}{}",
        format!("{} {} {} {}", system.threshold, system.ttl, system.work, system.horizon),
        found.unique,
        found.made,
        found.took.as_secs_f64(),
        if found.right { "" } else { "  WRONG" }
    ));
    if !found.right && !found.unseen.is_empty() {
        say(&format!("    not seen: {}", found.unseen.join(", ")));
    }
    if traces || !found.right {
        for (promise, steps) in &found.broken {
            let steps: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
            say(&format!("    {}: {}", promise.name(), steps.join(" > ")));
        }
    }
}

/// A line of the result.
fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").unwrap_or_default();
}
