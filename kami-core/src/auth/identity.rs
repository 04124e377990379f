//! Whoever makes a request, and what they may do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::rate::TokenBucket;
use crate::registry::{CatalogEntry, InstalledPackage, Scope, ToolSelection};
use crate::scheduler::Principal;

/// Whoever makes a request.
///
/// Its [`Principal`] comes from who it is and not from what it may do: the same client gets the same
/// share of the server and keeps its sessions when its rights change.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Who it is, in a text that belongs to nobody else and whose first line names it; empty where
    /// nobody asked.
    owner: String,
    principal: Principal,
    scopes: BTreeSet<Scope>,
    tools: ToolSelection,
    rate: Option<Arc<TokenBucket>>,
    proof: Proof,
}

/// By what it is known who somebody is, so that it can be asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nobody was asked.
    Nothing,
    /// A token of this program's own, by its hash.
    Token(Digest),
    /// The word of an issuer, which holds until then.
    Until(SystemTime),
}

impl Identity {
    /// Somebody who was not asked who they are, and may do everything.
    pub fn anonymous(principal: Principal, rate: Option<Arc<TokenBucket>>) -> Self {
        let scopes = BTreeSet::from([Scope::Call]);
        let (owner, tools) = (String::new(), ToolSelection::default());
        Self { owner, principal, scopes, tools, rate, proof: Proof::Nothing }
    }

    /// Somebody who showed who they are. The first line of `owner` is for people, and all of it
    /// belongs to nobody else.
    pub(super) fn known(
        owner: String,
        scopes: BTreeSet<Scope>,
        tools: ToolSelection,
        proof: Proof,
    ) -> Self {
        Self { principal: Principal::named(&owner), owner, scopes, tools, rate: None, proof }
    }

    pub(super) fn proof(&self) -> &Proof {
        &self.proof
    }

    pub(super) fn with_rate(self, rate: Option<Arc<TokenBucket>>) -> Self {
        Self { rate, ..self }
    }

    /// How the audit log names it: `token:NAME` or `oauth:SUBJECT`; `None` where nobody asked.
    pub fn name(&self) -> Option<&str> {
        self.owner.lines().next()
    }

    /// Who it is, so that what it leaves behind is found by nobody else; empty where nobody asked.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// On whose behalf it calls.
    pub fn principal(&self) -> Principal {
        self.principal
    }

    /// Takes note that it calls.
    ///
    /// # Errors
    /// Where it does so too often: how long to wait.
    pub fn take_turn(&self) -> Result<(), Duration> {
        self.rate.as_ref().map_or(Ok(()), |rate| rate.take())
    }

    /// Whether it may do anything at all.
    pub fn has_rights(&self) -> bool {
        !self.scopes.is_empty()
    }

    /// Whether it may call every tool that there is.
    pub fn is_unrestricted(&self) -> bool {
        self.scopes.contains(&Scope::Call) && self.tools.is_everything()
    }

    /// Whether it may know that a tool is there. For one that it may not know of, everything is as if
    /// there were none.
    pub fn sees(&self, tool: &CatalogEntry) -> bool {
        let all = self.scopes.contains(&Scope::Read);
        (all && self.tools.allows(tool)) || self.may_call(tool)
    }

    /// Whether it may know what a package offers besides tools. That is for who has all of its tools.
    pub fn sees_all_of(&self, package: &InstalledPackage) -> bool {
        let all = self.scopes.contains(&Scope::Read);
        (all && self.tools.allows_all_of(package)) || self.may_enter(package)
    }

    /// Whether it may have what a package offers besides tools.
    pub fn may_enter(&self, package: &InstalledPackage) -> bool {
        let permits = |scope: &Scope| match scope {
            Scope::Call => true,
            Scope::Tool(pattern) => pattern.names_all_of(package),
            Scope::Read => false,
        };
        self.scopes.iter().any(permits) && self.tools.allows_all_of(package)
    }

    /// Whether it may call a tool.
    pub fn may_call(&self, tool: &CatalogEntry) -> bool {
        let permits = |scope: &Scope| match scope {
            Scope::Call => true,
            Scope::Tool(pattern) => pattern.names(tool),
            Scope::Read => false,
        };
        self.scopes.iter().any(permits) && self.tools.allows(tool)
    }
}
