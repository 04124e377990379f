//! Takes what the host has only so much of, and gives nothing back.

use kami_guest::prelude::*;

/// What the host hands out.
#[kami_type]
#[derive(Clone, Copy)]
enum Thing {
    Clocks,
    Fields,
    Requests,
    Bodies,
    Answers,
    Trailers,
    Sockets,
    Files,
    Listings,
    Readers,
    Writers,
    Prints,
    Errors,
}

/// Takes one thing after another, holds on to all of them, and says how many there were.
#[kami_tool]
fn pile(what: Thing, most: u32, server: Option<String>) -> u32 {
    raw::pile(what, most, &server.unwrap_or_default())
}

#[cfg(target_family = "wasm")]
mod raw {
    use wasip2::cli::stdout::get_stdout;
    use wasip2::clocks::monotonic_clock::subscribe_duration;
    use wasip2::filesystem::preopens::get_directories;
    use wasip2::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};
    use wasip2::http::outgoing_handler::{FutureIncomingResponse, handle};
    use wasip2::http::types::{Fields, IncomingBody, OutgoingRequest, Scheme};
    use wasip2::io::streams::StreamError;
    use wasip2::sockets::network::IpAddressFamily;
    use wasip2::sockets::tcp_create_socket::create_tcp_socket;

    use super::Thing;

    pub(super) fn pile(what: Thing, most: u32, server: &str) -> u32 {
        match what {
            Thing::Clocks => keep(most, || subscribe_duration(u64::MAX)),
            Thing::Fields => keep(most, Fields::new),
            Thing::Requests => keep(most, || OutgoingRequest::new(Fields::new())),
            Thing::Bodies => keep(most, || {
                let request = OutgoingRequest::new(Fields::new());
                let body = request.body().expect("it is the first");
                let stream = body.write().expect("it is the first");
                (stream, body, request)
            }),
            Thing::Answers => keep(most, || ask(server, "/never")),
            Thing::Trailers => keep(most, || {
                let answer = ask(server, "/ok");
                answer.subscribe().block();
                let answer = answer.get().expect("it is there").expect("it is the first");
                let body = answer.expect("the server answers").consume().expect("it is the first");
                IncomingBody::finish(body)
            }),
            Thing::Sockets => {
                keep(most, || create_tcp_socket(IpAddressFamily::Ipv4).expect("there are sockets"))
            }
            Thing::Files => keep(most, open),
            Thing::Listings => {
                let at = directory();
                keep(most, || at.read_directory().expect("it can be listed"))
            }
            Thing::Readers => {
                let file = open();
                keep(most, || file.read_via_stream(0).expect("it can be read"))
            }
            Thing::Writers => {
                let file = open();
                keep(most, || file.write_via_stream(0).expect("it can be written"))
            }
            Thing::Prints => keep(most, get_stdout),
            Thing::Errors => {
                let file = open();
                keep(most, || {
                    // No file has bytes there.
                    let stream = file.read_via_stream(u64::MAX).expect("nobody has looked yet");
                    match stream.blocking_read(1) {
                        Err(StreamError::LastOperationFailed(error)) => error,
                        other => panic!("{other:?}"),
                    }
                })
            }
        }
    }

    fn keep<T>(most: u32, mut take: impl FnMut() -> T) -> u32 {
        let kept: Vec<T> = (0..most).map(|_| take()).collect();
        kept.len() as u32
    }

    fn ask(server: &str, page: &str) -> FutureIncomingResponse {
        let request = OutgoingRequest::new(Fields::new());
        request.set_scheme(Some(&Scheme::Http)).expect("it is a scheme");
        request.set_authority(Some(server)).expect("it is an authority");
        request.set_path_with_query(Some(page)).expect("it is a path");
        handle(request, None).expect("the host takes it")
    }

    pub(crate) fn directory() -> Descriptor {
        get_directories().into_iter().next().expect("there is one").0
    }

    pub(crate) fn open() -> Descriptor {
        let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
        let opened = directory().open_at(PathFlags::empty(), "heap", OpenFlags::CREATE, flags);
        opened.expect("it can be opened")
    }
}

#[cfg(not(target_family = "wasm"))]
mod raw {
    use super::Thing;

    pub(super) fn pile(_: Thing, _: u32, _: &str) -> u32 {
        unreachable!("this is a guest")
    }
}

#[cfg(target_family = "wasm")]
pub(crate) use raw::{directory, open};
