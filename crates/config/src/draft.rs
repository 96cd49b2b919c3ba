//! Drafts a host's policy from what its daemon runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use palisade_core::policy::Limits;
use palisade_core::text::Shown;
use palisade_core::{AppName, Snapshot};

use crate::group::{self, AppNames};
use crate::origin;
use crate::toml_text::{list, quoted};

/// The environment of names that end in no environment's word.
pub(crate) const REST: &str = "production";

/// A commented policy that claims every process of `snapshot`, for the host called `host`.
///
/// The draft is valid as it stands; its groups are guesses for a person to correct.
#[must_use]
pub fn draft(snapshot: &Snapshot, host: &str) -> String {
    let found = Found::of(snapshot);
    let mut out = heading(snapshot, host);
    out.push_str(&environments(&found));
    out.push_str(&limits(&found));
    out.push_str(WHO);
    for ((app, environment), entry) in &found.apps {
        out.push_str(&app_entry(app, environment, entry));
    }
    if !found.unnameable.is_empty() {
        out.push_str("\n# These processes are left out, and guards treat them as unclaimed:\n");
        for (name, reason) in &found.unnameable {
            push_line(&mut out, format_args!("# {}: {reason}", quoted(name)));
        }
    }
    out
}

/// What an entry may say of who deploys the app, for a person to fill in.
const WHO: &str = "
# Whose a call at PM2's socket is, is told by the folder that it comes from: those that an app's processes run in,
# and those that its entry names. An entry may also bind a PM2 namespace, and say who alone may deploy the app:
# folder = \"/srv/flyer-crawler\"
# namespace = \"flyer-crawler-prod\"
# deployers = [
#     { uid = 1001 },
#     { repository = \"torbo/flyer-crawler\", workflow = \"deploy.yml\", branch = \"main\" },
# ]
";

/// One `[[app]]` to write.
#[derive(Debug, Default)]
struct Entry<'s> {
    processes: Vec<&'s str>,
    /// What the app would be called if that were a name.
    wanted: &'s str,
}

/// What a daemon runs, by app and environment.
struct Found<'s> {
    apps: BTreeMap<(AppName, &'s str), Entry<'s>>,
    /// Environment words that names end in.
    words: BTreeSet<&'static str>,
    unnameable: Vec<(&'s str, String)>,
    instances: usize,
}

impl<'s> Found<'s> {
    fn of(snapshot: &'s Snapshot) -> Self {
        let names: BTreeSet<&str> = snapshot.countable().map(|process| process.pin.name.as_str()).collect();
        let (mut nameable, mut unnameable) = (Vec::new(), Vec::new());
        for name in names {
            match group::unnameable(name) {
                Some(reason) => unnameable.push((name, reason)),
                None => nameable.push(name),
            }
        }
        let bases = nameable.iter().map(|name| group::base(name)).collect();
        let groups = group::apps_of(&bases, &BTreeSet::new());
        let mut app_names = AppNames::default();
        let mut apps = BTreeMap::<_, Entry<'s>>::new();
        let mut words = BTreeSet::new();
        for name in nameable {
            let word = group::split_environment(name).map(|(_, word)| word);
            words.extend(word);
            let wanted = groups.get(group::base(name)).copied().unwrap_or(name);
            let entry = apps.entry((app_names.of(wanted), word.unwrap_or(REST))).or_default();
            entry.wanted = wanted;
            entry.processes.push(name);
        }
        Self { apps, words, unnameable, instances: snapshot.countable().count() }
    }
}

/// Writes a line; writing to a string cannot fail.
fn push_line(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("a String takes every write");
}

fn heading(snapshot: &Snapshot, host: &str) -> String {
    format!(
        "\
# Palisade's policy of {host}: who owns which process, and how far one operation may reach.
#
# Drafted by `palisade init` from the PM2 daemon at {home} on {moment}.
# The groups are guesses from the names: read them, and move what belongs elsewhere. `palisade config check`
# checks the file, `palisade config schema` gives editors its schema. Project files can only narrow it.

# Raise this with every change: Palisade refuses a policy that is older than the last one it saw.
revision = 1
",
        host = Shown(host),
        home = Shown(&snapshot.daemon.home),
        moment = snapshot.taken_at,
    )
}

fn environments(found: &Found<'_>) -> String {
    let mut out = String::from(
        "
# `mode` says what guards do with findings: \"observe\" lets through and records, \"enforce\" refuses.
# Palisade's own commands always enforce.
",
    );
    push_line(&mut out, format_args!("[environments.{REST}]\nmode = \"observe\""));
    for word in &found.words {
        push_line(
            &mut out,
            format_args!(
                "\n# Every process name of {word} ends with this, and no other environment's does.\n\
                 [environments.{word}]\nsuffix = \"-{word}\"\nmode = \"observe\""
            ),
        );
    }
    out
}

fn limits(found: &Found<'_>) -> String {
    let defaults = Limits::default();
    let (all_above, share) = (defaults.all_above, origin::share_text(defaults.share_per_mille));
    let (window, jobs) = (origin::window_text(&defaults), Limits::JOBS);
    let (why, all_above, share) = if found.apps.len() == 1 {
        (
            "# This daemon runs one app only, so its deployment takes every process there is: both limits are\n\
             # raised to let it. Lower them to the defaults (3 and 0.8) when a second app moves in.\n",
            found.instances.max(all_above as usize),
            "1.0".to_owned(),
        )
    } else {
        (
            "# The defaults. With more than `all_above` processes on the daemon, one operation may take neither\n\
             # all of them nor more than `share`.\n",
            all_above as usize,
            share,
        )
    };
    format!(
        "
[limits]
{why}all_above = {all_above}
share = {share}
# Distinct processes that one caller may take down within `window`; unset: as many as the largest app has.
# budget = 5
# Jobs that one caller may change by hand within `window`; unset: {jobs}, and a person who means more types the sum.
# job_budget = {jobs}
window = \"{window}\"
"
    )
}

fn app_entry(app: &AppName, environment: &str, entry: &Entry<'_>) -> String {
    let mut out = String::from("\n");
    if entry.wanted != app.as_str() {
        let reason = AppName::new(entry.wanted).err().map(|error| format!(": {error}"));
        let reason = reason.unwrap_or_default();
        push_line(&mut out, format_args!("# The app's name is made up{}", Shown(&reason)));
    }
    push_line(
        &mut out,
        format_args!(
            "[[app]]\nname = {}\nenvironment = {}\nprocesses = {}",
            quoted(app.as_str()),
            quoted(environment),
            list(&entry.processes)
        ),
    );
    out
}
