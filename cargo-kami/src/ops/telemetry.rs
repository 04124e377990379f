//! What a server does, sent to a collector of OpenTelemetry: OTLP, over HTTP.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use kami_core::engine::Engine;
use kami_core::telemetry::Telemetry;
use opentelemetry::KeyValue;
use opentelemetry::global::BoxedTracer;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    MetricExporter, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use reqwest::redirect::Policy;
use tokio::runtime::Handle;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::env_vars;

/// By which name a collector knows this, unless its own variable says otherwise.
const SERVICE: &str = "kami";

/// How long one delivery may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long the last delivery may take, at the end.
const LAST: Duration = Duration::from_secs(2);

/// The most bytes of an answer; a collector has next to nothing to say.
const MOST_BYTES: usize = 64 << 10;

/// The flags about telemetry.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Telemetry")]
pub struct TelemetryFlags {
    /// Send traces and metrics to the collector at this address, such as http://127.0.0.1:4318, over
    /// HTTP (OTLP)
    ///
    /// A trace has a span for each time that a guest is entered: which tool of which package, how long
    /// it took, and the code of what went wrong; no arguments and no results. It belongs to the trace
    /// that the client names. Of the variables of OpenTelemetry, OTEL_SERVICE_NAME,
    /// OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_SCHEDULE_DELAY
    /// and OTEL_METRIC_EXPORT_INTERVAL hold.
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<Collector>,
}

/// Where a collector is.
#[derive(Debug, Clone)]
struct Collector(String);

impl FromStr for Collector {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected http://HOST:PORT or https://HOST:PORT, as of a collector";
        let url: reqwest::Url = text.parse().map_err(|_| expected)?;
        let plain = url.username().is_empty() && url.password().is_none();
        let whole = url.query().is_none() && url.fragment().is_none();
        let fits = matches!(url.scheme(), "http" | "https") && url.has_host() && plain && whole;
        fits.then(|| Self(text.trim_end_matches('/').to_owned())).ok_or(expected)
    }
}

impl Collector {
    fn url(&self) -> Option<reqwest::Url> {
        self.0.parse().ok()
    }

    /// What delivers to it. There are machines without any authority, and collectors that need none.
    fn client(&self) -> reqwest::Result<reqwest::Client> {
        // It fails where one is there already, which is as good.
        let _ = ring::default_provider().install_default();
        let mut client = reqwest::Client::builder().timeout(TIMEOUT).redirect(Policy::none());
        let url = self.url();
        if url.as_ref().is_some_and(|url| url.scheme() == "http") {
            let nobody = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
            client = client.tls_backend_preconfigured(nobody.with_no_client_auth());
        }
        if url.is_some_and(|url| is_local(&url)) {
            client = client.no_proxy();
        }
        client.build()
    }
}

/// Whether an address is this machine's own.
fn is_local(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|ip| ip.is_loopback())
}

/// Sends what it is told, on threads of its own.
pub struct Exporter {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
}

impl TelemetryFlags {
    /// Begins to send, if somebody said where to.
    ///
    /// # Errors
    /// Where there cannot be a client.
    pub fn start(&self, runtime: &Handle) -> anyhow::Result<Option<Exporter>> {
        let Some(collector) = &self.otlp_endpoint else { return Ok(None) };
        let client = collector.client().context("starting the client of the collector")?;
        let Collector(base) = collector;
        let client = Client { client, runtime: runtime.clone() };
        let spans = SpanExporter::builder()
            .with_http()
            .with_http_client(client.clone())
            .with_endpoint(format!("{base}/v1/traces"))
            .build()
            .context("sending traces")?;
        let numbers = MetricExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(format!("{base}/v1/metrics"))
            .build()
            .context("sending metrics")?;
        let resource = resource();
        let traces = SdkTracerProvider::builder()
            .with_batch_exporter(spans)
            .with_resource(resource.clone())
            .build();
        let metrics = SdkMeterProvider::builder()
            .with_periodic_exporter(numbers)
            .with_resource(resource)
            .build();
        Ok(Some(Exporter { traces, metrics }))
    }
}

/// What a collector is told about this process.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attribute(version);
    let among =
        |attributes: std::ffi::OsString| attributes.to_string_lossy().contains("service.name=");
    let named = env_vars::OTLP_SERVICE.get().is_some();
    match named || env_vars::OTLP_RESOURCE.get().is_some_and(among) {
        true => resource.build(),
        false => resource.with_service_name(SERVICE).build(),
    }
}

impl Exporter {
    /// What tells it.
    pub fn telemetry(&self, engine: &Engine) -> Telemetry {
        let tracer = BoxedTracer::new(Box::new(self.traces.tracer(SERVICE)));
        Telemetry::new(tracer, &self.metrics.meter(SERVICE), engine)
    }

    /// Sends what is left. It waits, and needs the runtime meanwhile.
    pub fn finish(self) {
        let Self { traces, metrics } = self;
        let (sender, ended) = channel();
        let other = sender.clone();
        // Each takes its own time, whatever it is told.
        thread::spawn(move || sender.send(traces.shutdown_with_timeout(LAST)));
        thread::spawn(move || other.send(metrics.shutdown_with_timeout(LAST)));
        let deadline = Instant::now() + LAST;
        for _ in 0..2 {
            let left = deadline.saturating_duration_since(Instant::now());
            match ended.recv_timeout(left) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the last telemetry was not sent"),
                Err(_) => return tracing::warn!("the collector did not take the last telemetry"),
            }
        }
    }
}

/// Delivers from threads that are not the runtime's.
#[derive(Debug, Clone)]
struct Client {
    client: reqwest::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.runtime.spawn(deliver(client, request)).await?
    }
}

async fn deliver(
    client: reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let mut answer = client.execute(request.try_into()?).await?;
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > MOST_BYTES {
            return Err("the answer is too long".into());
        }
        body.extend_from_slice(&chunk);
    }
    let mut response = Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        *headers = std::mem::take(answer.headers_mut());
    }
    Ok(response.body(body.freeze())?)
}
