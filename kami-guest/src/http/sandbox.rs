//! Inside the sandbox: wasi:http, under the operator's policy.
//!
//! Resources must be dropped before those they came from, so the order of the
//! `let`s here matters.

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    self as wasi, ErrorCode, Fields, IncomingResponse, OutgoingBody, OutgoingRequest, Scheme,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::StreamError;

use super::url::Url;
use super::{Error, Method, Request, Response};

/// How much is read at once: what most hosts hand over in one go.
const CHUNK: u64 = 64 * 1024;

pub fn send(request: &Request, url: &Url<'_>) -> Result<Response, Error> {
    let exchange = Exchange {
        request,
        url,
        deadline: request
            .timeout
            .map(|timeout| subscribe_duration(timeout.as_nanos().try_into().unwrap_or(u64::MAX))),
    };
    let response = exchange.ask()?;
    exchange.read(response)
}

/// One request on its way, and when it has to be over.
struct Exchange<'a> {
    request: &'a Request,
    url: &'a Url<'a>,
    deadline: Option<Pollable>,
}

impl Exchange<'_> {
    fn ask(&self) -> Result<IncomingResponse, Error> {
        let outgoing = self.outgoing()?;
        let body = outgoing.body().map_err(|()| self.failed("its body was taken already"))?;
        let future = handle(outgoing, None).map_err(|code| self.explain(&code))?;
        // A server may answer before it has read everything, so a write that
        // fails is not the end: what became of the request is the response's to say.
        let written = self.write(body);
        self.wait(&future.subscribe())?;
        match future.get() {
            Some(Ok(Ok(response))) => Ok(response),
            Some(Ok(Err(code))) => Err(written.err().unwrap_or_else(|| self.explain(&code))),
            _ => Err(self.failed("the host gave no response")),
        }
    }

    fn outgoing(&self) -> Result<OutgoingRequest, Error> {
        let headers = Fields::new();
        for (name, value) in &self.request.headers {
            headers
                .append(name, value.as_bytes())
                .map_err(|_| Error::InvalidHeader { name: name.clone() })?;
        }
        let outgoing = OutgoingRequest::new(headers);
        let scheme = match self.url.is_https {
            true => Scheme::Https,
            false => Scheme::Http,
        };
        outgoing
            .set_method(&method(self.request.method))
            .and_then(|()| outgoing.set_scheme(Some(&scheme)))
            .and_then(|()| outgoing.set_authority(Some(self.url.authority)))
            .and_then(|()| outgoing.set_path_with_query(Some(&self.url.path_with_query)))
            .map_err(|()| Error::InvalidUrl {
                url: self.request.url.clone(),
                reason: "the host or the path is malformed",
            })?;
        Ok(outgoing)
    }

    fn write(&self, body: OutgoingBody) -> Result<(), Error> {
        let stream = body.write().map_err(|()| self.failed("its body was taken already"))?;
        let mut rest = self.request.body.as_slice();
        while !rest.is_empty() {
            let room = stream.check_write().map_err(|error| self.broken(error))?;
            if room == 0 {
                self.wait(&stream.subscribe())?;
                continue;
            }
            let (chunk, later) = rest.split_at(rest.len().min(room as usize));
            stream.write(chunk).map_err(|error| self.broken(error))?;
            rest = later;
        }
        drop(stream);
        OutgoingBody::finish(body, None).map_err(|code| self.explain(&code))
    }

    fn read(&self, response: IncomingResponse) -> Result<Response, Error> {
        let entries = response.headers().entries().into_iter();
        let headers = entries.map(|(name, value)| {
            let value = String::from_utf8_lossy(&value).into_owned();
            (name, value)
        });
        Ok(Response {
            url: self.request.url.clone(),
            status: response.status(),
            headers: headers.collect(),
            body: self.read_body(&response)?,
        })
    }

    fn read_body(&self, response: &IncomingResponse) -> Result<Vec<u8>, Error> {
        let taken = |()| self.failed("its body was taken already");
        let body = response.consume().map_err(taken)?;
        let stream = body.stream().map_err(taken)?;
        let mut bytes = Vec::new();
        loop {
            match stream.read(CHUNK) {
                Ok(chunk) if chunk.is_empty() => self.wait(&stream.subscribe())?,
                Ok(chunk) => bytes.extend_from_slice(&chunk),
                Err(StreamError::Closed) => return Ok(bytes),
                Err(error) => return Err(self.broken(error)),
            }
            if bytes.len() > self.request.max_bytes {
                return Err(Error::TooLong {
                    host: self.host(),
                    max_bytes: self.request.max_bytes,
                });
            }
        }
    }

    /// Blocks until there is something to do, or the time is over.
    fn wait(&self, ready: &Pollable) -> Result<(), Error> {
        let Some(deadline) = &self.deadline else {
            ready.block();
            return Ok(());
        };
        match poll(&[ready, deadline]).contains(&0) {
            true => Ok(()),
            false => Err(Error::Timeout { host: self.host() }),
        }
    }

    fn broken(&self, error: StreamError) -> Error {
        match error {
            StreamError::Closed => self.failed("the connection was closed"),
            StreamError::LastOperationFailed(error) => match wasi::http_error_code(&error) {
                Some(code) => self.explain(&code),
                None => self.failed(&error.to_debug_string()),
            },
        }
    }

    fn explain(&self, code: &ErrorCode) -> Error {
        let reason = match code {
            ErrorCode::HttpRequestDenied => return Error::Denied { host: self.host() },
            ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionReadTimeout
            | ErrorCode::ConnectionWriteTimeout
            | ErrorCode::HttpResponseTimeout
            | ErrorCode::DnsTimeout => return Error::Timeout { host: self.host() },
            ErrorCode::DnsError(_) | ErrorCode::DestinationNotFound => "there is no such host",
            ErrorCode::DestinationUnavailable | ErrorCode::DestinationIpUnroutable => {
                "the host can't be reached"
            }
            ErrorCode::DestinationIpProhibited => "the host's address is off limits",
            ErrorCode::ConnectionRefused => "the connection was refused",
            ErrorCode::ConnectionTerminated => "the connection was closed",
            ErrorCode::TlsProtocolError | ErrorCode::TlsAlertReceived(_) => "TLS failed",
            ErrorCode::TlsCertificateError => "the certificate is not trusted",
            ErrorCode::HttpRequestUriInvalid => "the URL is malformed",
            ErrorCode::HttpResponseIncomplete => "the response broke off",
            ErrorCode::InternalError(Some(reason)) => reason,
            code => return self.failed(&format!("{code:?}").replace("ErrorCode::", "")),
        };
        self.failed(reason)
    }

    fn failed(&self, reason: &str) -> Error {
        Error::Failed { host: self.host(), reason: reason.to_owned() }
    }

    fn host(&self) -> String {
        self.url.authority.to_owned()
    }
}

fn method(method: Method) -> wasi::Method {
    match method {
        Method::Get => wasi::Method::Get,
        Method::Head => wasi::Method::Head,
        Method::Post => wasi::Method::Post,
        Method::Put => wasi::Method::Put,
        Method::Patch => wasi::Method::Patch,
        Method::Delete => wasi::Method::Delete,
        Method::Options => wasi::Method::Options,
    }
}
