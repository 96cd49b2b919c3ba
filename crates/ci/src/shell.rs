//! Shell text as simple commands: enough of the language to see what would be called, and nothing is run.

use std::collections::BTreeMap;

/// Values of variables that are known.
pub(crate) type Variables = BTreeMap<String, String>;

/// A part of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable {
        name: String,
        default: Option<String>,
    },
    /// What is only known when it runs.
    Unknown,
}

/// A word as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Word {
    pieces: Vec<Piece>,
    is_quoted: bool,
    /// Command substitutions in it: text and line.
    pub(crate) inner: Vec<(String, usize)>,
}

impl Word {
    /// Its text, if every variable in it is known.
    pub(crate) fn resolved(&self, variables: &Variables) -> Option<String> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Variable { name, default } => {
                    text.push_str(variables.get(name).or(default.as_ref())?);
                }
                Piece::Unknown => return None,
            }
        }
        Some(text)
    }

    /// Its text with a mark in the place of what is not known.
    pub(crate) fn shown(&self, variables: &Variables) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(part) => part.clone(),
            Piece::Variable { name, default } => {
                variables.get(name).or(default.as_ref()).cloned().unwrap_or_else(|| format!("${{{name}}}"))
            }
            Piece::Unknown => "${?}".to_owned(),
        };
        self.pieces.iter().map(piece).collect()
    }

    fn push(&mut self, c: char) {
        match self.pieces.last_mut() {
            Some(Piece::Text(text)) => text.push(c),
            Some(Piece::Variable { .. } | Piece::Unknown) | None => self.pieces.push(Piece::Text(c.into())),
        }
    }

    fn is_empty(&self) -> bool {
        self.pieces.is_empty() && !self.is_quoted
    }
}

/// What a command reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// A here-document or here-string: its text and first line.
    Text(String, usize),
    /// A file.
    File(Word),
}

/// One simple command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Command {
    /// Its line in the script, from 0.
    pub(crate) line: usize,
    pub(crate) words: Vec<Word>,
    pub(crate) inputs: Vec<Input>,
    /// Whether it reads what the command before it writes.
    pub(crate) is_piped: bool,
}

/// What the next finished word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Word,
    Target,
    Source,
    HereString,
    HereDocument { strip: bool },
}

struct Here {
    command: usize,
    end: String,
    strip: bool,
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    word: Word,
    role: Role,
    command: Command,
    done: Vec<Command>,
    here: Vec<Here>,
}

/// The simple commands of a script, in order.
pub(crate) fn commands(text: &str) -> Vec<Command> {
    let mut lexer = Lexer {
        chars: without_expressions(text).chars().collect(),
        at: 0,
        line: 0,
        word: Word::default(),
        role: Role::Word,
        command: Command::default(),
        done: Vec::new(),
        here: Vec::new(),
    };
    lexer.run();
    lexer.done
}

/// `${{ env.NAME }}` becomes `${NAME}`; other expressions become a variable that nobody knows.
fn without_expressions(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("${{") {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = after.find("}}") else {
            rest = after;
            break;
        };
        let name = after[3..end].trim().strip_prefix("env.").unwrap_or("expression?");
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        out.push_str(&if is_name { format!("${{{name}}}") } else { "${expression_}".to_owned() });
        rest = &after[end + 2..];
    }
    out + rest
}

impl Lexer {
    fn run(&mut self) {
        while let Some(c) = self.next() {
            match c {
                '\\' => self.escaped(),
                '\'' => self.single_quoted(),
                '"' => self.double_quoted(),
                '`' => self.backticks(),
                '$' => self.dollar(),
                '#' if self.word.is_empty() => self.skip_line(),
                '\n' => {
                    self.end_command(false);
                    self.read_here_documents();
                }
                ' ' | '\t' | '\r' => self.end_word(),
                ';' | '(' | ')' => self.end_command(false),
                '&' if self.peek() == Some('>') => self.end_word(),
                '&' => {
                    self.skip_if('&');
                    self.end_command(false);
                }
                '|' => {
                    let is_or = self.skip_if('|');
                    self.skip_if('&');
                    self.end_command(!is_or);
                }
                '<' | '>' => self.redirect(c),
                c => self.word.push(c),
            }
        }
        self.end_command(false);
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn skip_if(&mut self, c: char) -> bool {
        let is = self.peek() == Some(c);
        if is {
            self.next();
        }
        is
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.next();
        }
    }

    fn escaped(&mut self) {
        match self.next() {
            Some('\n') | None => {}
            Some(c) => self.word.push(c),
        }
    }

    fn single_quoted(&mut self) {
        self.word.is_quoted = true;
        while let Some(c) = self.next().filter(|c| *c != '\'') {
            self.word.push(c);
        }
    }

    fn double_quoted(&mut self) {
        self.word.is_quoted = true;
        while let Some(c) = self.next().filter(|c| *c != '"') {
            match c {
                '\\' => match self.next() {
                    Some(c @ ('"' | '\\' | '$' | '`')) => self.word.push(c),
                    Some('\n') | None => {}
                    Some(c) => {
                        self.word.push('\\');
                        self.word.push(c);
                    }
                },
                '`' => self.backticks(),
                '$' => self.dollar(),
                c => self.word.push(c),
            }
        }
    }

    fn backticks(&mut self) {
        let (line, mut text) = (self.line, String::new());
        while let Some(c) = self.next().filter(|c| *c != '`') {
            text.push(c);
        }
        self.word.inner.push((text, line));
        self.word.pieces.push(Piece::Unknown);
    }

    fn dollar(&mut self) {
        match self.peek() {
            Some('(') => {
                self.next();
                let line = self.line;
                let text = self.until_closed('(', ')');
                if !text.starts_with('(') {
                    self.word.inner.push((text, line));
                }
                self.word.pieces.push(Piece::Unknown);
            }
            Some('{') => {
                self.next();
                let text = self.until_closed('{', '}');
                let piece = braced(&text);
                self.word.pieces.push(piece);
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let mut name = String::new();
                while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    name.push(c);
                    self.next();
                }
                self.word.pieces.push(Piece::Variable { name, default: None });
            }
            Some('0'..='9' | '@' | '*' | '#' | '?' | '$' | '!' | '-') => {
                self.next();
                self.word.pieces.push(Piece::Unknown);
            }
            Some(_) | None => self.word.push('$'),
        }
    }

    /// What stands up to the bracket that closes one that was opened; quotes hide brackets.
    fn until_closed(&mut self, open: char, close: char) -> String {
        let (mut text, mut depth, mut quote) = (String::new(), 1_usize, None);
        while let Some(c) = self.next() {
            match (quote, c) {
                (None, '\'' | '"') => quote = Some(c),
                (Some(open), c) if open == c => quote = None,
                (None, c) if c == open => depth += 1,
                (None, c) if c == close => depth -= 1,
                (None | Some(_), _) => {}
            }
            if depth == 0 {
                break;
            }
            text.push(c);
            if c == '\\' && quote != Some('\'') {
                text.extend(self.next());
            }
        }
        text
    }

    fn redirect(&mut self, c: char) {
        // A number right before it is a file descriptor.
        let is_number =
            |piece: &Piece| matches!(piece, Piece::Text(text) if text.chars().all(|c| c.is_ascii_digit()));
        if !self.word.is_quoted && self.word.pieces.iter().all(is_number) {
            self.word = Word::default();
        }
        self.end_word();
        self.role = match (c, self.peek()) {
            (_, Some('(')) => {
                self.next();
                let line = self.line;
                let text = self.until_closed('(', ')');
                self.word.inner.push((text, line));
                self.word.pieces.push(Piece::Unknown);
                return;
            }
            ('<', Some('<')) => {
                self.next();
                match self.peek() {
                    Some('<') => {
                        self.next();
                        Role::HereString
                    }
                    Some('-') => {
                        self.next();
                        Role::HereDocument { strip: true }
                    }
                    Some(_) | None => Role::HereDocument { strip: false },
                }
            }
            ('<', Some('&')) | ('>', Some('&' | '>' | '|')) => {
                self.next();
                Role::Target
            }
            ('<', Some('>')) => {
                self.next();
                Role::Target
            }
            ('<', _) => Role::Source,
            (_, _) => Role::Target,
        };
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.next();
        }
    }

    fn end_word(&mut self) {
        if self.word.is_empty() {
            return;
        }
        let word = std::mem::take(&mut self.word);
        match std::mem::replace(&mut self.role, Role::Word) {
            Role::Word => {
                if self.command.words.is_empty() {
                    self.command.line = self.line;
                }
                self.command.words.push(word);
            }
            Role::Target => {}
            Role::Source => self.command.inputs.push(Input::File(word)),
            Role::HereString => {
                let text = word.shown(&Variables::new());
                self.command.inputs.push(Input::Text(text, self.line));
            }
            Role::HereDocument { strip } => {
                let end = word.shown(&Variables::new());
                self.here.push(Here { command: self.done.len(), end, strip });
            }
        }
    }

    fn end_command(&mut self, pipes: bool) {
        // A line break was counted already; the last word stood before it.
        let at_break = self.at > 0 && self.chars.get(self.at - 1) == Some(&'\n');
        self.line -= usize::from(at_break);
        self.end_word();
        self.line += usize::from(at_break);
        self.role = Role::Word;
        let has_here = self.here.iter().any(|here| here.command == self.done.len());
        if !self.command.words.is_empty() || !self.command.inputs.is_empty() || has_here {
            self.done.push(std::mem::take(&mut self.command));
        }
        self.command = Command { is_piped: pipes, ..Command::default() };
    }

    fn read_here_documents(&mut self) {
        for here in std::mem::take(&mut self.here) {
            let (first, mut text) = (self.line, String::new());
            while self.peek().is_some() {
                let mut line = String::new();
                while let Some(c) = self.next().filter(|c| *c != '\n') {
                    line.push(c);
                }
                let line = if here.strip { line.trim_start_matches('\t') } else { &line };
                if line == here.end {
                    break;
                }
                text.push_str(line);
                text.push('\n');
            }
            if let Some(command) = self.done.get_mut(here.command) {
                command.inputs.push(Input::Text(text, first));
            }
        }
    }
}

/// `NAME`, or `NAME` with a default; anything else is not known.
fn braced(text: &str) -> Piece {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let default = [":-", "-", ":="].iter().find_map(|mark| rest.strip_prefix(mark));
    let is_plain = |default: &&str| !default.contains(['$', '`', '"', '\'']);
    match (name.is_empty(), rest.is_empty(), default.filter(is_plain)) {
        (true, _, _) => Piece::Unknown,
        (false, true, _) => Piece::Variable { name: name.to_owned(), default: None },
        (false, false, Some(default)) => {
            Piece::Variable { name: name.to_owned(), default: Some(default.to_owned()) }
        }
        (false, false, None) => Piece::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(usize, Vec<String>)> {
        let known = Variables::from([("APP".to_owned(), "shop".to_owned())]);
        let words = |command: &Command| command.words.iter().map(|word| word.shown(&known)).collect();
        commands(text).iter().map(|command| (command.line, words(command))).collect()
    }

    #[test]
    fn commands_words_and_lines_are_told_apart() {
        let text = "set -e # pm2 delete all\npm2 stop 'a b' \"c$APP\" && echo \"x; y\" | tee z 2>&1\n\
                    if pm2 ping; then\n  pm2 \\\n    delete x\nfi\n(cd /srv; ./run) >/dev/null &\n";
        let expected: [(usize, &[&str]); 9] = [
            (0, &["set", "-e"]),
            (1, &["pm2", "stop", "a b", "cshop"]),
            (1, &["echo", "x; y"]),
            (1, &["tee", "z"]),
            (2, &["if", "pm2", "ping"]),
            (2, &["then"]),
            (3, &["pm2", "delete", "x"]),
            (5, &["fi"]),
            (6, &["cd", "/srv"]),
        ];
        let found = read(text);
        for (found, (line, words)) in found.iter().zip(expected) {
            assert_eq!(
                (found.0, found.1.iter().map(String::as_str).collect::<Vec<_>>()),
                (line, words.to_vec())
            );
        }
        assert_eq!(found[9], (6, vec!["./run".to_owned()]));
    }

    #[test]
    fn here_documents_belong_to_their_command() {
        let found = commands("cat <<A; ssh h <<-'B'\none\nA\n\ttwo\n\tB\nbash <<< \"three\" < four\n");
        assert_eq!(found[0].inputs, [Input::Text("one\n".to_owned(), 1)]);
        assert_eq!(found[1].inputs, [Input::Text("two\n".to_owned(), 3)]);
        assert_eq!(found[2].line, 5);
        assert_eq!(found[2].inputs.len(), 2);
    }

    #[test]
    fn substitutions_and_defaults_are_seen() {
        let found =
            commands("x \"$(pm2 stop \"$(y)\")\" `z` ${A:-all} ${APP} $((1+2)) ${{ env.APP }} ${{ a.b }}");
        let inner: Vec<&str> =
            found[0].words.iter().flat_map(|word| &word.inner).map(|(text, _)| text.as_str()).collect();
        assert_eq!(inner, ["pm2 stop \"$(y)\"", "z"]);
        let known = Variables::from([("APP".to_owned(), "shop".to_owned())]);
        let resolved: Vec<Option<String>> =
            found[0].words[3..].iter().map(|word| word.resolved(&known)).collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(resolved, [text("all"), text("shop"), None, text("shop"), None]);
    }

    #[test]
    fn text_without_an_end_ends() {
        for text in ["'", "\"", "`", "$(", "${", "${{", "<<", "<<A\nx", "\\", "$", "a <(", ";;", "&>x", "<<<"]
        {
            commands(text);
        }
    }
}
