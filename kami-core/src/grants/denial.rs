//! Why something was not permitted, and what would permit it.

use std::fmt;

use super::limits::Limit;

/// One thing that a tool wanted and did not get.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{thing} is denied: {rule}")]
pub struct Denial {
    /// What was tried.
    pub thing: String,
    /// Which rule denies it.
    pub rule: DenialRule,
    /// The line that would permit it: in the manifest, in the grant or in the policy. Empty where
    /// nothing would.
    pub line: String,
}

impl Denial {
    pub(super) fn new(thing: impl fmt::Display, rule: DenialRule, line: String) -> Self {
        Self { thing: thing.to_string(), rule, line }
    }

    /// What to do about it, for a person; `package` is the id of the tool's package.
    pub fn hint(&self, package: &str) -> Option<String> {
        let line = &self.line;
        let hint = match self.rule {
            _ if line.is_empty() => return None,
            DenialRule::NotRequested | DenialRule::SpecialAddress => format!(
                "the tool's author can ask for it under [package.metadata.kami.security]: {line}"
            ),
            DenialRule::NotGranted => {
                format!("the operator can grant it: cargo kami grants {package} {line}")
            }
            DenialRule::Policy => format!("the policy file can permit it: {line}"),
            DenialRule::SecretNotSet | DenialRule::Unsafe => line.clone(),
            DenialRule::Limit(_) => format!("the limit can be raised: {line}"),
        };
        Some(hint)
    }

    /// What the model reads: one short line that ends in a stable code.
    pub fn for_model(&self) -> String {
        format!("{} is denied [{}]", self.thing, self.rule.code())
    }
}

/// The rules by which something is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialRule {
    /// The tool's manifest does not ask for it.
    NotRequested,
    /// The operator did not grant it.
    NotGranted,
    /// The policy file does not permit it.
    Policy,
    /// A name leads to an address that is private, loopback, link-local or otherwise special.
    SpecialAddress,
    /// A secret is granted and has no value.
    SecretNotSet,
    /// It is for nobody, as it would undermine what is promised.
    Unsafe,
    /// A limit is reached.
    Limit(Limit),
}

impl DenialRule {
    /// A stable code by which people and programs look this up.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotRequested => "KAMI-NOT-REQUESTED",
            Self::NotGranted => "KAMI-NOT-GRANTED",
            Self::Policy => "KAMI-POLICY",
            Self::SpecialAddress => "KAMI-ADDRESS",
            Self::SecretNotSet => "KAMI-SECRET",
            Self::Unsafe => "KAMI-UNSAFE",
            Self::Limit(_) => "KAMI-LIMIT",
        }
    }
}

impl fmt::Display for DenialRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRequested => f.write_str("the tool's manifest does not ask for it"),
            Self::NotGranted => f.write_str("the operator did not grant it"),
            Self::Policy => f.write_str("the policy file does not permit it"),
            Self::SpecialAddress => f.write_str(
                "the address is not a public one, and is reached only where it is named literally \
                 or a range that holds it is granted",
            ),
            Self::SecretNotSet => f.write_str("the secret is granted and has no value"),
            Self::Unsafe => f.write_str("no tool may do that"),
            Self::Limit(limit) => write!(f, "the limit {limit} is reached"),
        }
    }
}
