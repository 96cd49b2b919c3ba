//! Deployments that are as they should be meet no refusal.

use palisade_core::record::Ruling;
use palisade_core::{AppName, EnvironmentName, Scope};
use palisade_host::lease::{Acquired, Applicant, acquire};

use crate::bed::Bed;

const OWN: [&str; 3] = ["flyer-crawler-api", "flyer-crawler-worker", "flyer-crawler-analytics-worker"];

fn script(file: &str) -> String {
    format!(
        "set -e\npm2 jlist --silent > list.json\nfor name in {}; do pm2 delete $name; done\npm2 start {file}\n\
         pm2 reload flyer-crawler-api\npm2 restart flyer-crawler-worker\npm2 stop flyer-crawler-worker\n\
         pm2 start flyer-crawler-worker\npm2 scale flyer-crawler-api 2\npm2 scale flyer-crawler-api 1\n\
         pm2 startOrReload {file}\npm2 save\n",
        OWN.join(" ")
    )
}

/// Method and grounds of each refusal.
fn refused(bed: &Bed) -> Vec<String> {
    let told = |findings: &[palisade_core::Finding]| {
        findings.iter().map(|finding| finding.message.clone()).collect::<Vec<_>>().join("; ")
    };
    bed.refused().iter().map(|(_, called)| format!("{}: {}", called.method, told(&called.findings))).collect()
}

fn foreign(bed: &Bed) -> Vec<(String, u64)> {
    bed.running().into_iter().filter(|(name, _)| !OWN.contains(&name.as_str())).collect()
}

#[test]
fn a_deployment_from_the_apps_own_folder_meets_no_refusal() {
    let bed = Bed::new("enforce");
    let before = foreign(&bed);
    let file = bed.ecosystem_of("flyer.json", &OWN);
    let ran = bed.script_in(&bed.app_folder(OWN[0]), &script(&file));
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
    assert_eq!(refused(&bed), [""; 0]);
    assert_eq!((bed.running().len(), foreign(&bed)), (8, before));
    assert!(
        bed.calls()
            .iter()
            .any(|(_, called)| called.method == "deleteProcessId" && called.ruling == Ruling::Passed)
    );
}

#[test]
fn a_deployment_under_a_lease_meets_no_refusal_wherever_it_runs() {
    let bed = Bed::new("enforce");
    let before = foreign(&bed);
    let leases = bed.folder.join("state/palisade/leases");
    palisade_host::files::private_folder(&leases).unwrap();
    let scope =
        Scope::new(AppName::new("flyer-crawler").unwrap(), EnvironmentName::new("production").unwrap());
    let applicant = Applicant { program: "palisade deploy".to_owned(), run: None };
    // This process stands for `palisade deploy`: it holds the lease, and the script is its child.
    let Acquired::Held(lease) = acquire(&leases, &scope, &applicant).unwrap() else { panic!("it is free") };
    let file = bed.ecosystem_of("flyer.json", &OWN);
    let ran = bed.script_in(&bed.nowhere(), &script(&file));
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
    assert_eq!(refused(&bed), [""; 0]);
    assert_eq!((bed.running().len(), foreign(&bed)), (8, before));

    // From the folder of another app the two kinds of evidence contradict each other.
    let ran = bed.pm2_in(&bed.app_folder("stock-alert"), &["delete", OWN[0]]);
    assert!(ran.text.contains("PAL-402"), "{}", ran.text);
    drop(lease);
    let ran = bed.pm2_in(&bed.nowhere(), &["delete", OWN[0]]);
    assert!(ran.text.contains("PAL-401"), "{}", ran.text);
    assert_eq!(bed.running().len(), 8);
}
