//! The notebook, with persons who answer in every way, and what clients are told of it.

use kami_guest::serde_json::{Value, json};
use kami_guest::testing::{self, Client};
use notes::{Name, Notebook, delete, write};
use tempfile::TempDir;

fn notebook() -> (TempDir, Notebook) {
    let directory = tempfile::tempdir().unwrap();
    let notebook = Notebook::open(directory.path());
    (directory, notebook)
}

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

/// A person who gives this answer to the first question.
fn person(answer: Value) -> Client {
    Client::new().accept("elicit-1", json!({"answer": answer}))
}

#[test]
fn a_new_note_is_written_without_a_question() {
    let (_directory, notebook) = notebook();
    let milk = name("milk");
    let written = || write(&notebook, &milk, "two litres");
    assert_eq!(Client::new().enter(written).unwrap(), "`milk` holds 10 bytes");
    assert_eq!(Client::new().enter(written).unwrap(), "`milk` is as it was");
    assert_eq!(notebook.read(&milk).unwrap().as_deref(), Some("two litres"));
}

#[test]
fn the_person_decides_about_a_note_that_is_there() {
    let check = |client: Client, reply: &str, text: &str| {
        let (_directory, notebook) = notebook();
        let milk = name("milk");
        notebook.write(&milk, "one").unwrap();
        assert_eq!(client.enter(|| write(&notebook, &milk, "two")).unwrap(), reply);
        assert_eq!(notebook.read(&milk).unwrap().as_deref(), Some(text));
    };
    check(person(json!("replace")), "`milk` holds 3 bytes", "two");
    check(person(json!("append")), "`milk` holds 7 bytes", "one\ntwo");
    check(person(json!("keep")), "`milk` was left as it is", "one");
    check(Client::new().decline("elicit-1"), "`milk` was left as it is", "one");
    check(Client::new().cancel("elicit-1"), "`milk` was left as it is", "one");
}

#[test]
fn the_question_shows_what_would_be_lost() {
    let (_directory, notebook) = notebook();
    notebook.write(&name("milk"), "one").unwrap();
    let asked = Client::new().enter(|| write(&notebook, &name("milk"), "two")).unwrap_err();
    let expected = json!({
        "mode": "form",
        "message": "There is a note `milk` already:\n\none",
        "requestedSchema": {
            "type": "object",
            "properties": {"answer": {
                "type": "string",
                "description": "What to do with a note that is there already.",
                "oneOf": [
                    {"const": "replace", "title": "Replace it"},
                    {"const": "append", "title": "Add to it"},
                    {"const": "keep", "title": "Leave it as it is"},
                ],
            }},
            "required": ["answer"],
        },
    });
    assert_eq!(asked.questions()[0].params, expected);
}

#[test]
fn a_note_is_deleted_by_a_clear_yes() {
    let (_directory, notebook) = notebook();
    let milk = name("milk");
    notebook.write(&milk, "one").unwrap();
    let deleted = |client: Client| client.enter(|| delete(&notebook, &milk)).unwrap();
    assert_eq!(deleted(person(json!(false))), "`milk` was left as it is");
    assert_eq!(deleted(Client::new().cancel("elicit-1")), "`milk` was left as it is");
    assert_eq!(deleted(person(json!(true))), "`milk` is gone");
    assert_eq!(deleted(Client::new()), "there is no note `milk`");
}

#[test]
fn names_are_listed_in_order() {
    let (directory, notebook) = notebook();
    for note in ["milk", "bread", "butter"] {
        notebook.write(&name(note), "").unwrap();
    }
    std::fs::write(directory.path().join("other.json"), "").unwrap();
    assert_eq!(notebook.names("").unwrap(), ["bread", "butter", "milk"]);
    assert_eq!(notebook.names("b").unwrap(), ["bread", "butter"]);
}

#[test]
fn a_name_leads_nowhere_else() {
    for wrong in ["", "../secret", "a/b", "a.txt", "ü", &"a".repeat(65)] {
        assert!(wrong.parse::<Name>().is_err(), "{wrong}");
    }
    let error = testing::read("note://..%2Fsecret").unwrap_err();
    assert!(error.message().ends_with("`name`: a note's name is 1 to 64 of `A-Z a-z 0-9 _ -`"));
    let error = testing::call("delete_note", json!({"name": "../secret"})).unwrap_err();
    assert_eq!(error.message(), "a note's name is 1 to 64 of `A-Z a-z 0-9 _ -`");
}

#[test]
fn clients_are_told_of_resources_and_the_prompt() {
    let resources = json!({
        "resources": [{
            "uri": "notes://all",
            "name": "all",
            "title": "All notes",
            "description": "The names of all notes, one in a line.",
            "mimeType": "text/plain",
        }],
        "resourceTemplates": [{
            "uriTemplate": "note://{name}",
            "name": "note",
            "title": "A note",
            "description": "The text of one note.",
            "mimeType": "text/plain",
        }],
    });
    assert_eq!(testing::describe_resources(), resources);
    let prompts = json!({"prompts": [{
        "name": "summarise",
        "title": "Summarise a note",
        "description": "Asks for a summary of a note.",
        "arguments": [
            {"name": "name", "description": "the note", "required": true},
            {
                "name": "words",
                "description": "how long the summary may be, in words",
                "required": false,
            },
        ],
    }]});
    assert_eq!(testing::describe_prompts(), prompts);
    let name = &testing::describe_tool("write_note")["inputSchema"]["properties"]["name"];
    assert_eq!(name["pattern"], "^[A-Za-z0-9_-]{1,64}$");
}
