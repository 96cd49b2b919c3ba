//! Who is expected on a database, and the judgement of who was seen.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::collector::{Client, Sighting};
use crate::finding::{Finding, Kind};
use crate::naming::{environment_of, same_environment, split_epoch};
use crate::network::Network;

/// The name under which Palisade itself connects.
const OURS: &str = "palisade";

/// An app that is expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// The name that it gives itself, without its epoch; `*` stands for any text.
    pub app: String,
    /// Roles that it logs in as; empty for any.
    pub roles: Vec<String>,
    /// Where it comes from; empty for anywhere.
    pub networks: Vec<Network>,
    /// Whether it may change the schema.
    pub ddl: bool,
    /// Guarded tables that it writes, as SQL writes them.
    pub writes: Vec<String>,
}

/// What a database expects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Expectations {
    /// The environment of the database.
    pub environment: Option<String>,
    /// Apps; where there is none, every name is as good as any.
    pub apps: Vec<Expected>,
    /// Poolers, behind which addresses say nothing.
    pub poolers: Vec<Network>,
    /// The lowest epochs that count in this environment, by app: those that the database's guard asks for.
    pub minimums: BTreeMap<String, u64>,
    /// Roles that were retired by a rotation.
    pub retired: BTreeSet<String>,
    /// Names that were seen before, without their epochs; `None` where nobody keeps them.
    #[serde(skip)]
    pub known: Option<BTreeSet<String>>,
}

impl Expectations {
    /// What is to be said about something that was seen. `newest` has the newest epoch of each app.
    #[must_use]
    pub fn judge(&self, sighting: &Sighting, newest: &BTreeMap<String, u64>) -> Vec<Finding> {
        match sighting {
            Sighting::Client(client) => self.client(client, newest),
            Sighting::Ddl { client, verb } => self.ddl(client, verb, newest),
            Sighting::Rejected { role, address } if self.retired.contains(role) => {
                let what = format!(
                    "somebody still tries to log in with the retired role {role}, from {}",
                    or_unknown(address)
                );
                vec![Finding::new(Kind::RetiredRole, what, None)]
            }
            Sighting::Rejected { .. } | Sighting::Refused { .. } => Vec::new(),
        }
    }

    /// Tables that more apps write than are expected to: `writes` has a table and a claimed name for each.
    #[must_use]
    pub fn writers(&self, writes: &BTreeSet<(String, String)>) -> Vec<Finding> {
        let mut tables: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (table, app) in writes {
            tables.entry(table).or_default().insert(split_epoch(app).0);
        }
        let mut found = Vec::new();
        for (table, apps) in tables {
            let meant =
                |app: &&&str| self.of(app).any(|expected| expected.writes.iter().any(|known| known == table));
            let named: Vec<&str> = apps.iter().filter(|app| !meant(app)).copied().collect();
            if apps.len() > 1 && !named.is_empty() {
                let list = apps.iter().map(|app| shown(app)).collect::<Vec<_>>().join(", ");
                let accept = format!("palisade db expect app {} --writes {table}", quoted(named[0]));
                let what = format!("{table} is written by {} apps: {list}", apps.len());
                found.push(Finding::new(Kind::SeveralWriters, what, Some(accept)));
            }
        }
        found
    }

    /// Expectations that a claimed name fits.
    fn of<'a>(&'a self, app: &'a str) -> impl Iterator<Item = &'a Expected> {
        let (base, _) = split_epoch(app);
        self.apps.iter().filter(move |expected| fits(&expected.app, base) || fits(&expected.app, app))
    }

    fn client(&self, client: &Client, newest: &BTreeMap<String, u64>) -> Vec<Finding> {
        let mut found = Vec::new();
        let pooled = self.poolers.iter().any(|pooler| pooler.holds(&client.address) == Some(true));
        if self.retired.contains(&client.role) {
            let what = format!("{} is logged in with a retired role", who(client));
            found.push(Finding::new(Kind::RetiredRole, what, None));
        }
        if client.app.is_empty() {
            // A pooler's own connections have no name; those of its clients pass through it.
            if !pooled {
                let what = format!("{} gave itself no name", who(client));
                found.push(Finding::new(Kind::Nameless, what, None));
            }
            return found;
        }
        let foreign = self.foreign(client);
        let plausible = foreign.is_none();
        found.extend(foreign);
        found.extend(self.contradicted(client, pooled));
        found.extend(self.old(client, newest));
        found.extend(self.unknown(client, plausible));
        found
    }

    /// A name of another environment.
    fn foreign(&self, client: &Client) -> Option<Finding> {
        let (environment, named) = (self.environment.as_deref()?, environment_of(&client.app)?);
        if same_environment(environment, named) {
            return None;
        }
        let what = format!("{} is an app of {named}, and this database is {environment}", who(client));
        Some(Finding::new(Kind::ForeignApp, what, None))
    }

    /// A role or an address that is not the claimed app's.
    fn contradicted(&self, client: &Client, pooled: bool) -> Vec<Finding> {
        let mut found = Vec::new();
        let named: Vec<&Expected> = self.of(&client.app).collect();
        if named.is_empty() {
            return found;
        }
        let roles: BTreeSet<&str> = named.iter().flat_map(|app| &app.roles).map(String::as_str).collect();
        let others = self.apps.iter().filter(|other| !named.iter().any(|app| app.app == other.app));
        let owner = others.clone().find(|other| other.roles.contains(&client.role));
        if !roles.is_empty() && !roles.contains(client.role.as_str()) {
            let list = roles.into_iter().collect::<Vec<_>>().join(", ");
            let what = format!("{} claims to be an app that logs in as {list}", who(client));
            found.push(Finding::new(Kind::Contradicted, what, self.accept(client)));
        } else if let (true, Some(owner)) = (roles.is_empty(), owner) {
            let what = format!("{} uses the role of {}", who(client), shown(&owner.app));
            found.push(Finding::new(Kind::Contradicted, what, self.accept(client)));
        }
        let networks: Vec<&Network> = named.iter().flat_map(|app| &app.networks).collect();
        let outside = |network: &&Network| network.holds(&client.address) == Some(false);
        if !pooled && !networks.is_empty() && networks.iter().all(outside) {
            let list = networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let what = format!("{} claims to be an app that comes from {list}", who(client));
            found.push(Finding::new(Kind::Contradicted, what, None));
        }
        found
    }

    fn old(&self, client: &Client, newest: &BTreeMap<String, u64>) -> Option<Finding> {
        let (base, epoch) = split_epoch(&client.app);
        // A name may carry its environment: atom/production.
        let app = base.split('/').next().unwrap_or(base);
        let what = match (epoch, self.minimums.get(app)) {
            (Some(epoch), Some(&minimum)) if epoch < minimum => {
                format!("{} is epoch {epoch}, and {minimum} is required", who(client))
            }
            (None, Some(minimum)) => {
                format!("{} carries no epoch, and {minimum} is required", who(client))
            }
            (Some(epoch), None) => match newest.get(base) {
                Some(newest) if epoch < *newest => {
                    format!("{} is epoch {epoch}, while {newest} is connected too", who(client))
                }
                _ => return None,
            },
            _ => return None,
        };
        Some(Finding::new(Kind::OldBuild, what, None))
    }

    /// A name that is not expected, or was never seen; the command that would accept it only where that is plausible.
    fn unknown(&self, client: &Client, plausible: bool) -> Option<Finding> {
        let (base, _) = split_epoch(&client.app);
        if base == OURS || self.of(&client.app).next().is_some() {
            return None;
        }
        let accept = self.accept(client).filter(|_| plausible);
        if !self.apps.is_empty() {
            let what = format!("{} is not expected here", who(client));
            return Some(Finding::new(Kind::Unexpected, what, accept));
        }
        if self.known.as_ref().is_none_or(|known| known.contains(base)) {
            return None;
        }
        let what = format!("{} is seen for the first time", who(client));
        Some(Finding::new(Kind::FirstSeen, what, accept))
    }

    fn ddl(&self, client: &Client, verb: &str, newest: &BTreeMap<String, u64>) -> Vec<Finding> {
        let declared = self.apps.iter().any(|app| app.ddl);
        let may = self.of(&client.app).any(|app| app.ddl);
        let suspect = self.client(client, newest).into_iter().any(|finding| finding.kind != Kind::FirstSeen);
        if !suspect && (may || !declared) {
            return Vec::new();
        }
        let why =
            if suspect { "is not who is expected here" } else { "is not expected to change the schema" };
        let what = format!("{verb} by {}, which {why}", who(client));
        let accept = (!suspect)
            .then(|| format!("palisade db expect app {} --ddl", quoted(split_epoch(&client.app).0)));
        vec![Finding::new(Kind::Ddl, what, accept)]
    }

    /// The command that would accept a client.
    fn accept(&self, client: &Client) -> Option<String> {
        let (base, _) = split_epoch(&client.app);
        let named = !base.is_empty() && !client.role.is_empty();
        named.then(|| format!("palisade db expect app {} --role {}", quoted(base), quoted(&client.role)))
    }
}

/// Whether a name fits a pattern in which `*` stands for any text.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((begin, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(begin) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    name.ends_with(last)
}

fn who(client: &Client) -> String {
    let Client { app, role, address, .. } = client;
    format!("{} (role {}, from {})", shown(app), or_unknown(role), or_unknown(address))
}

fn shown(app: &str) -> String {
    if app.is_empty() { "a client without a name".to_owned() } else { app.to_owned() }
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "an unknown place" } else { text }
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | ':' | '/');
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expectations() -> Expectations {
        let app = |name: &str, role: &str, network: &str| Expected {
            app: name.to_owned(),
            roles: vec![role.to_owned()],
            networks: vec![network.parse().unwrap()],
            ddl: false,
            writes: Vec::new(),
        };
        let mut atom = app("atom-saas", "app", "10.0.0.0/16");
        atom.writes = vec!["public.backfill_jobs".to_owned()];
        let mut migrate = app("atom-migrate", "owner", "10.0.0.9");
        migrate.ddl = true;
        let any = Expected { roles: Vec::new(), networks: Vec::new(), ..app("puma: worker *", "", "local") };
        Expectations {
            environment: Some("production".to_owned()),
            apps: vec![atom, migrate, any],
            poolers: vec!["10.0.5.5".parse().unwrap()],
            minimums: [("atom-saas".to_owned(), 42)].into(),
            retired: ["old_app".to_owned()].into(),
            known: None,
        }
    }

    fn client(app: &str, role: &str, address: &str) -> Client {
        Client {
            app: app.to_owned(),
            role: role.to_owned(),
            database: "jobs".to_owned(),
            address: address.to_owned(),
        }
    }

    fn kinds(expectations: &Expectations, sighting: &Sighting) -> Vec<Kind> {
        let newest = [("solo".to_owned(), 9)].into();
        expectations.judge(sighting, &newest).into_iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn a_client_is_judged_by_name_role_address_and_epoch() {
        let expectations = expectations();
        for (app, role, address, expected) in [
            ("atom-saas@42", "app", "10.0.3.7", &[][..]),
            ("atom-saas@43", "app", "10.0.5.5", &[]),
            ("atom-saas@43", "app", "192.0.2.1", &[Kind::Contradicted]),
            ("atom-saas@43", "owner", "10.0.3.7", &[Kind::Contradicted]),
            ("atom-saas@41", "app", "10.0.3.7", &[Kind::OldBuild]),
            ("atom-saas", "app", "10.0.3.7", &[Kind::OldBuild]),
            ("atom-saas-test", "app", "10.0.3.7", &[Kind::ForeignApp, Kind::Unexpected]),
            ("puma: worker 7", "someone", "local", &[]),
            ("puma: worker 7", "owner", "local", &[Kind::Contradicted]),
            ("psql", "app", "local", &[Kind::Unexpected]),
            ("", "app", "10.0.3.7", &[Kind::Nameless]),
            ("", "app", "10.0.5.5", &[]),
            ("palisade", "postgres", "local", &[]),
            ("psql", "old_app", "local", &[Kind::RetiredRole, Kind::Unexpected]),
        ] {
            let sighting = Sighting::Client(client(app, role, address));
            assert_eq!(kinds(&expectations, &sighting), expected, "{app} {role} {address}");
        }
    }

    #[test]
    fn the_command_that_accepts_a_client_is_told_where_that_is_plausible() {
        let accept = |app: &str| {
            let sighting = Sighting::Client(client(app, "app", "local"));
            expectations().judge(&sighting, &BTreeMap::new()).pop().unwrap().accept
        };
        assert_eq!(accept("my app@3").as_deref(), Some("palisade db expect app 'my app' --role app"));
        assert_eq!(accept("atom-saas-test"), None);
    }

    #[test]
    fn without_expectations_only_what_is_new_or_older_than_its_like_is_told() {
        let mut none = Expectations::default();
        let of = |app: &str| Sighting::Client(client(app, "app", "10.0.3.7"));
        assert_eq!(
            kinds(&none, &of("atom-saas-test")),
            [],
            "nobody keeps names, and nobody said which environment"
        );
        none.known = Some(["known".to_owned()].into());
        assert_eq!(kinds(&none, &of("known@3")), []);
        assert_eq!(kinds(&none, &of("new")), [Kind::FirstSeen]);
        assert_eq!(kinds(&none, &of("solo@8")), [Kind::OldBuild, Kind::FirstSeen]);
    }

    #[test]
    fn the_schema_is_changed_by_those_who_may_and_are_who_they_claim() {
        let expectations = expectations();
        for (app, role, address, found) in [
            ("atom-migrate", "owner", "10.0.0.9", false),
            ("atom-migrate", "owner", "10.0.0.8", true),
            ("atom-saas@42", "app", "10.0.3.7", true),
            ("atom-saas-test", "app", "10.0.3.7", true),
        ] {
            let sighting =
                Sighting::Ddl { client: client(app, role, address), verb: "ALTER TABLE".to_owned() };
            assert_eq!(kinds(&expectations, &sighting) == [Kind::Ddl], found, "{app} {address}");
        }
        let sighting = Sighting::Ddl { client: client("any", "app", ""), verb: "DROP".to_owned() };
        assert_eq!(kinds(&Expectations::default(), &sighting), [], "nobody said who may");
    }

    #[test]
    fn two_apps_that_write_one_table_are_told_unless_both_are_meant_to() {
        let mut expectations = expectations();
        let write = |app: &str| ("public.backfill_jobs".to_owned(), app.to_owned());
        assert!(expectations.writers(&[write("atom-saas@41"), write("atom-saas@42")].into()).is_empty());
        let two = [write("atom-saas"), write("atom-saas-test")].into();
        let found = expectations.writers(&two);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("written by 2 apps: atom-saas, atom-saas-test"), "{}", found[0].what);
        expectations.apps.push(Expected { app: "atom-saas-test".to_owned(), ..expectations.apps[0].clone() });
        assert!(expectations.writers(&two).is_empty());
    }

    /// A finding, who raises it, and what is taken away so that nobody does.
    type Ablated = (Kind, Client, fn(&mut Expectations));

    #[test]
    fn without_what_they_are_judged_by_changes_of_the_schema_and_second_writers_are_not_found() {
        let ddl = |all: &Expectations, app: &str, role: &str, address: &str| {
            let client = client(app, role, address);
            kinds(all, &Sighting::Ddl { client, verb: "ALTER TABLE".to_owned() }).contains(&Kind::Ddl)
        };
        let all = expectations();
        // Nobody said who may change the schema.
        let mut none = all.clone();
        none.apps.iter_mut().for_each(|app| app.ddl = false);
        assert!(
            ddl(&all, "atom-saas@42", "app", "10.0.3.7") && !ddl(&none, "atom-saas@42", "app", "10.0.3.7")
        );
        // Nobody said from where the one comes who may.
        let mut anywhere = all.clone();
        anywhere.apps.iter_mut().for_each(|app| app.networks.clear());
        let elsewhere = ("atom-migrate", "owner", "10.0.0.8");
        assert!(ddl(&all, elsewhere.0, elsewhere.1, elsewhere.2));
        assert!(!ddl(&anywhere, elsewhere.0, elsewhere.1, elsewhere.2));
        let writes = |apps: &[&str]| -> BTreeSet<(String, String)> {
            apps.iter().map(|app| ("public.backfill_jobs".to_owned(), (*app).to_owned())).collect()
        };
        assert_eq!(all.writers(&writes(&["atom-saas", "psql"])).len(), 1);
        assert!(all.writers(&writes(&["atom-saas"])).is_empty(), "without the second writer");
        // Who is meant to write is what tells the others apart.
        let mut meant = all.clone();
        meant.apps[2].app = "psql".to_owned();
        meant.apps[2].writes = meant.apps[0].writes.clone();
        assert!(meant.writers(&writes(&["atom-saas", "psql"])).is_empty());
    }

    #[test]
    fn without_what_it_is_judged_by_each_finding_is_gone() {
        let from = |app: &str, role: &str, address: &str| client(app, role, address);
        let parts: [Ablated; 8] = [
            (Kind::ForeignApp, from("atom-saas-test", "app", "10.0.3.7"), |all| all.environment = None),
            (Kind::Contradicted, from("atom-saas@43", "owner", "10.0.3.7"), |all| {
                all.apps.iter_mut().for_each(|app| app.roles.clear());
            }),
            (Kind::Contradicted, from("atom-saas@43", "app", "192.0.2.1"), |all| {
                all.apps.iter_mut().for_each(|app| app.networks.clear());
            }),
            (Kind::OldBuild, from("atom-saas@41", "app", "10.0.3.7"), |all| all.minimums.clear()),
            (Kind::Unexpected, from("psql", "app", "local"), |all| all.apps.clear()),
            (Kind::RetiredRole, from("psql", "old_app", "local"), |all| all.retired.clear()),
            (Kind::Nameless, from("", "app", "10.0.3.7"), |all| {
                all.poolers = vec!["10.0.0.0/8".parse().unwrap()];
            }),
            (Kind::FirstSeen, from("new", "app", "local"), |all| all.known = None),
        ];
        for (kind, client, ablation) in parts {
            let mut all = expectations();
            if kind == Kind::FirstSeen {
                (all.apps, all.known) = (Vec::new(), Some(BTreeSet::new()));
            }
            let sighting = Sighting::Client(client);
            assert!(kinds(&all, &sighting).contains(&kind), "{kind:?} is found");
            ablation(&mut all);
            assert!(!kinds(&all, &sighting).contains(&kind), "{kind:?} is not, without its part");
        }
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "a", true),
            ("a*c", "abc", true),
            ("a*c", "ab", false),
            ("*-w-*", "x-w-1", true),
            ("a*b*b", "ab", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
