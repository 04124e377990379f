//! Reads TOML values by type and collects what is wrong with them: an author's table, and an
//! operator's policy.
//!
//! A method that cannot read a value notes a [`Problem`] and gives `None`, as it gives `None` for
//! what is absent, so that reading goes on and every mistake is found in one pass.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Problem, SourceError};
use crate::grants::Limit;

pub(crate) type Value<'a> = Spanned<DeValue<'a>>;

/// A key that a table may have, and a line that shows how it is written.
#[derive(Debug)]
pub(crate) struct Key {
    name: &'static str,
    example: &'static str,
}

impl Key {
    pub(crate) const fn new(name: &'static str, example: &'static str) -> Self {
        Self { name, example }
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// The key of a limit.
    pub(crate) const fn limit(limit: Limit, example: &'static str) -> Self {
        Self::new(limit.key(), example)
    }
}

/// The known keys that a table has, under their kebab-case names.
pub(crate) struct Entries<'a> {
    span: Range<usize>,
    found: BTreeMap<&'static str, Entry<'a>>,
}

/// One key with its value.
pub(crate) struct Entry<'a> {
    key: &'static Key,
    key_span: Range<usize>,
    value: &'a Value<'a>,
}

impl<'a> Entries<'a> {
    pub(crate) fn get(&self, key: &Key) -> Option<&Entry<'a>> {
        self.found.get(key.name)
    }

    /// The entry of a key that is known by its name alone.
    pub(crate) fn named(&self, name: &str) -> Option<&Entry<'a>> {
        self.found.get(name)
    }

    pub(crate) fn has(&self, key: &Key) -> bool {
        self.found.contains_key(key.name)
    }

    /// The table's header.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

impl<'a> Entry<'a> {
    pub(crate) fn key_span(&self) -> Range<usize> {
        self.key_span.clone()
    }

    /// The value, for whoever reads what no known keys describe.
    pub(crate) fn value(&self) -> &'a Value<'a> {
        self.value
    }
}

/// Parses a whole document, whose mistakes in syntax are reported alone.
///
/// # Errors
/// Every mistake in the syntax.
pub fn syntax(text: &str) -> Result<Spanned<DeTable<'_>>, SourceError> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(root);
    }
    let problems = errors.iter().map(|error| Problem {
        message: "the file is not valid TOML".to_owned(),
        span: error.span().unwrap_or_default(),
        label: error.message().to_owned(),
        help: None,
    });
    Err(SourceError { problems: problems.collect() })
}

/// Says of a key, in kebab-case, and of the table in which it is unknown, where it belongs instead.
pub(crate) type Elsewhere = fn(&Reader<'_>, &str, &str) -> Option<String>;

/// Knows where the table stands, and collects the problems.
pub(crate) struct Reader<'p> {
    path: &'p [&'p str],
    elsewhere: Elsewhere,
    problems: Vec<Problem>,
}

impl<'p> Reader<'p> {
    pub(crate) fn at(path: &'p [&'p str], elsewhere: Elsewhere) -> Self {
        Self { path, elsewhere, problems: Vec::new() }
    }

    /// Gives `value` if there is one and no problem came up.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, SourceError> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => {
                self.problems.sort_by_key(|problem| problem.span.start);
                Err(SourceError { problems: self.problems })
            }
        }
    }

    pub(crate) fn problem(
        &mut self,
        span: Range<usize>,
        message: impl Display,
        label: impl Display,
        help: Option<String>,
    ) {
        let (message, label) = (message.to_string(), label.to_string());
        self.problems.push(Problem { message, span, label, help });
    }

    /// The header of a table below the author's own, as one writes it.
    pub(crate) fn header(&self, below: &str) -> String {
        let names: Vec<&str> =
            self.path.iter().copied().chain(Some(below).filter(|name| !name.is_empty())).collect();
        if names.is_empty() {
            "the top of the file".to_owned()
        } else {
            format!("[{}]", names.join("."))
        }
    }

    /// Walks to the author's table, and says where it is missing if it is.
    pub(crate) fn find<'a>(
        &mut self,
        root: &'a Spanned<DeTable<'a>>,
    ) -> Option<(&'a DeTable<'a>, Range<usize>)> {
        let mut table = root.get_ref();
        let mut span = root.span();
        for name in self.path {
            match table.get(*name) {
                Some(value) => {
                    let Some(next) = value.get_ref().as_table() else {
                        let header = self.header("");
                        let message = format!("`{name}` must be a table");
                        self.problem(
                            value.span(),
                            message,
                            kind(value),
                            Some(format!("write {header}")),
                        );
                        return None;
                    };
                    (table, span) = (next, value.span());
                }
                None => {
                    let header = self.header("");
                    self.problem(
                        span,
                        format!("the table {header} is missing"),
                        "expected in this file",
                        Some(format!("add {header} with `id = \"dev.example.my-tool\"`")),
                    );
                    return None;
                }
            }
        }
        Some((table, span))
    }

    /// Sorts the keys of a table into known ones, whose `snake_case` is accepted, and mistakes.
    pub(crate) fn entries<'a>(
        &mut self,
        (table, span): (&'a DeTable<'a>, Range<usize>),
        name: &str,
        known: &[&'static [Key]],
    ) -> Entries<'a> {
        let mut found: BTreeMap<&'static str, Entry<'a>> = BTreeMap::new();
        for (written, value) in table.iter() {
            let kebab = written.get_ref().replace('_', "-");
            let Some(key) = known.iter().copied().flatten().find(|key| key.name == kebab) else {
                self.unknown(written.get_ref(), written.span(), name, known);
                continue;
            };
            let entry = Entry { key, key_span: written.span(), value };
            if let Some(other) = found.insert(key.name, entry) {
                let span = written.span().start.max(other.key_span.start);
                self.problem(
                    span..span + written.get_ref().len(),
                    format!("`{}` is given twice", key.name),
                    "the same key with `-` and with `_`",
                    Some(format!("keep one of them, preferably `{}`", key.name)),
                );
            }
        }
        Entries { span, found }
    }

    fn unknown(&mut self, written: &str, span: Range<usize>, name: &str, known: &[&'static [Key]]) {
        let kebab = written.replace('_', "-");
        let names = || known.iter().copied().flatten().map(|key| key.name);
        let help = if let Some(elsewhere) = (self.elsewhere)(self, &kebab, name) {
            elsewhere
        } else if let Some(near) = nearest(&kebab, names()) {
            format!("did you mean `{near}`?")
        } else {
            format!("known keys: {}", names().collect::<Vec<_>>().join(", "))
        };
        let written = written.escape_debug();
        let header = self.header(name);
        self.problem(
            span,
            format!("unknown key `{written}`"),
            format!("not a key of {header}"),
            Some(help),
        );
    }

    pub(crate) fn missing(&mut self, entries: &Entries<'_>, key: &Key) {
        self.problem(
            entries.span(),
            format!("`{}` is missing", key.name),
            "in this table",
            Some(format!("add `{}`", key.example)),
        );
    }

    pub(crate) fn wrong_type(&mut self, entry: &Entry<'_>, value: &Value<'_>, expected: &str) {
        self.problem(
            value.span(),
            format!("`{}` must be {expected}", entry.key.name),
            kind(value),
            Some(format!("write it as in `{}`", entry.key.example)),
        );
    }

    pub(crate) fn text(&mut self, entry: Option<&Entry<'_>>) -> Option<String> {
        self.parsed(entry)
    }

    /// Reads a string that means a `T`.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(
        &mut self,
        entry: Option<&Entry<'_>>,
    ) -> Option<T> {
        let entry = entry?;
        let Some(text) = entry.value.get_ref().as_str() else {
            self.wrong_type(entry, entry.value, "a string");
            return None;
        };
        self.parse(entry, entry.value.span(), text)
    }

    /// Reads an array of strings that each mean a `T`.
    pub(crate) fn list<T: FromStr<Err: Display>>(
        &mut self,
        entry: Option<&Entry<'_>>,
    ) -> Option<Vec<T>> {
        let entry = entry?;
        let Some(items) = entry.value.get_ref().as_array() else {
            self.wrong_type(entry, entry.value, "an array of strings");
            return None;
        };
        let mut list = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref().as_str() {
                Some(text) => list.extend(self.parse(entry, item.span(), text)),
                None => self.wrong_type(entry, item, "an array of strings"),
            }
        }
        Some(list)
    }

    fn parse<T: FromStr<Err: Display>>(
        &mut self,
        entry: &Entry<'_>,
        span: Range<usize>,
        text: &str,
    ) -> Option<T> {
        text.parse()
            .map_err(|error: T::Err| {
                let example = entry.key.example;
                let message = format!("`{}` has a value that cannot be", entry.key.name);
                self.problem(span, message, error, Some(format!("write it as in `{example}`")));
            })
            .ok()
    }

    /// Reads `true` or `false`.
    pub(crate) fn flag(&mut self, entry: Option<&Entry<'_>>) -> Option<bool> {
        let entry = entry?;
        let flag = entry.value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong_type(entry, entry.value, "true or false");
        }
        flag
    }

    /// Reads a whole number that `check` accepts.
    pub(crate) fn number<T, E: Display>(
        &mut self,
        entry: Option<&Entry<'_>>,
        check: impl FnOnce(u64) -> Result<T, E>,
    ) -> Option<u64> {
        let entry = entry?;
        let example = Some(format!("write it as in `{}`", entry.key.example));
        let Some(integer) = entry.value.get_ref().as_integer() else {
            self.wrong_type(entry, entry.value, "a whole number");
            return None;
        };
        let name = entry.key.name;
        let Ok(number) = u64::from_str_radix(integer.as_str(), integer.radix()) else {
            let message = format!("`{name}` must be a whole number above 0");
            self.problem(entry.value.span(), message, "out of range", example);
            return None;
        };
        match check(number) {
            Ok(_) => Some(number),
            Err(error) => {
                self.problem(entry.value.span(), error, "impossible limit", example);
                None
            }
        }
    }

    /// Reads a string that is one of the `known` values.
    pub(crate) fn choice<T: Display + Copy>(
        &mut self,
        entry: Option<&Entry<'_>>,
        known: &[T],
    ) -> Option<T> {
        let entry = entry?;
        let Some(text) = entry.value.get_ref().as_str() else {
            self.wrong_type(entry, entry.value, "a string");
            return None;
        };
        let chosen = known.iter().copied().find(|value| value.to_string() == text);
        if chosen.is_none() {
            let names: Vec<String> = known.iter().map(|value| format!("\"{value}\"")).collect();
            let name = entry.key.name;
            let message = format!("`{name}` cannot be \"{}\"", text.escape_debug());
            let help = format!("write one of {}", names.join(", "));
            self.problem(entry.value.span(), message, "unknown value", Some(help));
        }
        chosen
    }

    /// Reads a table called `name` below the one that is read.
    pub(crate) fn table<'a>(
        &mut self,
        entry: Option<&Entry<'a>>,
        name: &str,
        known: &[&'static [Key]],
    ) -> Option<Entries<'a>> {
        let entry = entry?;
        let Some(table) = entry.value.get_ref().as_table() else {
            self.wrong_type(entry, entry.value, "a table");
            return None;
        };
        Some(self.entries((table, entry.value.span()), name, known))
    }

    /// Reads an array of tables, each written below `[[name]]`.
    pub(crate) fn tables<'a>(
        &mut self,
        entry: Option<&Entry<'a>>,
        known: &'static [Key],
    ) -> Vec<Entries<'a>> {
        let Some(entry) = entry else { return Vec::new() };
        let Some(items) = entry.value.get_ref().as_array() else {
            self.wrong_type(entry, entry.value, "an array of tables");
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref().as_table() {
                Some(table) => {
                    tables.push(self.entries((table, item.span()), entry.key.name, &[known]));
                }
                None => self.wrong_type(entry, item, "an array of tables"),
            }
        }
        tables
    }

    /// Reads a table of tables, whose names each mean a `T`; gives each name's place with it. It
    /// stands in the table called `within`.
    pub(crate) fn named_tables<'a, T: FromStr<Err: Display>>(
        &mut self,
        entry: Option<&Entry<'a>>,
        within: &str,
        known: &'static [Key],
    ) -> Vec<(T, Range<usize>, Entries<'a>)> {
        let Some(entry) = entry else { return Vec::new() };
        let Some(tables) = entry.value.get_ref().as_table() else {
            self.wrong_type(entry, entry.value, "a table of tables");
            return Vec::new();
        };
        let mut found = Vec::new();
        for (name, value) in tables.iter() {
            let Some(table) = value.get_ref().as_table() else {
                self.wrong_type(entry, value, "a table of tables");
                continue;
            };
            let header = below(&below(within, entry.key.name), name.get_ref());
            let entries = self.entries((table, value.span()), &header, &[known]);
            if let Some(parsed) = self.parse(entry, name.span(), name.get_ref()) {
                found.push((parsed, name.span(), entries));
            }
        }
        found
    }
}

/// The path of a table below another, as one writes it: what has dots is quoted. A name longer than
/// any that is valid is cut, since each mistake below it repeats it.
pub(crate) fn below(table: &str, name: &str) -> String {
    const MAX_NAME: usize = 160;
    let name = &name[..name.floor_char_boundary(MAX_NAME)];
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let escaped = name.escape_debug();
    let name = if name.chars().all(bare) { escaped.to_string() } else { format!("\"{escaped}\"") };
    if table.is_empty() { name } else { format!("{table}.{name}") }
}

/// What a value is, in a few words.
pub fn kind(value: &Spanned<DeValue<'_>>) -> String {
    let name = value.get_ref().type_str();
    let article = if name.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("this is {article} {name}")
}

/// The name that was probably meant: one that a third of the letters tell apart at most.
pub fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing takes the product of both lengths, and no name is long.
    if written.len() > 64 {
        return None;
    }
    names
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .filter(|(distance, name)| *distance <= name.len() / 3)
        .min()
        .map(|(_, name)| name)
}
