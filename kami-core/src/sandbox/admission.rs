//! Which call of a package may begin, and when.

use std::time::Duration;

use crate::grants::Limits;
use crate::name::PackageId;
use crate::rate::TokenBucket;
use crate::scheduler::{Claim, Lane, Permit, Principal, Priority, Scheduler};

/// Bounds how many calls of one package run at once, and how many begin in a minute.
pub(super) struct Admission {
    lane: Lane,
    patience: Duration,
    rate: Option<TokenBucket>,
}

/// Why a call may not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There were too many in the last minute; another one may begin after this time.
    Rate(Duration),
    /// Too many wait, or it waited for too long; it is worth to come again after this time.
    Busy(Duration),
}

impl Admission {
    pub(super) fn new(package: Option<&PackageId>, limits: &Limits) -> Self {
        let name = package.map_or("", PackageId::as_str);
        Self {
            lane: Lane::new(name, limits.concurrent_calls()),
            patience: limits.execution(),
            rate: limits.calls_per_minute().map(TokenBucket::per_minute),
        }
    }

    /// Waits for a place, for no longer than a call may last.
    pub(super) async fn admit(
        &self,
        scheduler: &Scheduler,
        principal: Principal,
        priority: Priority,
    ) -> Result<Permit, Refusal> {
        if let Some(rate) = &self.rate {
            rate.take().map_err(Refusal::Rate)?;
        }
        let claim = Claim { principal, lane: self.lane, priority, patience: self.patience };
        scheduler.admit(claim).await.map_err(|refusal| Refusal::Busy(refusal.retry()))
    }
}
