//! Secrets that the host adds to requests on their way out, and strikes out of what comes back.
//!
//! A guest never has an injected secret. It could still try to see one: in the answer of a server
//! that repeats its request, in a piece of such an answer, or in a compressed one. So what comes
//! back is searched for every known value in every usual form, no part of an answer can be asked
//! for, and no answer may come in a form that cannot be searched.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::grants::{Denial, DenialRule, Effective, Endpoint, SecretName};
use crate::secrets::{ScrubStream, Scrubber, SecretValue, Secrets, TooMuchToScrub};

/// Headers by which a guest could have an answer in pieces or in a form that hides what is in it.
const DISGUISES: &[HeaderName] =
    &[header::ACCEPT_ENCODING, header::TE, header::RANGE, header::IF_RANGE];

/// The secrets that one package may use, and what finds them again.
#[derive(Default)]
pub(crate) struct GrantedSecrets {
    values: BTreeMap<SecretName, SecretValue>,
    scrubber: Scrubber,
}

impl GrantedSecrets {
    /// Picks what `effective` permits. One that has no value is missed when it is needed.
    pub(super) fn pick(effective: &Effective, secrets: &Secrets) -> Result<Self, TooMuchToScrub> {
        let values: BTreeMap<_, _> = effective
            .secrets()
            .filter_map(|(name, _)| Some((name.clone(), secrets.get(name)?.clone())))
            .collect();
        let scrubber = Scrubber::new(values.values())?;
        Ok(Self { values, scrubber })
    }

    pub(crate) fn scrubber(&self) -> &Scrubber {
        &self.scrubber
    }

    /// The variables of the guest's environment that are secrets.
    pub(super) fn variables(&self, effective: &Effective) -> Vec<(String, String)> {
        effective
            .secrets()
            .filter(|(_, request)| request.env)
            .filter_map(|(name, _)| {
                let value = self.values.get(name)?;
                Some((name.to_string(), value.expose().to_owned()))
            })
            .collect()
    }

    /// Adds to a request to `endpoint` the headers that are for it, in the place of the guest's own.
    pub(super) fn inject(
        &self,
        effective: &Effective,
        endpoint: &Endpoint,
        headers: &mut HeaderMap,
    ) -> Result<(), Denial> {
        for injection in effective.injections(endpoint) {
            let template = &injection.header;
            let name = template.secret();
            let not_set = || Denial {
                thing: format!("the secret {name} for {endpoint}"),
                rule: DenialRule::SecretNotSet,
                line: format!("cargo kami secret set {name}"),
            };
            let secret = self.values.get(name).ok_or_else(not_set)?;
            let value = HeaderValue::try_from(template.value(secret.expose()));
            let (mut value, header) =
                value.ok().zip(HeaderName::try_from(template.name()).ok()).ok_or_else(not_set)?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        if !self.scrubber.is_empty() {
            DISGUISES.iter().for_each(|name| drop(headers.remove(name)));
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        Ok(())
    }

    /// Strikes every secret out of an answer before the guest sees it.
    pub(super) fn receive(
        &self,
        response: http::Response<WasiBody>,
    ) -> Result<http::Response<WasiBody>, Error> {
        if self.scrubber.is_empty() {
            return Ok(response);
        }
        let (mut head, body) = response.into_parts();
        let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
        if !head.headers.get_all(header::CONTENT_ENCODING).iter().all(plain) {
            return Err(Error::HttpResponseContentCoding(None));
        }
        head.headers = scrub_headers(&self.scrubber, &head.headers)?;
        let body = Scrubbed::new(body, self.scrubber.clone());
        Ok(http::Response::from_parts(head, body.boxed_unsync()))
    }
}

fn scrub_headers(scrubber: &Scrubber, headers: &HeaderMap) -> Result<HeaderMap, Error> {
    let mut scrubbed = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let name = scrubber.scrub_str(name.as_str());
        // A name of which a part was struck may be none any more.
        let name = HeaderName::try_from(name.as_ref().replace('*', "x"));
        let value = HeaderValue::try_from(scrubber.scrub_bytes(value.as_bytes().to_vec()));
        let (name, value) = name.ok().zip(value.ok()).ok_or(Error::HttpProtocolError)?;
        scrubbed.append(name, value);
    }
    Ok(scrubbed)
}

/// A body in which secrets are struck out, wherever its frames are cut.
struct Scrubbed {
    body: WasiBody,
    scrubber: Scrubber,
    /// `None` once everything that was kept back is given.
    stream: Option<ScrubStream>,
    /// What comes after the data that was kept back.
    after: VecDeque<Frame<Bytes>>,
}

impl Scrubbed {
    fn new(body: WasiBody, scrubber: Scrubber) -> Self {
        let stream = Some(scrubber.stream());
        Self { body, scrubber, stream, after: VecDeque::new() }
    }

    /// Gives what was kept back, at the end of all data.
    fn rest(&mut self) -> Option<Frame<Bytes>> {
        let rest = self.stream.take().map(ScrubStream::finish).unwrap_or_default();
        if rest.is_empty() { self.after.pop_front() } else { Some(Frame::data(rest)) }
    }

    /// What of `frame` can be given now; nothing where all of it is kept back.
    fn pass(&mut self, frame: Frame<Bytes>) -> Option<Result<Frame<Bytes>, Error>> {
        match frame.into_data() {
            Ok(data) => {
                let stream = self.stream.get_or_insert_with(|| self.scrubber.stream());
                let data = stream.push(data);
                (!data.is_empty()).then(|| Ok(Frame::data(data)))
            }
            Err(frame) => {
                let trailers = frame.into_trailers().ok()?;
                match scrub_headers(&self.scrubber, &trailers) {
                    Ok(trailers) => self.after.push_back(Frame::trailers(trailers)),
                    Err(error) => return Some(Err(error)),
                }
                self.rest().map(Ok)
            }
        }
    }
}

impl Body for Scrubbed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(frame) = self.after.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        loop {
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(self.rest().map(Ok)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(frame))) => frame,
            };
            if let Some(given) = self.pass(frame) {
                return Poll::Ready(Some(given));
            }
        }
    }
}
