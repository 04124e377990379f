//! A notebook: tools that ask before they overwrite, notes as resources, and a prompt.
//!
//! [`write_note`] and [`delete_note`] are tools. [`all`] and [`note`] are what they wrote, for clients
//! to read by URI, and [`summarise`] is a prompt that carries a note. [`edit`] has the questions.

mod edit;
mod notebook;

pub use edit::{Change, delete, write};
pub use notebook::{Name, Notebook};

use kami_guest::prelude::*;

/// Where the sandbox shows the directory that is kept from call to call.
const KEPT: &str = "/scratch";

/// Keeps a note under a name.
///
/// If there is a note of that name already, the person is asked what to do with it.
#[kami_tool]
pub fn write_note(
    /// what to call it, for example `shopping-list`
    name: Name,
    /// what to keep
    text: String,
) -> Result<String, Error> {
    edit::write(&Notebook::open(KEPT), &name, &text)
}

/// Deletes a note, if the person agrees.
#[kami_tool(destructive, idempotent)]
pub fn delete_note(
    /// what it is called
    name: Name,
) -> Result<String, Error> {
    edit::delete(&Notebook::open(KEPT), &name)
}

/// The names of all notes, one in a line.
#[kami_resource(uri = "notes://all", title = "All notes", mime_type = "text/plain")]
pub fn all() -> Result<String, Error> {
    Ok(Notebook::open(KEPT).names("")?.join("\n"))
}

/// The text of one note.
#[kami_resource(uri = "note://{name}", title = "A note", mime_type = "text/plain")]
pub fn note(#[kami(complete = names)] name: Name) -> Result<String, Error> {
    let text = Notebook::open(KEPT).read(&name)?;
    text.ok_or_else(|| Error::not_found(format_args!("there is no note `{name}`")))
}

/// Asks for a summary of a note.
#[kami_prompt(title = "Summarise a note")]
pub fn summarise(
    /// the note
    #[kami(complete = names)]
    name: Name,
    /// how long the summary may be, in words
    #[kami(default = 50)]
    words: u32,
) -> Result<Vec<Message>, Error> {
    let note = Resource::text(format!("note://{name}"), self::note(name)?);
    Ok(vec![
        Message::user(Content::from(note.mime_type("text/plain"))),
        Message::user(format!("Summarise this note in at most {words} words.")),
    ])
}

/// The names that begin with what is typed.
fn names(typed: &str) -> Result<Vec<String>, Error> {
    Ok(Notebook::open(KEPT).names(typed)?)
}
