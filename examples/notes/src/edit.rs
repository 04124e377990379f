//! Changes to notes, after the person was asked about what would be lost.
//!
//! Each function runs from its beginning again once there is an answer, so everything is asked before
//! anything is written.

use kami_guest::prelude::*;

use crate::{Name, Notebook};

/// What to do with a note that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[kami_type]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Replace it
    Replace,
    /// Add to it
    Append,
    /// Leave it as it is
    Keep,
}

/// Writes a note; asks if there is another text under that name.
///
/// # Errors
/// There is a question, or the notebook can't be read or written.
pub fn write(notebook: &Notebook, name: &Name, text: &str) -> Result<String, Error> {
    let text = match notebook.read(name)? {
        Some(old) if old == text => return Ok(format!("`{name}` is as it was")),
        Some(old) => {
            match elicit(format!("There is a note `{name}` already:\n\n{old}"))?.accepted() {
                Some(Change::Replace) => text.to_owned(),
                Some(Change::Append) => format!("{old}\n{text}"),
                Some(Change::Keep) | None => return Ok(format!("`{name}` was left as it is")),
            }
        }
        None => text.to_owned(),
    };
    notebook.write(name, &text)?;
    Ok(format!("`{name}` holds {} bytes", text.len()))
}

/// Deletes a note, if there is one and the person agrees.
///
/// # Errors
/// There is a question, or the notebook can't be read or written.
pub fn delete(notebook: &Notebook, name: &Name) -> Result<String, Error> {
    let Some(text) = notebook.read(name)? else {
        return Ok(format!("there is no note `{name}`"));
    };
    let sure = elicit::<bool>(format!("Delete the note `{name}`?\n\n{text}"))?;
    if sure != Answer::Accept(true) {
        return Ok(format!("`{name}` was left as it is"));
    }
    notebook.delete(name)?;
    Ok(format!("`{name}` is gone"))
}
