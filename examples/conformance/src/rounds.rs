//! Tools that need answers before they can go on, in one round or in several.
//!
//! A tool is run from its beginning whenever answers have come, so each of these reads from top to
//! bottom as if it had waited.

use kami_guest::ask::{Elicitation, Roots, Sampling, set_state, state, together};
use kami_guest::prelude::*;

#[kami_type]
struct Name {
    name: String,
}

#[kami_type]
struct Consent {
    ok: bool,
}

#[kami_type]
struct Favorite {
    color: String,
}

/// How far a call has come.
#[kami_type]
enum Stage {
    Asked,
    AskedAgain,
}

/// Greets a person who is asked for their name.
#[kami_tool]
pub fn test_input_required_result_elicitation() -> Result<String, Error> {
    let answer = Elicitation::new("What is your name?").key("user_name").ask()?;
    Ok(match answer {
        Answer::Accept(Name { name }) => format!("Hello, {name}!"),
        Answer::Decline | Answer::Cancel => "Hello, whoever you are!".to_owned(),
    })
}

/// Asks the client's model for a capital.
#[kami_tool]
pub fn test_input_required_result_sampling() -> Result<String, Error> {
    let question = Message::user("What is the capital of France?");
    let sampled = Sampling::new(100).key("capital_question").message(question).ask()?;
    Ok(sampled.text())
}

/// Asks which folders the client works on.
#[kami_tool]
pub fn test_input_required_result_list_roots() -> Result<String, Error> {
    let roots = Roots::new().key("client_roots").ask()?;
    let uris: Vec<_> = roots.iter().map(|root| root.uri.as_str()).collect();
    Ok(format!("The client works on: {}", uris.join(", ")))
}

/// Asks for consent, and knows on return that it has asked.
#[kami_tool]
pub fn test_input_required_result_request_state() -> Result<String, Error> {
    let before: Option<Stage> = state()?;
    set_state(&Stage::Asked)?;
    confirm()?;
    match before {
        Some(Stage::Asked) => Ok("state-ok".to_owned()),
        _ => Err("the answer came without the state of the question".into()),
    }
}

/// Asks for consent with a state that must not be changed.
#[kami_tool]
pub fn test_input_required_result_tampered_state() -> Result<String, Error> {
    set_state(&Stage::Asked)?;
    confirm()?;
    Ok("state-ok".to_owned())
}

fn confirm() -> Result<Answer<Consent>, Error> {
    Elicitation::new("Please confirm").key("confirm").ask()
}

/// Asks the person, the model and the client at once.
#[kami_tool]
pub fn test_input_required_result_multiple_inputs() -> Result<String, Error> {
    set_state(&Stage::Asked)?;
    let greeting = Message::user("Generate a greeting");
    let (name, greeting, roots) = together((
        Elicitation::new("What is your name?").key("user_name").ask::<Name>(),
        Sampling::new(50).key("greeting").message(greeting).ask(),
        Roots::new().key("client_roots").ask(),
    ))?;
    let name = name.accepted().map_or_else(|| "somebody".to_owned(), |Name { name }| name);
    Ok(format!("{} {name}, with {} folders", greeting.text(), roots.len()))
}

/// Asks two questions, the second when the first is answered.
#[kami_tool]
pub fn test_input_required_result_multi_round() -> Result<String, Error> {
    set_state(&Stage::Asked)?;
    let name = Elicitation::new("Step 1: What is your name?").key("step1").ask::<Name>()?;
    set_state(&Stage::AskedAgain)?;
    let favorite =
        Elicitation::new("Step 2: What is your favorite color?").key("step2").ask::<Favorite>()?;
    Ok(match (name.accepted(), favorite.accepted()) {
        (Some(Name { name }), Some(Favorite { color })) => format!("{name} likes {color}"),
        _ => "somebody prefers not to say".to_owned(),
    })
}

/// Asks the client's model, and nobody else: not every client has a person before it.
#[kami_tool]
pub fn test_input_required_result_capabilities() -> Result<String, Error> {
    let request = Message::user("Sample request");
    Ok(Sampling::new(50).key("sample_input").message(request).ask()?.text())
}
