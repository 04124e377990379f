//! What clients over HTTP/2 were answered and have not taken.
//!
//! Over HTTP/1.1 a connection has one reply at a time, and whoever does not take it is left. Over HTTP/2
//! it has many, and its client says for each how much of it may be sent. So they are counted, for each
//! connection and for all of them: where they become too many, the one with the most is closed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::listener::WRITE_TIMEOUT;

/// The most bytes of replies that wait for clients over HTTP/2, all together.
pub(super) const MOST_UNREAD: usize = 128 << 20;

/// For how long a client takes nothing that stands still.
const STILL: Duration = Duration::from_secs(5);

/// The replies of all connections.
#[derive(Default)]
pub(super) struct Backlog(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    total: usize,
    accounts: HashMap<u64, Entry>,
    next: u64,
}

struct Entry {
    bytes: usize,
    /// When its client last took something, or was given something to take.
    moved: Instant,
    /// Closes the connection.
    close: watch::Sender<bool>,
}

/// Those of one connection.
pub(super) struct Account {
    backlog: Arc<Backlog>,
    id: u64,
}

/// A reply, or a part of one, until the last of it is sent.
struct Counted {
    bytes: Bytes,
    account: Arc<Account>,
}

impl Backlog {
    /// Counts for another connection, which `close` closes.
    pub(super) fn open(self: &Arc<Self>, close: watch::Sender<bool>) -> Arc<Account> {
        let mut counts = self.lock();
        let id = counts.next;
        counts.next += 1;
        counts.accounts.insert(id, Entry { bytes: 0, moved: Instant::now(), close });
        Arc::new(Account { backlog: Arc::clone(self), id })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    /// Counts `bytes` until they, and all that is cut out of them, are dropped.
    pub(super) fn count(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        if bytes.is_empty() {
            return bytes;
        }
        let mut counts = self.backlog.lock();
        counts.total += bytes.len();
        if let Some(entry) = counts.accounts.get_mut(&self.id) {
            if entry.bytes == 0 {
                entry.moved = Instant::now();
            }
            entry.bytes += bytes.len();
        }
        // Those that stand still come first: one whose client is just being answered may have much.
        let worst = |entry: &&Entry| (entry.moved.elapsed() > STILL, entry.bytes);
        if counts.total > MOST_UNREAD
            && let Some(largest) = counts.accounts.values().max_by_key(worst)
            && !largest.close.send_replace(true)
        {
            tracing::warn!(
                bytes = largest.bytes,
                "a client does not take its replies: its connection is closed"
            );
        }
        drop(counts);
        Bytes::from_owner(Counted { bytes, account: Arc::clone(self) })
    }
}

impl Account {
    /// Takes note that the client took something.
    pub(super) fn moved(&self) {
        if let Some(entry) = self.backlog.lock().accounts.get_mut(&self.id) {
            entry.moved = Instant::now();
        }
    }

    /// Ends when there is something to be taken, and nothing of it was for too long. What is handed on
    /// to HTTP/2 itself has nobody else who watches over it.
    pub(super) async fn stalled(&self) {
        loop {
            let waits = {
                let counts = self.backlog.lock();
                let entry = counts.accounts.get(&self.id).filter(|entry| entry.bytes > 0);
                entry.map_or(Duration::ZERO, |entry| entry.moved.elapsed())
            };
            match WRITE_TIMEOUT.checked_sub(waits) {
                None | Some(Duration::ZERO) => return,
                Some(rest) => sleep(rest).await,
            }
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.backlog.lock().accounts.remove(&self.id);
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.account.backlog.lock();
        counts.total -= self.bytes.len();
        if let Some(entry) = counts.accounts.get_mut(&self.account.id) {
            entry.bytes -= self.bytes.len();
            entry.moved = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_that_leaves_most_unread_is_closed_and_no_other() {
        let backlog = Arc::new(Backlog::default());
        let closes = [(); 3].map(|()| watch::Sender::new(false));
        let accounts = closes.each_ref().map(|close| backlog.open(close.clone()));
        let closed = || closes.each_ref().map(|close| *close.borrow());
        let reply = |part: usize| Bytes::from(vec![0; MOST_UNREAD / part]);

        let small = accounts[0].count(reply(8));
        let large = [accounts[1].count(reply(4)), accounts[1].count(reply(4))];
        let other = accounts[2].count(reply(4));
        assert_eq!(closed(), [false; 3]);
        // What was sent does not count, and what is a part counts as the whole.
        let part = large[0].slice(..1);
        drop(large);
        let again = accounts[2].count(reply(4));
        assert_eq!(closed(), [false; 3]);
        let most = accounts[0].count(reply(4));
        assert_eq!(closed(), [false, false, true]);
        drop((small, part, other, again, most, accounts));
        let counts = backlog.lock();
        assert_eq!((counts.total, counts.accounts.len()), (0, 0));
    }

    /// As if its client had taken nothing for so long.
    fn stands_still(account: &Account, since: Duration) {
        let mut counts = account.backlog.lock();
        let entry = counts.accounts.get_mut(&account.id).unwrap();
        entry.moved = entry.moved.checked_sub(since).unwrap();
    }

    #[test]
    fn one_that_stands_still_is_closed_before_a_larger_one_that_does_not() {
        let backlog = Arc::new(Backlog::default());
        let closes = [(); 2].map(|()| watch::Sender::new(false));
        let accounts = closes.each_ref().map(|close| backlog.open(close.clone()));
        let reply = |bytes: usize| Bytes::from(vec![0; bytes]);
        let _still = accounts[0].count(reply(MOST_UNREAD / 4));
        stands_still(&accounts[0], 2 * STILL);
        let _large = accounts[1].count(reply(MOST_UNREAD / 4 * 3 + 1));
        assert_eq!(closes.each_ref().map(|close| *close.borrow()), [true, false]);
    }

    #[tokio::test]
    async fn a_connection_ends_that_takes_nothing_for_too_long() {
        let backlog = Arc::new(Backlog::default());
        let account = backlog.open(watch::Sender::new(false));
        let ends = async || {
            let soon = Duration::from_millis(20);
            tokio::time::timeout(soon, account.stalled()).await.is_ok()
        };
        stands_still(&account, WRITE_TIMEOUT);
        assert!(!ends().await, "there is nothing to take");
        let reply = account.count(Bytes::from_static(b"reply"));
        assert!(!ends().await, "it was just given");
        stands_still(&account, WRITE_TIMEOUT);
        assert!(ends().await);
        account.moved();
        assert!(!ends().await, "it took something");
        stands_still(&account, WRITE_TIMEOUT);
        drop(reply);
        assert!(!ends().await, "it took all");
    }
}
