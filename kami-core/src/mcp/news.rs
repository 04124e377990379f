//! What clients are told without having asked: that a list is another one now.

use std::sync::Arc;

use tokio::sync::watch;

use crate::call::Listing;

/// How often each list has changed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct News {
    tools: u64,
    resources: u64,
    prompts: u64,
}

/// Tells everybody who listens.
#[derive(Debug, Clone)]
pub(super) struct NewsDesk(Arc<watch::Sender<News>>);

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
        Self(Arc::new(watch::Sender::new(News::default())))
    }

    /// A list is another one now.
    pub(super) fn changed(&self, listing: Listing) {
        self.0.send_modify(|news| *news.count(listing) += 1);
    }

    /// Hears of everything from now on.
    pub(super) fn listener(&self) -> Listener {
        let news = self.0.subscribe();
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
}
