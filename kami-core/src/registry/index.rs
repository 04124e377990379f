//! The full-text index: which tools fit the words of somebody who looks for one.
//!
//! There is one row a tool, in a table of SQLite's FTS5 that keeps words and no text. It follows the
//! table of names, in the transaction that changes that one.
//!
//! # Security
//! What is indexed comes from the authors of packages, who may want theirs to be found before others.
//! A word counts once in each part of a definition, however often it stands there, and only so many
//! of them count; what has more words than others is found later for each of them. What is looked
//! for comes from a model: it is taken apart into words here, and nothing else of it reaches SQLite.

use std::collections::HashSet;

use rusqlite::Connection;
use serde_json::Value;

use super::row;
use super::{DataDir, InstalledPackage, Registry, RegistryError};
use crate::manifest::{JsonObject, ToolDefinition};
use crate::name::ToolName;

/// The most words of one part of a definition that are indexed: those of a long page.
const MOST_INDEXED: usize = 256;

/// The most words that are looked for at once, and the longest word in bytes; what is beyond that is
/// left out.
const MOST_ASKED: usize = 32;
const LONGEST_WORD: usize = 64;

/// How deep parameters are looked for in a schema. What a model has to know to choose a tool does not
/// stand deeper.
const DEEPEST: usize = 8;

/// Words of questions that tell no tool from another.
const EMPTY_WORDS: [&str; 44] = [
    "a", "about", "all", "an", "and", "any", "are", "as", "at", "be", "by", "can", "do", "for",
    "from", "give", "how", "i", "in", "into", "is", "it", "its", "me", "my", "need", "of", "on",
    "or", "please", "some", "that", "the", "this", "to", "tool", "tools", "use", "want", "what",
    "which", "with", "you", "your",
];

/// The names of all tools that have any of the words, the best first. A word in the name counts most,
/// in the parameters least.
pub(super) const RANKED: &str = "SELECT searched.name FROM words
     JOIN searched ON searched.key = words.rowid
     WHERE words MATCH ?1 ORDER BY bm25(words, 10.0, 5.0, 2.0, 3.0, 1.0), searched.name";

/// What is indexed and is not there any more, or not by that name.
const DELETE_GONE: &str = "DELETE FROM searched WHERE NOT EXISTS (
         SELECT 1 FROM names WHERE names.name = searched.name
             AND names.package = searched.package AND names.tool = searched.tool
     ) RETURNING key";
const DELETE_PACKAGE: &str = "DELETE FROM searched WHERE package = ?1 RETURNING key";
const DELETE_WORDS: &str = "DELETE FROM words WHERE rowid = ?1";

/// What is there and is not indexed.
const MISSING: &str = "SELECT name, package, tool FROM names
     WHERE NOT EXISTS (SELECT 1 FROM searched WHERE searched.name = names.name)
     ORDER BY package, name";
const INSERT: &str = "INSERT INTO searched (name, package, tool) VALUES (?1, ?2, ?3)";
const INSERT_WORDS: &str =
    "INSERT INTO words (rowid, name, title, description, package, parameters)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

impl Registry {
    /// The names of all tools that have any of the words of a question, the best first.
    ///
    /// # Errors
    /// Where the database cannot be read.
    ///
    /// # Security
    /// The question may be any text.
    pub fn ranked(&self, question: &str) -> Result<Vec<ToolName>, RegistryError> {
        match expression(question) {
            Some(expression) => self.texts(RANKED, &expression),
            None => Ok(Vec::new()),
        }
    }
}

/// Forgets the tools of a package: its key may be that of another one before.
pub(super) fn forget(connection: &Connection, package: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(DELETE_PACKAGE)?;
    let keys = statement.query_map([package], |row| row.get(0))?;
    let keys: Vec<i64> = keys.collect::<rusqlite::Result<_>>()?;
    delete_words(connection, &keys)
}

/// Brings the index to what the table of names says. Only what changes is read and written.
///
/// A package that cannot be read is left out: whoever reads it is told.
pub(super) fn renew(connection: &Connection, dir: &DataDir) -> Result<(), RegistryError> {
    let failed = |error| RegistryError::sql(dir, error);
    delete_gone(connection).map_err(failed)?;
    let mut read: Option<(i64, Option<InstalledPackage>)> = None;
    for (name, key, tool) in missing(connection).map_err(failed)? {
        if read.as_ref().is_none_or(|(known, _)| *known != key) {
            let found = match row::select(connection, dir, row::BY_KEY, [key]) {
                Ok(found) => found.into_iter().next(),
                Err(RegistryError::Row { .. }) => None,
                Err(error) => return Err(error),
            };
            read = Some((key, found));
        }
        let package = read.as_ref().and_then(|(_, package)| package.as_ref());
        let found = package.and_then(|package| Some((package, package.manifest.tool(&tool)?)));
        if let (Some((package, definition)), Ok(wire_name)) = (found, name.parse::<ToolName>()) {
            add(connection, key, &wire_name, package, definition).map_err(failed)?;
        }
    }
    Ok(())
}

fn delete_gone(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(DELETE_GONE)?;
    let keys = statement.query_map([], |row| row.get(0))?;
    let keys: Vec<i64> = keys.collect::<rusqlite::Result<_>>()?;
    delete_words(connection, &keys)
}

fn delete_words(connection: &Connection, keys: &[i64]) -> rusqlite::Result<()> {
    let mut delete = connection.prepare_cached(DELETE_WORDS)?;
    keys.iter().try_for_each(|key| delete.execute([key]).map(drop))
}

fn missing(connection: &Connection) -> rusqlite::Result<Vec<(String, i64, String)>> {
    let mut statement = connection.prepare_cached(MISSING)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}

fn add(
    connection: &Connection,
    key: i64,
    name: &ToolName,
    package: &InstalledPackage,
    definition: &ToolDefinition,
) -> rusqlite::Result<()> {
    let about = &package.manifest.package;
    let named = [name.as_str(), definition.name.as_str()];
    let title = definition.title.as_deref();
    let described = [definition.description.as_str()];
    let texts = [about.id.as_str()].into_iter().chain(about.title.as_deref());
    let texts = texts.chain(about.tags.iter().map(String::as_str));
    let mut parameters = Words::default();
    parameters.add_schema(&definition.input_schema, DEEPEST);
    let row = connection.prepare_cached(INSERT)?.insert((
        name.as_str(),
        key,
        definition.name.as_str(),
    ))?;
    connection
        .prepare_cached(INSERT_WORDS)?
        .execute((
            row,
            Words::of(named).text(),
            Words::of(title).text(),
            Words::of(described).text(),
            Words::of(texts).text(),
            parameters.text(),
        ))
        .map(drop)
}

/// A question in the language of FTS5: any of its words, each between quotes, and the last one also
/// as the beginning of another. `None`: there is no word in it.
fn expression(question: &str) -> Option<String> {
    let mut asked: Vec<String> = Vec::new();
    for word in words(question) {
        if asked.len() == MOST_ASKED {
            break;
        }
        // What is said again is said last.
        asked.retain(|known| *known != word);
        asked.push(word);
    }
    let tells = |word: &String| !EMPTY_WORDS.contains(&word.as_str());
    if asked.iter().any(tells) {
        asked.retain(tells);
    }
    let last = asked.last()?;
    // The beginning of everything tells nothing; where there are no spaces, one sign is a word.
    let prefix = if last.chars().count() > 2 || !last.is_ascii() { " *" } else { "" };
    // There is no quote in a word: words consist of letters and digits.
    let quoted: Vec<String> = asked.iter().map(|word| format!("\"{word}\"")).collect();
    Some(quoted.join(" OR ") + prefix)
}

/// Different words, in their order, up to as many as are indexed.
#[derive(Default)]
struct Words {
    list: Vec<String>,
    known: HashSet<String>,
}

impl Words {
    fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = Self::default();
        texts.into_iter().for_each(|text| all.add(text));
        all
    }

    fn add(&mut self, text: &str) {
        for word in words(text) {
            if self.list.len() == MOST_INDEXED {
                return;
            }
            if self.known.insert(word.clone()) {
                self.list.push(word);
            }
        }
    }

    /// Adds the names of parameters, and what is said about them.
    fn add_schema(&mut self, schema: &JsonObject, depth: usize) {
        if depth == 0 || self.list.len() == MOST_INDEXED {
            return;
        }
        if let Some(Value::Object(properties)) = schema.get("properties") {
            properties.keys().for_each(|name| self.add(name));
        }
        for key in ["title", "description"] {
            if let Some(Value::String(text)) = schema.get(key) {
                self.add(text);
            }
        }
        for value in schema.values() {
            match value {
                Value::Object(inner) => self.add_schema(inner, depth - 1),
                Value::Array(several) => several
                    .iter()
                    .filter_map(Value::as_object)
                    .for_each(|inner| self.add_schema(inner, depth - 1)),
                _ => {}
            }
        }
    }

    fn text(&self) -> String {
        self.list.join(" ")
    }
}

/// The words of a text in the lower case: of letters and digits alone. `snake_case` and `kebab-case`
/// are two words; `camelCase` is two, and the whole as well, as nobody knows how another writes it.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|run| !run.is_empty()).flat_map(|run| {
        let parts = humps(run);
        let whole = (parts.len() > 1).then_some(run);
        parts.into_iter().chain(whole).map(lowered)
    })
}

/// The parts of a word that begin with a capital: `fetch` and `URL` of `fetchURL`, `HTTP` and
/// `Server` of `HTTPServer`.
fn humps(run: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut before: Option<char> = None;
    let mut characters = run.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let next_is_small = characters.peek().is_some_and(|(_, next)| next.is_lowercase());
        let begins = c.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase() || (before.is_uppercase() && next_is_small)
            });
        if begins {
            parts.push(&run[start..at]);
            start = at;
        }
        before = Some(c);
    }
    parts.push(&run[start..]);
    parts
}

fn lowered(word: &str) -> String {
    word[..word.floor_char_boundary(LONGEST_WORD)].to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        words(text).collect()
    }

    #[test]
    fn names_are_taken_apart_however_they_are_written() {
        assert_eq!(split("fetch_url"), ["fetch", "url"]);
        assert_eq!(split("fetch-url.v2"), ["fetch", "url", "v2"]);
        assert_eq!(split("fetchUrl"), ["fetch", "url", "fetchurl"]);
        assert_eq!(split("HTTPServer"), ["http", "server", "httpserver"]);
        assert_eq!(split("GitHub PDFs"), ["git", "hub", "github", "pd", "fs", "pdfs"]);
        assert_eq!(split("Straße ÄÖ 天気"), ["straße", "äö", "天気"]);
        assert_eq!(split(" \0 🦀 \"*^:(){}-+ "), [""; 0]);
        assert_eq!(split(&"x".repeat(1000)), ["x".repeat(LONGEST_WORD)]);
    }

    #[test]
    fn a_question_becomes_words_between_quotes_and_nothing_else() {
        for (question, expected) in [
            ("fetch a page", Some(r#""fetch" OR "page" *"#)),
            ("the", Some(r#""the" *"#)),
            ("to do", Some(r#""to" OR "do""#)),
            ("", None),
            ("🦀 \0 \" OR * ^ NEAR", Some(r#""near" *"#)),
            (r#"name:"x" AND NOT y) -- ; DROP TABLE words"#, None),
            ("a* b", Some(r#""b""#)),
        ] {
            match expected {
                Some(_) => assert_eq!(expression(question).as_deref(), expected, "{question}"),
                None if question.is_empty() => assert_eq!(expression(question), None),
                None => {
                    let made = expression(question).unwrap();
                    let plain = made.trim_end_matches(" *").split(" OR ");
                    for word in plain {
                        let word = word.strip_prefix('"').and_then(|word| word.strip_suffix('"'));
                        assert!(word.is_some_and(|w| w.chars().all(char::is_alphanumeric)));
                    }
                }
            }
        }
        let long = (0..100_000).map(|n| format!("w{n} ")).collect::<String>();
        assert_eq!(expression(&long).unwrap().matches(" OR ").count(), MOST_ASKED - 1);
    }

    #[test]
    fn a_word_is_indexed_once_and_only_so_many_are() {
        assert_eq!(Words::of(["fetch fetch", "Fetch it"]).text(), "fetch it");
        let many: String = (0..10_000).map(|n| format!("w{n} ")).collect();
        assert_eq!(Words::of([many.as_str()]).list.len(), MOST_INDEXED);
    }

    #[test]
    fn parameters_are_indexed_with_what_is_said_about_them() {
        let schema = serde_json::json!({
            "type": "object",
            "properties": {
                "maxBytes": {"type": "integer", "description": "where to stop"},
                "filter": {"anyOf": [{"properties": {"author": {"title": "Who"}}}]},
                "description": {"type": "string"},
            },
        });
        let mut words = Words::default();
        words.add_schema(schema.as_object().unwrap(), DEEPEST);
        assert_eq!(words.text(), "max bytes maxbytes filter description where to stop author who");
        let mut deep = serde_json::json!({"properties": {"deepest": {}}});
        for _ in 0..100 {
            deep = serde_json::json!({"properties": {"inner": deep}});
        }
        let mut words = Words::default();
        words.add_schema(deep.as_object().unwrap(), DEEPEST);
        assert_eq!(words.text(), "inner");
    }
}
