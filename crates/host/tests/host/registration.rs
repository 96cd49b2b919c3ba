//! Registrations of real processes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command};

use palisade_core::actor::ProcessRef;
use palisade_core::{AppName, EnvironmentName, Scope, Timestamp};
use palisade_host::process;
use palisade_host::registration::{Error, Registration, Run, list, prune, register, withdraw};
use tempfile::TempDir;

fn sleeper() -> Child {
    Command::new("sleep").arg("1000").spawn().unwrap()
}

fn of(child: &Child) -> Registration {
    let process = process::stat(child.id()).unwrap().process;
    let (app, environment) = (AppName::new("site").unwrap(), EnvironmentName::new("production").unwrap());
    Registration {
        process,
        scope: Scope::new(app, environment),
        uid: process::credentials(child.id()).unwrap().uid,
        run: None,
        program: "palisade ci admit".to_owned(),
        since: Timestamp::from_unix_ms(1_771_323_180_123),
        is_shared: false,
    }
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_registration_counts_while_its_process_runs_and_is_pruned_afterwards() {
    let folder = TempDir::new().unwrap();
    let registrations = folder.path().join("registrations");
    assert_eq!(list(&registrations).unwrap(), []);
    let child = sleeper();
    let registration = of(&child);
    register(&registrations, &registration).unwrap();
    assert_eq!(list(&registrations).unwrap(), std::slice::from_ref(&registration));
    assert_eq!(prune(&registrations).unwrap(), 0);

    // The same process once more: the last one counts.
    let run = Run {
        repository: "octo/site".to_owned(),
        run_id: "91".to_owned(),
        job: "deploy".to_owned(),
        attempt: "2".to_owned(),
    };
    let with_run = Registration { run: Some(run), ..registration.clone() };
    register(&registrations, &with_run).unwrap();
    assert_eq!(list(&registrations).unwrap(), std::slice::from_ref(&with_run));
    assert_eq!(with_run.tree().as_str(), "ci:octo/site:91:deploy:2");

    // A run of another app below the same process: from then on the process alone tells nothing.
    let app = AppName::new("blog").unwrap();
    let other = Scope::new(app, with_run.scope.environment.clone());
    register(&registrations, &Registration { scope: other, ..with_run.clone() }).unwrap();
    register(&registrations, &with_run).unwrap();
    assert!(list(&registrations).unwrap()[0].is_shared);

    end(child);
    assert_eq!(list(&registrations).unwrap(), []);
    assert_eq!(prune(&registrations).unwrap(), 1);
    assert_eq!(fs::read_dir(&registrations).unwrap().count(), 0);
    let error = register(&registrations, &registration).unwrap_err();
    assert!(matches!(error, Error::Gone(_)), "{error}");
}

#[test]
fn what_names_another_process_user_boot_or_file_counts_for_nothing() {
    let folder = TempDir::new().unwrap();
    let child = sleeper();
    let registration = of(&child);
    let ProcessRef { pid, start_ticks } = registration.process;
    register(folder.path(), &registration).unwrap();
    let name = format!("{pid}-{start_ticks}.json");
    let path = folder.path().join(&name);
    let good = fs::read_to_string(&path).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let changes = [
        (format!("\"uid\":{}", registration.uid), "\"uid\":4242".to_owned()),
        (format!("\"start_ticks\":{start_ticks}"), "\"start_ticks\":1".to_owned()),
        (boot.trim().to_owned(), "another".to_owned()),
        ("\"format\":1".to_owned(), "\"format\":2".to_owned()),
        ("{".to_owned(), "[".to_owned()),
    ];
    for (from, to) in changes {
        let changed = good.replacen(&from, &to, 1);
        assert_ne!(changed, good);
        fs::write(&path, changed).unwrap();
        assert_eq!(list(folder.path()).unwrap(), [], "{to}");
    }
    fs::write(&path, &good).unwrap();
    assert_eq!(list(folder.path()).unwrap().len(), 1);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(list(folder.path()).unwrap(), [], "others could have written it");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    // Under the name of another process it would outlive its withdrawal.
    fs::rename(&path, folder.path().join("1-1.json")).unwrap();
    assert_eq!(list(folder.path()).unwrap(), []);
    fs::rename(folder.path().join("1-1.json"), &path).unwrap();
    withdraw(folder.path(), registration.process).unwrap();
    withdraw(folder.path(), registration.process).unwrap();
    assert_eq!(list(folder.path()).unwrap(), []);
    let foreign = Registration { uid: 4242, ..registration };
    assert!(register(folder.path(), &foreign).is_err(), "the process does not run as that user");
    end(child);
}
