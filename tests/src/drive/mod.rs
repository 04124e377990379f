//! Measurements of the whole: the real server against a native one, with the same client, by turns.
//!
//! A [`client`] does little itself, so that what its [`samples`] show is the server. [`place`] is
//! where it is measured, and [`bare`] a host that does nothing but run a guest. [`targets`] measures
//! what was aimed at, and [`growth`] how costs grow; a [`report`] says what came of it, with a
//! [`plot`] of each growth.

pub mod samples;
pub mod client;
pub mod bare;
pub mod place;
pub mod report;
pub mod plot;
pub mod targets;
pub mod growth;
