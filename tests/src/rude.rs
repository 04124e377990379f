//! Answers that keep a client waiting, have no end, or make no sense.

use std::io::Result;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::web::{Stream, repeat};

/// Longer than any client of these tests waits, and not for ever.
const FOR_EVER: Duration = Duration::from_secs(120);

/// Between two bytes of a server that is slow, but does not stop.
const A_MOMENT: Duration = Duration::from_millis(10);

/// The head of an answer whose body comes in chunks.
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// How an answer goes on after its beginning.
enum Then {
    /// The connection is closed.
    Close,
    /// Nothing more comes.
    Hold,
    /// This comes again and again, as fast as it is read.
    Flood(Vec<u8>),
    /// This comes again and again, with pauses.
    Drip(&'static [u8]),
}

/// Answers as `page` says.
pub(crate) fn answer(stream: &mut dyn Stream, page: &str) -> Result<()> {
    let (beginning, then) = plan(page);
    stream.write_all(&beginning)?;
    stream.flush()?;
    match then {
        Then::Close => Ok(()),
        Then::Hold => {
            thread::sleep(FOR_EVER);
            Ok(())
        }
        Then::Flood(bytes) => repeat(stream, &bytes, Duration::ZERO),
        Then::Drip(bytes) => repeat(stream, bytes, A_MOMENT),
    }
}

/// What comes first on a page, and what then.
fn plan(page: &str) -> (Vec<u8>, Then) {
    let ok = |head: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}").into_bytes();
    let chunked = |body: &[u8]| [CHUNKED, body].concat();
    match page {
        // Slow ones.
        "deaf" => (Vec::new(), Then::Hold),
        "slow-status" => (b"HTTP/1.1 200 O".to_vec(), Then::Drip(b"O")),
        "slow-head" => (b"HTTP/1.1 200 OK\r\nx-slow: ".to_vec(), Then::Drip(b"x")),
        "half-head" => (b"HTTP/1.1 200 OK\r\nx-half: a\r\n".to_vec(), Then::Hold),
        "half-body" => (ok("content-length: 1000\r\n", "half"), Then::Hold),
        "half-chunk" => (chunked(b"3e8\r\nhalf"), Then::Hold),
        "slow-body" => (ok("content-length: 1000000000\r\n", ""), Then::Drip(b"x")),
        "slow-chunks" => (chunked(b""), Then::Drip(b"1\r\nx\r\n")),
        // Ones without end.
        "tiny-chunks" => (chunked(b""), Then::Flood(b"1\r\nx\r\n".repeat(1000))),
        "long-size" => (chunked(b""), Then::Flood(b"0".repeat(10_000))),
        "long-extension" => (chunked(b"1;x="), Then::Flood(b"x".repeat(10_000))),
        "endless-trailers" => (chunked(b"0\r\n"), Then::Flood(b"x-more: and more\r\n".repeat(100))),
        "endless-interim" => (
            Vec::new(),
            Then::Flood(b"HTTP/1.1 100 Continue\r\nx-more: and more\r\n\r\n".repeat(100)),
        ),
        "endless-header" => (ok("x-long: ", ""), Then::Flood(b"x".repeat(10_000))),
        "endless-headers" => {
            (b"HTTP/1.1 200 OK\r\n".to_vec(), Then::Flood(b"x-more: and more\r\n".repeat(100)))
        }
        "endless-status" => (b"HTTP/1.1 200 O".to_vec(), Then::Flood(b"O".repeat(10_000))),
        "garbage" => (Vec::new(), Then::Flood((0..=255).rev().collect())),
        // Large ones.
        "128-headers" => {
            (ok(&("x: y\r\n".repeat(127) + "content-length: 4\r\n"), "fine"), Then::Close)
        }
        "50000-headers" => (ok(&"x: y\r\n".repeat(50_000), "fine"), Then::Close),
        "huge-header" => (ok(&format!("x: {}\r\n", "y".repeat(1 << 20)), "fine"), Then::Close),
        "huge-chunk" => (chunked(b"ffffffffffffffff\r\nx"), Then::Hold),
        "impossible-chunk" => (chunked(b"fffffffffffffffff\r\nx"), Then::Hold),
        // Ones that make no sense, or more than one.
        "short-body" => (ok("content-length: 1000\r\n", "short"), Then::Close),
        "short-chunks" => (chunked(b"5\r\nshort\r\n"), Then::Close),
        "no-chunk" => (chunked(b"nonsense\r\n"), Then::Close),
        "two-lengths" => (ok("content-length: 4\r\ncontent-length: 400\r\n", "fine"), Then::Close),
        "no-length" => (ok("content-length: -4\r\n", "fine"), Then::Close),
        "length-and-chunks" => (
            ok("content-length: 4\r\ntransfer-encoding: chunked\r\n", "2\r\nok\r\n0\r\n\r\n"),
            Then::Close,
        ),
        "two-answers" => {
            let second = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond";
            (ok("content-length: 4\r\n", &format!("fine{second}")), Then::Close)
        }
        "bare-return" => (ok("x: one\rtwo: 2\r\n", "fine"), Then::Close),
        "nul" => (ok("x: one\0two\r\n", "fine"), Then::Close),
        "no-name" => (ok(": nameless\r\n", "fine"), Then::Close),
        "switch" => (
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
                .to_vec(),
            Then::Hold,
        ),
        "old" => (b"HTTP/1.0 200 OK\r\n\r\nfine".to_vec(), Then::Close),
        "ancient" => (b"fine\r\n".to_vec(), Then::Close),
        "future" => (b"HTTP/3.0 200 OK\r\n\r\nfine".to_vec(), Then::Close),
        "other-protocol" => (b"SSH-2.0-x\r\n".to_vec(), Then::Hold),
        "no-status" => (b"HTTP/1.1 99999 OK\r\n\r\n".to_vec(), Then::Close),
        "nothing" => (Vec::new(), Then::Close),
        // It answers nobody before 16 have come, and then stays a while.
        "crowd" => {
            CROWD.visit();
            (ok("content-length: 4\r\n", "fine"), Then::Close)
        }
        _ => panic!("no server is rude in the way of `{page}`"),
    }
}

/// Who visits the page `crowd`.
pub static CROWD: Crowd =
    Crowd { came: AtomicUsize::new(0), there: AtomicUsize::new(0), most: AtomicUsize::new(0) };

/// Counts visitors that are there at once.
pub struct Crowd {
    came: AtomicUsize,
    there: AtomicUsize,
    most: AtomicUsize,
}

impl Crowd {
    /// How many must have come before anybody is answered.
    pub const ENOUGH: usize = 16;

    /// The most that were there at once.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    fn visit(&self) {
        self.came.fetch_add(1, Ordering::SeqCst);
        let there = self.there.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(there, Ordering::SeqCst);
        let arrived = Instant::now();
        while self.came.load(Ordering::SeqCst) < Self::ENOUGH && arrived.elapsed() < FOR_EVER {
            thread::sleep(A_MOMENT);
        }
        // For those who should not come while these are here.
        thread::sleep(A_MOMENT * 20);
        self.there.fetch_sub(1, Ordering::SeqCst);
    }
}
