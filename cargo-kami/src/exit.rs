//! The exit codes, one for each kind of failure, and the errors that lead to them.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitCode;

use kami_core::audit::AuditError;
use kami_core::component::ComponentError;
use kami_core::engine::EngineError;
use kami_core::manifest::ManifestError;
use kami_core::manifest::source::SourceError;
use kami_core::policy::PolicyError;
use kami_core::registry::RegistryError;
use kami_core::resolve::ResolveError;
use kami_core::secrets::SecretStoreError;
use kami_core::signing::{RotationError, SignatureError};

use crate::diagnostic::InvalidManifests;

/// How the program ends. The numbers are a promise to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Success = 0,
    Failure = 1,
    Usage = 2,
    Manifest = 10,
    Compile = 11,
    Toolchain = 12,
    Artifact = 13,
    Check = 14,
    Signature = 15,
    Refused = 16,
    NotFound = 17,
    Registry = 18,
    Tool = 19,
    OutputClosed = 20,
    Audit = 21,
    Secrets = 22,
    Policy = 23,
    Interrupted = 130,
}

/// Every code, for the help.
pub const ALL: &[Exit] = &[
    Exit::Success,
    Exit::Failure,
    Exit::Usage,
    Exit::Manifest,
    Exit::Compile,
    Exit::Toolchain,
    Exit::Artifact,
    Exit::Check,
    Exit::Signature,
    Exit::Refused,
    Exit::NotFound,
    Exit::Registry,
    Exit::Tool,
    Exit::OutputClosed,
    Exit::Audit,
    Exit::Secrets,
    Exit::Policy,
    Exit::Interrupted,
];

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "success",
            Self::Failure => "a failure without a code of its own, such as an unreadable file",
            Self::Usage => "the command line is wrong",
            Self::Manifest => "the manifest in Cargo.toml or tool.toml, or a pipeline, is wrong",
            Self::Compile => "cargo could not read or compile the package",
            Self::Toolchain => "the compiler or its target wasm32-wasip2 is missing",
            Self::Artifact => "the file is not what was expected, or cannot become an artifact",
            Self::Check => "`check` found mistakes",
            Self::Signature => {
                "unsigned, changed after signing, or signed by a key that is not trusted for it"
            }
            Self::Refused => "consent was not given, or the policy refuses",
            Self::NotFound => "nothing of that name",
            Self::Registry => "the registry is corrupt or from a newer version",
            Self::Tool => "the tool ran and failed, or was stopped",
            Self::Policy => "the policy file cannot be read, or is wrong",
            Self::OutputClosed => "the reader of the output went away",
            Self::Audit => "the audit log is damaged, or cannot be written",
            Self::Secrets => {
                "the secrets cannot be opened: no key, another's key, or a damaged store"
            }
            Self::Interrupted => "interrupted",
        })
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// Tells the code from the outermost error whose kind has one.
    pub fn of(error: &anyhow::Error) -> Self {
        // A failure that was put around another as context is not in the chain by its own type.
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.exit;
        }
        error.chain().find_map(Self::of_cause).unwrap_or(Self::Failure)
    }

    fn of_cause(cause: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return Some(failure.exit);
        }
        let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        if cause.downcast_ref::<io::Error>().is_some_and(closed) {
            return Some(Self::OutputClosed);
        }
        if cause.is::<InvalidManifests>() || cause.is::<SourceError>() {
            return Some(Self::Manifest);
        }
        if cause.is::<ComponentError>() || cause.is::<ManifestError>() {
            return Some(Self::Artifact);
        }
        if cause.is::<SignatureError>() || cause.is::<RotationError>() {
            return Some(Self::Signature);
        }
        if cause.is::<SecretStoreError>() {
            return Some(Self::Secrets);
        }
        if cause.is::<PolicyError>() {
            return Some(Self::Policy);
        }
        if let Some(error) = cause.downcast_ref::<AuditError>() {
            return Some(match error {
                AuditError::DataDir(error) => Self::of_registry(error),
                _ => Self::Audit,
            });
        }
        if let Some(error) = cause.downcast_ref::<RegistryError>() {
            return Some(Self::of_registry(error));
        }
        if let Some(error) = cause.downcast_ref::<EngineError>() {
            return Self::of_engine(error);
        }
        match cause.downcast_ref::<ResolveError>()? {
            ResolveError::Engine(error) => Self::of_engine(error),
            ResolveError::Registry(error) => Some(Self::of_registry(error)),
            ResolveError::NotFound { .. } | ResolveError::Ambiguous { .. } => Some(Self::NotFound),
            ResolveError::Tampered { .. } | ResolveError::Record(_) => Some(Self::Signature),
            ResolveError::Policy(_) => Some(Self::Policy),
            ResolveError::Pipeline { .. } => Some(Self::Manifest),
            ResolveError::Refused { .. } => Some(Self::Refused),
            ResolveError::Schema { .. } | ResolveError::Sandbox { .. } => Some(Self::Artifact),
            _ => None,
        }
    }

    fn of_engine(error: &EngineError) -> Option<Self> {
        match error {
            EngineError::Compile(_)
            | EngineError::TooSlow { .. }
            | EngineError::TooMuchMemory { .. }
            | EngineError::Crashed { .. } => Some(Self::Artifact),
            EngineError::Start(_) | EngineError::Ticker(_) | EngineError::Worker(_) => None,
        }
    }

    fn of_registry(error: &RegistryError) -> Self {
        match error {
            RegistryError::NotInstalled(_)
            | RegistryError::NotPinned(_)
            | RegistryError::NoToken(_) => Self::NotFound,
            RegistryError::TokenExists(_) | RegistryError::TooManyTokens => Self::Failure,
            RegistryError::Pinned { .. } => Self::Signature,
            _ => Self::Registry,
        }
    }
}

/// An expected failure: its code, what happened, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    exit: Exit,
    message: String,
    help: Option<String>,
}

impl Failure {
    /// Says what happened.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), help: None }
    }

    /// Adds what to do: an exact command or line where there is one.
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The advice of the first failure in `error` that has some.
    pub fn help_of(error: &anyhow::Error) -> Option<&str> {
        let outermost = error.downcast_ref::<Self>();
        let causes = error.chain().filter_map(|cause| cause.downcast_ref::<Self>());
        outermost.into_iter().chain(causes).find_map(|failure| failure.help.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn the_list_is_whole_and_every_code_is_told_once() {
        let mut codes: Vec<u8> = ALL.iter().map(|exit| *exit as u8).collect();
        codes.dedup();
        assert_eq!(codes.len(), ALL.len());
        assert!(codes.is_sorted());
    }

    #[test]
    fn a_failure_keeps_its_code_and_advice_under_context_and_as_context() {
        let failure = || Failure::new(Exit::Compile, "no").help("do this");
        let under = anyhow::Error::from(failure()).context("building x");
        let around = Err::<(), _>(io::Error::other("deep")).context(failure()).unwrap_err();
        for error in [under, around] {
            assert_eq!(Exit::of(&error), Exit::Compile, "{error:?}");
            assert_eq!(Failure::help_of(&error), Some("do this"), "{error:?}");
        }
    }

    #[test]
    fn errors_of_the_library_have_codes() {
        let error = kami_core::component::Component::parse(b"noise".to_vec()).unwrap_err();
        assert_eq!(Exit::of(&anyhow::Error::from(error).context("reading x.wasm")), Exit::Artifact);
    }
}
