//! What the tests of the whole share.
//!
//! [`guests`] has the program and the guests built, as a person would. [`raw`] writes components
//! that no compiler would. A [`lab`] is a throw-away data directory with packages made of them;
//! [`outside`] is a whole place to work in, as a person has it. A [`server`] is the real one, in a
//! process of its own, and so is the [`door`], over HTTP. An [`issuer`] says who its clients are, and a
//! [`collector`] is told what they do. The [`web`] is what guests try to reach, with [`tls`] or without,
//! and as [`rude`] as a server can be. A [`soak`] has that server answer any number of calls, good and
//! hostile, and says what they left.

pub mod bombs;
pub mod guests;
pub mod raw;
pub mod lab;
pub mod outside;
pub mod server;
pub mod door;
pub mod issuer;
pub mod collector;
pub mod rude;
pub mod tls;
pub mod web;
pub mod soak;
pub mod drive;
