//! Requests in the host's own words, which the client of the SDK would not make.

use kami_guest::prelude::*;

/// Makes a request with any method, and reads its answer to the end.
///
/// The last two say how long the head, and each part of the body, may take.
#[kami_tool]
fn ask(
    method: String,
    url: String,
    header: Option<String>,
    head_millis: Option<u64>,
    body_millis: Option<u64>,
) -> Result<String, String> {
    let waits = [head_millis, body_millis];
    let response = raw::start(&method, &url, header.as_deref(), waits)?.wait()?;
    let (status, mut bytes) = (response.status(), 0);
    response.read(|chunk| bytes += chunk.len())?;
    Ok(format!("{status} with {bytes} bytes"))
}

/// Sends a body of zeroes.
#[kami_tool]
fn upload(url: String, bytes: u64) -> Result<String, String> {
    let request = raw::start("POST", &url, None, [None; 2])?;
    request.send(bytes)?;
    Ok(format!("{}", request.wait()?.status()))
}

/// Makes many requests at once, and tells how many were answered.
#[kami_tool]
fn crowd(url: String, requests: u32) -> Result<String, String> {
    let begun: Result<Vec<_>, String> =
        (0..requests).map(|_| raw::start("GET", &url, None, [None; 2])).collect();
    Ok(format!("{} answered", raw::answered(begun?)))
}

/// The host's functions themselves.
mod raw {
    use wasip2::http::outgoing_handler::handle;
    use wasip2::http::types::{
        ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody,
        OutgoingRequest, RequestOptions, Scheme, http_error_code,
    };
    use wasip2::io::poll::poll;
    use wasip2::io::streams::StreamError;

    pub(super) struct Begun {
        // Above the response, which must not outlive it.
        body: OutgoingBody,
        response: FutureIncomingResponse,
    }

    pub(super) struct Answer(IncomingResponse);

    fn told(code: &ErrorCode) -> String {
        format!("{code:?}").replace("ErrorCode::", "")
    }

    fn broken(error: StreamError) -> String {
        match error {
            StreamError::Closed => "closed".to_owned(),
            StreamError::LastOperationFailed(error) => match http_error_code(&error) {
                Some(code) => told(&code),
                None => error.to_debug_string(),
            },
        }
    }

    pub(super) fn start(
        method: &str,
        url: &str,
        header: Option<&str>,
        waits: [Option<u64>; 2],
    ) -> Result<Begun, String> {
        let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let fields = Fields::new();
        if let Some((name, value)) = header.and_then(|header| header.split_once(": ")) {
            let value = value.as_bytes();
            fields.append(name, value).map_err(|error| format!("no such header: {error:?}"))?;
        }
        let request = OutgoingRequest::new(fields);
        let method = match method {
            "GET" => Method::Get,
            "CONNECT" => Method::Connect,
            "TRACE" => Method::Trace,
            other => Method::Other(other.to_owned()),
        };
        let scheme = match scheme {
            "https" => Scheme::Https,
            _ => Scheme::Http,
        };
        request.set_method(&method).map_err(|()| "no such method")?;
        request.set_scheme(Some(&scheme)).map_err(|()| "no such scheme")?;
        request.set_authority(Some(authority)).map_err(|()| "no such authority")?;
        request.set_path_with_query(Some(path)).map_err(|()| "no such path")?;
        let options = RequestOptions::new();
        let [head, body] = waits.map(|wait| wait.map(|millis| millis * 1_000_000));
        options.set_first_byte_timeout(head).map_err(|()| "no such limit")?;
        options.set_between_bytes_timeout(body).map_err(|()| "no such limit")?;
        let body = request.body().map_err(|()| "no body")?;
        let response = handle(request, Some(options)).map_err(|code| told(&code))?;
        Ok(Begun { body, response })
    }

    impl Begun {
        pub(super) fn send(&self, bytes: u64) -> Result<(), String> {
            let stream = self.body.write().map_err(|()| "no stream")?;
            let mut left = bytes;
            while left > 0 {
                stream.subscribe().block();
                let room = stream.check_write().map_err(broken)?.min(left).min(64 << 10);
                stream.write(&vec![0; room as usize]).map_err(broken)?;
                left -= room;
            }
            Ok(())
        }

        pub(super) fn wait(self) -> Result<Answer, String> {
            // Without its end the server waits for more.
            let finished = OutgoingBody::finish(self.body, None);
            self.response.subscribe().block();
            match self.response.get() {
                Some(Ok(Ok(response))) => Ok(Answer(response)),
                Some(Ok(Err(code))) => Err(told(finished.as_ref().err().unwrap_or(&code))),
                _ => Err("no response".to_owned()),
            }
        }
    }

    impl Answer {
        pub(super) fn status(&self) -> u16 {
            self.0.status()
        }

        pub(super) fn read(&self, mut each: impl FnMut(Vec<u8>)) -> Result<(), String> {
            let body = self.0.consume().map_err(|()| "no body")?;
            let stream = body.stream().map_err(|()| "no stream")?;
            loop {
                match stream.blocking_read(64 << 10) {
                    Ok(chunk) => each(chunk),
                    Err(StreamError::Closed) => return Ok(()),
                    Err(error) => return Err(broken(error)),
                }
            }
        }
    }

    /// Waits for all of them, and gives up each connection as soon as it is answered.
    pub(super) fn answered(begun: Vec<Begun>) -> usize {
        let mut waiting: Vec<_> = begun
            .into_iter()
            .map(|Begun { body, response }| {
                // The request is whole; a failure shows in its response.
                drop(OutgoingBody::finish(body, None));
                response
            })
            .collect();
        let mut answered = 0;
        while !waiting.is_empty() {
            let pollables: Vec<_> = waiting.iter().map(|response| response.subscribe()).collect();
            let mut ready = poll(&pollables.iter().collect::<Vec<_>>());
            drop(pollables);
            ready.sort_unstable();
            // From the last to the first, so that the places of the others stay as they are.
            for place in ready.into_iter().rev() {
                let response = waiting.swap_remove(place as usize);
                answered += usize::from(matches!(response.get(), Some(Ok(Ok(_)))));
            }
        }
        answered
    }
}
