//! Questions to the model.

use serde_json::{Map, Value, json};

use super::{Question, json, unfit};
use crate::Error;
use crate::content::{Content, Message, Role};

/// Has the client's model answer a text, in at most so many tokens; it is short for [`Sampling`].
///
/// ```
/// use kami_guest::ask::sample;
/// use kami_guest::prelude::*;
///
/// /// Says a long text in few words.
/// #[kami_tool]
/// fn summarise(text: String) -> Result<String, Error> {
///     let summary = sample(format!("Summarise in one sentence:\n\n{text}"), 100)?;
///     Ok(summary.text())
/// }
/// # let client = kami_guest::testing::Client::new().sampled("sample-1", "A whale is hunted.");
/// # assert_eq!(client.enter(|| summarise("...".into())).unwrap(), "A whale is hunted.");
/// ```
///
/// # Errors
///
/// The question itself while there is no answer.
pub fn sample(text: impl Into<String>, max_tokens: u32) -> Result<Sampled, Error> {
    Sampling::new(max_tokens).message(Message::user(text.into())).ask()
}

/// A conversation for the client's model to continue.
///
/// ```
/// use kami_guest::ask::Sampling;
/// use kami_guest::prelude::*;
///
/// /// Finds a rhyme.
/// #[kami_tool]
/// fn rhyme(word: String) -> Result<String, Error> {
///     let rhyme = Sampling::new(10)
///         .key("rhyme")
///         .system_prompt("Answer with one word.")
///         .message(Message::user(format!("What rhymes with {word}?")))
///         .temperature(1.0)
///         .ask()?;
///     Ok(rhyme.text())
/// }
/// # let client = kami_guest::testing::Client::new().sampled("rhyme", "whale");
/// # assert_eq!(client.enter(|| rhyme("tale".into())).unwrap(), "whale");
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is asked before `ask`"]
pub struct Sampling {
    key: Option<String>,
    messages: Vec<Value>,
    hints: Vec<Value>,
    /// Priorities, by their names on the wire.
    preferences: Map<String, Value>,
    /// Everything else, by its name on the wire.
    params: Map<String, Value>,
}

/// Of which servers the model is to see the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncludeContext {
    /// Of none.
    None,
    /// Of the one that this function belongs to.
    ThisServer,
    /// Of all that the client is connected to.
    AllServers,
}

impl Sampling {
    /// A conversation without messages yet, to be continued with at most so many tokens.
    pub fn new(max_tokens: u32) -> Self {
        Self {
            key: None,
            messages: Vec::new(),
            hints: Vec::new(),
            preferences: Map::new(),
            params: Map::from_iter([("maxTokens".to_owned(), max_tokens.into())]),
        }
    }

    /// Names the question within the call, in place of `sample-1` and so on.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a message: text, an image or a sound.
    pub fn message(self, message: Message) -> Self {
        self.raw_message(json::message(&message))
    }

    /// Adds a message as the protocol writes it, such as one with the use or the result of a tool.
    pub fn raw_message(mut self, message: Value) -> Self {
        self.messages.push(message);
        self
    }

    /// Says how the model is to behave.
    pub fn system_prompt(self, prompt: impl Into<String>) -> Self {
        self.param("systemPrompt", prompt.into())
    }

    /// Says how free the model is to be, from 0 upwards.
    pub fn temperature(self, temperature: f64) -> Self {
        self.param("temperature", temperature)
    }

    /// Says at which texts the model is to stop.
    pub fn stop_sequences<S: Into<String>>(self, texts: impl IntoIterator<Item = S>) -> Self {
        let texts: Vec<String> = texts.into_iter().map(Into::into).collect();
        self.param("stopSequences", texts)
    }

    /// Says what else the model is to see. Many clients show it nothing.
    pub fn include_context(self, context: IncludeContext) -> Self {
        self.param(
            "includeContext",
            match context {
                IncludeContext::None => "none",
                IncludeContext::ThisServer => "thisServer",
                IncludeContext::AllServers => "allServers",
            },
        )
    }

    /// Names a model, or a part of its name; earlier hints come first.
    pub fn model_hint(mut self, name: impl Into<String>) -> Self {
        self.hints.push(json!({"name": name.into()}));
        self
    }

    /// Says how much a low price matters, from 0 to 1.
    pub fn cost_priority(self, priority: f64) -> Self {
        self.preference("costPriority", priority)
    }

    /// Says how much speed matters, from 0 to 1.
    pub fn speed_priority(self, priority: f64) -> Self {
        self.preference("speedPriority", priority)
    }

    /// Says how much intelligence matters, from 0 to 1.
    pub fn intelligence_priority(self, priority: f64) -> Self {
        self.preference("intelligencePriority", priority)
    }

    /// Gives the model tools, as the protocol writes them.
    pub fn tools(self, tools: Value) -> Self {
        self.param("tools", tools)
    }

    /// Says whether the model is to use its tools, as the protocol writes it.
    pub fn tool_choice(self, choice: Value) -> Self {
        self.param("toolChoice", choice)
    }

    /// Adds what only some provider of models understands.
    pub fn metadata(self, metadata: Value) -> Self {
        self.param("metadata", metadata)
    }

    /// The message with which the model continues.
    ///
    /// # Errors
    ///
    /// The question itself while there is no answer.
    pub fn ask(self) -> Result<Sampled, Error> {
        let Self { key, messages, hints, mut preferences, mut params } = self;
        let (key, answer) = Question::ask("sample", key, "sampling/createMessage", || {
            if !hints.is_empty() {
                preferences.insert("hints".into(), hints.into());
            }
            if !preferences.is_empty() {
                params.insert("modelPreferences".into(), preferences.into());
            }
            params.insert("messages".into(), messages.into());
            Ok(params.into())
        })?;
        Sampled::read(answer).map_err(|error| unfit(&key, error))
    }

    fn param(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.params.insert(name.to_owned(), value.into());
        self
    }

    fn preference(mut self, name: &str, priority: f64) -> Self {
        self.preferences.insert(name.to_owned(), priority.into());
        self
    }
}

/// What the model said.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sampled {
    /// As whom it spoke, which is nearly always [`Role::Assistant`].
    pub role: Role,
    /// Text, images and sounds. What else there may be, such as the use of a tool, is in `json`.
    pub content: Vec<Content>,
    /// The model that spoke.
    pub model: String,
    /// Why it stopped: `endTurn`, `stopSequence`, `maxTokens`, `toolUse`, or another reason.
    pub stop_reason: Option<String>,
    /// The whole result, as the protocol writes it.
    pub json: Value,
}

impl Sampled {
    /// All text in the content, joined by line breaks.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self.content.iter().filter_map(Content::as_text).collect();
        texts.join("\n")
    }

    fn read(result: Value) -> Result<Self, String> {
        let content = match &result["content"] {
            Value::Array(blocks) => blocks.as_slice(),
            Value::Null => return Err("it has no `content`".to_owned()),
            block => std::slice::from_ref(block),
        };
        Ok(Self {
            role: match result["role"].as_str() {
                Some("user") => Role::User,
                _ => Role::Assistant,
            },
            content: content
                .iter()
                .filter_map(|block| json::read(block).transpose())
                .collect::<Result<_, _>>()?,
            model: result["model"].as_str().unwrap_or_default().to_owned(),
            stop_reason: result["stopReason"].as_str().map(str::to_owned),
            json: result,
        })
    }
}
