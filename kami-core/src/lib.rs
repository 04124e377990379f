//! The runtime of KAMI: WebAssembly tools that an AI agent may call and that cannot hurt the
//! machine they run on.
//!
//! This crate is everything between bytes and reply. It never prints, never spawns a process and
//! never hears of cargo; a Rust agent framework can embed it as it is.
//!
//! # The life of a tool
//! The modules stand in the order in which a tool meets them, and each uses only those above it.
//!
//! 1. An author's table is read ([`manifest::source`]); it asks for capabilities in the vocabulary
//!    of [`grants`]. With the tools that the component describes ([`call::describe`]) it becomes a
//!    [`manifest::Manifest`], which [`component::Component::seal`] puts into the file.
//! 2. [`signing::sign`] adds a signature over every byte.
//! 3. An operator reads the file as an [`component::Artifact`], which runs nothing, and verifies it
//!    into a [`signing::SignedArtifact`]. With the operator's [`grants::Grant`] it goes into the
//!    [`registry`].
//!    What the operator's [`policy`] says about the package always wins.
//! 4. An agent lists the [`resolve::Catalog`] and names a tool. [`resolve::Resolver`] reads the
//!    bytes once, checks digest, record and signature, has the [`engine`] compile them, and links
//!    them into a [`sandbox::Sandbox`] under the [`grants::Effective`] grants: a
//!    [`resolve::VerifiedTool`], the only thing that can be called.
//! 5. [`call::call`] waits for a place that the [`scheduler`] gives, enters a fresh store, bounds it in time, memory and everything else, and gives
//!    a [`call::CallReport`], whatever the guest did.
//! 6. A [`witness::Witness`] of the call leaves a record in the [`audit`] log, whatever came of it, and
//!    has it counted in the [`metrics`].
//!    A [`pipeline`] makes several calls in one, each of them as above.
//! 7. [`auth`] tells who asks over HTTP, and which of the tools they get.
//! 8. [`mcp`] puts 4 to 7 on the wire.
//!
//! # Example
//! ```no_run
//! use std::sync::Arc;
//! use kami_core::{call, manifest::JsonObject, registry::DataDir};
//! use kami_core::resolve::{HostOptions, Resolver};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let resolver = Resolver::open(&DataDir::new("/srv/kami"), HostOptions::default())?;
//! let catalog = resolver.catalog()?;
//! let tool = resolver.resolve(&catalog.find("fetch_url")?).await?;
//! let arguments = JsonObject::from_iter([("url".to_owned(), "https://docs.rs".into())]);
//! let report = call::call(&tool, arguments, Arc::new(())).await;
//! println!("{:?} in {:?}", report.outcome, report.stats.inside);
//! # Ok(())
//! # }
//! ```

// Vocabulary.
pub mod atomic_file;
pub mod code;
pub mod digest;
pub mod name;
mod private_directory;
pub mod rate;
pub mod scheduler;
mod tls;

// What is asked for, and what holds.
pub mod grants;
pub mod manifest;
pub mod schema;

// From bytes to trust.
pub mod component;
pub mod signing;

// What the operator lays down.
pub mod policy;

// What is installed, what only some tools may use, and what happened.
pub mod registry;
pub mod secrets;
pub mod audit;

// From a name to an outcome.
pub mod engine;
pub mod sandbox;
pub mod resolve;
pub mod call;
pub mod metrics;
pub mod telemetry;
pub mod witness;
pub mod pipeline;

// Who asks.
pub mod auth;

// The wire.
pub mod mcp;
