//! A tool for AI agents that reads from the web, as far as Cargo.toml asks and the operator grants.

use std::time::Duration;

use kami_guest::http::Request;
use kami_guest::prelude::*;

/// The largest text that is read.
const MAX_BYTES: usize = 1 << 20;

/// Reads a text from the web.
#[kami_tool]
pub fn read_text(
    /// the address, such as `https://raw.githubusercontent.com/rust-lang/rust/main/README.md`
    #[schemars(regex(pattern = "^https?://"))]
    url: String,
) -> Result<String, String> {
    let response = Request::get(&url)
        .timeout(Duration::from_secs(15))
        .max_bytes(MAX_BYTES)
        .send()
        .map_err(|error| error.to_string())?;
    match response.status() {
        200..=299 => Ok(response.text().into_owned()),
        status => Err(format!("{url} answered with status {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    /// Serves `answer` to one request, and gives the address.
    fn serve(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        url
    }

    #[test]
    fn reads_what_is_there() {
        let url = serve("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
        assert_eq!(read_text(url).unwrap(), "hello");
    }

    #[test]
    fn tells_what_is_not() {
        let url = serve("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        assert!(
            read_text(url)
                .unwrap_err()
                .ends_with("answered with status 404")
        );
    }
}
