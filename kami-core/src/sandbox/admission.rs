//! Which call of a package may begin, and when.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::engine::Engine;
use crate::grants::Limits;
use crate::rate::TokenBucket;

/// Bounds how many calls of one package run at once, and how many begin in a minute.
pub(super) struct Admission {
    places: Semaphore,
    rate: Option<TokenBucket>,
}

/// Places of a call that runs, given back when it ends.
pub(crate) struct Admitted<'a> {
    _of_the_package: SemaphorePermit<'a>,
    _of_all: SemaphorePermit<'a>,
}

/// Why a call may not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There were too many in the last minute; another one may begin after this time.
    Rate(Duration),
    /// All places were taken for as long as a call of this package may last.
    Busy,
}

impl Admission {
    pub(super) fn new(limits: &Limits) -> Self {
        let places = limits.concurrent_calls().min(Semaphore::MAX_PERMITS);
        let rate = limits.calls_per_minute().map(TokenBucket::per_minute);
        Self { places: Semaphore::new(places), rate }
    }

    /// Waits for a place of the package's own first, so that a package whose calls hang keeps only
    /// its own calls waiting, and nobody else's.
    pub(super) async fn admit<'a>(
        &'a self,
        engine: &'a Engine,
        patience: Duration,
    ) -> Result<Admitted<'a>, Refusal> {
        if let Some(rate) = &self.rate {
            rate.take().map_err(Refusal::Rate)?;
        }
        let both = async {
            let of_the_package = self.places.acquire().await;
            let of_the_package = of_the_package.expect("the semaphore is never closed");
            Admitted { _of_the_package: of_the_package, _of_all: engine.place().await }
        };
        tokio::time::timeout(patience, both).await.map_err(|_| Refusal::Busy)
    }
}
