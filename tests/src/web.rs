//! A web server on the loopback address, with the manners of the worst.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A server, which lives as long as the process.
pub struct Web {
    address: SocketAddr,
    visits: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Web {
    /// Starts a server.
    ///
    /// `/redirect?URL` sends visitors to URL. `/never` never answers, `/endless` never stops,
    /// `/drip` does neither and sends a byte now and then, `/headers` has endless headers, `/echo`
    /// and what is below it repeat the `authorization` of their request, and every other path is
    /// fine.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let visits = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (counter, heads) = (Arc::clone(&visits), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                let heads = Arc::clone(&heads);
                // A visitor who leaves early is none of the server's business.
                thread::spawn(move || drop(answer(stream, &heads)));
            }
        });
        Self { address, visits, requests }
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

fn answer(mut stream: TcpStream, heads: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(&stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
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
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            stream.read(&mut [0]).map(drop)
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
        (page, _) if page.starts_with("/echo") => echo(&mut stream, page, &heard),
        _ => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine"),
    }
}

/// Repeats what it heard: plainly, byte by byte, in the head, encoded, or as if compressed.
fn echo(stream: &mut TcpStream, page: &str, heard: &str) -> std::io::Result<()> {
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
fn repeat(stream: &mut impl Write, bytes: &[u8], pause: Duration) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes)?;
        thread::sleep(pause);
    }
}
