//! Resources of which a client wants to hear.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::manifest::ResourceUri;

/// The most resources of which one client wants to hear.
pub(super) const MOST: usize = 256;

/// Resources, each with the artifact that it was last known to come from.
#[derive(Debug, Default)]
pub(super) struct Watched {
    artifacts: BTreeMap<ResourceUri, Option<Digest>>,
    /// The state of the registry of which this is true. Guests say that lists have changed as often
    /// as they like: nothing is looked up for that.
    generation: i64,
}

impl Watched {
    /// Adds a resource, which comes from `artifact` now, if there is room for one more.
    pub(super) fn add(&mut self, uri: ResourceUri, artifact: Option<Digest>) -> bool {
        let has_room = self.artifacts.len() < MOST || self.artifacts.contains_key(&uri);
        if has_room {
            self.artifacts.insert(uri, artifact);
        }
        has_room
    }

    pub(super) fn remove(&mut self, uri: &ResourceUri) {
        self.artifacts.remove(uri);
    }

    /// The resources that come from another artifact in this state of the registry.
    pub(super) fn updated(
        &mut self,
        generation: i64,
        artifact_of: impl Fn(&ResourceUri) -> Option<Digest>,
    ) -> Vec<ResourceUri> {
        let mut updated = Vec::new();
        if std::mem::replace(&mut self.generation, generation) == generation {
            return updated;
        }
        for (uri, known) in &mut self.artifacts {
            let now = artifact_of(uri);
            if std::mem::replace(known, now) != now {
                updated.push(uri.clone());
            }
        }
        updated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_told_once_and_nothing_is_looked_up_in_between() {
        let uri = |text: &str| text.parse::<ResourceUri>().unwrap();
        let (old, new) = (Some(Digest::of(b"old")), Some(Digest::of(b"new")));
        let mut watched = Watched::default();
        assert!(watched.add(uri("a:1"), old) && watched.add(uri("a:2"), None));
        let of = |changed: Option<Digest>| {
            move |found: &ResourceUri| if found.as_str() == "a:1" { changed } else { None }
        };
        assert_eq!(watched.updated(1, of(old)), []);
        assert_eq!(watched.updated(2, of(new)), [uri("a:1")]);
        assert_eq!(watched.updated(2, |_| panic!("the registry is as it was")), []);
        watched.remove(&uri("a:1"));
        assert_eq!(watched.updated(3, of(old)), []);
        let added = (0..=MOST).filter(|n| watched.add(uri(&format!("b:{n}")), None)).count();
        assert_eq!(added, MOST - 1, "there is one already");
    }
}
