//! Finds secrets in whatever comes back, and strikes them out.
//!
//! Every struck byte becomes `*`, so that lengths and frames stay as they are. All forms of all
//! values are looked for in one pass, also where they overlap or lie across the parts of a stream.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, MatchKind};
use bytes::Bytes;
use serde_json::{Map, Value};

use super::SecretValue;
use super::encodings::forms;

/// What stands in the place of a byte of a secret.
const STRUCK: u8 = b'*';

/// Knows some values in all their usual forms. One without values does nothing and costs nothing.
///
/// Its own memory holds the forms until it is dropped, and is not wiped then.
#[derive(Clone, Default)]
pub struct Scrubber(Option<Arc<Needles>>);

/// The values are too many or too long to be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the secrets of one tool have {bytes} bytes together, and may have {}: grant it fewer",
    Scrubber::MAX_BYTES
)]
pub struct TooMuchToScrub {
    /// How many bytes all values have together.
    pub bytes: usize,
}

impl Scrubber {
    /// The most bytes that all values may have together: two of the longest. Each byte is part of
    /// many forms, and so costs about 300 bytes of memory in a token of letters and digits, and four
    /// kilobytes where nearly every character has to be encoded.
    pub const MAX_BYTES: usize = 2 * SecretValue::MAX_BYTES;

    /// Prepares to look for `values`.
    ///
    /// # Errors
    /// Where they have more than [`Scrubber::MAX_BYTES`] together.
    pub fn new<'a>(
        values: impl IntoIterator<Item = &'a SecretValue>,
    ) -> Result<Self, TooMuchToScrub> {
        let values: Vec<&str> = values.into_iter().map(SecretValue::expose).collect();
        let bytes = values.iter().map(|value| value.len()).sum();
        if bytes > Self::MAX_BYTES {
            return Err(TooMuchToScrub { bytes });
        }
        if values.is_empty() {
            return Ok(Self(None));
        }
        let needles = Needles::new(&values).ok_or(TooMuchToScrub { bytes })?;
        Ok(Self(Some(Arc::new(needles))))
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// `text` without secrets.
    pub fn scrub_str<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let Some(needles) = self.0.as_ref().filter(|needles| needles.occur_in(text.as_bytes()))
        else {
            return Cow::Borrowed(text);
        };
        let mut bytes = text.as_bytes().to_vec();
        needles.strike_all(&mut bytes);
        // A form is made of whole characters, so what is left is too.
        Cow::Owned(
            String::from_utf8(bytes)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        )
    }

    /// `bytes` without secrets; as many as before.
    pub fn scrub_bytes(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if let Some(needles) = &self.0 {
            needles.strike_all(&mut bytes);
        }
        bytes
    }

    /// Strikes secrets out of all keys and texts of `value`, and out of numbers, which become text.
    pub fn scrub_json(&self, value: &mut Value) {
        if self.is_empty() {
            return;
        }
        match value {
            Value::String(text) => {
                if let Cow::Owned(scrubbed) = self.scrub_str(text) {
                    *text = scrubbed;
                }
            }
            Value::Number(number) => {
                if let Cow::Owned(scrubbed) = self.scrub_str(&number.to_string()) {
                    *value = Value::String(scrubbed);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.scrub_json(item)),
            Value::Object(object) => self.scrub_object(object),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// The same for the object of a JSON value.
    pub fn scrub_object(&self, object: &mut Map<String, Value>) {
        let Some(needles) = &self.0 else { return };
        object.values_mut().for_each(|value| self.scrub_json(value));
        if object.keys().any(|key| needles.occur_in(key.as_bytes())) {
            for (key, value) in std::mem::take(object) {
                let mut key = self.scrub_str(&key).into_owned();
                // Keys that differed in secrets only stay apart.
                while object.contains_key(&key) {
                    key.push(char::from(STRUCK));
                }
                object.insert(key, value);
            }
        }
    }

    /// Begins to scrub something that comes in parts.
    pub fn stream(&self) -> ScrubStream {
        let begin = |needles: &Arc<Needles>| Open {
            needles: Arc::clone(needles),
            walk: Walk { state: needles.start, struck: 0..0 },
            held: Vec::new(),
        };
        ScrubStream(self.0.as_ref().map(begin))
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrubber").field("is_empty", &self.is_empty()).finish_non_exhaustive()
    }
}

/// Scrubs something that comes in parts, wherever these are cut.
///
/// It keeps back only what may be the beginning of a secret, so that a stream of events flows.
pub struct ScrubStream(Option<Open>);

/// A stream in which there is something to look for.
struct Open {
    needles: Arc<Needles>,
    walk: Walk,
    /// What may begin a secret; what is certain in it is struck already.
    held: Vec<u8>,
}

impl ScrubStream {
    /// Takes the next part, and gives what can be passed on.
    pub fn push(&mut self, part: Bytes) -> Bytes {
        match &mut self.0 {
            Some(open) => open.push(part),
            None => part,
        }
    }

    /// Ends the stream, and gives what was kept back: it was not the beginning of a secret.
    pub fn finish(self) -> Bytes {
        self.0.map(|open| Bytes::from(open.held)).unwrap_or_default()
    }
}

impl Open {
    fn push(&mut self, part: Bytes) -> Bytes {
        if self.held.is_empty()
            && let Some(state) = self.needles.pass(self.walk.state, &part)
        {
            // Nearly all parts are of this kind: not one byte is copied but those that are held.
            self.walk = Walk { state, struck: 0..0 };
            let settled = self.walk.settled(&self.needles, part.len());
            self.held = part[settled..].to_vec();
            return part.slice(..settled);
        }
        let from = self.held.len();
        self.held.extend_from_slice(&part);
        self.needles.strike(&mut self.walk, &mut self.held, from);
        let settled = self.walk.settled(&self.needles, self.held.len());
        let rest = self.held.split_off(settled);
        self.walk.forget(settled);
        Bytes::from(std::mem::replace(&mut self.held, rest))
    }
}

impl fmt::Debug for ScrubStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScrubStream").finish_non_exhaustive()
    }
}

/// Everything that is looked for, as one automaton.
struct Needles {
    automaton: NFA,
    start: StateID,
    /// How long the beginning of a form is that each state stands for, in the order of states. It is
    /// asked once for each part of a stream, so it may be slow, and small.
    depths: Vec<(StateID, u32)>,
}

impl Needles {
    /// `None` where the automaton would be too large.
    fn new(values: &[&str]) -> Option<Self> {
        let forms: Vec<_> = values.iter().flat_map(|value| forms(value)).collect();
        let patterns = forms.iter().map(|form| form.as_slice());
        let automaton = NFA::builder().match_kind(MatchKind::Standard).build(patterns).ok()?;
        let start = automaton.start_state(Anchored::No).ok()?;
        let mut depths = vec![(start, 0)];
        for form in &forms {
            let mut state = start;
            depths.extend((1..).zip(form.iter()).map(|(depth, byte)| {
                state = automaton.next_state(Anchored::No, state, *byte);
                (state, depth)
            }));
        }
        // Forms that begin alike share states.
        depths.sort_unstable();
        depths.dedup();
        Some(Self { automaton, start, depths })
    }

    fn occur_in(&self, bytes: &[u8]) -> bool {
        self.automaton.try_find(&bytes.into()).is_ok_and(|found| found.is_some())
    }

    /// Reads `bytes` on from `state`; `None` where a form ends in them.
    fn pass(&self, mut state: StateID, bytes: &[u8]) -> Option<StateID> {
        for byte in bytes {
            state = self.automaton.next_state(Anchored::No, state, *byte);
            if self.automaton.is_match(state) {
                return None;
            }
        }
        Some(state)
    }

    fn strike_all(&self, bytes: &mut [u8]) {
        if self.occur_in(bytes) {
            self.strike(&mut Walk { state: self.start, struck: 0..0 }, bytes, 0);
        }
    }

    /// Reads `bytes` on from `from`, and strikes every form that ends there.
    fn strike(&self, walk: &mut Walk, bytes: &mut [u8], from: usize) {
        for at in from..bytes.len() {
            walk.state = self.automaton.next_state(Anchored::No, walk.state, bytes[at]);
            if self.automaton.is_match(walk.state) {
                // A form may begin in what was struck and passed on already.
                let start = (at + 1).saturating_sub(self.longest(walk.state));
                let goes_on = walk.struck.start <= start && start <= walk.struck.end;
                // What is struck is not struck again: text that repeats itself would take long.
                let fresh = if goes_on { walk.struck.end } else { start };
                bytes[fresh..=at].fill(STRUCK);
                walk.struck = if goes_on { walk.struck.start } else { start }..at + 1;
            }
        }
    }

    /// How many of the last bytes may begin a form, after which `state` was reached.
    fn depth(&self, state: StateID) -> usize {
        let found = self.depths.binary_search_by_key(&state, |(state, _)| *state);
        found.map_or(0, |at| self.depths[at].1 as usize)
    }

    /// The length of the longest form that ends in `state`.
    fn longest(&self, state: StateID) -> usize {
        let ending = 0..self.automaton.match_len(state);
        let ending = ending.map(|at| self.automaton.match_pattern(state, at));
        ending.map(|form| self.automaton.pattern_len(form)).max().unwrap_or(0)
    }
}

/// How far a text was read.
struct Walk {
    state: StateID,
    /// What was struck last, in the text as it is held.
    struck: Range<usize>,
}

impl Walk {
    /// How many of `length` bytes no later byte can change.
    fn settled(&self, needles: &Needles, length: usize) -> usize {
        let open = length.saturating_sub(needles.depth(self.state));
        if self.struck.contains(&open) { self.struck.end } else { open }
    }

    /// The first `count` bytes were passed on.
    fn forget(&mut self, count: usize) {
        let before = |at: usize| at.saturating_sub(count);
        self.struck = before(self.struck.start)..before(self.struck.end);
    }
}

#[cfg(test)]
mod tests;
