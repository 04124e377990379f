//! What tools, resources and prompts have in common when they are described.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The descriptions in the order of what they are known by, for functions are registered in no order.
///
/// They go through the map that JSON objects are made of, whose code is in every component; that of
/// sorting would be 9 KB more.
pub fn sorted(described: impl Iterator<Item = (&'static str, Value)>) -> Vec<Value> {
    let mut sorted: BTreeMap<String, Value> = BTreeMap::new();
    for (known_by, description) in described {
        sorted.insert(known_by.to_owned(), description);
    }
    sorted.into_values().collect()
}

/// An object with what is there of a name, a title and a description.
pub fn named(name: &str, title: Option<&str>, description: &str) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("name".into(), name.into());
    if let Some(title) = title {
        object.insert("title".into(), title.into());
    }
    let description = description.trim();
    if !description.is_empty() {
        object.insert("description".into(), description.into());
    }
    object
}
