//! The text of a pipeline: steps, and what flows between them.
//!
//! A pure function over text that reports every mistake at once, each with its place and its remedy.
//! What it gives is bounded, and refers to nothing that is not there; whether it fits the tools that
//! it names is for [`Plan`](super::Plan) to say.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use serde_json::{Number, Value};
use toml::de::{DeTable, DeValue};

use super::pointer::{INPUT, Pointer, Reference, StepName};
use crate::manifest::source::reader::{self, Entries, Entry, Key, Reader, kind, nearest};
use crate::manifest::source::{Problem, SourceError};
use crate::manifest::{JsonObject, Package};
use crate::name::{FullName, ToolName};

/// The version of the format that this crate reads.
const VERSION: u64 = 1;

/// The most bytes of a file.
pub const MAX_BYTES: usize = 1 << 20;

/// The most steps.
pub const MAX_STEPS: usize = 64;

/// The most values that are written to arguments and results, in the whole file.
const MAX_WIRES: usize = 1024;

/// The deepest nesting of a literal or a schema.
const MAX_DEPTH: usize = 64;

/// The most mistakes that are told.
const MAX_PROBLEMS: usize = 100;

/// How long the whole may take: by itself, and at the most.
const DEFAULT_SECONDS: u64 = 60;
const MAX_SECONDS: u64 = 600;

const VERSION_KEY: Key = Key::new("version", "version = 1");
const ID: Key = Key::new("id", r#"id = "dev.example.my-pipeline""#);
const PACKAGE_VERSION: Key = Key::new("package-version", r#"package-version = "1.0.0""#);
const TOOL: Key = Key::new("tool", r#"tool = "my-pipeline""#);
const TITLE: Key = Key::new("title", r#"title = "My pipeline""#);
const DESCRIPTION: Key = Key::new("description", r#"description = "What it is good for.""#);
const TAGS: Key = Key::new("tags", r#"tags = ["web"]"#);
const SECONDS: Key = Key::new("max-seconds", "max-seconds = 60");
const INPUT_KEY: Key = Key::new("input", r#"input = { type = "object" }"#);
const STEP: Key = Key::new("step", r#"step = [{ id = "page", tool = "dev.example.web/fetch" }]"#);
const OUTPUT: Key = Key::new("output", r##"output = { "/words" = "count#/structuredContent" }"##);

/// The keys of the file itself.
const FILE: &[Key] = &[
    VERSION_KEY,
    ID,
    PACKAGE_VERSION,
    TOOL,
    TITLE,
    DESCRIPTION,
    TAGS,
    SECONDS,
    INPUT_KEY,
    STEP,
    OUTPUT,
];

const STEP_ID: Key = Key::new("id", r#"id = "page""#);
const STEP_TOOL: Key = Key::new("tool", r#"tool = "dev.example.web/fetch""#);
const WITH: Key = Key::new("with", r#"with = { method = "GET" }"#);
const FROM: Key = Key::new("from", r##"from = { "/url" = "input#/url" }"##);
const AFTER: Key = Key::new("after", r#"after = ["page"]"#);
const ON_ERROR: Key = Key::new("on-error", r#"on-error = "continue""#);

/// The keys of a step.
const STEP_KEYS: &[Key] = &[STEP_ID, STEP_TOOL, WITH, FROM, AFTER, ON_ERROR];

const TEXT: Key = Key::new("text", r#"text = "nothing was found""#);
const STRUCTURED: Key = Key::new("structuredContent", "structuredContent = { words = 0 }");

/// The keys of what takes the place of a result.
const FALLBACK: &[Key] = &[TEXT, STRUCTURED];

/// Something that was written, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct At<T> {
    /// What it is.
    pub value: T,
    /// The bytes of the text that say so.
    pub span: Range<usize>,
}

/// What a file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Identity and description.
    pub package: Package,
    /// The name of its tool.
    pub tool: ToolName,
    /// How long a call may take.
    pub limit: Duration,
    /// The JSON Schema of its arguments.
    pub input: At<JsonObject>,
    /// In the order in which they stand; each needs only those above it.
    pub steps: Vec<Step>,
    /// What its result is put together of; `None`: it is that of the last step.
    pub output: Option<Vec<Wire>>,
}

/// One call.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// By what the others refer to it.
    pub name: At<StepName>,
    /// What is called.
    pub tool: At<FullName>,
    /// The arguments that are always the same.
    pub literals: Vec<Literal>,
    /// The arguments that come from elsewhere.
    pub wires: Vec<Wire>,
    /// The steps whose end is waited for, without needing what they give.
    pub after: Vec<usize>,
    /// What becomes of the pipeline where this fails.
    pub on_error: At<OnError>,
}

/// A value that is put to a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Literal {
    /// Where to.
    pub target: At<Pointer>,
    /// What.
    pub value: Value,
}

/// What is put to a place from another one.
#[derive(Debug, Clone, PartialEq)]
pub struct Wire {
    /// Where to.
    pub target: At<Pointer>,
    /// Where from.
    pub source: At<Reference>,
    /// The step that gives it; `None`: it is among the pipeline's arguments.
    pub step: Option<usize>,
}

/// What becomes of a pipeline in which a step fails.
#[derive(Debug, Clone, PartialEq)]
pub enum OnError {
    /// It ends.
    Stop,
    /// What does not need the step goes on.
    Continue,
    /// This takes the place of the result.
    Instead(Fallback),
}

/// What takes the place of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Fallback {
    /// For the model.
    pub text: Option<String>,
    /// For programs.
    pub structured: Option<JsonObject>,
}

impl Step {
    /// The steps whose results it needs.
    pub fn needs(&self) -> impl Iterator<Item = usize> {
        self.wires.iter().filter_map(|wire| wire.step)
    }
}

impl Source {
    /// Reads the text of a pipeline.
    ///
    /// # Errors
    /// Every mistake in the text, a hundred at the most, or, where it is not TOML, every mistake in
    /// the syntax.
    ///
    /// # Security
    /// The text may be anything. What is accepted is bounded in size, steps and nesting.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        if text.len() > MAX_BYTES {
            let problem = Problem {
                message: format!("a pipeline has at most {} KiB", MAX_BYTES >> 10),
                span: 0..0,
                label: format!("this file has {} KiB", text.len() >> 10),
                help: None,
            };
            return Err(SourceError { problems: vec![problem] });
        }
        read(text).map_err(|mut error| {
            error.problems.truncate(MAX_PROBLEMS);
            error
        })
    }

    /// The tools that its steps call, in their order.
    pub fn tools(&self) -> impl Iterator<Item = &FullName> {
        self.steps.iter().map(|step| &step.tool.value)
    }
}

fn read(text: &str) -> Result<Source, SourceError> {
    let root = reader::syntax(text)?;
    let mut reader = Reader::at(&[], elsewhere);
    let Some(found) = reader.find(&root) else { return reader.finish(None) };
    let entries = reader.entries(found, "", &[FILE]);
    check_version(&mut reader, &entries);
    for required in [&ID, &PACKAGE_VERSION, &TOOL, &STEP] {
        if !entries.has(required) {
            reader.missing(&entries, required);
        }
    }
    let id = reader.parsed(entries.get(&ID));
    let version = reader.parsed(entries.get(&PACKAGE_VERSION));
    let tool = reader.parsed(entries.get(&TOOL));
    let seconds = reader.number(entries.get(&SECONDS), |seconds| match seconds {
        1..=MAX_SECONDS => Ok(()),
        _ => Err(format!("`max-seconds` is between 1 and {MAX_SECONDS}")),
    });
    let title = reader.text(entries.get(&TITLE));
    let description = reader.text(entries.get(&DESCRIPTION));
    let tags = reader.list(entries.get(&TAGS)).unwrap_or_default();
    let input = input(&mut reader, &entries);
    let mut steps = Steps { reader: &mut reader, known: HashMap::new(), wires: 0 };
    let read = steps.all(&entries);
    let output = entries.get(&OUTPUT).map(|entry| steps.wires(entry));
    if let (Some([]), Some(entry)) = (output.as_deref(), entries.get(&OUTPUT)) {
        let help = "leave it out, and the result is that of the last step".to_owned();
        reader.problem(entry.key_span(), "the result has no parts", "empty", Some(help));
    }
    let source = id.zip(version).zip(tool).zip(input).map(|(((id, version), tool), input)| {
        let package = Package {
            id,
            version,
            title,
            description,
            license: None,
            authors: Vec::new(),
            homepage: None,
            repository: None,
            tags,
        };
        let limit = Duration::from_secs(seconds.unwrap_or(DEFAULT_SECONDS));
        Source { package, tool, limit, input, steps: read, output }
    });
    reader.finish(source)
}

/// Reads the version, so that no file is taken for what it is not.
fn check_version(reader: &mut Reader<'_>, entries: &Entries<'_>) {
    let Some(entry) = entries.get(&VERSION_KEY) else {
        return reader.missing(entries, &VERSION_KEY);
    };
    let version = reader.number(Some(entry), Ok::<_, std::convert::Infallible>);
    if let Some(version) = version.filter(|version| *version != VERSION) {
        reader.problem(
            entry.key_span(),
            format!("this program does not know version {version} of a pipeline"),
            format!("it knows version {VERSION}"),
            Some("update cargo-kami".to_owned()),
        );
    }
}

/// Other formats of this kind call the same things otherwise.
fn elsewhere(_: &Reader<'_>, key: &str, table: &str) -> Option<String> {
    let here = match (table, key) {
        ("", "steps") => "[[step]]",
        ("", "name") => "tool",
        ("", "arguments" | "inputs" | "inputSchema" | "input-schema") => "input",
        ("", "outputs" | "result") => "output",
        ("", "timeout" | "max-execution-ms") => "max-seconds",
        ("step", "name" | "step") => "id",
        ("step", "uses" | "call" | "run") => "tool",
        ("step", "args" | "arguments" | "params") => "with",
        ("step", "input" | "inputs") => "from",
        ("step", "needs" | "depends-on") => "after",
        _ => return None,
    };
    Some(format!("in a pipeline, it is `{here}`"))
}

fn input(reader: &mut Reader<'_>, entries: &Entries<'_>) -> Option<At<JsonObject>> {
    let Some(entry) = entries.get(&INPUT_KEY) else {
        // Who says nothing about arguments takes none.
        let none = serde_json::json!({"type": "object", "additionalProperties": false});
        let value = none.as_object().cloned().unwrap_or_default();
        return Some(At { value, span: entries.span() });
    };
    let value = object(reader, entry)?;
    Some(At { value, span: entry.key_span() })
}

/// Reads a table as JSON.
fn object(reader: &mut Reader<'_>, entry: &Entry<'_>) -> Option<JsonObject> {
    match json(reader, entry.value(), 0)? {
        Value::Object(object) => Some(object),
        _ => {
            reader.wrong_type(entry, entry.value(), "a table");
            None
        }
    }
}

/// Reads any value as JSON, which has no dates and no numbers without end.
fn json(reader: &mut Reader<'_>, value: &reader::Value<'_>, depth: usize) -> Option<Value> {
    let mut not_json = |label: String, help: &str| {
        let help = Some(help.to_owned());
        reader.problem(value.span(), "this value cannot be written in JSON", label, help);
        None
    };
    if depth == MAX_DEPTH {
        let label = format!("more than {MAX_DEPTH} levels deep");
        return not_json(label, "nest it less");
    }
    Some(match value.get_ref() {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Integer(integer) => {
            let (text, radix) = (integer.as_str(), integer.radix());
            match (i64::from_str_radix(text, radix), u64::from_str_radix(text, radix)) {
                (Ok(number), _) => Value::from(number),
                (_, Ok(number)) => Value::from(number),
                _ => return not_json("out of range".to_owned(), "write it as a string"),
            }
        }
        DeValue::Float(float) => match float.as_str().parse().ok().and_then(Number::from_f64) {
            Some(number) => Value::Number(number),
            None => return not_json("no finite number".to_owned(), "write it as a string"),
        },
        DeValue::Datetime(_) => return not_json(kind(value), "write it as a string"),
        DeValue::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| json(reader, item, depth + 1)).collect();
            Value::Array(items.into_iter().collect::<Option<_>>()?)
        }
        DeValue::Table(table) => {
            let members: Vec<_> = written(table)
                .map(|(key, value)| Some((key.to_owned(), json(reader, value, depth + 1)?)))
                .collect();
            Value::Object(members.into_iter().collect::<Option<_>>()?)
        }
    })
}

/// The members of a table in the order in which they stand in the file.
fn written<'t>(table: &'t DeTable<'t>) -> impl Iterator<Item = (&'t str, &'t reader::Value<'t>)> {
    let mut members: Vec<_> = table.iter().collect();
    members.sort_by_key(|(key, _)| key.span().start);
    members.into_iter().map(|(key, value)| (key.get_ref().as_ref(), value))
}

/// Reads steps, and knows those above the one that it reads.
struct Steps<'r, 'p> {
    reader: &'r mut Reader<'p>,
    /// The place of each step that was read, by its name.
    known: HashMap<String, usize>,
    /// How many values are written so far.
    wires: usize,
}

impl Steps<'_, '_> {
    fn all(&mut self, entries: &Entries<'_>) -> Vec<Step> {
        let tables = self.reader.tables(entries.get(&STEP), STEP_KEYS);
        if let Some(entry) = entries.get(&STEP)
            && !(1..=MAX_STEPS).contains(&tables.len())
            && entry.value().get_ref().is_array()
        {
            let label = format!("there are {}", tables.len());
            let message = format!("a pipeline has 1 to {MAX_STEPS} steps");
            self.reader.problem(entry.key_span(), message, label, None);
            return Vec::new();
        }
        // A name that stands below is told apart from one that stands nowhere.
        let mut names = Vec::new();
        for table in &tables {
            names.push(self.name(table));
        }
        let later: Vec<String> =
            names.iter().flatten().map(|name| name.value.to_string()).collect();
        let mut steps = Vec::new();
        for (at, (table, name)) in tables.iter().zip(names).enumerate() {
            let step = self.step(table, name.clone(), &later);
            if let Some(name) = name {
                self.known.entry(name.value.to_string()).or_insert(at);
            }
            // Where one is missing, the file is refused anyway.
            steps.extend(step);
        }
        steps
    }

    fn name(&mut self, table: &Entries<'_>) -> Option<At<StepName>> {
        let Some(entry) = table.get(&STEP_ID) else {
            self.reader.missing(table, &STEP_ID);
            return None;
        };
        let value = self.reader.parsed(Some(entry))?;
        Some(At { value, span: entry.value().span() })
    }

    fn step(
        &mut self,
        table: &Entries<'_>,
        name: Option<At<StepName>>,
        all: &[String],
    ) -> Option<Step> {
        if let Some(name) = &name
            && self.known.contains_key(name.value.as_str())
        {
            let message = format!("two steps are called `{}`", name.value);
            let help = Some("give each step its own `id`".to_owned());
            self.reader.problem(name.span.clone(), message, "the second one", help);
        }
        let tool = table.get(&STEP_TOOL);
        if tool.is_none() {
            self.reader.missing(table, &STEP_TOOL);
        }
        let tool = tool.and_then(|entry| {
            let value = self.reader.parsed(Some(entry))?;
            Some(At { value, span: entry.value().span() })
        });
        let literals = table.get(&WITH).map(|entry| self.literals(entry)).unwrap_or_default();
        let wires = match table.get(&FROM) {
            Some(entry) => self.wires_among(entry, all),
            None => Vec::new(),
        };
        self.apart(&literals, &wires);
        let after = table.get(&AFTER).map(|entry| self.after(entry, all)).unwrap_or_default();
        let on_error = match table.get(&ON_ERROR) {
            Some(entry) => At { value: self.on_error(entry)?, span: entry.key_span() },
            None => At { value: OnError::Stop, span: table.span() },
        };
        Some(Step { name: name?, tool: tool?, literals, wires, after, on_error })
    }

    fn literals(&mut self, entry: &Entry<'_>) -> Vec<Literal> {
        let mut literals = Vec::new();
        match entry.value().get_ref().as_table() {
            Some(table) => self.leaves(table, &Pointer::default(), &mut literals),
            None => self.reader.wrong_type(entry, entry.value(), "a table"),
        }
        literals
    }

    /// The values in a table, each with its place; what is a table with members is no value, so that
    /// something from elsewhere may stand beside them.
    fn leaves(&mut self, table: &DeTable<'_>, above: &Pointer, literals: &mut Vec<Literal>) {
        let mut members: Vec<_> = table.iter().collect();
        members.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in members {
            let pointer = above.below(key.get_ref());
            match value.get_ref().as_table() {
                Some(inner) if !inner.is_empty() && pointer.tokens().len() < MAX_DEPTH => {
                    self.leaves(inner, &pointer, literals);
                }
                _ => {
                    let value = json(self.reader, value, pointer.tokens().len());
                    let target = At { value: pointer, span: key.span() };
                    if self.counted(key.span())
                        && let Some(value) = value
                    {
                        literals.push(Literal { target, value });
                    }
                }
            }
        }
    }

    /// Whether one more value may be written.
    fn counted(&mut self, span: Range<usize>) -> bool {
        self.wires += 1;
        if self.wires == MAX_WIRES + 1 {
            let message = format!("a pipeline writes at most {MAX_WIRES} values");
            self.reader.problem(span, message, "one too many", None);
        }
        self.wires <= MAX_WIRES
    }

    /// Reads what is put together after all steps.
    fn wires(&mut self, entry: &Entry<'_>) -> Vec<Wire> {
        let wires = self.wires_among(entry, &[]);
        self.apart(&[], &wires);
        wires
    }

    fn wires_among(&mut self, entry: &Entry<'_>, all: &[String]) -> Vec<Wire> {
        let Some(table) = entry.value().get_ref().as_table() else {
            self.reader.wrong_type(entry, entry.value(), "a table");
            return Vec::new();
        };
        let mut members: Vec<_> = table.iter().collect();
        members.sort_by_key(|(key, _)| key.span().start);
        let mut wires = Vec::new();
        for (key, value) in members {
            if !self.counted(key.span()) {
                break;
            }
            let target = match key.get_ref().parse::<Pointer>() {
                Ok(target) => Some(At { value: target, span: key.span() }),
                Err(error) => {
                    let help = format!("write it as in `{}`", entry_example(key.get_ref()));
                    let message = "this is no JSON pointer";
                    self.reader.problem(key.span(), message, error, Some(help));
                    None
                }
            };
            let Some(text) = value.get_ref().as_str() else {
                self.reader.wrong_type(entry, value, "a table of strings");
                continue;
            };
            let source = match text.parse::<Reference>() {
                Ok(source) => At { value: source, span: value.span() },
                Err(error) => {
                    let help = "write it as in `page#/content/0/text` or `input#/url`";
                    let message = "this says nowhere where the value comes from";
                    self.reader.problem(value.span(), message, error, Some(help.to_owned()));
                    continue;
                }
            };
            let step = match &source.value.step {
                None => None,
                Some(name) => match self.step_called(name.as_str(), value.span(), all) {
                    Some(at) => Some(at),
                    None => continue,
                },
            };
            wires.extend(target.map(|target| Wire { target, source, step }));
        }
        wires
    }

    /// The place of a step above; `all` are those that there are.
    fn step_called(&mut self, name: &str, span: Range<usize>, all: &[String]) -> Option<usize> {
        if let Some(at) = self.known.get(name) {
            return Some(*at);
        }
        let (message, label, help) = match all.iter().any(|other| other == name) {
            true => (
                format!("the step `{name}` has not ended yet"),
                "it stands here or below",
                "a step needs only steps above it: move it below, or the other one above"
                    .to_owned(),
            ),
            false => {
                let known = self.known.keys().map(String::as_str).chain([INPUT]);
                let help = match nearest(name, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "it names a step above by its `id`, or `input`".to_owned(),
                };
                (format!("there is no step `{}`", name.escape_debug()), "unknown", help)
            }
        };
        self.reader.problem(span, message, label, Some(help));
        None
    }

    fn after(&mut self, entry: &Entry<'_>, all: &[String]) -> Vec<usize> {
        let Some(items) = entry.value().get_ref().as_array() else {
            self.reader.wrong_type(entry, entry.value(), "an array of strings");
            return Vec::new();
        };
        let mut after = Vec::new();
        for item in items.iter() {
            match item.get_ref().as_str() {
                Some(name) => after.extend(self.step_called(name, item.span(), all)),
                None => self.reader.wrong_type(entry, item, "an array of strings"),
            }
        }
        after.sort_unstable();
        after.dedup();
        after
    }

    fn on_error(&mut self, entry: &Entry<'_>) -> Option<OnError> {
        if entry.value().get_ref().is_table() {
            let table = self.reader.table(Some(entry), "step.on-error", &[FALLBACK])?;
            let text = self.reader.text(table.get(&TEXT));
            let structured = table.get(&STRUCTURED);
            if text.is_none() && structured.is_none() {
                self.reader.missing(&table, &STRUCTURED);
            }
            let structured = structured.and_then(|entry| object(self.reader, entry));
            return Some(OnError::Instead(Fallback { text, structured }));
        }
        match self.reader.choice(Some(entry), &["stop", "continue"])? {
            "continue" => Some(OnError::Continue),
            _ => Some(OnError::Stop),
        }
    }

    /// No two values may go to one place, nor one below another: which of them counts would depend
    /// on an order that nobody sees.
    fn apart(&mut self, literals: &[Literal], wires: &[Wire]) {
        let mut targets: Vec<&At<Pointer>> = literals
            .iter()
            .map(|literal| &literal.target)
            .chain(wires.iter().map(|wire| &wire.target))
            .collect();
        // What overlaps stands side by side in this order.
        targets.sort_by(|a, b| a.value.cmp(&b.value).then(a.span.start.cmp(&b.span.start)));
        for pair in targets.windows(2) {
            let [one, other] = pair else { continue };
            if one.value.overlaps(&other.value) {
                let message = match one.value == other.value {
                    true => format!("two values go to `{}`", one.value),
                    false => {
                        format!("`{}` lies within `{}`, which has a value", other.value, one.value)
                    }
                };
                let help = "keep one of them".to_owned();
                self.reader.problem(other.span.clone(), message, "the second one", Some(help));
            }
        }
    }
}

/// How a name without a slash was probably meant.
fn entry_example(written: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match !written.is_empty() && written.len() <= 64 && written.chars().all(bare) {
        true => format!("\"/{written}\""),
        false => "\"/url\"".to_owned(),
    }
}
