//! Whom a caller is taken for.

use std::path::{Path, PathBuf};

use palisade_core::actor::{Actor, Claimed, Observed, ProcessRef, Tree};
use palisade_core::deployer::{Deployer, Folder};
use palisade_core::policy::{App, Environment, Limits};
use palisade_core::{AppName, EnvironmentName, Pattern, Policy, Scope};
use palisade_firewall::evidence::{Leased, Link, Registered, Standing, Surroundings, weigh};
use palisade_firewall::folders::{Folders, app_folder};

pub(crate) fn scope(app: &str) -> Scope {
    Scope::new(AppName::new(app).unwrap(), EnvironmentName::new("production").unwrap())
}

const fn process(pid: u32) -> ProcessRef {
    ProcessRef { pid, start_ticks: 1 }
}

/// A caller and its host. The fourth process of the chain is the daemon.
struct Scene {
    chain: Vec<Link>,
    actor: Actor,
    socket: Option<String>,
    leases: Vec<Leased>,
    registrations: Vec<Registered>,
    folders: Folders,
    policy: Policy,
}

impl Scene {
    /// A chain of working folders, the caller's first; `script:` before a parent's script instead.
    fn at(places: &[&str]) -> Self {
        let link = |(pid, place): (u32, &&str)| {
            let script = place.strip_prefix("script:").map(PathBuf::from);
            let cwd = script.is_none().then(|| PathBuf::from(place));
            Link { process: process(pid), cwd, script }
        };
        let app = |name: &str| App::new(scope(name), vec![Pattern::new(&format!("{name}-*")).unwrap()]);
        let policy = Policy {
            revision: 1,
            environments: [(scope("x").environment, Environment::default())].into(),
            apps: vec![app("shop"), app("blog")],
            protected: Vec::new(),
            limits: Limits::default(),
            notify: Default::default(),
        };
        Self {
            chain: (100..).zip(places).map(link).collect(),
            actor: actor(),
            socket: None,
            leases: Vec::new(),
            registrations: Vec::new(),
            folders: folders(),
            policy,
        }
    }

    fn leased(mut self, app: &str, pid: u32) -> Self {
        self.leases.push(Leased { scope: scope(app), term: 3, holder: process(pid) });
        self
    }

    fn registered(mut self, app: &str, pid: u32, run: Option<&str>) -> Self {
        let tree = run.map_or_else(|| Tree::registered(process(pid)), |run| Tree::ci("o/r", run, "job", "1"));
        let is_one_run = run.is_some();
        self.registrations.push(Registered { scope: scope(app), process: process(pid), tree, is_one_run });
        self
    }

    fn deployed_by(mut self, app: &str, entries: &[Deployer]) -> Self {
        let wanted = scope(app);
        let app = self.policy.apps.iter_mut().find(|app| app.scope == wanted).unwrap();
        app.deployers.extend_from_slice(entries);
        self
    }

    fn claiming(mut self, repository: &str, branch: &str) -> Self {
        self.actor.claimed.repository = Some(repository.to_owned());
        self.actor.claimed.branch = Some(branch.to_owned());
        self
    }

    fn standing(&self) -> Standing {
        weigh(Surroundings {
            chain: &self.chain,
            actor: &self.actor,
            socket: self.socket.as_deref(),
            daemon: process(103),
            leases: &self.leases,
            registrations: &self.registrations,
            folders: &self.folders,
            policy: &self.policy,
        })
    }

    /// The app that the caller is taken for: `?` for none, `!` for two, `x` for one that it may not deploy.
    fn taken_for(&self) -> String {
        match self.standing() {
            Standing::Of { scope, .. } => scope.app.to_string(),
            Standing::Contradicting { .. } => "!".to_owned(),
            Standing::NoDeployer { .. } => "x".to_owned(),
            Standing::Unknown { .. } => "?".to_owned(),
        }
    }
}

/// A caller in the folder of an app that names another user as its deployer.
pub(crate) fn of_another_users_app() -> Standing {
    let entry = Deployer { uid: Some(1), ..Deployer::default() };
    Scene::at(&["/srv/shop"]).deployed_by("shop", &[entry]).standing()
}

fn actor() -> Actor {
    let observed = Observed {
        uid: 5002,
        gid: 6002,
        user: None,
        process: process(100),
        session: 100,
        cwd: None,
        cgroup: Some("/system.slice/runner.service".to_owned()),
        host: "h".to_owned(),
        machine_id: None,
        ancestors: Vec::new(),
    };
    let tree = Tree::session(process(100));
    Actor { observed, claimed: Claimed::default(), missing: Vec::new(), tree }
}

fn folders() -> Folders {
    let mut folders = Folders::new([PathBuf::from("/home/deploy")]);
    let table = [
        ("/srv/shop", "shop"),
        ("/srv/shop/blog", "blog"),
        ("/srv/both", "shop"),
        ("/srv/both", "blog"),
        ("/home/deploy", "shop"),
        ("/tmp", "shop"),
        ("/", "blog"),
    ];
    for (folder, app) in table {
        folders.add(folder.into(), scope(app));
    }
    folders
}

#[test]
fn folders_decide_by_the_longest_match_of_the_nearest_process() {
    let cases: [(&[&str], &str); 13] = [
        (&["/srv/shop"], "shop"),
        (&["/srv/shop/releases/7/bin"], "shop"),
        (&["/srv/shop/blog/x"], "blog"),
        (&["/srv/shopping"], "?"),
        (&["/srv/both/x"], "?"),
        (&["/home/deploy/x"], "?"),
        (&["/tmp/x"], "?"),
        (&["/opt", "/srv/shop"], "shop"),
        (&["/srv/shop", "/srv/shop/blog"], "shop"),
        (&["/opt", "script:/srv/shop/deploy.sh"], "shop"),
        (&["script:/srv/shop/node_modules/.bin/pm2"], "?"),
        (&["/srv/shop/blog", "script:/srv/shop/deploy.sh"], "!"),
        // The fourth process is the daemon: its folder, and that of its parents, is nobody's.
        (&["/opt", "/opt", "/opt", "/srv/shop", "/srv/shop"], "?"),
    ];
    for (places, expected) in cases {
        assert_eq!(Scene::at(places).taken_for(), expected, "{places:?}");
    }
}

#[test]
fn a_folder_that_the_policy_names_is_that_apps_alone_whoever_runs_there() {
    let mut scene = Scene::at(&["/srv/both/x"]);
    scene.folders.name([("/srv/both".into(), scope("blog")), ("/srv/shop/blog/new".into(), scope("shop"))]);
    assert_eq!(scene.taken_for(), "blog");
    scene.chain = Scene::at(&["/srv/shop/blog/new/y"]).chain;
    assert_eq!(scene.taken_for(), "shop", "the longest match wins, named or seen");
    scene.folders.name([]);
    assert_eq!(scene.taken_for(), "blog", "what the policy names no more is forgotten");
}

#[test]
fn a_lease_counts_for_its_holders_children_and_a_folder_may_contradict_it() {
    let at = |place: &str, app: &str, pid: u32| Scene::at(&[place, "/opt"]).leased(app, pid).taken_for();
    assert_eq!(at("/opt", "blog", 101), "blog");
    assert_eq!(at("/opt", "blog", 100), "blog");
    assert_eq!(at("/opt", "blog", 99), "?");
    assert_eq!(at("/srv/shop", "blog", 100), "!");
    assert_eq!(at("/srv/shop", "shop", 100), "shop");
    // The same number with another start time is another process.
    let mut reused = Scene::at(&["/opt"]).leased("shop", 100);
    reused.leases[0].holder.start_ticks = 2;
    assert_eq!(reused.taken_for(), "?");
}

#[test]
fn a_registration_counts_for_its_tree_and_one_of_a_run_for_that_run_only() {
    assert_eq!(Scene::at(&["/opt", "/opt"]).registered("blog", 101, None).taken_for(), "blog");
    assert_eq!(Scene::at(&["/opt"]).registered("blog", 101, None).taken_for(), "?");
    assert_eq!(Scene::at(&["/srv/shop"]).registered("blog", 100, None).taken_for(), "!");
    // Two jobs below one runner: the caller's own variables say which of them it is.
    let mut scene = Scene::at(&["/opt", "/opt"]).registered("blog", 101, Some("7"));
    let scene_of = |scene: &mut Scene, run: &str| {
        scene.actor.tree = Tree::ci("o/r", run, "job", "1");
        scene.taken_for()
    };
    assert_eq!([scene_of(&mut scene, "7"), scene_of(&mut scene, "8")], ["blog", "?"]);
    let mut scene = scene.registered("shop", 101, Some("8"));
    assert_eq!([scene_of(&mut scene, "7"), scene_of(&mut scene, "8")], ["blog", "shop"]);
    let Standing::Of { tree, .. } = scene.standing() else { panic!("it is one app's") };
    assert_eq!(tree.unwrap().as_str(), "ci:o/r:8:job:1");
}

fn uid(uid: u32) -> Deployer {
    Deployer { uid: Some(uid), ..Deployer::default() }
}

fn repository(name: &str, branch: &str) -> Deployer {
    let (repository, branch) = (Some(name.to_owned()), Some(branch.to_owned()));
    Deployer { repository, branch, ..Deployer::default() }
}

#[test]
fn deployers_by_fact_are_a_boundary_that_no_evidence_crosses() {
    // Evidence of an app that is not open to this user counts for nothing, of whatever kind it is.
    let closed = |scene: Scene| scene.deployed_by("shop", &[uid(5001)]).taken_for();
    assert_eq!(closed(Scene::at(&["/srv/shop"])), "x");
    assert_eq!(closed(Scene::at(&["/opt"]).leased("shop", 100)), "x");
    assert_eq!(closed(Scene::at(&["/opt"]).registered("shop", 100, None)), "x");
    assert_eq!(closed(Scene::at(&["/opt"])), "?");
    assert_eq!(closed(Scene::at(&["/srv/shop/blog", "script:/srv/shop/x.sh"])), "blog");
    // Within the boundary evidence picks as ever.
    let open = |scene: Scene| scene.deployed_by("shop", &[uid(5001), uid(5002)]).taken_for();
    assert_eq!(open(Scene::at(&["/srv/shop"])), "shop");
    assert_eq!(open(Scene::at(&["/srv/shop/blog"])), "blog", "it names nobody, so it is open to all");
}

#[test]
fn a_user_that_one_app_names_needs_no_other_evidence() {
    let named = |scene: Scene| scene.deployed_by("shop", &[uid(5002)]);
    assert_eq!(named(Scene::at(&["/opt"])).taken_for(), "shop");
    assert_eq!(named(Scene::at(&[])).taken_for(), "shop", "a caller whose /proc is closed to us");
    let both = named(Scene::at(&["/opt"])).deployed_by("blog", &[uid(5002)]);
    assert_eq!(both.taken_for(), "?", "the user may deploy both, and nothing tells which");
    let both = named(Scene::at(&["/srv/shop/blog"])).deployed_by("blog", &[uid(5002)]);
    assert_eq!(both.taken_for(), "blog");
}

#[test]
fn a_socket_that_an_app_names_serves_that_app_only() {
    let socket = Deployer { socket: Some("/run/shop.sock".to_owned()), ..Deployer::default() };
    let through = |place: &str, path: &str| {
        let mut scene = Scene::at(&[place]).deployed_by("shop", &[socket.clone(), uid(5001)]);
        scene.socket = Some(path.to_owned());
        scene.taken_for()
    };
    assert_eq!(through("/opt", "/run/shop.sock"), "shop");
    assert_eq!(through("/srv/shop/blog", "/run/shop.sock"), "shop", "blog is open, but not at this socket");
    assert_eq!(through("/srv/shop/blog", "/run/rpc.sock"), "blog");
    assert_eq!(through("/srv/shop", "/run/rpc.sock"), "x");
}

#[test]
fn what_a_run_claims_picks_and_narrows() {
    let main = || Scene::at(&["/opt"]).deployed_by("shop", &[repository("octo/shop", "main")]);
    assert_eq!(main().claiming("octo/shop", "main").taken_for(), "shop");
    assert_eq!(main().claiming("octo/shop", "dev").taken_for(), "?");
    // From the app's own folder too, for the policy says who deploys it.
    let in_folder = || Scene::at(&["/srv/shop"]).deployed_by("shop", &[repository("octo/shop", "main")]);
    assert_eq!(in_folder().taken_for(), "x");
    assert_eq!(in_folder().claiming("octo/shop", "dev").taken_for(), "x");
    assert_eq!(in_folder().claiming("octo/shop", "main").taken_for(), "shop");
    // A run of one app in the folder of another is nobody's.
    let run = |place: &str| {
        Scene::at(&[place])
            .deployed_by("shop", &[repository("octo/shop", "main")])
            .claiming("octo/shop", "main")
    };
    assert_eq!(run("/srv/shop/blog").taken_for(), "!");
    // One repository that deploys two apps: the folder says which.
    let mono = |place: &str| {
        let entry = [repository("octo/mono", "main")];
        let scene = Scene::at(&[place]).deployed_by("shop", &entry).deployed_by("blog", &entry);
        scene.claiming("octo/mono", "main").taken_for()
    };
    assert_eq!([mono("/srv/shop"), mono("/srv/shop/blog"), mono("/opt")], ["shop", "blog", "?"]);
}

#[test]
fn a_deployers_folder_is_where_the_caller_works_or_its_script_lies() {
    let folder = Some(Folder::new("/opt/deploy").unwrap());
    let entry = [Deployer { folder, uid: Some(5002), ..Deployer::default() }];
    let at = |places: &[&str]| Scene::at(places).deployed_by("shop", &entry).taken_for();
    assert_eq!(at(&["/opt/deploy/x"]), "shop");
    assert_eq!(at(&["/opt", "script:/opt/deploy/x.sh"]), "shop");
    assert_eq!(at(&["/opt", "/opt/deploy"]), "?", "a parent's folder says where it was started");
    assert_eq!(at(&["/srv/shop"]), "x");
}

#[test]
fn a_caller_of_nobody_learns_the_line_that_would_identify_it() {
    let line = |scene: Scene| match scene.standing() {
        Standing::Unknown { line, .. } | Standing::NoDeployer { line, .. } => line,
        found => panic!("{found:?}"),
    };
    assert_eq!(line(Scene::at(&["/opt/x"])).as_deref(), Some("folder = \"/opt/x\""));
    let run = "deployers = [{ repository = \"o/r\", branch = \"main\" }]";
    assert_eq!(line(Scene::at(&["/"]).claiming("o/r", "main")).as_deref(), Some(run));
    assert_eq!(line(Scene::at(&["/srv/both"])).as_deref(), Some("deployers = [{ uid = 5002 }]"));
    let closed = Scene::at(&["/srv/shop"]).deployed_by("shop", &[uid(5001)]);
    assert_eq!(line(closed).as_deref(), Some("deployers = [{ uid = 5002 }]"));
    assert_eq!(line(Scene::at(&[])), None, "of a process that is gone nothing is known");
}

#[test]
fn an_apps_folder_is_its_working_folder_without_its_release() {
    let cases = [
        ("/srv/shop", "/srv/shop"),
        ("/srv/shop/current", "/srv/shop"),
        ("/srv/shop/source", "/srv/shop"),
        ("/srv/shop/releases/20260217", "/srv/shop"),
        ("/srv/releases", "/srv/releases"),
        ("/", "/"),
    ];
    for (cwd, folder) in cases {
        assert_eq!(app_folder(Path::new(cwd)), Path::new(folder));
    }
}
