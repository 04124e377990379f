//! What a server does, sent to a collector of OpenTelemetry: OTLP, over HTTP.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
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
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use reqwest::redirect::Policy;
use tokio::runtime::Handle;
use tokio_rustls::rustls::crypto::ring;

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
    /// that the client names. The variables of OpenTelemetry are honoured, such as OTEL_SERVICE_NAME,
    /// OTEL_TRACES_SAMPLER and OTEL_EXPORTER_OTLP_HEADERS.
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
        let fits = matches!(url.scheme(), "http" | "https") && url.has_host();
        fits.then(|| Self(text.trim_end_matches('/').to_owned())).ok_or(expected)
    }
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
        let Some(Collector(base)) = &self.otlp_endpoint else { return Ok(None) };
        // It fails where one is there already, which is as good.
        let _ = ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(Policy::none()).build();
        let client = client.context("starting the client of the collector")?;
        let client = Client { client, runtime: runtime.clone() };
        let spans = SpanExporter::builder()
            .with_http()
            .with_http_client(client.clone())
            .with_endpoint(format!("{base}/v1/traces"))
            .with_timeout(TIMEOUT)
            .build()
            .context("sending traces")?;
        let numbers = MetricExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(format!("{base}/v1/metrics"))
            .with_timeout(TIMEOUT)
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
    match env_vars::OTLP_SERVICE.get() {
        Some(_) => resource.build(),
        None => resource.with_service_name(SERVICE).build(),
    }
}

impl Exporter {
    /// What tells it.
    pub fn telemetry(&self) -> Telemetry {
        let tracer = BoxedTracer::new(Box::new(self.traces.tracer(SERVICE)));
        Telemetry::new(tracer, self.metrics.meter(SERVICE))
    }

    /// Sends what is left. It waits, and needs the runtime meanwhile.
    pub fn finish(self) {
        let told = |what: &str, ended: OTelSdkResult| {
            if let Err(error) = ended {
                tracing::warn!(%error, "the last {what} were not sent");
            }
        };
        told("traces", self.traces.shutdown_with_timeout(LAST));
        told("metrics", self.metrics.shutdown_with_timeout(LAST));
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
