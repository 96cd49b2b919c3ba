//! Who deploys an app: `folder`, `namespace` and `deployers`.

use std::path::Path;

use palisade_config::narrow;
use palisade_core::Code;

use crate::support::{LEAST, host, messages, problems};

/// `LEAST`, whose last entry is `flyer-crawler/production`, with more lines of that entry.
fn with(lines: &str) -> String {
    format!("{LEAST}{lines}\n")
}

const WHOLE: &str = r#"folder = ["/srv/flyer", "/opt/flyer"]
namespace = "flyer-prod"
deployers = [
    { uid = 1001, gid = 1002, cgroup = "/system.slice", socket = "/run/flyer.sock" },
    { repository = "torbo/flyer", workflow = "deploy.yml", branch = "main", folder = "/srv/flyer", unit = "r.service" },
]"#;

#[test]
fn every_key_is_read_and_shown_with_its_origin() {
    let host = host(&with(WHOLE));
    let rows: Vec<String> = host
        .origins()
        .iter()
        .filter(|row| ["folder", "namespace", "deployers"].iter().any(|key| row.key.ends_with(key)))
        .map(|row| format!("{} = {} {}", row.key, row.value, row.origin))
        .collect();
    let at = |key: &str, value: &str, line: u32| {
        format!("app.flyer-crawler/production.{key} = {value} /etc/palisade/palisade.toml:{line}")
    };
    let facts = "{ uid = 1001, gid = 1002, cgroup = \"/system.slice\", socket = \"/run/flyer.sock\" }";
    let evidence = "{ repository = \"torbo/flyer\", workflow = \"deploy.yml\", branch = \"main\", \
                    folder = \"/srv/flyer\", unit = \"r.service\" }";
    let expected = [
        at("folder", "/srv/flyer", 9),
        at("folder", "/opt/flyer", 9),
        at("namespace", "flyer-prod", 10),
        at("deployers", facts, 12),
        at("deployers", evidence, 13),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn a_policy_without_these_keys_has_the_digest_that_it_had_before_they_existed() {
    let text = serde_json::to_string(host(LEAST).policy()).unwrap();
    assert!(!text.contains("deployers") && !text.contains("folder") && !text.contains("namespace"), "{text}");
}

#[test]
fn one_folder_is_a_string() {
    let policy = host(&with("folder = \"/srv/flyer/\"")).into_policy();
    assert_eq!(policy.apps[0].folders[0].as_str(), "/srv/flyer");
}

#[test]
fn what_names_nobody_or_everybody_is_refused() {
    let cases = [
        ("folder = \"/\"", "everything lies in `/`, so it says nothing about an app"),
        (
            "folder = [\"/home/deploy\"]",
            "a home belongs to its user and not to an app: name the app's own folder in it",
        ),
        ("folder = \"srv\"", "a folder must be an absolute path"),
        ("folder = []", "`folder` is empty"),
        (
            "namespace = \"default\"",
            "`default` is where PM2 puts everything that names no namespace, so it can be nobody's own",
        ),
        ("namespace = \"all\"", "`all` is PM2's word for every process"),
        ("deployers = []", "`deployers` is empty"),
        ("deployers = [{}]", "an entry of `deployers` names nobody"),
        ("deployers = [{ uid = -1 }]", "`uid` must be 0 to 4294967294"),
        ("deployers = [{ gid = 4294967295 }]", "`gid` must be 0 to 4294967294"),
        ("deployers = [{ cgroup = \"/\" }]", "`cgroup` must not be `/`, which holds for everybody"),
        ("deployers = [{ socket = \"x.sock\" }]", "`socket` must be an absolute path"),
        ("deployers = [{ branch = \"\" }]", "`branch` must not be empty"),
        ("deployers = [{ user = \"x\" }]", "unknown key `user`"),
        ("deployers = [\"x\"]", "`deployers` must be a list of tables"),
    ];
    for (line, message) in cases {
        assert_eq!(messages(&problems(&with(line))), [message], "{line}");
    }
}

#[test]
fn a_folder_or_a_namespace_of_two_scopes_is_shown_at_both_places() {
    let other = "[[app]]\nname = \"stock\"\nenvironment = \"production\"\nprocesses = [\"stock\"]\n";
    let text = with(&format!("folder = \"/srv/x\"\n{other}folder = [\"/srv/y\", \"/srv/x/\"]"));
    let expected = r#"
error[PAL-002]: the folder "/srv/x" cannot belong to both flyer-crawler/production and stock/production
  --> palisade.toml:14:21
   |
 9 | folder = "/srv/x"
   |          -------- of flyer-crawler/production
...
14 | folder = ["/srv/y", "/srv/x/"]
   |                     ^^^^^^^^^ of stock/production
   |
   = help: give each its own: what two share tells neither apart
"#;
    assert_eq!(problems(&text).to_string().trim_end(), expected.trim());
    let text = with(&format!("namespace = \"prod\"\n{other}namespace = \"prod\""));
    let message =
        "the namespace \"prod\" cannot belong to both flyer-crawler/production and stock/production";
    assert_eq!(messages(&problems(&text)), [message]);
}

#[test]
fn a_project_file_may_repeat_the_host_and_add_nobody() {
    let entry = "[[app]]\nname = \"flyer-crawler\"\nenvironment = \"production\"\n";
    let laid_over = |project: &str| {
        narrow(host(&with(WHOLE)), &format!("{entry}{project}\n"), Path::new("/srv/flyer/palisade.toml"))
    };
    assert!(laid_over(WHOLE).is_ok());
    assert_eq!(laid_over("").unwrap().policy().apps[0].deployers.len(), 2);
    for line in [
        "deployers = [{ uid = 1003 }]",
        "deployers = [{ uid = 1001 }]",
        "folder = \"/srv/other\"",
        "namespace = \"other\"",
    ] {
        let problems = laid_over(line).expect_err(line);
        assert_eq!((problems.code(), problems.list().len()), (Code::PolicyWidened, 1), "{line}");
    }
}

#[test]
fn two_scopes_may_share_a_name_where_each_has_a_namespace_which_then_decides() {
    let entry = |app: &str, namespace: &str| {
        format!(
            "[[app]]\nname = \"{app}\"\nenvironment = \"production\"\nprocesses = [\"api\"]\n{namespace}\n"
        )
    };
    let both = |one: &str, other: &str| format!("{LEAST}{}{}", entry("shop", one), entry("blog", other));
    let policy = host(&both("namespace = \"shop\"", "namespace = \"blog\"")).into_policy();
    let owner = |name: &str, namespace: &str| policy.owner_in(name, namespace).to_string();
    assert_eq!(owner("api", "shop"), "shop/production");
    assert_eq!(owner("api", "blog"), "blog/production");
    assert_eq!(owner("api", "default"), "unclaimed", "there nothing tells the two apart");
    assert_eq!(owner("flyer-crawler-api", "blog"), "blog/production", "the namespace decides");
    assert_eq!(owner("flyer-crawler-api", "x"), "flyer-crawler/production");
    let message = "both shop/production and blog/production claim \"api\"";
    assert_eq!(messages(&problems(&both("namespace = \"shop\"", ""))), [message]);
}
