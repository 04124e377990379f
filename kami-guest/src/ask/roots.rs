//! Questions to the client about its folders.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Question, unfit};
use crate::Error;

/// A folder, or another place, that the client works in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Root {
    /// Where it is, as a `file://` URI.
    pub uri: String,
    /// What to call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Asks the client in which folders it works; it is short for [`Roots`].
///
/// To know of a folder gives no access to it: that is granted by the operator.
///
/// ```
/// use kami_guest::ask::roots;
/// use kami_guest::prelude::*;
///
/// /// Counts the folders of the client.
/// #[kami_tool]
/// fn count_folders() -> Result<usize, Error> {
///     Ok(roots()?.len())
/// }
/// # let client = kami_guest::testing::Client::new().roots("roots-1", [("file:///src", "sources")]);
/// # assert_eq!(client.enter(count_folders).unwrap(), 1);
/// ```
///
/// # Errors
///
/// The question itself while there is no answer.
pub fn roots() -> Result<Vec<Root>, Error> {
    Roots::new().ask()
}

/// The question in which folders the client works; see [`roots`].
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is asked before `ask`"]
pub struct Roots {
    key: Option<String>,
}

impl Roots {
    /// The question, which has no parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the question within the call, in place of `roots-1` and so on.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The folders.
    ///
    /// # Errors
    ///
    /// The question itself while there is no answer.
    pub fn ask(self) -> Result<Vec<Root>, Error> {
        #[derive(Deserialize)]
        struct Listed {
            roots: Vec<Root>,
        }
        let (key, answer) = Question::ask("roots", self.key, "roots/list", || Ok(json!({})))?;
        if !answer.is_object() {
            return Err(unfit(&key, "it has to be an object with `roots`"));
        }
        serde_json::from_value(answer)
            .map(|Listed { roots }| roots)
            .map_err(|error| unfit(&key, error))
    }
}
