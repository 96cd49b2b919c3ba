//! Where scripts of `package.json` and targets of a Makefile stand. Both are read, neither is run.

/// A script and the line on which it stands, from 0.
pub(crate) type Found = (String, usize);

/// The script of that name with those that npm runs around it, in order.
pub(crate) fn package_scripts(text: &str, name: &str) -> Vec<Found> {
    let Ok(package) = serde_json::from_str::<serde_json::Value>(text) else { return Vec::new() };
    let around = [format!("pre{name}"), name.to_owned(), format!("post{name}")];
    let script = |name: &String| {
        let script = package.get("scripts")?.get(name)?.as_str()?;
        let key = format!("{}:", serde_json::Value::from(name.as_str()));
        let is_key = |line: &str| line.replace([' ', '\t'], "").contains(&key);
        let from = text.lines().position(|line| line.contains("\"scripts\"")).unwrap_or(0);
        let line =
            text.lines().enumerate().skip(from).find(|(_, line)| is_key(line)).map_or(from, |(at, _)| at);
        Some((script.to_owned(), line))
    };
    around.iter().filter_map(script).collect()
}

/// The recipe of a target and of what it needs, in order; without a name that of the first target.
pub(crate) fn make_recipes(text: &str, target: Option<&str>) -> Vec<Found> {
    let rules = rules(text);
    let first = rules.iter().map(|rule| rule.target.as_str()).find(|name| !name.starts_with('.'));
    let (mut open, mut seen, mut found) = (Vec::new(), Vec::new(), Vec::new());
    open.extend(target.or(first).map(str::to_owned));
    while let Some(name) = open.pop() {
        if seen.contains(&name) {
            continue;
        }
        for rule in rules.iter().filter(|rule| rule.target == name) {
            open.extend(rule.needs.iter().cloned());
            found.extend(rule.recipe.iter().cloned());
        }
        seen.push(name);
    }
    found.sort_by_key(|(_, line)| *line);
    found
}

struct Rule {
    target: String,
    needs: Vec<String>,
    recipe: Vec<Found>,
}

fn rules(text: &str) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    // Rules of one line with several targets share their recipe.
    let mut open: Vec<usize> = Vec::new();
    let mut variables: Vec<(String, String)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(recipe) = line.strip_prefix('\t') {
            let recipe = expanded(recipe.trim_start_matches(['@', '-', '+']), &variables);
            open.iter().for_each(|rule| rules[*rule].recipe.push((recipe.clone(), at)));
            continue;
        }
        let line = line.split('#').next().unwrap_or_default();
        if let Some((name, value)) = assigned(line) {
            variables.push((name.to_owned(), value.to_owned()));
            continue;
        }
        let Some((targets, needs)) = line.split_once(':').filter(|_| !line.starts_with(' ')) else {
            continue;
        };
        open.clear();
        let (needs, inline) = needs.split_once(';').unwrap_or((needs, ""));
        for target in targets.split_whitespace() {
            let needs = needs.split_whitespace().map(str::to_owned).collect();
            let inline = expanded(inline.trim(), &variables);
            let recipe = if inline.is_empty() { Vec::new() } else { vec![(inline, at)] };
            open.push(rules.len());
            rules.push(Rule { target: target.to_owned(), needs, recipe });
        }
    }
    rules
}

/// `NAME = VALUE`, `NAME := VALUE`, `NAME ?= VALUE`.
fn assigned(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end_matches([':', '?', '+']).trim();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then(|| (name, value.trim()))
}

/// `$(NAME)` and `${NAME}` of make by their values, other references by a shell variable; `$$` is the shell's `$`.
fn expanded(text: &str, variables: &[(String, String)]) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let close = match rest.chars().next() {
            Some('$') => {
                out.push('$');
                rest = &rest[1..];
                continue;
            }
            Some('(') => ')',
            Some('{') => '}',
            Some(_) | None => {
                out.push_str("${make_}");
                rest = rest.char_indices().nth(1).map_or("", |(at, _)| &rest[at..]);
                continue;
            }
        };
        let end = rest.find(close).unwrap_or(rest.len());
        let name = rest.get(1..end).unwrap_or_default();
        let known = variables.iter().rev().find(|(known, _)| known == name);
        match known {
            Some((_, value)) => out.push_str(value),
            None if name == "MAKE" => out.push_str("make"),
            None => out.push_str("${make_}"),
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    out + rest
}

/// Texts in quotes of a program in JavaScript, Python and the like, each with its line from 0; remarks are left out.
pub(crate) fn quoted_texts(program: &str) -> Vec<Found> {
    let chars: Vec<char> = program.chars().collect();
    let (mut at, mut line, mut found) = (0, 0, Vec::new());
    while let Some(c) = chars.get(at).copied() {
        let next = chars.get(at + 1).copied();
        match (c, next) {
            ('/', Some('/')) | ('#', _) if starts_remark(&chars, at) => {
                while chars.get(at).is_some_and(|c| *c != '\n') {
                    at += 1;
                }
                continue;
            }
            ('/', Some('*')) => {
                while at < chars.len() && !(chars[at] == '*' && chars.get(at + 1) == Some(&'/')) {
                    line += usize::from(chars[at] == '\n');
                    at += 1;
                }
                at += 1;
            }
            ('"' | '\'' | '`', _) => {
                let (first, mut text) = (line, String::new());
                at += 1;
                while let Some(inner) = chars.get(at).copied().filter(|inner| *inner != c) {
                    line += usize::from(inner == '\n');
                    if inner == '\\' {
                        at += 1;
                    }
                    text.extend(chars.get(at));
                    at += 1;
                }
                found.push((text, first));
            }
            ('\n', _) => line += 1,
            (_, _) => {}
        }
        at += 1;
    }
    found
}

/// `//` and `#` at the beginning of a line or behind a blank: elsewhere they are addresses and colours.
fn starts_remark(chars: &[char], at: usize) -> bool {
    at == 0 || chars[at - 1].is_whitespace() || matches!(chars[at - 1], ';' | '{' | '}' | ')' | ',')
}

/// Lines from 0 on which a program calls PM2's interface for every process: `pm2.delete('all', ..)`.
pub(crate) fn interface_calls(program: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, line) in program.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default().replace([' ', '\t'], "");
        for method in ["delete", "stop", "restart", "reload", "gracefulReload"] {
            let calls = ['\'', '"', '`']
                .iter()
                .any(|quote| code.contains(&format!("pm2.{method}({quote}all{quote}")));
            if calls {
                found.push((method.to_owned(), at));
            }
        }
        if code.contains("pm2.killDaemon(") {
            found.push(("kill".to_owned(), at));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_of_a_package_come_with_those_around_them() {
        let text = "{\n \"name\": \"deploy\",\n \"scripts\": {\n  \"predeploy\": \"a\",\n  \"deploy\" : \"b\",\n  \"x\": \"c\"\n }\n}\n";
        assert_eq!(package_scripts(text, "deploy"), [("a".to_owned(), 3), ("b".to_owned(), 4)]);
        assert_eq!(package_scripts(text, "none"), []);
        assert_eq!(package_scripts("{", "x"), []);
    }

    #[test]
    fn a_target_comes_with_what_it_needs() {
        let text = "ALL := all\n.PHONY: deploy\nbuild:\n\t@echo $$HOME $@\ndeploy: build stop # x\n\t-pm2 start x\nstop: ; pm2 stop $(ALL) $(NONE)\n";
        let recipes = |target| -> Vec<String> {
            make_recipes(text, target).into_iter().map(|(recipe, line)| format!("{line} {recipe}")).collect()
        };
        assert_eq!(
            recipes(Some("deploy")),
            ["3 echo $HOME ${make_}", "5 pm2 start x", "6 pm2 stop all ${make_}"]
        );
        assert_eq!(recipes(None), ["3 echo $HOME ${make_}"]);
        assert_eq!(recipes(Some("none")), [""; 0]);
    }

    #[test]
    fn texts_of_a_program_are_found_and_its_remarks_are_not() {
        let text = "// 'no'\nexec('pm2 \\'a\\'');\n/* \"no\" */ x = \"http://y\" # 'no'\nrun(`a\nb`)\n";
        let found: Vec<(String, usize)> = quoted_texts(text);
        assert_eq!(found, [("pm2 'a'".to_owned(), 1), ("http://y".to_owned(), 2), ("a\nb".to_owned(), 3)]);
        quoted_texts("'");
        quoted_texts("/*");
        assert_eq!(
            interface_calls("x\npm2.delete( 'all', done)\n// pm2.stop('all')\n"),
            [("delete".to_owned(), 1)]
        );
    }
}
