//! Room for what is kept of requests until they are answered.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bytes that a request has taken.
#[derive(Default)]
pub(super) struct Held {
    free: Option<OwnedSemaphorePermit>,
    share: Option<OwnedSemaphorePermit>,
    common: Option<OwnedSemaphorePermit>,
}

/// There is no room for more.
pub(super) struct Full;

impl Held {
    /// Takes more bytes: of what its connection has to itself, or else, within its share, of what there
    /// is for all.
    pub(super) fn take(
        &mut self,
        bytes: usize,
        free: &Arc<Semaphore>,
        share: &Arc<Semaphore>,
        common: &Arc<Semaphore>,
    ) -> Result<(), Full> {
        let bytes = u32::try_from(bytes).map_err(|_| Full)?;
        let of = |room: &Arc<Semaphore>| Arc::clone(room).try_acquire_many_owned(bytes);
        if let Ok(taken) = of(free) {
            add(&mut self.free, taken);
            return Ok(());
        }
        let (Ok(part), Ok(taken)) = (of(share), of(common)) else { return Err(Full) };
        add(&mut self.share, part);
        add(&mut self.common, taken);
        Ok(())
    }
}

fn add(held: &mut Option<OwnedSemaphorePermit>, taken: OwnedSemaphorePermit) {
    match held {
        Some(held) => held.merge(taken),
        None => *held = Some(taken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connection_takes_its_share_of_the_common_room_and_no_more() {
        let room = |bytes| Arc::new(Semaphore::new(bytes));
        let (free, share, common) = (room(10), room(100), room(1000));
        let mut held = [(); 3].map(|()| Held::default());
        assert!(held[0].take(8, &free, &share, &common).is_ok());
        assert!(held[1].take(60, &free, &share, &common).is_ok());
        assert!(held[2].take(60, &free, &share, &common).is_err());
        let left = [&free, &share, &common].map(|room| room.available_permits());
        assert_eq!(left, [2, 40, 940], "what was refused took nothing");
        assert!(Held::default().take(60, &room(0), &room(100), &common).is_ok(), "another one");
        drop(held);
        let left = [&free, &share, &common].map(|room| room.available_permits());
        assert_eq!(left, [10, 100, 1000]);
    }
}
