//! One question each: to the model behind the client, and to the person before it.

use kami_guest::prelude::*;
use kami_guest::serde_json;

/// Has the client's model answer a prompt.
#[kami_tool]
pub fn test_sampling(
    /// The prompt to send to the LLM
    prompt: String,
) -> Result<String, Error> {
    let sampled = sample(prompt, 100)?;
    Ok(format!("LLM response: {}", sampled.text()))
}

/// Needs a client that samples.
#[kami_tool]
pub fn test_missing_capability() -> Result<String, Error> {
    Ok(sample("Say one word.", 10)?.text())
}

/// Who somebody is.
#[kami_type]
struct User {
    /// User's response
    username: String,
    /// User's email address
    email: String,
}

/// Asks the person who they are.
#[kami_tool]
pub fn test_elicitation(
    /// The message to show the user
    message: String,
) -> Result<String, Error> {
    let answer: Answer<User> = elicit(message)?;
    Ok(format!("User response: {}", told(&answer)))
}

/// Asks the person for a value.
#[kami_tool]
pub fn test_streaming_elicitation() -> Result<String, Error> {
    let answer: Answer<String> = elicit("Provide a value")?;
    Ok(format!("User response: {}", told(&answer)))
}

/// A form in which everything is filled in already.
#[kami_type]
struct Filled {
    #[serde(default = "john")]
    name: String,
    #[serde(default = "thirty")]
    age: i64,
    #[serde(default = "nearly_all")]
    score: f64,
    #[serde(default = "active")]
    status: Status,
    #[serde(default = "yes")]
    verified: bool,
}

#[kami_type]
#[serde(rename_all = "lowercase")]
enum Status {
    Active,
    Inactive,
    Pending,
}

fn john() -> String {
    "John Doe".to_owned()
}

fn thirty() -> i64 {
    30
}

fn nearly_all() -> f64 {
    95.5
}

fn active() -> Status {
    Status::Active
}

fn yes() -> bool {
    true
}

/// Asks the person to look through a form that has defaults.
#[kami_tool]
pub fn test_elicitation_sep1034_defaults() -> Result<String, Error> {
    let answer: Answer<Filled> = elicit("Please look through this form")?;
    Ok(format!("Elicitation completed: {}", told(&answer)))
}

/// A form of every kind of choice.
#[kami_type]
#[serde(rename_all = "camelCase")]
struct Choices {
    untitled_single: Plain,
    titled_single: Titled,
    /// Titles as they were given before `oneOf`.
    #[schemars(extend(
        "enum" = ["opt1", "opt2", "opt3"],
        "enumNames" = ["Option One", "Option Two", "Option Three"]
    ))]
    legacy_enum: String,
    untitled_multi: Vec<Plain>,
    titled_multi: Vec<Chosen>,
}

#[kami_type]
#[serde(rename_all = "lowercase")]
enum Plain {
    Option1,
    Option2,
    Option3,
}

#[kami_type]
#[serde(rename_all = "lowercase")]
enum Titled {
    #[schemars(title = "First Option")]
    Value1,
    #[schemars(title = "Second Option")]
    Value2,
    #[schemars(title = "Third Option")]
    Value3,
}

#[kami_type]
#[serde(rename_all = "lowercase")]
enum Chosen {
    #[schemars(title = "First Choice")]
    Value1,
    #[schemars(title = "Second Choice")]
    Value2,
    #[schemars(title = "Third Choice")]
    Value3,
}

/// Asks the person to choose, in every way that a form has.
#[kami_tool]
pub fn test_elicitation_sep1330_enums() -> Result<String, Error> {
    let answer: Answer<Choices> = elicit("Please choose")?;
    Ok(format!("Elicitation completed: {}", told(&answer)))
}

/// What the person did, and what they wrote.
fn told<T: Serialize>(answer: &Answer<T>) -> String {
    match answer {
        Answer::Accept(content) => {
            let content = serde_json::to_string(content).unwrap_or_default();
            format!("action=accept, content={content}")
        }
        Answer::Decline => "action=decline, content={}".to_owned(),
        Answer::Cancel => "action=cancel, content={}".to_owned(),
    }
}
