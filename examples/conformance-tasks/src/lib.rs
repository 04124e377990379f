//! Tools that may go on as tasks. Nothing in them knows of it: each says when it may, and the host does
//! the rest.

use std::thread::sleep;
use std::time::Duration;

use kami_guest::ask::{Elicitation, together};
use kami_guest::prelude::*;

/// Greets somebody at once.
#[kami_tool]
pub fn greet(
    /// whom to greet
    name: String,
) -> String {
    format!("Hello, {name}!")
}

/// Takes its time, and then says so.
#[kami_tool(task)]
pub fn slow_compute(
    /// for how long, in seconds
    #[kami(default = 1.0)]
    #[schemars(range(min = 0.0, max = 60.0))]
    seconds: f64,
    /// what to call it
    label: Option<String>,
) -> Result<String, String> {
    let time = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    sleep(time);
    let label = label.as_deref().unwrap_or("it");
    Ok(format!("{label} took {seconds} seconds"))
}

/// Works for a second, and fails.
#[kami_tool(task = "required")]
pub fn failing_job() -> Result<(), &'static str> {
    sleep(Duration::from_secs(1));
    Err("the job failed, as it always does")
}

/// Crashes.
#[kami_tool(task)]
pub fn protocol_error_job() -> String {
    panic!("this tool crashes, as it always does")
}

#[kami_type]
struct Consent {
    confirm: bool,
}

#[kami_type]
struct Name {
    name: String,
}

/// Asks before it deletes a file, and deletes none.
#[kami_tool(task)]
pub fn confirm_delete(
    /// the file to delete
    filename: Option<String>,
) -> Result<String, Error> {
    let file = filename.as_deref().unwrap_or("the file");
    let question = Elicitation::new(format!("Delete {file}?")).key("confirm");
    Ok(match question.ask()?.accepted() {
        Some(Consent { confirm: true }) => format!("{file} would be deleted"),
        _ => format!("{file} stays"),
    })
}

/// Asks two people for their names at once.
#[kami_tool(task)]
pub fn multi_input() -> Result<String, Error> {
    let (first, second) = together((
        Elicitation::new("Who is first?").key("first").ask::<Name>(),
        Elicitation::new("Who is second?").key("second").ask::<Name>(),
    ))?;
    let name = |answer: Option<Name>| answer.map_or_else(|| "nobody".to_owned(), |who| who.name);
    Ok(format!("{}, then {}", name(first.accepted()), name(second.accepted())))
}

/// Asks for a name, and then greets in its own time.
#[kami_tool(task = "after-input")]
pub fn test_tool_with_task() -> Result<String, Error> {
    let answer = Elicitation::new("What is your name?").key("user_name").ask()?;
    let Some(Name { name }) = answer.accepted() else {
        return Err("without a name there is no greeting".into());
    };
    sleep(Duration::from_millis(200));
    Ok(format!("Hello, {name}!"))
}
