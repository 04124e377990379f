//! One entry into a function: which answers it was given, and what it wants to be given back.
//!
//! A function that asks is left at the question and run again from its beginning, in another instance,
//! once there is an answer. What was answered in earlier rounds must be there again, though a client
//! sends only the answers of the last: so all answers go into the state, beside what the author keeps.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, ErrorKind};

/// What an entry is given. Both are empty the first time.
#[derive(Default)]
pub struct Continuation {
    /// Keys of questions, and the JSON of their answers.
    pub answers: Vec<(String, String)>,
    /// What [`kept_state`] gave when the function was last left.
    pub state: Option<Vec<u8>>,
}

/// The entry that runs on this thread.
struct Entry {
    given: Continuation,
    /// Read from `given` once something is asked of it: most functions never ask.
    kept: Option<Kept>,
    /// How many questions of each kind have got an automatic key.
    counts: Vec<(&'static str, u32)>,
}

/// The state, as it is written.
#[derive(Default, Deserialize, Serialize)]
struct Kept {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    answers: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<Value>,
}

thread_local! {
    static ENTRY: RefCell<Option<Entry>> = const { RefCell::new(None) };
}

/// Runs a function as one entry.
pub fn enter<T>(given: Continuation, function: impl FnOnce() -> T) -> T {
    /// Puts back what was there, also when the function panics under test.
    struct Restore(Option<Entry>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ENTRY.set(self.0.take());
        }
    }
    let entry = Entry { given, kept: None, counts: Vec::new() };
    let _restore = Restore(ENTRY.replace(Some(entry)));
    function()
}

/// The next automatic key of a kind of question: `elicit-1`, `elicit-2`...
pub fn next_key(kind: &'static str) -> Result<String, Error> {
    with_entry(|entry| {
        let place = entry.counts.iter().position(|(counted, _)| *counted == kind);
        let place = place.unwrap_or_else(|| {
            entry.counts.push((kind, 0));
            entry.counts.len() - 1
        });
        let (_, count) = &mut entry.counts[place];
        *count += 1;
        Ok(format!("{kind}-{count}"))
    })
}

/// The answer to the question of that key, if there is one.
pub fn answer(key: &str) -> Result<Option<Value>, Error> {
    with_entry(|entry| Ok(entry.kept()?.answers.get(key).cloned()))
}

/// What the function kept when it was last left.
pub fn state<T: DeserializeOwned>() -> Result<Option<T>, Error> {
    with_entry(|entry| match &entry.kept()?.state {
        Some(state) => T::deserialize(state).map(Some).map_err(|error| {
            Error::new(format_args!("the state of this call is not what was expected: {error}"))
        }),
        None => Ok(None),
    })
}

/// Keeps a value for the next entry.
pub fn set_state<T: Serialize>(state: &T) -> Result<(), Error> {
    let state = serde_json::to_value(state)
        .map_err(|error| Error::new(format_args!("the state can't be written as JSON: {error}")))?;
    with_entry(|entry| {
        entry.kept()?.state = Some(state);
        Ok(())
    })
}

/// What the next entry has to be given, if that is more than the answers to its questions.
pub fn kept_state() -> Option<Vec<u8>> {
    ENTRY.with_borrow(|entry| {
        let kept = entry.as_ref()?.kept.as_ref()?;
        let anything = !kept.answers.is_empty() || kept.state.is_some();
        anything.then(|| serde_json::to_vec(kept).expect("a map with string keys is JSON"))
    })
}

fn with_entry<T>(look: impl FnOnce(&mut Entry) -> Result<T, Error>) -> Result<T, Error> {
    ENTRY.with_borrow_mut(|entry| match entry {
        Some(entry) => look(entry),
        None => Err(Error::new(
            "there is nobody to ask outside of a call: in a test, enter the function through \
             `kami_guest::testing::Client`",
        )),
    })
}

impl Entry {
    fn kept(&mut self) -> Result<&mut Kept, Error> {
        if self.kept.is_none() {
            self.kept = Some(Kept::read(&self.given)?);
        }
        Ok(self.kept.as_mut().expect("it was just read"))
    }
}

impl Kept {
    fn read(given: &Continuation) -> Result<Self, Error> {
        let mut kept = match &given.state {
            Some(state) => serde_json::from_slice(state).map_err(|error| {
                Error::new(format_args!("the state of this call can't be read: {error}"))
            })?,
            None => Self::default(),
        };
        for (key, answer) in &given.answers {
            let answer = serde_json::from_str(answer).map_err(|error| {
                let message = format_args!("the answer to `{key}` is not JSON: {error}");
                Error::of_kind(ErrorKind::InvalidArguments, message)
            })?;
            // What the function has already acted upon doesn't change any more.
            kept.answers.entry(key.clone()).or_insert(answer);
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(answers: &[(&str, &str)], state: Option<Vec<u8>>) -> Continuation {
        let answers = answers.iter().map(|&(key, json)| (key.to_owned(), json.to_owned()));
        Continuation { answers: answers.collect(), state }
    }

    #[test]
    fn earlier_answers_come_back_through_the_state_and_stay_what_they_were() {
        let state = enter(given(&[("a", "1")], None), || {
            assert_eq!(answer("a").unwrap(), Some(1.into()));
            assert_eq!(answer("b").unwrap(), None);
            kept_state()
        });
        assert_eq!(state.as_deref(), Some(&br#"{"answers":{"a":1}}"#[..]));
        enter(given(&[("a", "3"), ("b", "2")], state), || {
            assert_eq!(answer("a").unwrap(), Some(1.into()));
            assert_eq!(answer("b").unwrap(), Some(2.into()));
        });
    }

    #[test]
    fn a_state_is_kept_until_it_is_set_anew() {
        let first = enter(Continuation::default(), || {
            assert_eq!(state::<u8>().unwrap(), None);
            assert_eq!(kept_state(), None);
            set_state(&1u8).unwrap();
            kept_state()
        });
        let second = enter(given(&[], first), || {
            assert_eq!(state::<u8>().unwrap(), Some(1));
            kept_state()
        });
        enter(given(&[], second), || assert_eq!(state::<u8>().unwrap(), Some(1)));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let state = Some(b"nonsense".to_vec());
        let error = enter(given(&[], state), || answer("a").unwrap_err());
        assert!(error.message().starts_with("the state of this call can't be read: "));
        let error = enter(given(&[("a", "{")], None), || answer("a").unwrap_err());
        assert_eq!(error.kind(), ErrorKind::InvalidArguments);
        let other = Some(br#"{"state":"text"}"#.to_vec());
        let error = enter(given(&[], other), || self::state::<u8>().unwrap_err());
        assert!(error.message().starts_with("the state of this call is not what was expected"));
    }

    #[test]
    fn keys_count_anew_on_each_entry() {
        for _ in 0..2 {
            enter(Continuation::default(), || {
                let keys = ["elicit", "elicit", "roots"].map(|kind| next_key(kind).unwrap());
                assert_eq!(keys, ["elicit-1", "elicit-2", "roots-1"]);
            });
        }
        assert!(next_key("elicit").unwrap_err().message().contains("outside of a call"));
    }
}
