//! Filters and values of the jq language, with errors that say where and why.

use jaq_core::load::{self, Arena, File, Loader, lex, parse};
use jaq_core::{Compiler, Ctx, Vars, compile, data};
use jaq_json::{Num, Val};
use kami_guest::serde_json::{Map, Value};

/// Reads JSON texts that stand one after another.
pub fn read_all(text: &str) -> Result<Vec<Val>, String> {
    let values: Vec<Val> = jaq_json::read::parse_many(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("`json` is not JSON: {error}"))?;
    match values.is_empty() {
        true => Err("`json` is empty: give the JSON to query".to_owned()),
        false => Ok(values),
    }
}

/// A filter that is ready to run.
pub struct Filter(jaq_core::Filter<data::JustLut<Val>>);

impl Filter {
    /// Parses a filter and resolves every name in it against the standard library.
    pub fn compile(code: &str) -> Result<Self, String> {
        let arena = Arena::default();
        let definitions =
            jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()).chain(formats());
        let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let modules = Loader::new(definitions)
            .load(&arena, File { code, path: () })
            .map_err(|errors| report(errors, |error| syntax_errors(code, error)))?;
        Compiler::default()
            .with_funs(functions)
            .compile(modules)
            .map(Self)
            .map_err(|errors| report(errors, |names| undefined_names(code, names)))
    }

    /// The values that the filter gives for each input, until the first error.
    pub fn run(&self, inputs: Vec<Val>) -> impl Iterator<Item = Result<Value, String>> {
        inputs
            .into_iter()
            .flat_map(|input| {
                let context = Ctx::<data::JustLut<Val>>::new(&self.0.lut, Vars::new([]));
                self.0.id.run((context, input))
            })
            .map(|result| match result.map_err(|exception| exception.get_err()) {
                Ok(value) => to_json(&value),
                Err(Ok(error)) => Err(format!("the filter failed: {error}")),
                Err(Err(_)) => Err("the filter called `halt`, which stops nothing here".to_owned()),
            })
    }
}

/// Definitions that a person who knows jq expects beside those of the standard library.
fn formats() -> Vec<parse::Def<&'static str>> {
    load::parse(include_str!("formats.jq"), |parser| parser.defs())
        .expect("the definitions of this crate parse")
}

/// The value as JSON. Numbers that JSON lacks become `null`, as in jq.
fn to_json(value: &Val) -> Result<Value, String> {
    Ok(match value {
        Val::Null => Value::Null,
        Val::Bool(value) => Value::Bool(*value),
        Val::Num(number) => number_to_json(number),
        Val::TStr(text) | Val::BStr(text) => Value::String(String::from_utf8_lossy(text).into()),
        Val::Arr(items) => Value::Array(items.iter().map(to_json).collect::<Result<_, _>>()?),
        Val::Obj(entries) => Value::Object(
            entries
                .iter()
                .map(|(key, value)| Ok((key_to_json(key)?, to_json(value)?)))
                .collect::<Result<Map<_, _>, String>>()?,
        ),
    })
}

fn number_to_json(number: &Num) -> Value {
    kami_guest::serde_json::from_str(&number.to_string()).unwrap_or(Value::Null)
}

fn key_to_json(key: &Val) -> Result<String, String> {
    match key {
        Val::TStr(text) => Ok(String::from_utf8_lossy(text).into()),
        other => Err(format!(
            "the filter made an object whose key is {other}: keys are strings, use `tostring`"
        )),
    }
}

/// All errors of one stage as one text; there is one file only, so its name says nothing.
fn report<E>(errors: load::Errors<&str, (), E>, describe: impl Fn(E) -> Vec<String>) -> String {
    let errors: Vec<String> = errors.into_iter().flat_map(|(_, error)| describe(error)).collect();
    format!("the filter is not valid jq: {}", errors.join("; "))
}

fn syntax_errors(code: &str, error: load::Error<&str>) -> Vec<String> {
    match error {
        load::Error::Io(errors) => errors
            .into_iter()
            .map(|(module, _)| format!("`{module}` can't be loaded: there are no modules here"))
            .collect(),
        load::Error::Lex(errors) => errors
            .into_iter()
            .map(|(expected, found): lex::Error<_>| expectation(code, expected.as_str(), found))
            .collect(),
        load::Error::Parse(errors) => errors
            .into_iter()
            .map(|(expected, found): parse::Error<_>| expectation(code, expected.as_str(), found))
            .collect(),
    }
}

fn expectation(code: &str, expected: &str, found: &str) -> String {
    let position = position(code, found);
    match found.chars().next() {
        Some(_) => format!("{position}: expected {expected}, found `{}`", start(found)),
        None => format!("{position}: expected {expected}, found the end of the filter"),
    }
}

fn undefined_names(code: &str, names: Vec<compile::Error<&str>>) -> Vec<String> {
    names
        .into_iter()
        .map(|(name, kind)| {
            let position = position(code, name);
            match kind {
                compile::Undefined::Filter(arity) => {
                    format!("{position}: there is no filter `{name}` with {arity} arguments")
                }
                kind => format!("{position}: there is no {} `{name}`", kind.as_str()),
            }
        })
        .collect()
}

/// Where a part of the filter stands, counted in characters from 1.
fn position(code: &str, part: &str) -> String {
    let before = code.get(..load::span(code, part).start).unwrap_or(code);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {line}, column {column}")
}

/// The first word of what is left of the filter.
fn start(found: &str) -> &str {
    found.split_whitespace().next().unwrap_or(found)
}
