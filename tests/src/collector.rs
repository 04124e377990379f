//! A collector of OpenTelemetry on the loopback address, which keeps what it is sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::server::PATIENCE;

/// A delivery: its head, and its body.
type Delivery = (String, Vec<u8>);

/// A collector, which lives as long as the process.
pub struct Collector {
    address: SocketAddr,
    deliveries: Arc<Mutex<Vec<Delivery>>>,
}

impl Collector {
    /// Starts a collector.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let deliveries = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&deliveries);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                // Whoever delivers may leave when it likes.
                thread::spawn(move || drop(receive(stream, &kept)));
            }
        });
        Self { address, deliveries }
    }

    /// Such as `http://127.0.0.1:4318`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that it was sent, head and body.
    pub fn deliveries(&self) -> Vec<(String, Vec<u8>)> {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn bodies(&self, path: &str) -> Vec<Vec<u8>> {
        let line = format!("POST {path} ");
        let of_path = self.deliveries().into_iter().filter(|(head, _)| head.starts_with(&line));
        of_path.map(|(_, body)| body).collect()
    }

    /// The spans that came so far.
    pub fn spans(&self) -> Vec<Span> {
        let read = |body: Vec<u8>| {
            ExportTraceServiceRequest::decode(&*body).expect("it is a request with spans")
        };
        let resources = self.bodies("/v1/traces").into_iter().map(read);
        let scopes = resources.flat_map(|request| request.resource_spans);
        let scopes = scopes.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// The numbers that came so far.
    pub fn metrics(&self) -> Vec<Metric> {
        let read = |body: Vec<u8>| {
            ExportMetricsServiceRequest::decode(&*body).expect("it is a request with metrics")
        };
        let resources = self.bodies("/v1/metrics").into_iter().map(read);
        let scopes = resources.flat_map(|request| request.resource_metrics);
        let scopes = scopes.flat_map(|resource| resource.scope_metrics);
        scopes.flat_map(|scope| scope.metrics).collect()
    }

    /// Waits until `found` finds something.
    pub fn wait<T>(&self, found: impl Fn(&Self) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            assert!(started.elapsed() < PATIENCE, "it never came: {:?}", self.spans());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The text of an attribute.
pub fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn receive(mut stream: TcpStream, kept: &Mutex<Vec<Delivery>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            head += &line;
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        kept.lock().unwrap_or_else(PoisonError::into_inner).push((head, body));
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
}
