//! A web server on loopback, so that `fetch` has something real to fetch.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

const PAGE: &str = "<!doctype html><html><head><title>Tide tables</title></head><body>\
    <h1>Tide tables</h1><p>High water at <b>Brest</b>: <a href=\"/brest\">04:12</a>.</p>\
    <ul><li>spring</li><li>neap</li></ul></body></html>";

/// Answers until the process ends.
pub struct Web {
    address: SocketAddr,
}

impl Web {
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that breaks off is its own business.
                let _ = answer(stream);
            }
        });
        Ok(Self { address })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let (status, extra, body) = match request.split(' ').nth(1) {
        Some("/tides") => ("200 OK", "content-type: text/html\r\n", PAGE),
        Some("/old") => ("302 Found", "location: /tides\r\n", ""),
        _ => ("404 Not Found", "content-type: text/plain\r\n", "no such page"),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{extra}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}
