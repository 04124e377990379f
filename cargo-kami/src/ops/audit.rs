//! The audit log, for the commands that do what it records.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Context as _;
use kami_core::audit::{AuditArguments, AuditError, AuditEvent, AuditLog, AuditOptions};
use kami_core::policy::{AuditedArguments, Policy};
use kami_core::registry::DataDir;

use crate::exit::{Exit, Failure};

/// The code under which it is recorded that consent was not given.
pub const CONSENT: &str = "KAMI-CONSENT";

/// The flags by which an operator chooses what is recorded of calls.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AuditFlags {
    /// What the audit log keeps of the arguments of calls: their `digest`, or them in `full`; a
    /// policy that says so decides
    #[arg(long, value_name = "WHAT", default_value = "digest", hide_possible_values = true)]
    audit_arguments: Kept,
}

/// How much of the arguments is kept.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Kept {
    /// Their SHA-256.
    #[default]
    Digest,
    /// All of them, up to 16 KiB.
    Full,
}

impl AuditFlags {
    /// Opens the log for the calls of this process.
    ///
    /// # Errors
    /// Where it is damaged or cannot be written.
    pub fn open(&self, data: &DataDir, policy: Option<&Policy>) -> anyhow::Result<Arc<AuditLog>> {
        let decided = policy.and_then(|policy| policy.audited_arguments);
        let arguments = match (decided, self.audit_arguments) {
            (Some(AuditedArguments::Digest), _) | (None, Kept::Digest) => AuditArguments::Digest,
            (Some(AuditedArguments::Full), _) | (None, Kept::Full) => AuditArguments::Full,
        };
        let options = AuditOptions { arguments, ..AuditOptions::default() };
        match AuditLog::open(data, options) {
            Ok(log) => Ok(Arc::new(log)),
            Err(error @ AuditError::Damaged(_)) => Err(error).context(damaged(data)),
            Err(error) => Err(error.into()),
        }
    }
}

fn damaged(data: &DataDir) -> Failure {
    let directory = data.audit_dir();
    Failure::new(Exit::Audit, "nothing was done, as it could not be recorded").help(format!(
        "find out what was altered with `cargo kami log verify`; then move {} away, and a new log \
         is begun",
        directory.display()
    ))
}

/// Opens the log for a command that makes no calls. That comes before anything is done that is to
/// be recorded, so that nothing is done where it could not be.
///
/// # Errors
/// Where it is damaged or cannot be written.
pub fn open(data: &DataDir) -> anyhow::Result<Arc<AuditLog>> {
    AuditFlags::default().open(data, None)
}

/// Records that `name` was refused, if it was, under a stable code.
///
/// # Errors
/// What is in `result`, or that it cannot be recorded.
pub fn refusal<T>(
    log: &AuditLog,
    name: &str,
    code: &'static str,
    result: anyhow::Result<T>,
) -> anyhow::Result<T> {
    if let Err(error) = &result {
        log.append(AuditEvent::Refusal {
            tool: name.to_owned(),
            package: None,
            code: Cow::Borrowed(code),
            reason: format!("{error:#}"),
            client: None,
            identity: None,
        })?;
    }
    result
}
