//! A web server on the loopback address, with the manners of the worst.

use std::io::{BufRead as _, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// A server, which lives as long as the process.
pub struct Web {
    address: SocketAddr,
    visits: Arc<AtomicUsize>,
}

impl Web {
    /// Starts a server.
    ///
    /// `/redirect?URL` sends visitors to URL. `/never` never answers, `/endless` never stops,
    /// `/drip` does neither and sends a byte now and then, `/headers` has endless headers, and
    /// every other path is fine.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let visits = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&visits);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                // A visitor who leaves early is none of the server's business.
                thread::spawn(move || drop(answer(stream)));
            }
        });
        Self { address, visits }
    }

    /// Such as `http://127.0.0.1:4000`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Such as `127.0.0.1:4000`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections there have been.
    pub fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let target = request.split(' ').nth(1).unwrap_or_default();
    match target.split_once('?').unwrap_or((target, "")) {
        ("/ok", query) if query.starts_with("redirect=") => {
            let to = &query["redirect=".len()..];
            write!(stream, "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        }
        ("/redirect", to) => {
            write!(stream, "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
        }
        ("/never", _) => {
            thread::sleep(Duration::from_secs(60));
            Ok(())
        }
        ("/endless", _) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            repeat(&mut stream, &[b'e'; 16 << 10], Duration::ZERO)
        }
        ("/drip", _) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            repeat(&mut stream, b"d", Duration::from_millis(20))
        }
        ("/headers", _) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            repeat(&mut stream, &b"x-more: and more\r\n".repeat(100), Duration::ZERO)
        }
        _ => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine"),
    }
}

/// Writes for as long as someone reads.
fn repeat(stream: &mut impl Write, bytes: &[u8], pause: Duration) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes)?;
        thread::sleep(pause);
    }
}
