//! What a guest asks of the person or the model at the other end, and what it is answered.

use std::collections::HashSet;
use std::fmt::{self, Display};

use serde_json::Value;

use super::{CallError, Said, strike};
use crate::manifest::JsonObject;
use crate::sandbox::types;
use crate::secrets::Scrubber;

/// The most questions that a guest may ask at a time.
const MOST_REQUESTS: usize = 16;

/// The longest key of a question, in bytes.
const LONGEST_KEY: usize = 128;

/// The most bytes of the parameters of all questions that are asked at a time.
const MOST_PARAM_BYTES: usize = 1 << 20;

/// The most bytes that a guest may want back when it is entered anew: a client carries them.
const MOST_STATE_BYTES: usize = 64 << 10;

/// What a guest is given back when it is entered anew; empty the first time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Continuation {
    /// Every answer so far.
    pub answers: Vec<Answer>,
    /// What the guest wanted back.
    pub state: Option<Vec<u8>>,
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Of the question.
    pub key: String,
    /// What the method that was asked for gave.
    pub result: Value,
}

/// What a guest needs before it can go on.
#[derive(Debug, Clone, PartialEq)]
pub struct InputRequired {
    /// The questions, each with a key of its own. There may be none, where only the state matters.
    pub requests: Vec<InputRequest>,
    /// What the guest wants back, whatever it is.
    pub state: Option<Vec<u8>>,
}

/// One question.
#[derive(Debug, Clone, PartialEq)]
pub struct InputRequest {
    /// Under which it is answered.
    pub key: String,
    /// What is asked for.
    pub method: InputMethod,
    /// The parameters, in the shape that the Model Context Protocol gives them.
    pub params: JsonObject,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputMethod {
    /// That a person fills in a form, or goes to a page.
    Elicitation,
    /// That a model says something.
    Sampling,
    /// Which directories the client works in.
    Roots,
}

impl InputMethod {
    /// The name of the method.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Elicitation => "elicitation/create",
            Self::Sampling => "sampling/createMessage",
            Self::Roots => "roots/list",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Elicitation, Self::Sampling, Self::Roots]
            .into_iter()
            .find(|method| method.as_str() == name)
    }
}

impl Display for InputMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl InputRequired {
    /// What becomes of it where nobody is there to answer.
    pub fn unanswered(&self) -> CallError {
        let methods: Vec<_> = self.requests.iter().map(|request| request.method.as_str()).collect();
        CallError::Unanswered(format!("nobody is there for {}", methods.join(", ")))
    }

    /// Reads what a guest asks, which is hostile.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(asked: types::InputRequired) -> Result<Self, String> {
        if asked.requests.is_empty() && asked.state.is_none() {
            return Err("it asks for input, and has neither a question nor a state".to_owned());
        }
        if asked.requests.len() > MOST_REQUESTS {
            return Err(format!("it asks more than {MOST_REQUESTS} questions at a time"));
        }
        if asked.state.as_ref().is_some_and(|state| state.len() > MOST_STATE_BYTES) {
            return Err(format!("its state has more than {MOST_STATE_BYTES} bytes"));
        }
        let bytes: usize = asked.requests.iter().map(|request| request.params.len()).sum();
        if bytes > MOST_PARAM_BYTES {
            return Err(format!("its questions have more than {MOST_PARAM_BYTES} bytes"));
        }
        let mut keys = HashSet::new();
        for request in &asked.requests {
            let key = request.key.as_str();
            if key.is_empty() || key.len() > LONGEST_KEY || key.chars().any(char::is_control) {
                return Err(format!("the key of a question has 1 to {LONGEST_KEY} bytes"));
            }
            if !keys.insert(key) {
                return Err("two of its questions have one key".to_owned());
            }
        }
        let requests =
            asked.requests.into_iter().map(InputRequest::read).collect::<Result<_, _>>()?;
        Ok(Self { requests, state: asked.state })
    }
}

impl InputRequest {
    fn read(
        types::InputRequest { key, method, params }: types::InputRequest,
    ) -> Result<Self, String> {
        let Some(method) = InputMethod::named(&method) else {
            return Err("it asks for what no client offers".to_owned());
        };
        let params: JsonObject = serde_json::from_str(&params)
            .map_err(|error| format!("the parameters of {method} are no object ({error})"))?;
        match method {
            InputMethod::Elicitation => check_elicitation(&params)?,
            InputMethod::Sampling => check_sampling(&params)?,
            InputMethod::Roots => {}
        }
        Ok(Self { key, method, params })
    }

    /// Whether the model that is asked is to be given tools.
    pub fn brings_tools(&self) -> bool {
        self.params.contains_key("tools") || self.params.contains_key("toolChoice")
    }

    /// Whether it sends a person to a page, and does not ask for the fields of a form.
    pub fn is_url(&self) -> bool {
        self.params.get("mode").and_then(Value::as_str) == Some("url")
    }
}

/// A form, or a page: anything else a client may understand in ways that nobody foresaw.
fn check_elicitation(params: &JsonObject) -> Result<(), String> {
    let text = |name: &str| params.get(name).and_then(Value::as_str);
    if text("message").is_none() {
        return Err("an elicitation has a `message`".to_owned());
    }
    match params.get("mode").map(Value::as_str) {
        None | Some(Some("form")) => match params.get("requestedSchema") {
            Some(Value::Object(schema)) if schema.get("type") == Some(&"object".into()) => Ok(()),
            _ => Err("an elicitation has a `requestedSchema` of an object".to_owned()),
        },
        Some(Some("url")) => {
            let page = text("url").and_then(|url| url.parse::<http::Uri>().ok());
            let scheme = page.as_ref().and_then(http::Uri::scheme_str);
            match scheme {
                Some("https" | "http") if text("elicitationId").is_some() => Ok(()),
                _ => Err("a page has a `url` of http or https, and an `elicitationId`".to_owned()),
            }
        }
        Some(_) => Err("the mode of an elicitation is `form` or `url`".to_owned()),
    }
}

fn check_sampling(params: &JsonObject) -> Result<(), String> {
    let messages = params.get("messages").is_some_and(Value::is_array);
    let tokens = params.get("maxTokens").is_some_and(Value::is_u64);
    if messages && tokens {
        Ok(())
    } else {
        Err("sampling has `messages` and `maxTokens`".to_owned())
    }
}

impl Continuation {
    /// How many bytes the guest gets with it.
    pub(super) fn size(&self) -> usize {
        let answers = self.answers.iter();
        let answers = answers.map(|answer| answer.key.len() + answer.result.to_string().len());
        answers.sum::<usize>() + self.state.as_ref().map_or(0, Vec::len)
    }
}

impl From<Continuation> for types::Continuation {
    fn from(continuation: Continuation) -> Self {
        let answer = |Answer { key, result }| types::Answer { key, result: result.to_string() };
        Self {
            answers: continuation.answers.into_iter().map(answer).collect(),
            state: continuation.state,
        }
    }
}

impl Said for InputRequired {
    /// The state goes back to the guest alone, and is sealed on its way.
    fn scrub(&mut self, scrubber: &Scrubber) {
        for request in &mut self.requests {
            strike(&mut request.key, scrubber);
            let mut params = Value::Object(std::mem::take(&mut request.params));
            scrubber.scrub_json(&mut params);
            if let Value::Object(params) = params {
                request.params = params;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(requests: &[(&str, &str, Value)]) -> Result<InputRequired, String> {
        let request = |(key, method, params): &(&str, &str, Value)| types::InputRequest {
            key: (*key).to_owned(),
            method: (*method).to_owned(),
            params: params.to_string(),
        };
        let requests = requests.iter().map(request).collect();
        InputRequired::read(types::InputRequired { requests, state: None })
    }

    #[test]
    fn what_clients_understand_is_passed_on() {
        let form = json!({"message": "Who?", "requestedSchema": {"type": "object"}});
        let page = json!({"mode": "url", "message": "Log in", "url": "https://a.example/x", "elicitationId": "1"});
        let sampling = json!({"messages": [], "maxTokens": 10});
        let asked = read(&[
            ("a", "elicitation/create", form),
            ("b", "elicitation/create", page),
            ("c", "sampling/createMessage", sampling),
            ("d", "roots/list", json!({})),
        ])
        .unwrap();
        let methods: Vec<_> = asked.requests.iter().map(|request| request.method).collect();
        use InputMethod::{Elicitation, Roots, Sampling};
        assert_eq!(methods, [Elicitation, Elicitation, Sampling, Roots]);
        assert_eq!(asked.requests.iter().map(InputRequest::is_url).filter(|url| *url).count(), 1);
    }

    #[test]
    fn what_no_client_should_get_is_refused() {
        let form = json!({"message": "Who?", "requestedSchema": {"type": "object"}});
        let page =
            |url: &str| json!({"mode": "url", "message": "", "url": url, "elicitationId": "1"});
        let long = "k".repeat(LONGEST_KEY + 1);
        for (key, method, params) in [
            ("a", "tools/call", json!({})),
            ("a", "ping", json!({})),
            ("", "roots/list", json!({})),
            (long.as_str(), "roots/list", json!({})),
            ("a\n", "roots/list", json!({})),
            ("a", "roots/list", json!([])),
            ("a", "elicitation/create", json!({"message": "x"})),
            ("a", "elicitation/create", json!({"requestedSchema": {"type": "object"}})),
            (
                "a",
                "elicitation/create",
                json!({"message": "x", "requestedSchema": {"type": "array"}}),
            ),
            ("a", "elicitation/create", page("javascript:alert(1)")),
            ("a", "elicitation/create", page("file:///etc/passwd")),
            ("a", "elicitation/create", page("no url")),
            ("a", "elicitation/create", json!({"mode": "other", "message": "x"})),
            ("a", "sampling/createMessage", json!({"messages": []})),
            ("a", "sampling/createMessage", json!({"messages": [], "maxTokens": -1})),
        ] {
            assert!(read(&[(key, method, params.clone())]).is_err(), "{key} {method} {params}");
        }
        let one = ("a", "elicitation/create", form);
        assert!(read(&[one.clone(), one.clone()]).is_err(), "one key");
        assert!(read(&[]).is_err(), "nothing");
        let keys: Vec<String> = (0..=MOST_REQUESTS).map(|n| n.to_string()).collect();
        let many: Vec<_> = keys.iter().map(|key| (key.as_str(), one.1, one.2.clone())).collect();
        assert!(read(&many).is_err(), "too many");
    }
}
