//! The HTTP client against a real server on the loopback interface.
#![cfg(feature = "http")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use kami_guest::http::{Error, Method, Request};

/// A server that reads one request, shows it to `answer`, and sends back what that says.
fn serve(answer: impl FnOnce(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            reader.read_line(&mut request).unwrap();
        }
        let length = request
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        request.push_str(std::str::from_utf8(&body).unwrap());
        // The client may have hung up already, as on a timeout.
        let _ = stream.write_all(answer(&request).as_bytes());
    });
    format!("http://{address}")
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nX-Kind: test\r\n\r\n{body}", body.len())
}

#[test]
fn a_response_comes_whole() {
    let url = serve(ok) + "/a?b=c#d";
    let response = Request::get(&url).header("accept", "text/plain").send().unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.is_success());
    assert_eq!(response.url(), url);
    assert_eq!(response.header("x-kind"), Some("test"));
    let request = response.text().to_lowercase();
    assert!(request.starts_with("get /a?b=c http/1.1\r\n"), "{request}");
    assert!(request.contains("accept: text/plain\r\n"), "{request}");
    assert!(request.contains("user-agent: kami-guest/"), "{request}");
}

#[test]
fn a_body_is_sent() {
    let url = serve(|request| ok(request.split("\r\n\r\n").nth(1).unwrap()));
    let response = Request::new(Method::Put, url).body("hello").send().unwrap();
    assert_eq!(response.bytes(), b"hello");
}

#[test]
fn redirects_and_failures_are_responses() {
    let redirect = "HTTP/1.1 302 Found\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n";
    let response = Request::get(serve(|_| redirect.into())).send().unwrap();
    assert_eq!((response.status(), response.header("Location")), (302, Some("/b")));
    let missing = "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno";
    let response = Request::post(serve(|_| missing.into())).send().unwrap();
    assert_eq!((response.status(), response.text().as_ref()), (404, "no"));
}

#[test]
fn a_body_may_be_as_long_as_allowed_and_no_longer() {
    let url = serve(|_| ok("12345"));
    assert_eq!(Request::get(url).max_bytes(5).send().unwrap().bytes(), b"12345");
    let url = serve(|_| ok("123456"));
    let error = Request::get(&url).max_bytes(5).send().unwrap_err();
    let host = url.trim_start_matches("http://");
    assert_eq!(error.to_string(), format!("{host} answered with more than 5 bytes"));
}

#[test]
fn a_silent_server_times_out() {
    let url = serve(|_| {
        thread::sleep(Duration::from_secs(2));
        ok("late")
    });
    let request = Request::get(url).timeout(Duration::from_millis(50));
    assert!(matches!(request.send(), Err(Error::Timeout { .. })));
}

#[test]
fn what_cannot_be_sent_is_told_why() {
    let error = Request::get("example.com").send().unwrap_err();
    assert_eq!(error.to_string(), "`example.com`: a URL starts with `http://` or `https://`");
    let error = Request::get("http://127.0.0.1:1/").header("a b", "c").send().unwrap_err();
    assert_eq!(error.to_string(), "the header `a b` is malformed or can't be set");
    let error = Request::get("http://127.0.0.1:1/").send().unwrap_err();
    assert!(matches!(error, Error::Failed { .. }), "{error:?}");
}
