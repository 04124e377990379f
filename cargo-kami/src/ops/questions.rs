//! What a tool asks in the middle of a call: answered beforehand by flags, or by the person at the
//! terminal.
//!
//! # Security
//! Questions are a tool's own words. They are shown as such, below the name of the tool that asks, and
//! without what would drive a terminal; and nothing is answered without a yes.

use std::path::PathBuf;
use std::str::FromStr;
use std::thread;

use anyhow::Context as _;
use kami_core::call::{Answer, InputMethod, InputRequest, InputRequired};
use kami_core::manifest::JsonObject;
use kami_core::schema::Schema;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::shell::{Shell, one_line, quoted};

/// The most fields of a form that a person is asked.
const MOST_FIELDS: usize = 64;

/// The flags by which questions are answered before they are asked.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AnswerOptions {
    /// Answer what the tool asks under this key: the fields of a form as a JSON object, `accept` for
    /// a page that was visited, `decline`, or the words of a model; may be given again
    ///
    /// Without it, the person at the terminal is asked.
    #[arg(long, value_name = "KEY=ANSWER")]
    answer: Vec<Given>,
    /// Tell a tool that asks for them that this is one of the directories worked in
    #[arg(long, value_name = "DIR")]
    root: Vec<PathBuf>,
}

/// An answer as it is typed.
#[derive(Debug, Clone)]
struct Given {
    key: String,
    text: String,
}

impl FromStr for Given {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, text) = text.split_once('=').ok_or("expected KEY=ANSWER")?;
        Ok(Self { key: key.to_owned(), text: text.to_owned() })
    }
}

impl AnswerOptions {
    /// Answers all that a tool asks at a time; `None` where one question is for nobody here.
    ///
    /// # Errors
    /// Where the terminal cannot be read.
    pub async fn answer(
        &self,
        tool: &str,
        asked: &InputRequired,
        shell: &Shell,
    ) -> anyhow::Result<Option<Vec<Answer>>> {
        let mut answers = Vec::with_capacity(asked.requests.len());
        for request in &asked.requests {
            let result = match self.given(request)? {
                Some(result) => result,
                None => match ask(tool, request, shell).await? {
                    Some(result) => result,
                    None => return Ok(None),
                },
            };
            answers.push(Answer { key: request.key.clone(), result });
        }
        Ok(Some(answers))
    }

    fn given(&self, request: &InputRequest) -> anyhow::Result<Option<Value>> {
        if request.method == InputMethod::Roots {
            return self.roots().map(Some);
        }
        let Some(given) = self.answer.iter().find(|given| given.key == request.key) else {
            return Ok(None);
        };
        let action = matches!(given.text.as_str(), "accept" | "decline" | "cancel");
        Ok(Some(match (request.method, serde_json::from_str(&given.text)) {
            (InputMethod::Elicitation, _) if action => json!({"action": given.text}),
            (InputMethod::Elicitation, Ok(Value::Object(content))) => {
                json!({"action": "accept", "content": content})
            }
            (InputMethod::Elicitation, _) => {
                let key = one_line(&given.key);
                anyhow::bail!("the answer to `{key}` is neither a JSON object nor `decline`")
            }
            _ => json!({
                "role": "assistant",
                "model": "cargo kami",
                "stopReason": "endTurn",
                "content": {"type": "text", "text": given.text},
            }),
        }))
    }

    fn roots(&self) -> anyhow::Result<Value> {
        let root = |path: &PathBuf| {
            let path =
                path.canonicalize().with_context(|| format!("finding {}", path.display()))?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            anyhow::Ok(json!({"uri": file_uri(&path.to_string_lossy()), "name": name}))
        };
        let roots: Vec<Value> = self.root.iter().map(root).collect::<Result<_, _>>()?;
        Ok(json!({"roots": roots}))
    }
}

/// The address of a directory: what stands for something else in one is written in digits.
fn file_uri(path: &str) -> String {
    let mut uri = "file://".to_owned();
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' => uri.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => uri.push(byte.into()),
            byte => uri += &format!("%{byte:02X}"),
        }
    }
    uri
}

/// Asks the person, on a thread that Ctrl-C does not have to wait for.
async fn ask(tool: &str, request: &InputRequest, shell: &Shell) -> anyhow::Result<Option<Value>> {
    if !shell.interactive() || request.method != InputMethod::Elicitation {
        return Ok(None);
    }
    let (shell, request, tool) = (shell.clone(), request.clone(), tool.to_owned());
    let (sender, answer) = oneshot::channel();
    thread::spawn(move || {
        // Nobody waits for it once the command is interrupted.
        let _ = sender.send(Form { tool: &tool, shell: &shell }.fill_in(&request));
    });
    Ok(Some(answer.await.context("asking at the terminal")??))
}

/// A form on its way to a person.
struct Form<'a> {
    tool: &'a str,
    shell: &'a Shell,
}

impl Form<'_> {
    fn fill_in(&self, request: &InputRequest) -> anyhow::Result<Value> {
        let text =
            |name: &str| request.params.get(name).and_then(Value::as_str).unwrap_or_default();
        let tool = one_line(self.tool);
        self.shell.tell(format_args!("{:>12} `{tool}`: {}", "asks", quoted(text("message"))));
        if request.is_url() {
            let page = one_line(text("url"));
            self.shell.tell(format_args!("{:>12} {page}", "page"));
            let done = self.shell.confirm("Did you visit it, and is the tool to go on?")?;
            return Ok(json!({"action": if done == Some(true) { "accept" } else { "decline" }}));
        }
        if self.shell.confirm(format_args!("Answer `{tool}`?"))? != Some(true) {
            return Ok(json!({"action": "decline"}));
        }
        let schema = request.params.get("requestedSchema").and_then(Value::as_object);
        let part = |name: &str| schema.and_then(|schema| schema.get(name));
        let fields = part("properties").and_then(Value::as_object);
        let required = part("required").and_then(Value::as_array);
        let mut content = JsonObject::new();
        for (name, field) in fields.into_iter().flatten().take(MOST_FIELDS) {
            let needed = required.is_some_and(|names| names.iter().any(|it| it == name.as_str()));
            let Some(field) = field.as_object() else { continue };
            match self.field(name, field, needed)? {
                Filled::Value(value) => drop(content.insert(name.clone(), value)),
                Filled::Nothing => {}
                Filled::Cancelled => return Ok(json!({"action": "cancel"})),
            }
        }
        Ok(json!({"action": "accept", "content": content}))
    }

    /// Asks for one field until what is typed fits.
    fn field(&self, name: &str, field: &JsonObject, needed: bool) -> anyhow::Result<Filled> {
        let text = |key: &str| field.get(key).and_then(Value::as_str);
        let mut prompt = one_line(text("title").unwrap_or(name));
        if let Some(description) = text("description") {
            prompt += &format!(" ({})", one_line(description));
        }
        let choices = choices(field);
        if !choices.is_empty() {
            prompt += &format!(", one of {}", one_line(&choices.join(", ")));
        } else if let Some(kind) = text("type").filter(|kind| *kind != "string") {
            prompt += &format!(", {}", one_line(kind));
        }
        let default = field.get("default");
        match default {
            Some(Value::String(default)) => prompt += &format!(" [{}]", one_line(default)),
            Some(default) => prompt += &format!(" [{}]", one_line(&default.to_string())),
            None if !needed => prompt += " [none]",
            None => {}
        }
        let fits = Schema::compile(field);
        loop {
            let Some(typed) = self.shell.line(format_args!("{:>12} {prompt}:", "|"))? else {
                return Ok(Filled::Cancelled);
            };
            let typed = typed.trim();
            let value = match (typed, default) {
                ("", Some(default)) => default.clone(),
                ("", None) if !needed => return Ok(Filled::Nothing),
                _ => value(typed, text("type")),
            };
            let problems = fits.as_ref().map(|schema| schema.problems(&value, "it"));
            match problems.as_deref() {
                Ok([problem, ..]) => self.shell.tell(format_args!("{:>12} {problem}", "|")),
                // What cannot be judged here is for the tool to judge.
                Ok([]) | Err(_) => return Ok(Filled::Value(value)),
            }
        }
    }
}

/// What became of a field.
enum Filled {
    Value(Value),
    Nothing,
    Cancelled,
}

/// The words that a field may have, if it says which.
fn choices(field: &JsonObject) -> Vec<String> {
    let of = |field: &JsonObject| -> Vec<String> {
        let plain = field.get("enum").and_then(Value::as_array).into_iter().flatten();
        let titled = ["oneOf", "anyOf"].into_iter().filter_map(|key| field.get(key)?.as_array());
        let titled = titled.flatten().filter_map(|choice| choice.get("const"));
        plain.chain(titled).filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    match field.get("items").and_then(Value::as_object) {
        Some(items) => of(items),
        None => of(field),
    }
}

/// What was typed, as a value of a type.
fn value(typed: &str, kind: Option<&str>) -> Value {
    let yes = |word: &str| matches!(word, "y" | "yes" | "true");
    let no = |word: &str| matches!(word, "n" | "no" | "false");
    match kind {
        Some("boolean") if yes(typed) => true.into(),
        Some("boolean") if no(typed) => false.into(),
        Some("integer" | "number") => serde_json::from_str(typed).unwrap_or_else(|_| typed.into()),
        Some("array") => typed.split(',').map(|word| Value::from(word.trim())).collect(),
        _ => typed.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_becomes_a_value_of_the_type_that_is_asked_for() {
        for (typed, kind, expected) in [
            ("42", "integer", json!(42)),
            ("4.5", "number", json!(4.5)),
            ("many", "integer", json!("many")),
            ("yes", "boolean", json!(true)),
            ("false", "boolean", json!(false)),
            ("perhaps", "boolean", json!("perhaps")),
            ("a, b", "array", json!(["a", "b"])),
            ("42", "string", json!("42")),
        ] {
            assert_eq!(value(typed, Some(kind)), expected, "{typed} as {kind}");
        }
    }

    #[test]
    fn choices_are_found_in_all_forms_that_they_have() {
        for field in [
            json!({"type": "string", "enum": ["a", "b"]}),
            json!({"type": "string", "oneOf": [{"const": "a", "title": "A"}, {"const": "b"}]}),
            json!({"type": "array", "items": {"enum": ["a", "b"]}}),
            json!({"type": "array", "items": {"anyOf": [{"const": "a"}, {"const": "b"}]}}),
        ] {
            assert_eq!(choices(field.as_object().unwrap()), ["a", "b"], "{field}");
        }
    }

    #[test]
    fn a_directory_has_an_address() {
        assert_eq!(file_uri("/srv/a b/ä"), "file:///srv/a%20b/%C3%A4");
    }
}
