//! Every problem of a file, as it is shown.

use palisade_config::{Colour, Place};

use crate::support::{LEAST, messages, problems};

/// `LEAST` with something added below, and the whole rendering of what is wrong with it.
fn check(added: &str, expected: &str) {
    let rendered = problems(&format!("{LEAST}{added}")).to_string();
    assert_eq!(rendered.trim_end(), expected.trim(), "\n{rendered}\n");
}

#[test]
fn an_unknown_key_is_shown_with_the_keys_that_there_are() {
    check(
        r#"[limits]
all_abov = 4
"#,
        r#"
error[PAL-002]: unknown key `all_abov`
  --> palisade.toml:10:1
   |
10 | all_abov = 4
   | ^^^^^^^^ not a key of [limits]
   |
   = help: did you mean `all_above`? The keys here are: all_above, share, budget, job_budget, window
"#,
    );
}

#[test]
fn an_unknown_key_far_from_any_other_lists_the_keys() {
    check(
        r#"[limits]
folder = "x"
"#,
        r#"
error[PAL-002]: unknown key `folder`
  --> palisade.toml:10:1
   |
10 | folder = "x"
   | ^^^^^^ not a key of [limits]
   |
   = help: the keys here are: all_above, share, budget, job_budget, window
"#,
    );
}

#[test]
fn an_unknown_section_is_refused() {
    check(
        r#"[firewall]
"#,
        r#"
error[PAL-002]: unknown key `firewall`
 --> palisade.toml:9:2
  |
9 | [firewall]
  |  ^^^^^^^^ not a key of this file
  |
  = help: the keys here are: revision, environments, app, protected, limits, notify
"#,
    );
}

#[test]
fn a_wrong_type_is_named() {
    check(
        r#"[limits]
all_above = "3"
"#,
        r#"
error[PAL-002]: `all_above` must be a whole number
  --> palisade.toml:10:13
   |
10 | all_above = "3"
   |             ^^^ this is a string
   |
   = help: write it like: all_above = 3
"#,
    );
}

#[test]
fn a_list_of_other_things_is_refused_at_the_element() {
    check(
        r#"[[app]]
name = "a"
environment = "production"
processes = ["a", 7]
"#,
        r#"
error[PAL-002]: `processes` must be a list of strings
  --> palisade.toml:12:19
   |
12 | processes = ["a", 7]
   |                   ^ this is a whole number
   |
   = help: write it like: processes = ["flyer-crawler-api"]
"#,
    );
}

#[test]
fn a_table_where_a_list_of_tables_belongs_is_refused() {
    check(
        r#"[environments.staging.deeper]
"#,
        r#"
error[PAL-002]: unknown key `deeper`
 --> palisade.toml:9:23
  |
9 | [environments.staging.deeper]
  |                       ^^^^^^ not a key of [environments.staging]
  |
  = help: the keys here are: suffix, mode
"#,
    );
}

#[test]
fn an_app_without_its_keys_is_told_all_of_them() {
    check(
        r#"[[app]]
confirm = ["delete"]
"#,
        r#"
error[PAL-002]: `name` is missing
 --> palisade.toml:9:1
  |
9 | [[app]]
  | ^^^^^^^ this [[app]] has none
  |
  = help: add: name = "flyer-crawler"

error[PAL-002]: `environment` is missing
 --> palisade.toml:9:1
  |
9 | [[app]]
  | ^^^^^^^ this [[app]] has none
  |
  = help: add: environment = "production"

error[PAL-002]: `processes` is missing
 --> palisade.toml:9:1
  |
9 | [[app]]
  | ^^^^^^^ this [[app]] has none
  |
  = help: add: processes = ["flyer-crawler-api"]
"#,
    );
}

#[test]
fn an_app_name_that_could_leave_its_folder_is_refused() {
    check(
        r#"[[app]]
name = "../x"
environment = "production"
processes = ["x"]
"#,
        r#"
error[PAL-002]: app name "../x": must begin with a letter or a digit
  --> palisade.toml:10:8
   |
10 | name = "../x"
   |        ^^^^^^ not a name
   |
   = help: use 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or a digit
"#,
    );
}

#[test]
fn an_environment_name_with_a_space_is_refused() {
    check(
        r#"[environments."pre prod"]
"#,
        r#"
error[PAL-002]: environment name "pre prod": may hold letters, digits, '.', '_' and '-' only
 --> palisade.toml:9:15
  |
9 | [environments."pre prod"]
  |               ^^^^^^^^^^ not a name
  |
  = help: use 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or a digit
"#,
    );
}

#[test]
fn a_pattern_that_would_own_everything_is_refused() {
    check(
        r#"[[app]]
name = "a"
environment = "production"
processes = ["*"]
"#,
        r#"
error[PAL-002]: "*" alone would own every process of the daemon: name the processes, or write `app-*`
  --> palisade.toml:12:14
   |
12 | processes = ["*"]
   |              ^^^ not a pattern
   |
   = help: write a whole process name, or `*` for whole words between hyphens: "flyer-*"
"#,
    );
}

#[test]
fn a_star_within_a_word_is_refused() {
    check(
        r#"[[app]]
name = "a"
environment = "production"
processes = ["a*"]
"#,
        r#"
error[PAL-002]: `*` must stand alone between hyphens in "a*": write `flyer-*`, not `flyer*`
  --> palisade.toml:12:14
   |
12 | processes = ["a*"]
   |              ^^^^ not a pattern
   |
   = help: write a whole process name, or `*` for whole words between hyphens: "flyer-*"
"#,
    );
}

#[test]
fn an_empty_process_name_is_refused() {
    check(
        r#"[[app]]
name = "a"
environment = "production"
processes = [""]
"#,
        r#"
error[PAL-002]: a process name must not be empty
  --> palisade.toml:12:14
   |
12 | processes = [""]
   |              ^^ not a pattern
   |
   = help: write a whole process name, or `*` for whole words between hyphens: "flyer-*"
"#,
    );
}

#[test]
fn a_name_that_is_listed_twice_is_refused() {
    check(
        r#"[[app]]
name = "a"
environment = "production"
processes = ["a", "a"]
"#,
        r#"
error[PAL-002]: "a" is listed twice
  --> palisade.toml:12:19
   |
12 | processes = ["a", "a"]
   |              ---  ^^^ again
   |              |
   |              first here
   |
   = help: take one of them out
"#,
    );
}

#[test]
fn an_app_without_processes_is_refused() {
    check(
        r#"[[app]]
name = "a"
environment = "production"
processes = []
"#,
        r#"
error[PAL-002]: `processes` is empty
  --> palisade.toml:12:13
   |
12 | processes = []
   |             ^^ an app has to own at least one process
   |
   = help: name its processes, or take the whole entry out
"#,
    );
}

#[test]
fn a_second_entry_for_one_scope_points_at_the_first() {
    check(
        r#"[[app]]
name = "flyer-crawler"
environment = "production"
processes = ["other"]
"#,
        r#"
error[PAL-002]: a second entry for flyer-crawler/production
  --> palisade.toml:10:8
   |
 6 | name = "flyer-crawler"
   |        --------------- first here
...
10 | name = "flyer-crawler"
   |        ^^^^^^^^^^^^^^^ again
   |
   = help: put the processes of both into one [[app]]
"#,
    );
}

#[test]
fn an_unknown_environment_is_answered_with_the_near_one() {
    check(
        r#"[[app]]
name = "a"
environment = "prodution"
processes = ["a"]
"#,
        r#"
error[PAL-002]: the file has no environment prodution
  --> palisade.toml:11:15
   |
11 | environment = "prodution"
   |               ^^^^^^^^^^^ not an environment of this file
   |
   = help: did you mean "production"?
"#,
    );
}

#[test]
fn an_unknown_environment_far_from_any_lists_them() {
    check(
        r#"[[app]]
name = "a"
environment = "qa"
processes = ["a"]
"#,
        r#"
error[PAL-002]: the file has no environment qa
  --> palisade.toml:11:15
   |
11 | environment = "qa"
   |               ^^^^ not an environment of this file
   |
   = help: add [environments.qa], or use one of: production, test
"#,
    );
}

#[test]
fn a_share_above_one_is_refused() {
    check(
        r#"[limits]
share = 1.5
"#,
        r#"
error[PAL-002]: `share` must be 0 to 1, with at most three decimals
  --> palisade.toml:10:9
   |
10 | share = 1.5
   |         ^^^ not such a number
   |
   = help: 0.8 means: at most 80 % of the daemon's processes in one operation
"#,
    );
}

#[test]
fn a_share_in_per_cent_is_refused() {
    check(
        r#"[limits]
share = 80
"#,
        r#"
error[PAL-002]: `share` must be 0 to 1, with at most three decimals
  --> palisade.toml:10:9
   |
10 | share = 80
   |         ^^ not such a number
   |
   = help: 0.8 means: at most 80 % of the daemon's processes in one operation
"#,
    );
}

#[test]
fn a_share_that_rounding_would_widen_is_refused() {
    check(
        r#"[limits]
share = 0.9999
"#,
        r#"
error[PAL-002]: `share` must be 0 to 1, with at most three decimals
  --> palisade.toml:10:9
   |
10 | share = 0.9999
   |         ^^^^^^ not such a number
   |
   = help: 0.8 means: at most 80 % of the daemon's processes in one operation
"#,
    );
}

#[test]
fn a_share_that_is_no_number_is_refused() {
    check(
        r#"[limits]
share = nan
"#,
        r#"
error[PAL-002]: `share` must be 0 to 1, with at most three decimals
  --> palisade.toml:10:9
   |
10 | share = nan
   |         ^^^ not such a number
   |
   = help: 0.8 means: at most 80 % of the daemon's processes in one operation
"#,
    );
}

#[test]
fn a_negative_count_is_refused() {
    check(
        r#"[limits]
all_above = -1
"#,
        r#"
error[PAL-002]: `all_above` must be 0 to 4294967295
  --> palisade.toml:10:13
   |
10 | all_above = -1
   |             ^^ out of range
   |
   = help: write a number of processes, 0 or more
"#,
    );
}

#[test]
fn a_budget_of_nothing_is_refused() {
    check(
        r#"[limits]
budget = 0
"#,
        r#"
error[PAL-002]: `budget` must be 1 to 4294967295
  --> palisade.toml:10:10
   |
10 | budget = 0
   |          ^ out of range
   |
   = help: write a number of processes, 1 or more
"#,
    );
}

#[test]
fn a_window_without_a_unit_is_refused() {
    check(
        r#"[limits]
window = "10"
"#,
        r#"
error[PAL-002]: `window` must be a duration
  --> palisade.toml:10:10
   |
10 | window = "10"
   |          ^^^^ time unit needed, for example 10sec or 10ms
   |
   = help: write a number and a unit: "10m", "90s", "1h 30m"
"#,
    );
}

#[test]
fn a_window_of_no_length_is_refused() {
    check(
        r#"[limits]
window = "0s"
"#,
        r#"
error[PAL-002]: `window` must be longer than nothing
  --> palisade.toml:10:10
   |
10 | window = "0s"
   |          ^^^^ a budget over no time never counts
   |
   = help: write a number and a unit: "10m", "90s", "1h 30m"
"#,
    );
}

#[test]
fn a_mode_that_is_none_is_answered_with_the_near_one() {
    check(
        r#"[environments.staging]
mode = "enforced"
"#,
        r#"
error[PAL-002]: "enforced" is no mode
  --> palisade.toml:10:8
   |
10 | mode = "enforced"
   |        ^^^^^^^^^^ not a known mode
   |
   = help: did you mean "enforce"? Known are: observe, enforce
"#,
    );
}

#[test]
fn an_operation_that_is_none_is_answered_with_the_known_ones() {
    check(
        r#"[[app]]
name = "a"
environment = "production"
processes = ["a"]
confirm = ["kill"]
"#,
        r#"
error[PAL-002]: "kill" is no operation
  --> palisade.toml:13:12
   |
13 | confirm = ["kill"]
   |            ^^^^^^ not a known operation
   |
   = help: use one of: delete, stop, restart, reload, restore
"#,
    );
}

#[test]
fn two_environments_with_one_suffix_are_refused() {
    check(
        r#"[environments.staging]
suffix = "-test"
"#,
        r#"
error[PAL-002]: staging and test have the same suffix
  --> palisade.toml:10:10
   |
 4 | suffix = "-test"
   |          ------- first here
...
10 | suffix = "-test"
   |          ^^^^^^^ the same suffix
   |
   = help: a suffix tells environments apart: give each its own
"#,
    );
}

#[test]
fn a_suffix_without_its_hyphen_is_refused() {
    check(
        r#"[environments.staging]
suffix = "staging"
"#,
        r#"
error[PAL-002]: the suffix "staging" is not a hyphen and a word
  --> palisade.toml:10:10
   |
10 | suffix = "staging"
   |          ^^^^^^^^^ must look like "-test"
   |
   = help: write what every process name of this environment ends with, with its hyphen
"#,
    );
}

#[test]
fn a_suffix_that_is_only_a_hyphen_is_refused() {
    check(
        r#"[environments.staging]
suffix = "-"
"#,
        r#"
error[PAL-002]: the suffix "-" is not a hyphen and a word
  --> palisade.toml:10:10
   |
10 | suffix = "-"
   |          ^^^ must look like "-test"
   |
   = help: write what every process name of this environment ends with, with its hyphen
"#,
    );
}

#[test]
fn a_name_without_its_environments_suffix_is_refused() {
    check(
        r#"[[app]]
name = "a"
environment = "test"
processes = ["a-api"]
"#,
        r#"
error[PAL-002]: "a-api" does not end in "-test", the suffix of test
  --> palisade.toml:12:14
   |
12 | processes = ["a-api"]
   |              ^^^^^^^ belongs to no test process
   |
   = help: add the suffix, or move the name to the environment that it belongs to
"#,
    );
}

#[test]
fn a_glob_without_its_environments_suffix_is_refused() {
    check(
        r#"[[app]]
name = "a"
environment = "test"
processes = ["a-*"]
"#,
        r#"
error[PAL-002]: "a-*" does not end in "-test", the suffix of test
  --> palisade.toml:12:14
   |
12 | processes = ["a-*"]
   |              ^^^^^ belongs to no test process
   |
   = help: add the suffix, or move the name to the environment that it belongs to
"#,
    );
}

#[test]
fn a_name_with_another_environments_suffix_is_refused() {
    check(
        r#"[[app]]
name = "a"
environment = "production"
processes = ["a-api-test"]
"#,
        r#"
error[PAL-002]: "a-api-test" ends in "-test", the suffix of test, but is listed for a/production
  --> palisade.toml:12:14
   |
12 | processes = ["a-api-test"]
   |              ^^^^^^^^^^^^ a name of test
   |
   = help: move it to the entry of a/test
"#,
    );
}

#[test]
fn a_longer_suffix_of_another_environment_wins() {
    check(
        r#"[environments.e2e]
suffix = "-e2e-test"
[[app]]
name = "a"
environment = "test"
processes = ["a-e2e-test"]
"#,
        r#"
error[PAL-002]: "a-e2e-test" ends in "-e2e-test", the suffix of e2e, but is listed for a/test
  --> palisade.toml:14:14
   |
14 | processes = ["a-e2e-test"]
   |              ^^^^^^^^^^^^ a name of e2e
   |
   = help: move it to the entry of a/e2e
"#,
    );
}

#[test]
fn two_scopes_that_claim_one_name_are_refused() {
    check(
        r#"[[app]]
name = "a"
environment = "production"
processes = ["flyer-crawler-api"]
"#,
        r#"
error[PAL-002]: both flyer-crawler/production and a/production claim "flyer-crawler-api"
  --> palisade.toml:12:14
   |
 8 | processes = ["flyer-crawler-api", "flyer-crawler-worker"]
   |              ------------------- claimed for flyer-crawler/production
...
12 | processes = ["flyer-crawler-api"]
   |              ^^^^^^^^^^^^^^^^^^^ claimed for a/production
   |
   = help: a process has one owner: take it out of one of the two, or give each a `namespace` of its own
"#,
    );
}

#[test]
fn two_globs_that_can_own_one_name_are_refused() {
    check(
        r#"[[app]]
name = "a"
environment = "production"
processes = ["a-*"]
[[app]]
name = "b"
environment = "production"
processes = ["*-b"]
"#,
        r#"
error[PAL-002]: "*-b" of b/production and "a-*" of a/production can own one name
  --> palisade.toml:16:14
   |
12 | processes = ["a-*"]
   |              ----- claimed for a/production
...
16 | processes = ["*-b"]
   |              ^^^^^ claimed for b/production
   |
   = help: make one of them longer, or list exact names: an exact name beats a glob
"#,
    );
}

#[test]
fn a_key_of_the_top_below_a_section_is_sent_back_up() {
    check(
        r#"[environments.staging]
[limits]
[[app]]
name = "a"
environment = "production"
processes = ["a"]
protected = ["pm2*"]
"#,
        r#"
error[PAL-002]: unknown key `protected`
  --> palisade.toml:15:1
   |
15 | protected = ["pm2*"]
   | ^^^^^^^^^ not a key of this [[app]]
   |
   = help: write `protected` at the top of the file, above its first [section]
"#,
    );
}

#[test]
fn syntax_stands_alone() {
    check(
        r#"[limits
share = 7
[[app]]
"#,
        r#"
error[PAL-002]: this is not TOML
 --> palisade.toml:9:8
  |
9 | [limits
  |        ^ unclosed table, expected `]`
  |
  = help: put this line right first; other problems show up after it
"#,
    );
}

#[test]
fn a_key_that_is_there_twice_is_a_matter_of_syntax() {
    check(
        r#"[limits]
share = 0.5
share = 0.6
"#,
        r#"
error[PAL-002]: this is not TOML
  --> palisade.toml:11:1
   |
11 | share = 0.6
   | ^^^^^ duplicate key
   |
   = help: put this line right first; other problems show up after it
"#,
    );
}

#[test]
fn a_name_from_outside_cannot_drive_the_terminal() {
    check(
        r#"[[app]]
name = "a\u001b[2J"
environment = "production"
processes = ["\u202ea*"]
"#,
        r#"
error[PAL-002]: app name "a\u{1b}[2J": may hold letters, digits, '.', '_' and '-' only
  --> palisade.toml:10:8
   |
10 | name = "a\u001b[2J"
   |        ^^^^^^^^^^^^ not a name
   |
   = help: use 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or a digit

error[PAL-002]: `*` must stand alone between hyphens in "\u{202e}a*": write `flyer-*`, not `flyer*`
  --> palisade.toml:12:14
   |
12 | processes = ["\u202ea*"]
   |              ^^^^^^^^^^ not a pattern
   |
   = help: write a whole process name, or `*` for whole words between hyphens: "flyer-*"
"#,
    );
}

#[test]
fn many_problems_are_told_at_once_in_the_order_of_the_file() {
    let problems = problems(
        r#"
revision = "one"
protected = ["a*"]
[limits]
share = 2
budget = 0
windo = "10m"
[environments.production]
mode = "off"
[environments.test]
suffix = "test"
[[app]]
name = "a b"
environment = "production"
processes = []
[[app]]
name = "c"
environment = "prod"
processes = ["c", "*"]
confirm = ["kill"]
"#,
    );
    let expected = [
        "`revision` must be a whole number",
        "`*` must stand alone between hyphens in \"a*\": write `flyer-*`, not `flyer*`",
        "`share` must be 0 to 1, with at most three decimals",
        "`budget` must be 1 to 4294967295",
        "unknown key `windo`",
        "\"off\" is no mode",
        "the suffix \"test\" is not a hyphen and a word",
        "app name \"a b\": may hold letters, digits, '.', '_' and '-' only",
        "`processes` is empty",
        "the file has no environment prod",
        "\"*\" alone would own every process of the daemon: name the processes, or write `app-*`",
        "\"kill\" is no operation",
    ];
    assert_eq!(messages(&problems), expected);
    assert_eq!(problems.to_string().matches("error[PAL-002]").count(), expected.len());
}

#[test]
fn programs_get_code_line_and_column() {
    let problems = problems("# é\nrevision = 1\nlimits = { share = 7 }\n");
    assert_eq!(
        problems.to_json(),
        serde_json::json!({
            "path": "palisade.toml",
            "code": "PAL-002",
            "problems": [{
                "code": "PAL-002",
                "message": "`share` must be 0 to 1, with at most three decimals",
                "label": "not such a number",
                "fix": "0.8 means: at most 80 % of the daemon's processes in one operation",
                "line": 3, "column": 20, "span": [37, 38],
            }],
        })
    );
}

#[test]
fn columns_count_characters_and_not_bytes() {
    assert_eq!(Place::of("é = ü\nx", 5), Place { line: 1, column: 5 });
    assert_eq!(Place::of("é = ü\nx", 8), Place { line: 2, column: 1 });
    assert_eq!(Place::of("ab", 99), Place { line: 1, column: 3 });
}

#[test]
fn only_the_coloured_rendering_has_escapes() {
    let problems = problems("");
    assert!(!problems.render(Colour::Never).contains('\u{1b}'));
    assert!(problems.render(Colour::Always).contains('\u{1b}'));
}

#[test]
fn a_path_from_outside_cannot_drive_the_terminal() {
    let problems = palisade_config::parse_host("", "x\u{1b}[2J\n.toml".as_ref()).unwrap_err();
    let rendered = problems.to_string();
    assert!(!rendered.contains('\u{1b}'), "{rendered:?}");
    assert!(rendered.contains(r"x\u{1b}[2J\u{a}.toml:1:1"), "{rendered:?}");
}
