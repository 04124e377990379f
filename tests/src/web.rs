//! A web server on the loopback address, with the manners of the worst.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::rude;

/// A server, which lives as long as the process.
pub struct Web {
    address: SocketAddr,
    secure: bool,
    visits: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

/// A connection, with TLS or without.
pub(crate) trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

impl Web {
    /// Starts a server.
    ///
    /// `/redirect?URL` sends visitors to URL. `/never` never answers, `/endless` never stops,
    /// `/drip` does neither and sends a byte now and then, `/echo` and what is below it repeat the
    /// `authorization` of their request, what is below `/rude` is told in [`rude`], and every other
    /// path is fine.
    pub fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, 0)
    }

    /// The same at another address, and at a port that another server has at its own.
    pub fn start_at(address: Ipv4Addr, port: u16) -> Self {
        Self::listen(address, port, None)
    }

    /// The same over TLS.
    pub fn start_secure(identity: Arc<ServerConfig>) -> Self {
        Self::listen(Ipv4Addr::LOCALHOST, 0, Some(identity))
    }

    fn listen(address: Ipv4Addr, port: u16, identity: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((address, port)).expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let visits = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (counter, heads) = (Arc::clone(&visits), Arc::clone(&requests));
        let secure = identity.is_some();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                let (heads, identity) = (Arc::clone(&heads), identity.clone());
                // A visitor who leaves early is none of the server's business.
                thread::spawn(move || drop(receive(stream, identity, &heads)));
            }
        });
        Self { address, secure, visits, requests }
    }

    /// Such as `http://127.0.0.1:4000`, or `https` where it speaks TLS.
    pub fn origin(&self) -> String {
        format!("http{}://{}", if self.secure { "s" } else { "" }, self.address)
    }

    /// Such as `127.0.0.1:4000`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The heads of all requests so far, in lower case but for their values.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The `authorization` of every request that had one.
    pub fn heard(&self) -> Vec<String> {
        self.requests().iter().filter_map(|head| authorization(head)).collect()
    }

    /// How many connections there have been.
    pub fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}

fn authorization(head: &str) -> Option<String> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut found = lines.filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    found.next().map(|(_, value)| value.to_owned())
}

fn receive(
    mut stream: TcpStream,
    identity: Option<Arc<ServerConfig>>,
    heads: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let Some(identity) = identity else { return answer(&mut stream, heads) };
    let connection = ServerConnection::new(identity).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    answer(&mut stream, heads)?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn answer(stream: &mut dyn Stream, heads: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(&mut *stream).lines();
    // Whoever connects and says nothing has made no request.
    let Some(request) = lines.next().transpose()? else { return Ok(()) };
    let mut head = Vec::new();
    while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
        head.push(line);
    }
    let head = head.join("\n");
    heads.lock().unwrap_or_else(PoisonError::into_inner).push(head.clone());
    let heard = authorization(&head).unwrap_or_default();
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
            // Until the visitor leaves, so that many of them don't add up.
            stream.read(&mut [0]).map(drop)
        }
        ("/endless", _) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            repeat(stream, &[b'e'; 16 << 10], Duration::ZERO)
        }
        ("/drip", _) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            repeat(stream, b"d", Duration::from_millis(20))
        }
        (page, _) if page.starts_with("/echo") => echo(stream, page, &heard),
        (page, _) if page.starts_with("/rude/") => rude::answer(stream, &page["/rude/".len()..]),
        _ => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine"),
    }
}

/// Repeats what it heard: plainly, byte by byte, in the head, encoded, or as if compressed.
fn echo(stream: &mut dyn Stream, page: &str, heard: &str) -> std::io::Result<()> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    let body = format!("heard: {heard}");
    let encoded = || {
        let shifted = ["", "x", "xy"].map(|before| format!("{before}{heard}"));
        let base64 = shifted.map(|text| STANDARD.encode(&text) + " " + &URL_SAFE.encode(&text));
        let percent: String = heard.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let hex: String = heard.bytes().map(|byte| format!("{byte:02x}")).collect();
        let sparse = heard.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        format!("{} {percent} {sparse} {hex}", base64.join(" "))
    };
    match page {
        "/echo/drip" => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len())?;
            for byte in body.bytes() {
                stream.write_all(&[byte])?;
                stream.flush()?;
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        }
        "/echo/head" => write!(
            stream,
            "HTTP/1.1 200 OK\r\nx-heard: {heard}\r\nx-heard: again {heard}\r\ncontent-length: 0\r\n\r\n"
        ),
        "/echo/encoded" => {
            let body = encoded();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        }
        "/echo/gzip" => {
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n\r\n{body}"
            )
        }
        _ => write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
    }
}

/// Writes for as long as someone reads.
pub(crate) fn repeat(
    stream: &mut dyn Stream,
    bytes: &[u8],
    pause: Duration,
) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes)?;
        stream.flush()?;
        thread::sleep(pause);
    }
}
