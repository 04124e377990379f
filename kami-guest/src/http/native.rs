//! Outside the sandbox, for `cargo test`: the real network, under no policy.

use std::io::{self, Read};

use ureq::http::request::Builder;
use ureq::{Agent, AsSendBody, Body, http};

use super::url::Url;
use super::{Error, Method, Request, Response};

pub fn send(request: &Request, url: &Url<'_>) -> Result<Response, Error> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(request.timeout)
        .build()
        .into();

    let mut builder =
        http::Request::builder().method(method(request.method)).uri(url.without_fragment());
    for (name, value) in &request.headers {
        let invalid = |_| Error::InvalidHeader { name: name.clone() };
        let value = http::HeaderValue::from_str(value).map_err(|_| invalid(()))?;
        let name = http::HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid(()))?;
        builder = builder.header(name, value);
    }
    let response = if request.body.is_empty() {
        run(&agent, builder, ())
    } else {
        run(&agent, builder, request.body.as_slice())
    };
    read(request, url, response.map_err(|error| explain(url, error))?)
}

fn run(
    agent: &Agent,
    builder: Builder,
    body: impl AsSendBody,
) -> Result<http::Response<Body>, ureq::Error> {
    agent.run(builder.body(body)?)
}

fn read(
    request: &Request,
    url: &Url<'_>,
    response: http::Response<Body>,
) -> Result<Response, Error> {
    let (parts, body) = response.into_parts();
    let mut bytes = Vec::new();
    // One byte more than allowed tells a long body from one that just fits.
    body.into_reader()
        .take(request.max_bytes as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| explain(url, error.into()))?;
    if bytes.len() > request.max_bytes {
        return Err(Error::TooLong {
            host: url.authority.to_owned(),
            max_bytes: request.max_bytes,
        });
    }
    let headers = parts.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.to_string(), value.into_owned())
    });
    Ok(Response {
        url: request.url.clone(),
        status: parts.status.as_u16(),
        headers: headers.collect(),
        body: bytes,
    })
}

fn method(method: Method) -> http::Method {
    match method {
        Method::Get => http::Method::GET,
        Method::Head => http::Method::HEAD,
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
        Method::Patch => http::Method::PATCH,
        Method::Delete => http::Method::DELETE,
        Method::Options => http::Method::OPTIONS,
    }
}

fn explain(url: &Url<'_>, error: ureq::Error) -> Error {
    let host = url.authority.to_owned();
    let timed_out = match &error {
        ureq::Error::Timeout(_) => true,
        ureq::Error::Io(error) => error.kind() == io::ErrorKind::TimedOut,
        _ => false,
    };
    if timed_out {
        return Error::Timeout { host };
    }
    Error::Failed { host, reason: error.to_string() }
}
