//! Hostile guests in the real sandbox: what they get, what the operator hears, and who goes on.
//!
//! Each module makes one kind of trouble. In all of them [`scene::Scene::call`] keeps a neighbour
//! busy in the same process while a guest misbehaves, and asks it again afterwards; `serve` does the
//! same with the real server. Where something is denied, a call that is permitted stands beside it,
//! so that no test passes because nothing works at all.

mod scene;

mod limits;
mod schedule;
mod demands;
mod hoards;
mod meetings;
mod crashes;
mod output;
mod leaks;
mod shortage;
mod files;
mod net;
mod tls;
mod names;
mod servers;
mod egress;
mod grants;
mod replies;
mod legacy;
mod serve;
mod doors;
mod http2;
mod frames;
mod https;
#[cfg(unix)]
mod sockets;
mod protocol;
mod discover;
mod pipelines;
mod ends;
mod auth;
mod artifacts;
mod trust;
mod registry;
mod secrets;
mod audit;
mod telemetry;
mod record;
mod not_artifacts;
mod bombs;
mod attacks;
