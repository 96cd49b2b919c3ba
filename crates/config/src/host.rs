//! The host's policy, checked, with the origin of every value.

use std::ops::Range;
use std::path::{Path, PathBuf};

use palisade_core::Policy;
use palisade_core::notice::Receivers;
use palisade_core::policy::{App, Environment, Limits, PolicyRef};
use toml::Spanned;

use crate::notify::WrittenNotify;
use crate::origin::{self, Key, Origin, Origins, Row};
use crate::ownership;
use crate::place::Place;
use crate::problem::Problems;
use crate::written::{Kind, Written, WrittenApp, WrittenLimits};

/// A checked policy, and where each of its values comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPolicy {
    pub(crate) policy: Policy,
    pub(crate) path: PathBuf,
    pub(crate) origins: Origins,
    /// Of the host's file, before any narrowing.
    pub(crate) reference: PolicyRef,
}

impl HostPolicy {
    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The policy by itself, for who asks no origins.
    #[must_use]
    pub fn into_policy(self) -> Policy {
        self.policy
    }

    /// Revision and digest of the host's own file, whatever a project narrowed since.
    #[must_use]
    pub const fn reference(&self) -> &PolicyRef {
        &self.reference
    }

    /// The host file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every value with unit, default and origin, in the order of a file.
    #[must_use]
    pub fn origins(&self) -> Vec<Row> {
        origin::rows(&self.policy, &self.origins)
    }

    /// Where one value was set.
    #[must_use]
    pub fn origin_of(&self, key: &Key) -> Origin {
        self.origins.get(key).cloned().unwrap_or_default()
    }
}

/// Reads a host file: `text`, which stands at `path`.
///
/// # Errors
/// Every problem of the file at once; a mistake of syntax alone, for nothing after it can be read.
pub fn parse_host(text: &str, path: &Path) -> Result<HostPolicy, Problems> {
    let mut found = Vec::new();
    let written = Written::read(text, Kind::Host, &mut found);
    ownership::check(&written, &mut found);
    Problems::check(path, text, found)?;
    Ok(Assembly { text, path, origins: Origins::new() }.host(written))
}

/// Puts checked values together and notes where each stood.
struct Assembly<'t> {
    text: &'t str,
    path: &'t Path,
    origins: Origins,
}

impl Assembly<'_> {
    fn host(mut self, written: Written) -> HostPolicy {
        let limits = self.limits(written.limits);
        let notify = self.notify(written.notify);
        let mut policy =
            Policy { revision: 0, environments: [].into(), apps: vec![], protected: vec![], limits, notify };
        if let Some(revision) = written.revision {
            policy.revision = self.take(Key::Revision, revision);
        }
        for environment in written.environments {
            let name = environment.name.into_inner();
            let suffix = environment.suffix.map(|suffix| self.take(Key::Suffix(name.clone()), suffix));
            let mode = environment.mode.map(|mode| self.take(Key::EnvironmentMode(name.clone()), mode));
            policy.environments.insert(name, Environment { suffix, mode: mode.unwrap_or_default() });
        }
        for pattern in written.protected {
            let key = Key::Protected(pattern.get_ref().clone());
            policy.protected.push(self.take(key, pattern));
        }
        policy.apps = written.apps.into_iter().map(|app| self.app(app)).collect();
        let reference = policy.reference();
        HostPolicy { policy, path: self.path.to_owned(), origins: self.origins, reference }
    }

    fn app(&mut self, written: WrittenApp) -> App {
        let scope = written.scope;
        let processes = written
            .processes
            .unwrap_or_default()
            .into_iter()
            .map(|pattern| self.take(Key::Process(scope.clone(), pattern.get_ref().clone()), pattern));
        let processes = processes.collect();
        let confirm = written.confirm.into_iter();
        let confirm = confirm
            .map(|operation| self.take(Key::Confirm(scope.clone(), *operation.get_ref()), operation))
            .collect();
        let mode = written.mode.map(|mode| self.take(Key::AppMode(scope.clone()), mode));
        let folders = written.folders.into_iter().flatten();
        let folders = folders
            .map(|folder| self.take(Key::Folder(scope.clone(), folder.get_ref().clone()), folder))
            .collect();
        let namespace = written.namespace.map(|name| self.take(Key::Namespace(scope.clone()), name));
        let deployers = written.deployers.into_iter().flatten().enumerate();
        let deployers =
            deployers.map(|(index, entry)| self.take(Key::Deployer(scope.clone(), index), entry)).collect();
        App { scope, processes, confirm, mode, folders, namespace, deployers }
    }

    fn limits(&mut self, written: WrittenLimits) -> Limits {
        let defaults = Limits::default();
        Limits {
            all_above: written.all_above.map_or(defaults.all_above, |value| self.take(Key::AllAbove, value)),
            share_per_mille: written
                .share_per_mille
                .map_or(defaults.share_per_mille, |value| self.take(Key::Share, value)),
            budget: written.budget.map(|value| self.take(Key::Budget, value)),
            job_budget: written.job_budget.map(|value| self.take(Key::JobBudget, value)),
            window: written.window.map_or(defaults.window, |value| self.take(Key::Window, value)),
        }
    }

    fn notify(&mut self, written: WrittenNotify) -> Receivers {
        let defaults = Receivers::default();
        Receivers {
            command: written.command.map_or(defaults.command, |value| self.take(Key::NotifyCommand, value)),
            webhook: written.webhook.map(|value| self.take(Key::NotifyWebhook, value)),
            webhook_file: written.webhook_file.map(|value| self.take(Key::NotifyWebhookFile, value)),
            signing_key_file: written.signing_key_file.map(|value| self.take(Key::NotifyKeyFile, value)),
            ca_file: written.ca_file.map(|value| self.take(Key::NotifyCaFile, value)),
            about: written.about.map_or(defaults.about, |value| self.take(Key::NotifyAbout, value)),
            window: written.window.map_or(defaults.window, |value| self.take(Key::NotifyWindow, value)),
        }
    }

    fn take<T>(&mut self, key: Key, value: Spanned<T>) -> T {
        let origin = self.origin(value.span());
        self.origins.insert(key, origin);
        value.into_inner()
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        Origin::Host { path: self.path.to_owned(), line: Place::of(self.text, span.start).line }
    }
}
