//! One connection, from its first byte to its last, by whichever version of HTTP it speaks.
//!
//! Whoever speaks HTTP/2 has many requests on it at once, and more ways to be a nuisance: how many are
//! open, how large their heads are, what is kept of them and for them, and how often they are given up
//! is bounded for each connection, so that none has more than one over HTTP/1.1 may have, but the
//! number of its requests. What has no bound in bytes has one in time.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, watch};

use super::backlog::Account;
use super::body::Taken;
use super::greeting::{Greeted, Version, greeting};
use super::listener::Stream;
use super::streams::{Pace, Streams};
use super::{Door, READ_BUFFER, READ_TIMEOUT};
use crate::auth::Identity;

/// How long a client may take to agree on TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The bytes that requests of one connection may have, before they take of the room for all.
const FREE_BYTES: usize = 64 << 10;

/// How much of that room all of them may take, a sixteenth of it and as much as two messages: it was
/// that of one request over HTTP/1.1.
const SHARE_BYTES: usize = 32 << 20;

/// The most requests of one connection at once: the fewest that RFC 9113 advises to permit.
const MOST_STREAMS: u32 = 100;

/// The most bytes of a head over HTTP/2, where there are many of them.
const MOST_HEAD: u32 = 16 << 10;

/// How many bytes a client may send of one body, and of all bodies of a connection, before they are read.
const WINDOW: u32 = 128 << 10;
const WINDOW_OF_ALL: u32 = 256 << 10;

/// How many bytes of a reply are handed on before a client takes them.
const SEND_BUFFER: usize = 64 << 10;

/// How many requests may be given up before anybody has looked at them, as many as there may be at once;
/// and how many may be so malformed that they have to be given up (CVE-2023-44487, CVE-2025-8671).
const MOST_PENDING_RESETS: usize = 100;
const MOST_MALFORMED: usize = 100;

/// How often a client over HTTP/2 is asked whether it is there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// What the requests of one connection share.
pub(super) struct Visit {
    /// Who makes them, where nobody is asked and they belong to no session.
    pub(super) newcomer: Arc<Identity>,
    /// Bytes that they may still have before they take of the room for all.
    pub(super) free: Arc<Semaphore>,
    /// Bytes that they may take of it.
    pub(super) share: Arc<Semaphore>,
    /// What is not taken of the replies, over HTTP/2.
    account: Option<Arc<Account>>,
}

impl Visit {
    fn new(newcomer: Arc<Identity>, account: Option<Arc<Account>>) -> Arc<Self> {
        let [free, share] = [FREE_BYTES, SHARE_BYTES].map(|bytes| Arc::new(Semaphore::new(bytes)));
        Arc::new(Self { newcomer, free, share, account })
    }

    /// Whether it has many requests at once.
    pub(super) fn is_shared(&self) -> bool {
        self.account.is_some()
    }

    /// How the reply to the request that this task is about is taken.
    pub(super) fn taken(&self) -> Option<Taken> {
        let account = self.account.as_ref().map(Arc::clone)?;
        Some(Taken { account, pace: Pace::current()? })
    }
}

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("TLS was not agreed on")]
    Tls(#[source] io::Error),
    #[error("it took too long to say anything")]
    Silent,
    #[error("it broke")]
    Broke(#[source] io::Error),
    #[error("it speaks another version of HTTP than was agreed on")]
    Confused,
    #[error("it speaks HTTP badly, or broke")]
    Http(#[from] hyper::Error),
}

/// Serves a connection; from when the server has `ended`, only what was asked by then.
pub(super) async fn serve(door: Arc<Door>, stream: Stream, ended: watch::Receiver<bool>) {
    let served = match arrive(&door, stream).await {
        Ok((stream, Version::One)) => serve_one(door, stream, ended).await,
        Ok((stream, Version::Two)) => serve_many(door, stream, ended).await,
        Err(lost) => Err(lost),
    };
    if let Err(lost) = served {
        let error = &lost as &dyn std::error::Error;
        tracing::debug!(error, "a connection came to nothing");
    }
}

/// Agrees on TLS, where there is any, and on a version.
async fn arrive(door: &Door, stream: Stream) -> Result<(Greeted, Version), Lost> {
    let (stream, agreed) = match &door.tls {
        None => (stream, None),
        Some(tls) => {
            let agreeing = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
            agreeing.await.map_err(|_| Lost::Silent)?.map_err(Lost::Tls)?
        }
    };
    let greeted = tokio::time::timeout(READ_TIMEOUT, greeting(stream));
    let (stream, version) = greeted.await.map_err(|_| Lost::Silent)?.map_err(Lost::Broke)?;
    match agreed {
        Some(agreed) if agreed != version => Err(Lost::Confused),
        _ => Ok((stream, version)),
    }
}

/// Ends when the server has.
async fn end_of(mut ended: watch::Receiver<bool>) {
    // An error means that whoever could say so is gone, which is the end too.
    let _ = ended.wait_for(|ended| *ended).await;
}

async fn serve_one(
    door: Arc<Door>,
    stream: Greeted,
    ended: watch::Receiver<bool>,
) -> Result<(), Lost> {
    let visit = Visit::new(door.stateless.newcomer(), None);
    let service = service_fn(|request: http::Request<Incoming>| {
        let (door, visit) = (Arc::clone(&door), Arc::clone(&visit));
        async move { Ok::<_, Infallible>(door.respond(request, visit).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(READ_TIMEOUT).max_buf_size(READ_BUFFER);
    if *ended.borrow() {
        // What it asks is answered with that, and nothing else is.
        builder.keep_alive(false);
        return Ok(builder.serve_connection(TokioIo::new(stream), service).await?);
    }
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        served = &mut serving => return Ok(served?),
        () = end_of(ended) => serving.as_mut().graceful_shutdown(),
    }
    Ok(serving.await?)
}

async fn serve_many(
    door: Arc<Door>,
    stream: Greeted,
    ended: watch::Receiver<bool>,
) -> Result<(), Lost> {
    let close = watch::Sender::new(false);
    let account = door.backlog.open(close.clone());
    let visit = Visit::new(door.stateless.newcomer(), Some(Arc::clone(&account)));
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (door, visit) = (Arc::clone(&door), Arc::clone(&visit));
        async move { Ok::<_, Infallible>(door.respond(request, visit).await) }
    });
    let streams = EndsAll(Streams::new(close));
    let mut builder = http2::Builder::new(streams.0.clone());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(MOST_HEAD)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW_OF_ALL)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MOST_PENDING_RESETS)
        .max_local_error_reset_streams(MOST_MALFORMED);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let serving = async {
        tokio::select! {
            served = &mut serving => return served,
            () = end_of(ended) => {
                serving.as_mut().graceful_shutdown();
                return serving.await;
            }
            () = streams.0.idle() => serving.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            served = &mut serving => served,
            // It does not go, and asks for nothing either.
            () = streams.0.idle() => Ok(()),
        }
    };
    tokio::select! {
        served = serving => Ok(served?),
        () = streams.0.closed() => Ok(()),
        () = account.stalled() => {
            tracing::debug!("a client takes none of its replies: its connection is closed");
            Ok(())
        }
    }
}

/// Has all streams end with their connection, however it ends.
struct EndsAll(Streams);

impl Drop for EndsAll {
    fn drop(&mut self) {
        self.0.close();
    }
}
