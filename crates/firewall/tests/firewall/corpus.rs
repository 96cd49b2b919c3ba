//! Deployments as people write them, in enforce, under the policy that docs/firewall-deployments.md prints. None
//! meets a refusal, nothing foreign changes its pid, and the document's table names what identified each.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use palisade_core::record::{Called, Ruling};
use palisade_core::{AppName, EnvironmentName, Scope, Timestamp};
use palisade_host::lease::{Acquired, Applicant, acquire};
use palisade_host::registration::{Registration, register};
use palisade_host::{files, process};
use palisade_testkit::{Scratch, installed};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::corpus_table::{Deployment, FORGES, SHELLS, TOOLS, UNDER_PALISADE};

const DOCUMENT: &str = include_str!("../../../../docs/firewall-deployments.md");

/// The policy that the document prints, with its `/srv` in the bed's folder.
fn policy() -> String {
    let (_, rest) = DOCUMENT.split_once("```toml\n").expect("the document prints a policy");
    let (policy, _) = rest.split_once("```").expect("the policy ends");
    policy.replace("\"/srv", "\"FOLDER/srv")
}

const SHOP: &str = "module.exports = { apps: [\n  { name: 'shop-api', script: 'server.js' },\n  \
    { name: 'shop-web', script: 'server.js', exec_mode: 'cluster', instances: 2 },\n] };\n";
const SERVER: &str = "require('net').createServer().listen(0, '127.0.0.1');\n";

fn write(folder: &Scratch, name: &str, content: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// The folders of the host, and what runs on it.
fn host(folder: &Scratch) -> Vec<Value> {
    write(folder, "srv/shop/releases/1/ecosystem.config.js", SHOP);
    write(folder, "srv/shop/releases/1/server.js", SERVER);
    let scripts = r#"{ "name": "shop", "scripts": { "deploy": "pm2 reload ecosystem.config.js" } }"#;
    write(folder, "srv/shop/releases/1/package.json", scripts);
    write(folder, "srv/shop/releases/1/Makefile", "deploy:\n\tpm2 reload ecosystem.config.js\n");
    write(folder, "srv/shop/releases/1/bin/nightly.sh", "set -e\npm2 restart shop-api\n");
    symlink(folder.join("srv/shop/releases/1"), folder.join("srv/shop/current")).unwrap();
    let test = "module.exports = { apps: [{ name: 'shop-api-test', script: 'server.js' }] };\n";
    write(folder, "srv/shop-test/ecosystem.config.js", test);
    write(folder, "srv/shop-test/server.js", SERVER);
    write(folder, "srv/blog/server.js", SERVER);
    let cwd = folder.path().canonicalize().unwrap().join("srv/blog").display().to_string();
    let blog = json!({ "apps": [{ "name": "blog", "script": "server.js", "cwd": cwd }] });
    write(folder, "srv/blog/blog.json", &blog.to_string());
    write(folder, "runner/_work/blog/blog/ecosystem.json", &blog.to_string());
    write(folder, "srv/stock/server.js", SERVER);
    write(folder, "opt/readme", "");
    let app =
        |name: &str, place: &str| json!({ "name": name, "script": "server.js", "cwd": folder.join(place) });
    let mut web = app("shop-web", "srv/shop/current");
    web["exec_mode"] = json!("cluster");
    web["instances"] = json!(2);
    vec![app("shop-api", "srv/shop/current"), web, app("blog", "srv/blog"), app("stock-alert", "srv/stock")]
}

fn scope(text: &str) -> Scope {
    let (app, environment) = text.split_once('/').unwrap();
    Scope::new(AppName::new(app).unwrap(), EnvironmentName::new(environment).unwrap())
}

/// What each app of the document owns.
fn owner(name: &str) -> &'static str {
    match name {
        "blog" => "blog/production",
        "stock-alert" => "stock/production",
        name if name.ends_with("-test") => "shop/test",
        _ => "shop/production",
    }
}

/// The kind of evidence that a sentence is.
fn kind(sentence: &str) -> &'static str {
    let kinds = [
        ("holds the lease", "lease"),
        ("is registered", "registration"),
        ("the working folder", "folder"),
        ("the script", "script"),
        ("it is the deployer", "deployer"),
        ("the policy names", "user"),
    ];
    kinds.iter().find(|(words, _)| sentence.contains(words)).map_or("?", |(_, kind)| *kind)
}

/// Runs one deployment and says by what its calls were identified, app by app.
fn run(bed: &Bed, deployment: &Deployment) -> Vec<(String, Vec<&'static str>)> {
    let Deployment { name, place, script, variables, owners } = deployment;
    let folder = bed.folder.path().canonicalize().unwrap().display().to_string();
    let module = installed(bed.pm2.version()).unwrap().join("node_modules/pm2").display().to_string();
    let filled = |text: &str| text.replace("FOLDER", &folder).replace("PM2_MODULE", &module);
    let file = bed.folder.join("opt/deploy.sh");
    std::fs::write(&file, filled(script)).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (before, told, refused) = (bed.running(), bed.calls().len(), bed.refused().len());
    #[expect(clippy::disallowed_methods, reason = "the script's PATH has pm2 before everything else")]
    let path = format!("{}:{}", bed.pm2.bin().display(), std::env::var("PATH").unwrap());
    let mut variables: Vec<(&str, String)> =
        variables.iter().map(|(name, value)| (*name, filled(value))).collect();
    variables.push(("PATH", path));
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let place = filled(place);
    let ran = bed.script_with(Path::new(&place), &format!("sh {}", file.display()), &variables);
    let said = bed.refused().into_iter().skip(refused).map(|(_, called)| called.findings).collect::<Vec<_>>();
    assert_eq!((ran.exit, said.as_slice()), (Some(0), &[][..]), "{name}: {}", ran.text);
    let after = bed.running();
    let foreign = |list: &[(String, u64)]| -> Vec<(String, u64)> {
        list.iter().filter(|(name, _)| !owners.contains(&owner(name))).cloned().collect()
    };
    assert_eq!(foreign(&after), foreign(&before), "{name}: {}", ran.text);
    for (process, _) in before {
        assert!(after.iter().any(|(name, _)| *name == process), "{name}: {process} is down\n{}", ran.text);
    }
    let calls = bed.calls();
    let passed = calls[told..].iter().filter(|(_, called)| called.ruling == Ruling::Passed);
    let of = |owner: &str, called: &Called| called.scope == Some(scope(owner));
    let kinds = |owner: &&str| {
        let mut kinds: Vec<&str> = passed
            .clone()
            .filter(|(_, called)| of(owner, called))
            .flat_map(|(_, called)| called.evidence.iter().map(|sentence| kind(sentence)))
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        ((*owner).to_owned(), kinds)
    };
    owners.iter().map(kinds).collect()
}

/// Carries them out, and compares what was seen with the document's rows.
fn are_as_documented(bed: &Bed, deployments: &[Deployment]) {
    let rows: Vec<String> =
        deployments.iter().map(|deployment| row(deployment, &run(bed, deployment))).collect();
    let missing: Vec<&String> =
        rows.iter().filter(|row| !DOCUMENT.lines().any(|line| line == row.as_str())).collect();
    assert!(missing.is_empty(), "the document lacks these rows, as they were seen:\n{missing:#?}");
}

/// The document's row of a deployment.
fn row(deployment: &Deployment, found: &[(String, Vec<&'static str>)]) -> String {
    let told: Vec<String> =
        found.iter().map(|(owner, kinds)| format!("{owner}: {}", kinds.join(", "))).collect();
    format!("| {} | {} |", deployment.name, told.join("; "))
}

fn all_meet_no_refusal(version: &str, deployments: &[Deployment]) {
    let bed = Bed::with(version, &policy(), host);
    are_as_documented(&bed, deployments);
}

#[test]
fn deployments_from_a_shell_meet_no_refusal() {
    all_meet_no_refusal("7.0.4", SHELLS);
}

#[test]
fn deployments_by_tools_meet_no_refusal() {
    all_meet_no_refusal("7.0.4", TOOLS);
}

#[test]
fn deployments_by_runners_meet_no_refusal() {
    all_meet_no_refusal("7.0.4", FORGES);
}

/// The canonical third, on the other releases.
#[test]
fn deployments_on_pm2_6_meet_no_refusal() {
    all_meet_no_refusal("6.0.14", &[SHELLS, &FORGES[..1]].concat());
}

#[test]
fn deployments_on_pm2_5_meet_no_refusal() {
    all_meet_no_refusal("5.4.3", &[SHELLS, &FORGES[..1]].concat());
}

#[test]
fn deployments_under_a_lease_or_a_registration_meet_no_refusal_wherever_they_run() {
    let bed = Bed::with("7.0.4", &policy(), host);
    let [by_lease, by_registration] = UNDER_PALISADE;
    let state = bed.folder.join("state/palisade");
    files::private_folder(&state.join("leases")).unwrap();
    // This process stands for `palisade deploy`, and then for a runner whose job was registered.
    let applicant = Applicant { program: "palisade deploy".to_owned(), run: None };
    let shop = scope("shop/production");
    let Acquired::Held(lease) = acquire(&state.join("leases"), &shop, &applicant).unwrap() else {
        panic!("it is free")
    };
    are_as_documented(&bed, &[*by_lease]);
    drop(lease);
    let registration = Registration {
        process: process::this().unwrap(),
        scope: shop,
        uid: rustix::process::geteuid().as_raw(),
        run: None,
        program: "a test".to_owned(),
        since: Timestamp::from_unix_ms(1),
        is_shared: false,
    };
    register(&state.join("registrations"), &registration).unwrap();
    are_as_documented(&bed, &[*by_registration]);
}

/// As root this test makes the other user's call with `setpriv`; without root it fails and says so.
#[test]
fn a_deployment_by_the_user_that_the_policy_names_meets_no_refusal_and_reaches_no_other_app() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root, to act as other users");
    let mut bed = Bed::with("7.0.4", &policy(), host);
    bed.end_firewall();
    bed.start_firewall_with(&["--group"]);
    for folder in [bed.folder.path(), bed.pm2.home()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::create_dir_all(bed.folder.join("home")).unwrap();
    let as_user = |uid: u32, command: &str| {
        // The sockets belong to root's group, which stands for the group of deployers.
        format!("setpriv --reuid {uid} --regid {uid} --groups 0 env HOME=FOLDER/home {command}")
    };
    let script = as_user(5003, "pm2 restart stock-alert");
    let deployment = Deployment {
        name: "a user of its own, from anywhere",
        place: "FOLDER/opt",
        script: script.leak(),
        variables: &[],
        owners: &["stock/production"],
    };
    are_as_documented(&bed, &[deployment]);
    let before = bed.running();
    let refused = |uid: u32, place: &str, name: &str| {
        let command = as_user(uid, &format!("node \"$PM2\" delete {name}"));
        let command = command.replace("FOLDER", &bed.folder.path().display().to_string());
        bed.script_in(&bed.folder.join(place), &command)
    };
    // That user at another app, and other users at this one, from its own folder too.
    for (uid, place, name, code) in [
        (5003, "opt", "shop-api", "PAL-101"),
        (5003, "srv/stock", "blog", "PAL-101"),
        (5004, "srv/stock", "stock-alert", "PAL-"),
        (5004, "opt", "stock-alert", "PAL-401"),
    ] {
        let ran = refused(uid, place, name);
        assert!(ran.exit == Some(1) && ran.text.contains(code), "{uid} {place} {name}: {}", ran.text);
        assert_eq!(bed.running(), before);
    }
    // Root itself works in the folder and is no deployer of it.
    let ran = bed.pm2_in(&bed.folder.join("srv/stock"), &["delete", "stock-alert"]);
    assert!(ran.text.contains("PAL-431"), "{}", ran.text);
    assert_eq!(bed.running(), before);
}

#[test]
fn an_app_that_keeps_the_variables_of_its_job_is_not_taken_for_that_job() {
    let bed = Bed::with("7.0.4", &policy(), host);
    let pm2 = bed.pm2.bin().join("pm2").display().to_string();
    let said = bed.folder.join("said").display().to_string();
    let script = format!(
        "unset PM2_DAEMON_RPC_PORT PM2_DAEMON_PUB_PORT; {pm2} restart blog >{said} 2>&1; echo exit $? >>{said}; \
         exec sleep 100000"
    );
    let home = bed.pm2.home().display().to_string();
    let env = json!({
        "GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "octo/blog", "GITHUB_REF_NAME": "main",
        "GITHUB_RUN_ID": "1", "GITHUB_JOB": "deploy", "GITHUB_RUN_ATTEMPT": "1", "PM2_HOME": home,
    });
    let hook = json!({ "name": "shop-hook", "script": "/bin/sh", "args": ["-c", script], "interpreter": "none",
                       "cwd": "/tmp", "env": env });
    let file = bed.folder.write("hook.json", &json!({ "apps": [hook] }).to_string());
    bed.directly(&["start", file.to_str().unwrap()]);
    let text = palisade_testkit::eventually("the app's call ends", || {
        let text = std::fs::read_to_string(&said).unwrap_or_default();
        text.contains("exit ").then_some(text)
    });
    assert!(text.contains("PAL-401") && text.contains("exit 1"), "{text}");
}

#[test]
fn a_program_that_goes_from_folder_to_folder_on_one_connection_is_judged_by_where_it_is() {
    let bed = Bed::with("7.0.4", &policy(), host);
    let folder = bed.folder.path().canonicalize().unwrap().display().to_string();
    let module = installed("7.0.4").unwrap().join("node_modules/pm2").display().to_string();
    let script = format!(
        "const pm2 = require('{module}');\nconst at = (folder, name) => new Promise(done => {{\n  \
         process.chdir(folder);\n  pm2.restart(name, failed => {{ console.log(folder, name, failed ? 'refused' : \
         'done'); done(); }});\n}});\npm2.connect(async () => {{\n  await at('{folder}/srv/blog', 'blog');\n  await \
         at('{folder}/srv/blog', 'shop-api');\n  await at('{folder}/srv/shop', 'shop-api');\n  await at('/tmp', \
         'blog');\n  await at('{folder}/srv/blog', 'blog');\n  process.exit(0);\n}});\n"
    );
    bed.folder.write("opt/walk.js", &script);
    let ran = bed.script_in(Path::new("/tmp"), &format!("node {folder}/opt/walk.js"));
    let told: Vec<&str> = ran.text.lines().filter(|line| line.starts_with('/')).collect();
    let ends: Vec<&str> = told.iter().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(ends, ["done", "refused", "done", "refused", "done"], "{}", ran.text);
}
