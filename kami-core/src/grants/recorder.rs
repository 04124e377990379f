//! Finding out what a tool needs, by letting it have what it did not ask for.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::net::NetAccess;
use super::{Access, Capabilities};

/// Is told what a tool does, and decides about it in the place of request and grant.
///
/// It is for whoever watches a tool of their own run. What a policy cuts off stays cut off, and what
/// no tool may do is not asked about.
///
/// All methods are called while the guest waits, on its thread. What they are told is the guest's
/// word, and so are its length and number.
pub trait Recorder: fmt::Debug + Send + Sync {
    /// Whether a request or a connection is permitted.
    fn network(&self, access: &NetAccess<'_>) -> bool;

    /// Whether the name that `access` is about may lead to `address`, which is not a public one.
    fn address(&self, access: &NetAccess<'_>, address: IpAddr) -> bool;

    /// A socket is to be connected to `name`, whose addresses are looked up.
    fn lookup(&self, name: &str);

    /// Something was done with a file or directory, at its path as the guest sees it.
    fn file(&self, path: &str, access: Access);

    /// The environment was read.
    fn environment(&self);
}

/// A run that finds out what a tool needs.
#[derive(Debug, Clone)]
pub struct Recording {
    /// What is asked for, in the place of what the manifest says.
    pub requests: Capabilities,
    /// Who is told what becomes of it.
    pub recorder: Arc<dyn Recorder>,
}
