//! Lays a project file over the host's policy: it may only narrow.
//!
//! A project file comes along with a checkout, and a checkout may be old. So each of its values is compared
//! with the host's: a narrower one takes its place, an equal one changes nothing, a wider one is refused. It
//! has the sections of a host file, and may leave out whatever it does not narrow; `revision` is ignored, so
//! that an old copy of a host file is judged like any other.

use std::ops::Range;
use std::path::Path;

use palisade_core::ablation::{self, Check};
use palisade_core::policy::{App, Limits, Mode, Owner};
use palisade_core::text::{Shown, nearest};
use palisade_core::{Code, Pattern, Scope};
use toml::Spanned;

use crate::host::HostPolicy;
use crate::origin::{self, Key, Origin};
use crate::ownership;
use crate::place::Place;
use crate::problem::{Problem, Problems};
use crate::written::{Kind, Written, WrittenApp, WrittenEnvironment, WrittenLimits};

/// Narrows `host` by the project file `text`, which stands at `path`. The host file itself changes nothing.
///
/// # Errors
/// Every problem of the project file at once; those that would widen carry [`Code::PolicyWidened`].
pub fn narrow(host: HostPolicy, text: &str, path: &Path) -> Result<HostPolicy, Problems> {
    if host.path() == path {
        return Ok(host);
    }
    let mut found = Vec::new();
    let written = Written::read(text, Kind::Project, &mut found);
    ownership::duplicate_scopes(&written.apps, &mut found);
    let mut narrowing = Narrowing { result: host.clone(), host, text, path, found };
    narrowing.limits(&written.limits);
    for environment in &written.environments {
        narrowing.environment(environment);
    }
    for pattern in &written.protected {
        narrowing.protect(pattern);
    }
    for app in &written.apps {
        narrowing.app(app);
    }
    Problems::check(path, text, narrowing.found)?;
    Ok(narrowing.result)
}

/// How a project's value relates to the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Narrower,
    Same,
    Wider,
}

impl Reach {
    /// For values of which less is narrower.
    fn of<T: Ord>(project: &T, host: &T) -> Self {
        match project.cmp(host) {
            std::cmp::Ordering::Less => Self::Narrower,
            std::cmp::Ordering::Equal => Self::Same,
            std::cmp::Ordering::Greater => Self::Wider,
        }
    }

    const fn of_mode(project: Mode, host: Mode) -> Self {
        match (project, host) {
            (Mode::Enforce, Mode::Observe) => Self::Narrower,
            (Mode::Enforce, Mode::Enforce) | (Mode::Observe, Mode::Observe) => Self::Same,
            (Mode::Observe, Mode::Enforce) => Self::Wider,
        }
    }
}

/// Both sides of one comparison, for the message.
struct Compared {
    key: Key,
    span: Range<usize>,
    project: String,
    host: String,
    /// What would be accepted.
    accepted: String,
}

struct Narrowing<'t> {
    host: HostPolicy,
    result: HostPolicy,
    text: &'t str,
    path: &'t Path,
    found: Vec<Problem>,
}

impl Narrowing<'_> {
    /// Whether the project's value takes the host's place; notes a problem if it would widen.
    fn takes(&mut self, reach: Reach, compared: Compared) -> bool {
        match reach {
            Reach::Same => false,
            Reach::Wider if !ablation::is_off(Check::Narrowing) => {
                let problem = self.wider(&compared);
                self.found.push(problem);
                false
            }
            Reach::Narrower | Reach::Wider => {
                self.set(compared.key, compared.span);
                true
            }
        }
    }

    fn set(&mut self, key: Key, span: Range<usize>) {
        let line = Place::of(self.text, span.start).line;
        self.result.origins.insert(key, Origin::Project { path: self.path.to_owned(), line });
    }

    fn wider(&self, compared: &Compared) -> Problem {
        let Compared { key, span, project, host, accepted } = compared;
        let origin = self.host.origin_of(key);
        widened(
            span.clone(),
            format!("`{key}` is {project} here and {host} in the host's policy"),
            format!("the host has {host} ({origin})"),
            format!("write {accepted} or leave it out: a project file may only narrow the host's policy"),
        )
    }

    fn limits(&mut self, written: &WrittenLimits) {
        let host = self.host.policy.limits.clone();
        if let Some(value) = &written.all_above {
            let (project, host) = (*value.get_ref(), host.all_above);
            let compared = at_most(Key::AllAbove, value.span(), project.to_string(), host.to_string());
            if self.takes(Reach::of(&project, &host), compared) {
                self.result.policy.limits.all_above = project;
            }
        }
        if let Some(value) = &written.share_per_mille {
            let (project, host) = (*value.get_ref(), host.share_per_mille);
            let shown = (origin::share_text(project), origin::share_text(host));
            if self.takes(Reach::of(&project, &host), at_most(Key::Share, value.span(), shown.0, shown.1)) {
                self.result.policy.limits.share_per_mille = project;
            }
        }
        self.budget(written);
        self.job_budget(written);
        if let Some(value) = &written.window {
            let project = *value.get_ref();
            // A longer window counts more of what was taken before: longer is narrower.
            let reach = Reach::of(&host.window, &project);
            let shown = humantime::format_duration(project).to_string();
            let host = origin::window_text(&host);
            let accepted = format!("{host} or longer");
            let compared = Compared { key: Key::Window, span: value.span(), project: shown, host, accepted };
            if self.takes(reach, compared) {
                self.result.policy.limits.window = project;
            }
        }
    }

    fn budget(&mut self, written: &WrittenLimits) {
        let Some(value) = &written.budget else { return };
        let (project, host) = (*value.get_ref(), self.host.policy.limits.budget);
        // Without a number the host's budget follows the daemon's list: no number is surely lower.
        let reach = host.map_or(Reach::Wider, |host| Reach::of(&project, &host));
        let mut compared = at_most(Key::Budget, value.span(), project.to_string(), origin::budget_text(host));
        if host.is_none() {
            compared.accepted = "a number into limits.budget of the host's policy first,".to_owned();
        }
        if self.takes(reach, compared) {
            self.result.policy.limits.budget = Some(project);
        }
    }

    fn job_budget(&mut self, written: &WrittenLimits) {
        let Some(value) = &written.job_budget else { return };
        let (project, host) = (*value.get_ref(), self.host.policy.limits.job_budget);
        let reach = Reach::of(&project, &host.unwrap_or(Limits::JOBS));
        // The same number as nobody set is narrower all the same: nobody may go over it.
        let reach = if host.is_none() && reach == Reach::Same { Reach::Narrower } else { reach };
        let shown = origin::job_budget_text(host);
        if self.takes(reach, at_most(Key::JobBudget, value.span(), project.to_string(), shown)) {
            self.result.policy.limits.job_budget = Some(project);
        }
    }

    fn environment(&mut self, written: &WrittenEnvironment) {
        let name = written.name.get_ref();
        let Some(host) = self.host.policy.environments.get(name).cloned() else {
            let known: Vec<_> = self.host.policy.environments.keys().map(|name| name.as_str()).collect();
            let fix = unknown_fix(nearest(name.as_str(), known.iter().copied()), "the environment");
            let message = format!("the host's policy has no environment {name}");
            self.refuse(widened(written.name.span(), message, "unknown to the host", fix));
            return;
        };
        if let Some(suffix) = &written.suffix {
            let same = host.suffix.as_ref() == Some(suffix.get_ref());
            let host = host.suffix.as_ref().map_or_else(|| "none".to_owned(), |suffix| format!("{suffix:?}"));
            let compared = Compared {
                key: Key::Suffix(name.clone()),
                span: suffix.span(),
                project: format!("{:?}", suffix.get_ref()),
                accepted: if host == "none" { "no suffix".to_owned() } else { host.clone() },
                host,
            };
            if self.takes(if same { Reach::Same } else { Reach::Wider }, compared)
                && let Some(environment) = self.result.policy.environments.get_mut(name)
            {
                environment.suffix = Some(suffix.get_ref().clone());
            }
        }
        if let Some(mode) = &written.mode
            && self.takes(
                Reach::of_mode(*mode.get_ref(), host.mode),
                mode_compared(Key::EnvironmentMode(name.clone()), mode, host.mode),
            )
            && let Some(environment) = self.result.policy.environments.get_mut(name)
        {
            environment.mode = *mode.get_ref();
        }
    }

    fn protect(&mut self, pattern: &Spanned<Pattern>) {
        if !self.result.policy.protected.contains(pattern.get_ref()) {
            self.set(Key::Protected(pattern.get_ref().clone()), pattern.span());
            self.result.policy.protected.push(pattern.get_ref().clone());
        }
    }

    fn refuse(&mut self, problem: Problem) {
        if !ablation::is_off(Check::Narrowing) {
            self.found.push(problem);
        }
    }

    fn app(&mut self, written: &WrittenApp) {
        let scope = &written.scope;
        let known = |app: &&App| app.scope == *scope;
        let Some(host) = self.host.policy.apps.iter().find(known).cloned() else {
            let names: Vec<String> = self.host.policy.apps.iter().map(|app| app.scope.to_string()).collect();
            let fix = unknown_fix(nearest(&scope.to_string(), names.iter().map(String::as_str)), "the app");
            let message = format!("the host's policy has no {scope}");
            self.refuse(widened(written.name.clone(), message, "unknown to the host", fix));
            return;
        };
        let mut app = host.clone();
        if let Some(processes) = &written.processes {
            self.processes(&host, processes, written);
            app.processes = processes.iter().map(|pattern| pattern.get_ref().clone()).collect();
        }
        for operation in &written.confirm {
            if app.confirm.insert(*operation.get_ref()) {
                self.set(Key::Confirm(scope.clone(), *operation.get_ref()), operation.span());
            }
        }
        if let Some(mode) = &written.mode {
            let inherited = self.host.policy.environments.get(&scope.environment);
            let before = host.mode.unwrap_or_else(|| inherited.map_or(Mode::default(), |found| found.mode));
            let compared = mode_compared(Key::AppMode(scope.clone()), mode, before);
            if self.takes(Reach::of_mode(*mode.get_ref(), before), compared) {
                app.mode = Some(*mode.get_ref());
            }
        }
        self.deployers(&host, written);
        if let Some(place) = self.result.policy.apps.iter_mut().find(|app| app.scope == *scope) {
            *place = app;
        }
    }

    /// Who deploys an app, and from where, is the host's to say: a checkout that says the same changes nothing.
    fn deployers(&mut self, host: &App, written: &WrittenApp) {
        let scope = &host.scope;
        for folder in
            written.folders.iter().flatten().filter(|folder| !host.folders.contains(folder.get_ref()))
        {
            let text = folder.get_ref().to_string();
            self.refuse(of_the_host(folder.span(), &format!("the folder {text:?} of {scope}")));
        }
        if let Some(namespace) = &written.namespace
            && host.namespace.as_ref() != Some(namespace.get_ref())
        {
            let text = namespace.get_ref().to_string();
            self.refuse(of_the_host(namespace.span(), &format!("the namespace {text:?} of {scope}")));
        }
        for entry in written.deployers.iter().flatten() {
            if !host.deployers.contains(entry.get_ref()) {
                self.refuse(of_the_host(entry.span(), &format!("this deployer of {scope}")));
            }
        }
    }

    /// Every pattern has to be the scope's already, and what is left out must not fall to another scope.
    fn processes(&mut self, host: &App, written: &[Spanned<Pattern>], app: &WrittenApp) {
        let owner = Owner::Scope(host.scope.clone());
        for pattern in written {
            let name = pattern.get_ref();
            if host.processes.contains(name) {
                continue;
            }
            let of_host = self.host.policy.owner_of(name.as_str());
            if !name.is_exact() || of_host != owner {
                self.refuse(not_owned(pattern, &host.scope, &of_host));
            }
            self.set(Key::Process(host.scope.clone(), name.clone()), pattern.span());
        }
        let mut after = self.host.policy.clone();
        let kept = written.iter().map(|pattern| pattern.get_ref().clone()).collect::<Vec<_>>();
        if let Some(narrowed) = after.apps.iter_mut().find(|other| other.scope == host.scope) {
            narrowed.processes = kept;
        }
        for dropped in host.processes.iter().filter(|pattern| pattern.is_exact()) {
            if let Owner::Scope(heir) = after.owner_of(dropped.as_str())
                && heir != host.scope
            {
                self.refuse(inherited(dropped, &heir, app));
            }
        }
    }
}

fn widened(
    span: Range<usize>,
    message: impl Into<String>,
    label: impl Into<String>,
    fix: impl Into<String>,
) -> Problem {
    Problem { code: Code::PolicyWidened, ..Problem::invalid(span, message, label, fix) }
}

fn at_most(key: Key, span: Range<usize>, project: String, host: String) -> Compared {
    let accepted = format!("{host} or less");
    Compared { key, span, project, host, accepted }
}

fn mode_compared(key: Key, project: &Spanned<Mode>, host: Mode) -> Compared {
    let (shown, host) = (origin::mode_word(*project.get_ref()), origin::mode_word(host));
    let accepted = format!("{host:?}");
    Compared { key, span: project.span(), project: shown.to_owned(), host: host.to_owned(), accepted }
}

fn unknown_fix(meant: Option<&str>, what: &str) -> String {
    let meant = meant.map(|word| format!("did you mean {word}? ")).unwrap_or_default();
    format!("{meant}{what} has to be in the host's policy first")
}

fn of_the_host(span: Range<usize>, what: &str) -> Problem {
    let fix = "take it out: only the host's policy says who deploys an app, and from where";
    widened(span, format!("{what} is not in the host's policy"), "unknown to the host", fix)
}

fn not_owned(pattern: &Spanned<Pattern>, scope: &Scope, owner: &Owner) -> Problem {
    let text = Shown(pattern.get_ref().as_str()).to_string();
    let label = if pattern.get_ref().is_exact() {
        format!("in the host's policy: {owner}")
    } else {
        "the host has no such glob".to_owned()
    };
    widened(
        pattern.span(),
        format!("{text:?} does not belong to {scope} in the host's policy"),
        label,
        "take it out: a project file lists exact names that the host gives to this app, or the host's own globs",
    )
}

fn inherited(dropped: &Pattern, heir: &Scope, app: &WrittenApp) -> Problem {
    let text = Shown(dropped.as_str()).to_string();
    widened(
        app.name.clone(),
        format!("without {text:?} in {} that process would fall to {heir}", app.scope),
        "its `processes` leave it out",
        format!("list {text:?} here, or take it from the globs of {heir} in the host's policy"),
    )
}
