//! What a tool says while it runs, as notifications to the client that called it.
#![expect(
    deprecated,
    reason = "logging is deprecated in 2026-07-28 and still part of every revision"
)]

use rmcp::RoleServer;
use rmcp::model::{
    LoggingLevel, LoggingMessageNotificationParam, ProgressNotificationParam, ProgressToken,
};
use rmcp::service::Peer;
use tokio::sync::mpsc;

use crate::call::{EventSink, GuestEvent, Level};
use crate::name::ToolName;

/// The end of the line at which the guest speaks. It never blocks, and the sandbox bounds how much
/// a guest may say.
pub(super) struct Speaker {
    events: mpsc::UnboundedSender<GuestEvent>,
    /// What nobody asked for goes nowhere.
    threshold: Option<Level>,
    progress: bool,
}

/// The end at which the client listens.
pub(super) struct Relay {
    events: mpsc::UnboundedReceiver<GuestEvent>,
    peer: Peer<RoleServer>,
    logger: String,
    progress: Option<(ProgressToken, f64)>,
}

/// Connects one call to the client that made it: log messages from `threshold` on, and progress
/// under `token`, where the client gave them.
pub(super) fn relay(
    peer: Peer<RoleServer>,
    logger: &ToolName,
    threshold: Option<Level>,
    token: Option<ProgressToken>,
) -> (Speaker, Relay) {
    let (sender, events) = mpsc::unbounded_channel();
    let speaker = Speaker { events: sender, threshold, progress: token.is_some() };
    let progress = token.map(|token| (token, f64::NEG_INFINITY));
    (speaker, Relay { events, peer, logger: logger.to_string(), progress })
}

impl EventSink for Speaker {
    fn event(&self, event: GuestEvent) {
        let wanted = match &event {
            GuestEvent::Log { level, .. } => self.threshold.is_some_and(|least| *level >= least),
            GuestEvent::Progress { .. } => self.progress,
            GuestEvent::ListChanged(_) => false,
        };
        if wanted {
            // The relay is gone once the call is answered, and so is the wish to hear.
            let _ = self.events.send(event);
        }
    }
}

impl Relay {
    /// Forwards what `call` says while it runs, and the rest once it is done.
    pub(super) async fn during<T>(mut self, call: impl Future<Output = T>) -> T {
        let mut call = std::pin::pin!(call);
        let result = loop {
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => self.forward(event).await,
                result = &mut call => break result,
            }
        };
        while let Ok(event) = self.events.try_recv() {
            self.forward(event).await;
        }
        result
    }

    async fn forward(&mut self, event: GuestEvent) {
        let sent = match event {
            GuestEvent::Log { level, message } => {
                let log =
                    LoggingMessageNotificationParam::new(protocol_level(level), message.into())
                        .with_logger(self.logger.as_str());
                self.peer.notify_logging_message(log).await
            }
            GuestEvent::Progress { progress, total, message } => {
                let Some(mut update) = self.step(progress) else { return };
                update.total = total.filter(|total| total.is_finite());
                update.message = message;
                self.peer.notify_progress(update).await
            }
            GuestEvent::ListChanged(_) => return,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "a notification did not reach the client");
        }
    }

    /// Progress has to increase: what does not is left out.
    fn step(&mut self, progress: f64) -> Option<ProgressNotificationParam> {
        let (token, last) = self.progress.as_mut()?;
        if !progress.is_finite() || progress <= *last {
            return None;
        }
        *last = progress;
        Some(ProgressNotificationParam::new(token.clone(), progress))
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
