//! Asks the host for far too much at once, or for next to nothing for ever.

use kami_guest::prelude::*;

/// One call of the host with a number that no honest guest has.
#[kami_type]
#[derive(Clone, Copy)]
enum Demand {
    Random,
    InsecureRandom,
    Moment,
    ReadFile,
    ReadStream,
    SkipStream,
    ReadInput,
    Zeroes,
    Splice,
    PollNothing,
    PollPair,
    PollSame,
    PollMany,
    LongField,
    ManyFields,
    LongAuthority,
    LongMethod,
    LongPath,
    LongLog,
}

/// Asks for it, and says how much it got.
#[kami_tool]
fn demand(what: Demand) -> String {
    raw::demand(what)
}

/// A call of the host that returns at once.
#[kami_type]
#[derive(Clone, Copy)]
enum Chore {
    Clock,
    Random,
    Environment,
    Log,
    Fields,
    Poll,
    ReadNothing,
    WriteNothing,
    Stat,
    Grow,
    Fill,
    Copy,
}

/// Does it again and again, and nothing else.
#[kami_tool]
fn fidget(chore: Chore) {
    raw::fidget(chore)
}

#[cfg(target_family = "wasm")]
mod raw {
    use std::hint::black_box;

    use wasip2::cli::environment::get_environment;
    use wasip2::cli::stdin::get_stdin;
    use wasip2::cli::stdout::get_stdout;
    use wasip2::clocks::monotonic_clock::{now, subscribe_duration, subscribe_instant};
    use wasip2::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};
    use wasip2::http::types::{Fields, Method, OutgoingRequest};
    use wasip2::io::poll::{Pollable, poll};
    use wasip2::io::streams::StreamError;
    use wasip2::random::insecure::get_insecure_random_bytes;
    use wasip2::random::random::get_random_bytes;

    use super::{Chore, Demand};
    use crate::hoards::{directory, open};

    /// Longer than any of the host's own bounds on texts.
    const LONG: usize = 16 << 20;

    pub(super) fn demand(what: Demand) -> String {
        let large = || {
            let file = open();
            file.set_size(32 << 20).expect("that much may be written");
            file
        };
        let ended = |error: StreamError| match error {
            StreamError::Closed => "closed".to_owned(),
            StreamError::LastOperationFailed(error) => error.to_debug_string(),
        };
        let bytes = |read: Result<Vec<u8>, StreamError>| match read {
            Ok(bytes) => format!("{} bytes", bytes.len()),
            Err(error) => ended(error),
        };
        let said = |result: Result<(), ()>| if result.is_ok() { "taken" } else { "refused" };
        match what {
            Demand::Random => format!("{} bytes", get_random_bytes(4 << 30).len()),
            Demand::InsecureRandom => {
                format!("{} bytes", get_insecure_random_bytes(u64::MAX).len())
            }
            Demand::Moment => {
                subscribe_instant(u64::MAX).block();
                "it came".to_owned()
            }
            Demand::ReadFile => {
                let (read, _) = large().read(u64::MAX, 0).expect("it can be read");
                format!("{} bytes", read.len())
            }
            Demand::ReadStream => {
                let file = large();
                let stream = file.read_via_stream(0).expect("it can be read");
                bytes(stream.blocking_read(u64::MAX))
            }
            Demand::SkipStream => {
                let file = large();
                let stream = file.read_via_stream(0).expect("it can be read");
                stream
                    .blocking_skip(u64::MAX)
                    .map_or_else(ended, |skipped| format!("{skipped} bytes"))
            }
            Demand::ReadInput => bytes(get_stdin().blocking_read(u64::MAX)),
            Demand::Zeroes => {
                get_stdout().write_zeroes(1 << 40).map_or_else(ended, |()| "written".to_owned())
            }
            Demand::Splice => {
                let file = large();
                let stream = file.read_via_stream(0).expect("it can be read");
                let spliced = get_stdout().blocking_splice(&stream, u64::MAX);
                spliced.map_or_else(ended, |spliced| format!("{spliced} bytes"))
            }
            Demand::PollNothing => format!("{} ready", poll(&[]).len()),
            Demand::PollPair => poll_same(2),
            Demand::PollSame => poll_same(100_000),
            Demand::PollMany => {
                let all: Vec<Pollable> = (0..10_000).map(|_| subscribe_duration(1)).collect();
                format!("{} ready", poll(&all.iter().collect::<Vec<_>>()).len())
            }
            Demand::LongField => {
                let set = Fields::new().append("name", &vec![b'x'; LONG]);
                said(set.map_err(drop)).to_owned()
            }
            Demand::ManyFields => {
                let fields = Fields::new();
                let set = |at| fields.append(&format!("name-{at}"), b"value").is_ok();
                let taken = (0..1_000_000).take_while(|at| set(*at)).count();
                format!("{taken} fields")
            }
            Demand::LongAuthority => {
                let request = OutgoingRequest::new(Fields::new());
                said(request.set_authority(Some(&"x".repeat(LONG)))).to_owned()
            }
            Demand::LongMethod => {
                let request = OutgoingRequest::new(Fields::new());
                said(request.set_method(&Method::Other("x".repeat(LONG)))).to_owned()
            }
            Demand::LongPath => {
                let flags = DescriptorFlags::READ;
                let path = "x/".repeat(LONG / 2);
                let opened =
                    directory().open_at(PathFlags::empty(), &path, OpenFlags::empty(), flags);
                opened.map_or_else(|code| code.name().to_owned(), |_| "opened".to_owned())
            }
            Demand::LongLog => {
                kami_guest::log::error(&"x".repeat(LONG));
                "said".to_owned()
            }
        }
    }

    fn poll_same(times: usize) -> String {
        let stream = get_stdout();
        let ready = stream.subscribe();
        format!("{} ready", poll(&vec![&ready; times]).len())
    }

    pub(super) fn fidget(chore: Chore) {
        let mut buffer = vec![1_u8; 8 << 20];
        let half = buffer.len() / 2;
        let mut byte = 0;
        loop {
            match chore {
                Chore::Clock => drop(black_box(now())),
                Chore::Random => drop(black_box(get_random_bytes(64 << 10))),
                Chore::Environment => drop(black_box(get_environment())),
                Chore::Log => kami_guest::log::error(""),
                Chore::Fields => drop(black_box(Fields::new())),
                Chore::Poll => drop(black_box(poll(&[&subscribe_duration(0)]))),
                Chore::ReadNothing => drop(black_box(get_stdin().read(0))),
                Chore::WriteNothing => drop(black_box(get_stdout().write(&[]))),
                Chore::Stat => drop(black_box(directory().stat())),
                Chore::Grow => drop(black_box(core::arch::wasm32::memory_grow::<0>(1))),
                Chore::Fill => {
                    byte ^= 1;
                    black_box(&mut buffer).fill(byte);
                }
                Chore::Copy => black_box(&mut buffer).copy_within(..half, half / 2),
            }
        }
    }
}

#[cfg(not(target_family = "wasm"))]
mod raw {
    use super::{Chore, Demand};

    pub(super) fn demand(_: Demand) -> String {
        unreachable!("this is a guest")
    }

    pub(super) fn fidget(_: Chore) {
        unreachable!("this is a guest")
    }
}
