//! What a tool says while it runs, as notifications to the client that called it.
#![expect(
    deprecated,
    reason = "logging is deprecated in 2026-07-28 and still part of every revision"
)]

use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{
    LoggingLevel, LoggingMessageNotification, LoggingMessageNotificationParam,
    ProgressNotification, ProgressNotificationParam, ProgressToken, ServerJsonRpcMessage,
    ServerNotification,
};

use super::news::NewsDesk;
use super::wire::{Wire, json};
use crate::call::{EventSink, GuestEvent, Level};

/// Tells a client what a tool says while it runs, as far as the client wants to hear it. It never
/// blocks, and the sandbox bounds how much a guest may say.
pub(super) struct Speaker {
    wire: Arc<dyn Wire>,
    desk: NewsDesk,
    logger: String,
    /// What nobody asked for goes nowhere.
    threshold: Option<Level>,
    progress: Option<Arc<Progress>>,
}

/// What a client hears of how far its request has come, also where a guest is entered several times
/// for it: progress has to increase, and what does not is left out.
pub(super) struct Progress {
    token: ProgressToken,
    told: Mutex<f64>,
}

impl Progress {
    /// Under the token that the client gave.
    pub(super) fn under(token: ProgressToken) -> Arc<Self> {
        Arc::new(Self { token, told: Mutex::new(f64::NEG_INFINITY) })
    }

    fn step(&self, progress: f64) -> Option<ProgressNotificationParam> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !progress.is_finite() || progress <= *told {
            return None;
        }
        *told = progress;
        Some(ProgressNotificationParam::new(self.token.clone(), progress))
    }
}

impl Speaker {
    /// Tells log messages from `threshold` on, and progress, where there are such.
    pub(super) fn new(
        wire: Arc<dyn Wire>,
        desk: NewsDesk,
        logger: &str,
        threshold: Option<Level>,
        progress: Option<Arc<Progress>>,
    ) -> Self {
        Self { wire, desk, logger: logger.to_owned(), threshold, progress }
    }
}

impl EventSink for Speaker {
    fn event(&self, event: GuestEvent) {
        let notification: ServerNotification = match event {
            GuestEvent::Log { level, message } => {
                if self.threshold.is_none_or(|least| level < least) {
                    return;
                }
                let log =
                    LoggingMessageNotificationParam::new(protocol_level(level), message.into())
                        .with_logger(self.logger.as_str());
                LoggingMessageNotification::new(log).into()
            }
            GuestEvent::Progress { progress, total, message } => {
                let step = self.progress.as_ref().and_then(|told| told.step(progress));
                let Some(mut update) = step else { return };
                update.total = total.filter(|total| total.is_finite());
                update.message = message;
                ProgressNotification::new(update).into()
            }
            GuestEvent::ListChanged(listing) => return self.desk.changed_by_guest(listing),
        };
        self.wire.send(json(&ServerJsonRpcMessage::notification(notification)));
    }
}

/// What the protocol calls `level`.
fn protocol_level(level: Level) -> LoggingLevel {
    match level {
        Level::Debug => LoggingLevel::Debug,
        Level::Info => LoggingLevel::Info,
        Level::Notice => LoggingLevel::Notice,
        Level::Warning => LoggingLevel::Warning,
        Level::Error => LoggingLevel::Error,
        Level::Critical => LoggingLevel::Critical,
        Level::Alert => LoggingLevel::Alert,
        Level::Emergency => LoggingLevel::Emergency,
    }
}

/// The level that the protocol means by `level`.
pub(super) fn guest_level(level: LoggingLevel) -> Level {
    match level {
        LoggingLevel::Debug => Level::Debug,
        LoggingLevel::Info => Level::Info,
        LoggingLevel::Notice => Level::Notice,
        LoggingLevel::Warning => Level::Warning,
        LoggingLevel::Error => Level::Error,
        LoggingLevel::Critical => Level::Critical,
        LoggingLevel::Alert => Level::Alert,
        LoggingLevel::Emergency => Level::Emergency,
    }
}
