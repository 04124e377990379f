//! What clients are told without having asked: that a list is another one now.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::call::Listing;

/// How often each list has changed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct News {
    tools: u64,
    resources: u64,
    prompts: u64,
}

/// How often guests may have everybody told that a list is another one, at the most. Clients read the
/// list again each time.
const GUESTS_INTERVAL: Duration = Duration::from_millis(200);

/// Tells everybody who listens.
#[derive(Debug, Clone)]
pub(super) struct NewsDesk(Arc<Desk>);

#[derive(Debug)]
struct Desk {
    news: watch::Sender<News>,
    /// The lists that guests say have changed, until that is told.
    by_guests: Mutex<HashSet<Listing>>,
}

/// Hears of what has changed since.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    known: News,
    news: watch::Receiver<News>,
}

impl News {
    fn count(&mut self, listing: Listing) -> &mut u64 {
        match listing {
            Listing::Tools => &mut self.tools,
            Listing::Resources => &mut self.resources,
            Listing::Prompts => &mut self.prompts,
        }
    }
}

impl NewsDesk {
    pub(super) fn new() -> Self {
        let news = watch::Sender::new(News::default());
        Self(Arc::new(Desk { news, by_guests: Mutex::default() }))
    }

    /// A list is another one now.
    pub(super) fn changed(&self, listing: Listing) {
        self.0.news.send_modify(|news| *news.count(listing) += 1);
    }

    /// A guest says so, as often as it likes. It is told once in a while.
    pub(super) fn changed_by_guest(&self, listing: Listing) {
        let mut by_guests = self.by_guests();
        let is_first = by_guests.is_empty();
        if !by_guests.insert(listing) || !is_first {
            return;
        }
        let desk = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(GUESTS_INTERVAL).await;
            let changed = std::mem::take(&mut *desk.by_guests());
            changed.into_iter().for_each(|listing| desk.changed(listing));
        });
    }

    fn by_guests(&self) -> MutexGuard<'_, HashSet<Listing>> {
        self.0.by_guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of everything from now on.
    pub(super) fn listener(&self) -> Listener {
        let news = self.0.news.subscribe();
        let known = *news.borrow();
        Listener { known, news }
    }
}

const ALL: [Listing; 3] = [Listing::Tools, Listing::Resources, Listing::Prompts];

impl Listener {
    /// Waits until lists have changed, and says which: once, however often they did meanwhile.
    /// `None`: there will be no more news.
    pub(super) async fn changed(&mut self) -> Option<Vec<Listing>> {
        loop {
            let mut now = *self.news.borrow_and_update();
            let mut known = std::mem::replace(&mut self.known, now);
            let mut changed = ALL.to_vec();
            changed.retain(|listing| now.count(*listing) != known.count(*listing));
            if !changed.is_empty() {
                return Some(changed);
            }
            self.news.changed().await.ok()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_change_is_heard_of_once() {
        let desk = NewsDesk::new();
        desk.changed(Listing::Tools);
        let mut listener = desk.listener();
        desk.changed(Listing::Prompts);
        desk.changed(Listing::Prompts);
        assert_eq!(listener.changed().await, Some(vec![Listing::Prompts]));
        ALL.into_iter().for_each(|listing| desk.changed(listing));
        assert_eq!(listener.changed().await, Some(ALL.to_vec()));
        drop(desk);
        assert_eq!(listener.changed().await, None);
    }

    #[tokio::test]
    async fn guests_wake_nobody_more_often_than_they_may() {
        let desk = NewsDesk::new();
        let mut listener = desk.listener();
        let started = std::time::Instant::now();
        let mut heard = 0;
        while started.elapsed() < 3 * GUESTS_INTERVAL {
            for _ in 0..100 {
                desk.changed_by_guest(Listing::Tools);
            }
            let pause = Duration::from_millis(1);
            heard += usize::from(tokio::time::timeout(pause, listener.changed()).await.is_ok());
        }
        let most = started.elapsed().as_millis() / GUESTS_INTERVAL.as_millis();
        assert!(heard > 0 && heard <= most as usize, "{heard} times");
    }
}
