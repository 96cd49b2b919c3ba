//! Command lines, as PM2 would expand them. What PM2 does was measured on 7.0.4 and 5.4.3.

use std::ffi::OsString;
use std::path::Path;

use palisade_core::Process;
use palisade_pm2::command_line::{CommandLine, Expanded};
use palisade_pm2::deed::{Aim, Deed};

use crate::table::process;

/// Numbers 0 to 4: two apps, one of them called like the other's namespace, and a module.
fn list() -> Vec<Process> {
    let mut list: Vec<Process> = (0..)
        .zip(["shop-api", "shop-db", "blog", "7", "pm2-logrotate"])
        .map(|(id, name)| process(id, name))
        .collect();
    list[0].namespace = "blog".to_owned();
    list[1].namespace = "shop".to_owned();
    list[4].module = true;
    list
}

fn line(words: &str) -> Option<CommandLine> {
    let words: Vec<OsString> = words.split('|').map(OsString::from).collect();
    CommandLine::read(&words, Some(Path::new("/srv/shop-api")), |path| match path.to_str()? {
        "/srv/shop-api/e.config.js" => Some(
            "module.exports = { apps: [{ name: 'shop-api' }, { name: \"blog\" }, { name: 'new' }] }"
                .to_owned(),
        ),
        _ => None,
    })
}

fn expanded(words: &str) -> Expanded {
    line(&format!("node|/usr/lib/pm2/bin/pm2|{words}")).unwrap_or_else(|| panic!("{words}")).expand(&list())
}

fn ids(words: &str) -> Vec<u32> {
    let id = |aim: Aim| match aim {
        Aim::Id(id) => id,
        other => panic!("{words}: {other:?}"),
    };
    expanded(words).aims.into_iter().map(id).collect()
}

#[test]
fn a_line_is_expanded_as_pm2_expands_it() {
    let everything = vec![0, 1, 2, 3];
    for words in [
        "delete|all",
        "del|all",
        "stop|all|--namespace|shop",
        "--silent|restart|all|--update-env",
        "reload|all|--env|blog",
        "stop|/./",
        "delete|/(?!x)/",
        "stop|-s|all|--|blog",
    ] {
        assert_eq!((ids(words), expanded(words).is_broad), (everything.clone(), true), "{words}");
    }
    let cases: [(&str, &[u32]); 13] = [
        ("delete|shop-api", &[0]),
        ("delete|0", &[0]),
        ("delete|7", &[3]),
        ("delete|blog", &[2]),
        ("delete|shop", &[1]),
        ("delete|/shop/", &[0, 1]),
        ("delete|/^shop-d/", &[1]),
        ("stop|server.js", &[0]),
        ("stop|../blog/./server.js", &[2]),
        ("stop|/srv/shop-db/server.js", &[1]),
        ("stop|shop-db|blog", &[1, 2]),
        ("stop|SHOP-API", &[]),
        ("start|server.js", &[]),
    ];
    for (words, expected) in cases {
        assert_eq!(ids(words), expected, "{words}");
    }
    assert!(expanded("delete|shop").is_broad && !expanded("delete|shop-api").is_broad);
}

#[test]
fn an_ecosystem_file_names_what_is_there_and_what_would_be_started() {
    assert_eq!(ids("delete|e.config.js"), [2, 0]);
    assert_eq!(ids("delete|e.config.js|--only|shop-api"), [0]);
    assert_eq!(ids("delete|e.config.js|--only=blog,x"), [2]);
    let started = expanded("startOrReload|e.config.js").aims;
    assert_eq!(started, [Aim::Id(2), Aim::NewName("new".to_owned()), Aim::Id(0)]);
    assert_eq!(ids("delete|missing.config.js"), [0_u32; 0]);
}

#[test]
fn what_is_no_pm2_or_takes_nothing_down_says_nothing() {
    for words in [
        "node|/srv/deploy.js|delete|all",
        "pm2",
        "pm2|jlist",
        "pm2|delete",
        "pm2|kill",
        "sh|-c|pm2 delete all",
    ] {
        assert_eq!(line(words), None, "{words}");
    }
    assert_eq!(line("pm2|gracefulReload|all").unwrap().deed(), Deed::Reload);
    assert_eq!(line("/usr/bin/node|--title=x|/x/pm2|stop|all").unwrap().deed(), Deed::Stop);
}
