//! What a collector of OpenTelemetry is told, and what it is not.

use std::net::TcpListener;
use std::time::Instant;

use kami_tests::collector::{Collector, attribute};
use kami_tests::guests::guest;
use kami_tests::lab::Lab;
use kami_tests::server::{PATIENCE, Server, text};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// So that nobody has to wait for the usual five seconds, and minute.
const SOON: [(&str, &str); 3] = [
    ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20for-the-collector"),
];

fn lab() -> Lab {
    let lab = Lab::with_neighbour();
    lab.install(guest("conformance"));
    lab
}

fn call(server: &mut Server, tool: &str, arguments: &Value, trace: &str) -> Value {
    let params = json!({"name": tool, "arguments": arguments, "_meta": {"traceparent": trace}});
    server.request("tools/call", &params)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_collector_hears_of_calls_as_part_of_their_clients_traces() {
    let (lab, collector) = (lab(), Collector::start());
    let flags = ["--otlp-endpoint", &collector.origin()];
    let mut server = Server::start_with(lab.data(), &flags, &SOON);
    let sum = json!({"a": 40, "b": 2});
    call(&mut server, "add", &sum, &format!("00-{TRACE}-{SPAN}-01"));
    call(&mut server, "add", &sum, "00-nonsense");
    call(&mut server, "test_error_handling", &json!({}), "");
    call(&mut server, "add", &json!({"a": "x"}), "");

    let find = |name: &str, failure: Option<&str>| {
        collector.wait(|collector| {
            let mut spans = collector.spans().into_iter();
            let same = |found: Option<&str>| found == failure;
            spans.find(|s| s.name == name && same(attribute(&s.attributes, "error.type")))
        })
    };
    let of_client = collector
        .wait(|collector| collector.spans().into_iter().find(|span| hex(&span.trace_id) == TRACE));
    assert_eq!(of_client.name, "tools/call add");
    assert_eq!(hex(&of_client.parent_span_id), SPAN);
    assert_eq!(of_client.kind(), SpanKind::Server);
    for (key, value) in [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", "add"),
        ("kami.package.version", "0.1.0"),
    ] {
        assert_eq!(attribute(&of_client.attributes, key), Some(value), "{of_client:?}");
    }
    let said = find("tools/call test_error_handling", Some("tool_error"));
    assert_ne!(hex(&said.trace_id), TRACE, "a client's trace is for its own calls");
    find("tools/call add", Some("KAMI-ARGUMENTS"));

    let calls = |collector: &Collector| {
        let mut counted = 0;
        for metric in collector.metrics() {
            let Some(Data::Histogram(histogram)) = metric.data else { continue };
            let points = histogram.data_points.iter();
            let sum = points.filter(|_| metric.name == "mcp.server.operation.duration");
            counted = counted.max(sum.map(|point| point.count).sum());
        }
        (counted == 4).then_some(())
    };
    collector.wait(calls);
    for name in ["kami.guest.duration", "kami.guest.memory.peak", "kami.calls.running"] {
        collector.wait(|it| it.metrics().into_iter().find(|metric| metric.name == name));
    }
    let head = collector.deliveries().remove(0).0.to_ascii_lowercase();
    assert!(head.contains("authorization: bearer for-the-collector"), "{head}");
    assert!(server.finish().0.success());
}

#[test]
fn a_collector_hears_no_words_of_clients_or_guests() {
    let (lab, collector) = (lab(), Collector::start());
    let flags = ["--otlp-endpoint", &collector.origin(), "--audit-arguments", "full"];
    let mut server = Server::start_with(lab.data(), &flags, &SOON);
    let said = call(&mut server, "test_error_handling", &json!({}), "");
    let (words, true) = text(&said) else { panic!("{said}") };
    call(&mut server, "add", &json!({"a": "my-argument"}), "");
    server.ask("tools/call", &json!({"name": "no-such-tool-as-this", "arguments": {}}));
    assert!(server.answer().is_some_and(|(_, answer)| answer["error"].is_object()));
    call(&mut server, "add", &json!({"a": 40, "b": 2}), "");
    // What is left is sent at the end.
    assert!(server.finish().0.success());
    let names: Vec<String> = collector.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.contains(&"tools/call".to_owned()), "{names:?}");
    for (_, body) in collector.deliveries() {
        for word in [words, "my-argument", "no-such-tool"] {
            let found = memchr::memmem::find(&body, word.as_bytes());
            assert_eq!(found, None, "a collector is told `{word}`");
        }
    }
}

#[test]
fn a_collector_that_is_not_there_or_says_nothing_keeps_nobody_waiting() {
    let lab = lab();
    // One accepts connections and answers nothing; at the other's address nobody listens.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let absent = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [silent.local_addr().unwrap(), absent] {
        let flags = ["--otlp-endpoint", &format!("http://{address}")];
        let mut server = Server::start_with(lab.data(), &flags, &SOON);
        for _ in 0..200 {
            let added = server.call("add", &json!({"a": 40, "b": 2}));
            assert_eq!(added["structuredContent"]["result"], 42, "{added}");
        }
        let ended = Instant::now();
        assert!(server.finish().0.success());
        assert!(ended.elapsed() < PATIENCE, "it ended after {:?}", ended.elapsed());
    }
}
