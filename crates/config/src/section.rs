//! Reads the keys of one TOML table, and notes every key and type that does not belong there.

use std::ops::Range;

use palisade_core::text::{Shown, nearest};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::keys::{self, Spec};
use crate::problem::Problem;

/// One table of the file.
pub(crate) struct Section<'t> {
    /// How messages call it: `[limits]`.
    shown: String,
    /// Where it begins.
    header: Range<usize>,
    table: &'t DeTable<'t>,
    specs: &'static [Spec],
}

impl<'t> Section<'t> {
    /// Opens a table; keys other than those of `specs` are problems.
    pub(crate) fn open(
        shown: impl Into<String>,
        header: Range<usize>,
        table: &'t DeTable<'t>,
        specs: &'static [Spec],
        found: &mut Vec<Problem>,
    ) -> Self {
        let section = Self { shown: shown.into(), header, table, specs };
        for key in table.keys() {
            if !specs.iter().any(|spec| spec.name == key.get_ref().as_ref()) {
                found.push(section.unknown_key(key.get_ref(), key.span()));
            }
        }
        section
    }

    fn unknown_key(&self, key: &str, span: Range<usize>) -> Problem {
        let names = || self.specs.iter().map(|spec| spec.name);
        let known = names().collect::<Vec<_>>().join(", ");
        let of_top = keys::TOP.iter().any(|spec| spec.name == key);
        let fix = match nearest(key, names()) {
            _ if of_top => format!("write `{key}` at the top of the file, above its first [section]"),
            Some(word) => format!("did you mean `{word}`? The keys here are: {known}"),
            None => format!("the keys here are: {known}"),
        };
        Problem::invalid(
            span,
            format!("unknown key `{}`", Shown(key)),
            format!("not a key of {}", self.shown),
            fix,
        )
    }

    /// Notes a key that has to be there and is not.
    pub(crate) fn require(&self, key: &str, found: &mut Vec<Problem>) {
        if !self.table.contains_key(key) {
            found.push(Problem::invalid(
                self.header.clone(),
                format!("`{key}` is missing"),
                format!("{} has none", self.shown),
                format!("add: {}", self.example(key)),
            ));
        }
    }

    /// Whether `key` is written.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where the value of `key` stands; the section's own place if it is not written.
    pub(crate) fn span_of(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or_else(|| self.header.clone(), Spanned::span)
    }

    fn example(&self, key: &str) -> &'static str {
        self.specs.iter().find(|spec| spec.name == key).map_or("", |spec| spec.example)
    }

    /// The value of `key`, if it is there and `take` finds it of the `expected` kind.
    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        found: &mut Vec<Problem>,
        take: impl FnOnce(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<Spanned<T>> {
        let value = self.table.get(key)?;
        let taken = take(value.get_ref());
        if taken.is_none() {
            found.push(self.wrong_type(key, expected, value));
        }
        taken.map(|taken| Spanned::new(value.span(), taken))
    }

    fn wrong_type(&self, key: &str, expected: &str, value: &Spanned<DeValue<'_>>) -> Problem {
        Problem::invalid(
            value.span(),
            format!("`{key}` must be {expected}"),
            format!("this is {}", kind_of(value.get_ref())),
            format!("write it like: {}", self.example(key)),
        )
    }

    /// A string.
    pub(crate) fn text(&self, key: &str, found: &mut Vec<Problem>) -> Option<Spanned<&'t str>> {
        self.read(key, "a string", found, DeValue::as_str)
    }

    /// A whole number.
    pub(crate) fn integer(&self, key: &str, found: &mut Vec<Problem>) -> Option<Spanned<i64>> {
        self.read(key, "a whole number", found, integer)
    }

    /// A number with or without a fraction.
    pub(crate) fn number(&self, key: &str, found: &mut Vec<Problem>) -> Option<Spanned<f64>> {
        self.read(key, "a number", found, number)
    }

    /// A list of strings; elements of other types are left out and noted.
    pub(crate) fn texts(
        &self,
        key: &str,
        found: &mut Vec<Problem>,
    ) -> Option<Spanned<Vec<Spanned<&'t str>>>> {
        let list = self.read(key, "a list of strings", found, DeValue::as_array)?;
        let mut texts = Vec::new();
        for element in list.get_ref().iter() {
            match element.get_ref().as_str() {
                Some(text) => texts.push(Spanned::new(element.span(), text)),
                None => found.push(self.wrong_type(key, "a list of strings", element)),
            }
        }
        Some(Spanned::new(list.span(), texts))
    }

    /// A string, or a list of strings; elements of other types are left out and noted.
    pub(crate) fn text_or_texts(
        &self,
        key: &str,
        found: &mut Vec<Problem>,
    ) -> Option<Spanned<Vec<Spanned<&'t str>>>> {
        let value = self.table.get(key)?;
        if let Some(text) = value.get_ref().as_str() {
            return Some(Spanned::new(value.span(), vec![Spanned::new(value.span(), text)]));
        }
        if value.get_ref().as_array().is_none() {
            found.push(self.wrong_type(key, "a string or a list of strings", value));
            return None;
        }
        self.texts(key, found)
    }

    /// A table.
    pub(crate) fn table(&self, key: &str, found: &mut Vec<Problem>) -> Option<Spanned<&'t DeTable<'t>>> {
        self.read(key, "a table", found, DeValue::as_table)
    }

    /// The tables within a table by name, in the order of the file.
    pub(crate) fn named_tables(
        &self,
        key: &str,
        found: &mut Vec<Problem>,
    ) -> Vec<(Spanned<&'t str>, &'t DeTable<'t>)> {
        let Some(outer) = self.table(key, found) else { return Vec::new() };
        let mut tables = Vec::new();
        for (name, value) in outer.into_inner() {
            match value.get_ref().as_table() {
                Some(table) => tables.push((Spanned::new(name.span(), name.get_ref().as_ref()), table)),
                None => found.push(self.wrong_type(key, "a table of tables", value)),
            }
        }
        tables.sort_by_key(|(name, _)| name.span().start);
        tables
    }

    /// The tables of a list of tables.
    pub(crate) fn list_of_tables(
        &self,
        key: &str,
        found: &mut Vec<Problem>,
    ) -> Vec<Spanned<&'t DeTable<'t>>> {
        let Some(list) = self.read(key, "a list of tables", found, DeValue::as_array) else {
            return Vec::new();
        };
        let mut tables = Vec::new();
        for element in list.into_inner().iter() {
            match element.get_ref().as_table() {
                Some(table) => tables.push(Spanned::new(element.span(), table)),
                None => found.push(self.wrong_type(key, "a list of tables", element)),
            }
        }
        tables
    }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(float) => float.as_str().parse().ok(),
        DeValue::Integer(digits) => i32::from_str_radix(digits.as_str(), digits.radix()).ok().map(f64::from),
        DeValue::String(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
