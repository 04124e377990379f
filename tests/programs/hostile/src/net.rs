//! Every way out.

use std::hint::black_box;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use kami_guest::http::{Method, Request};
use kami_guest::prelude::*;

/// Connects by TCP.
#[kami_tool]
fn connect(address: String) -> Result<String, std::io::Error> {
    let stream = TcpStream::connect(address)?;
    Ok(format!("connected to {}", stream.peer_addr()?))
}

/// Tries to connect by TCP, tells another address that it did, and then keeps everybody waiting.
#[kami_tool]
fn try_and_wait(address: String, then: String, millis: u64) -> Result<(), std::io::Error> {
    // It is the attempt that counts.
    let _ = TcpStream::connect(address);
    TcpStream::connect(then)?;
    std::thread::sleep(Duration::from_millis(millis));
    Ok(())
}

/// Looks up a name, and then connects to an address of its own choice.
#[kami_tool]
fn sidestep(name: String, address: String) -> Result<String, std::io::Error> {
    let found: Vec<_> = name.to_socket_addrs()?.collect();
    let stream = TcpStream::connect(address)?;
    Ok(format!("{found:?}, and connected to {}", stream.peer_addr()?))
}

/// Waits for others to connect.
#[kami_tool]
fn listen(address: String) -> Result<String, std::io::Error> {
    let listener = TcpListener::bind(address)?;
    Ok(format!("listening at {}", listener.local_addr()?))
}

/// Sends a datagram.
#[kami_tool]
fn send_datagram(address: String) -> Result<String, std::io::Error> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let sent = socket.send_to(b"hello", address)?;
    Ok(format!("sent {sent} bytes"))
}

/// Looks up a name.
#[kami_tool]
fn resolve(name: String) -> Result<String, std::io::Error> {
    let addresses: Vec<_> = (name.as_str(), 80).to_socket_addrs()?.collect();
    Ok(format!("{addresses:?}"))
}

/// Asks a web server.
#[kami_tool]
fn get(url: String, timeout_millis: Option<u64>) -> Result<String, kami_guest::http::Error> {
    let mut request = Request::get(url).max_bytes(1 << 20);
    if let Some(millis) = timeout_millis {
        request = request.timeout(Duration::from_millis(millis));
    }
    let response = request.send()?;
    let location = response.header("location").unwrap_or_default();
    Ok(format!("{} {location}{}", response.status(), response.text()))
}

/// Uses its stack and two mebibytes of memory, and then waits for a server.
#[kami_tool]
fn linger(url: String) -> Result<String, kami_guest::http::Error> {
    fn deeper(depth: u64) -> u64 {
        black_box(depth) + if depth == 0 { 0 } else { deeper(depth - 1) }
    }
    black_box(deeper(5000));
    let hoard = black_box(vec![1_u8; 2 << 20]);
    let answer = Request::get(url).send()?;
    drop(hoard);
    Ok(answer.text().into_owned())
}

/// Makes any request.
#[kami_tool]
fn request(
    method: String,
    url: String,
    header: Option<String>,
) -> Result<String, kami_guest::http::Error> {
    let method = match method.as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        _ => Method::Delete,
    };
    let mut request = Request::new(method, url).max_bytes(1 << 20);
    if let Some((name, value)) = header.as_deref().and_then(|header| header.split_once(": ")) {
        request = request.header(name, value);
    }
    let response = request.send()?;
    Ok(format!("{} {}", response.status(), response.text()))
}

/// Asks a web server, and goes where it is sent.
#[kami_tool]
fn follow(url: String) -> Result<String, kami_guest::http::Error> {
    let response = Request::get(url).send()?;
    match response.header("location") {
        Some(next) => Ok(Request::get(next).send()?.text().into_owned()),
        None => Ok(response.text().into_owned()),
    }
}
