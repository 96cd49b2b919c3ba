//! What is measured, row by row.

mod audit;
mod firewall;
mod guard;
pub(crate) mod jobs;
mod journal;
mod layers;
mod list;
mod restore;

use palisade_testkit::{App, EightApps, Pm2, postgres};

use crate::commands::Commands;
use crate::report::Section;
use crate::rounds::Plan;
use crate::{Outcome, say};

/// The version that everything is measured on.
const VERSION: &str = "7.0.4";

/// What can be measured alone.
pub(crate) const ROWS: [&str; 8] =
    ["five", "many", "layers", "restore", "journal", "firewall", "audit", "guard"];

/// Every section, in the order of the file.
pub(crate) fn all(plan: &Plan) -> Outcome<Vec<Section>> {
    let mut sections = Vec::new();
    if plan.has("five") {
        say("list of 5");
        let pm2 = sleepers(5);
        let commands = Commands::new(pm2.home())?;
        sections.push(list::of_five(plan, &commands)?);
        sections.push(list::version(plan, &commands)?);
    }
    if plan.has("many") {
        say("list of 200");
        let pm2 = sleepers(200);
        let commands = Commands::new(pm2.home())?;
        sections.push(list::of_many(plan, &commands, &pm2.rpc_socket())?);
    }
    if ["layers", "restore", "journal"].iter().any(|row| plan.has(row)) {
        eight(plan, &mut sections)?;
    }
    if plan.has("firewall") {
        say("the firewall, reads");
        sections.extend(firewall::reads(plan)?);
        say("the firewall, changes");
        sections.push(firewall::changes(plan)?);
        sections.push(firewall::size()?);
    }
    if plan.has("audit") {
        say("the audit of a log");
        sections.extend(audit::logs(plan)?);
    }
    // Only where they are named: they need the peers, and minutes.
    if !plan.is_whole() {
        sections.extend(jobs::all(plan)?);
    }
    if plan.has("guard") {
        for version in postgres::VERSIONS {
            sections.extend(guard::all(plan, version)?);
        }
    }
    Ok(sections)
}

/// What is measured on a daemon with eight apps, and on the journal that this leaves.
fn eight(plan: &Plan, sections: &mut Vec<Section>) -> Outcome<()> {
    let eight = EightApps::start(VERSION);
    let commands = Commands::new(eight.pm2.home())?;
    commands.palisade(&["init"])?;
    if plan.has("layers") || plan.has("journal") {
        say("the five layers");
        sections.push(layers::three_of_eight(plan, &commands, &eight.pm2)?);
    }
    if plan.has("restore") {
        say("restore");
        sections.push(restore::massacre(plan, &commands, &eight.pm2)?);
    }
    if plan.has("journal") {
        say("journal");
        let records = journal::written_by(&commands)?;
        drop(eight);
        sections.push(journal::appends(plan, &records)?);
        sections.push(journal::verify(plan, &records)?);
    }
    Ok(())
}

/// A daemon with that many apps that sleep, each with variables as an app of a real host has them.
fn sleepers(count: usize) -> Pm2 {
    let pm2 = Pm2::start(VERSION);
    let apps: Vec<App> = (0..count)
        .map(|number| {
            let app = App::sleep(&format!("app-{number:03}"));
            (0..24).fold(app, |app, n| app.env(&format!("SETTING_{n}"), &"x".repeat(48)))
        })
        .collect();
    pm2.start_apps(&apps);
    pm2
}
