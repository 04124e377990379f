use kami_guest::prelude::*;

struct Contact;

/// Asks for what can't be asked for.
#[kami_tool]
fn ask() -> Result<String, Error> {
    let contact: Answer<Contact> = elicit("Who are you?")?;
    let _ = contact;
    Ok(String::new())
}

fn main() {}
