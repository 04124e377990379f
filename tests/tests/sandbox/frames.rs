//! Clients that speak HTTP/2 to do harm, each beside one that is answered all the same.

use std::io::{ErrorKind, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use kami_tests::door::{Door, call};
use kami_tests::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, PREFACE, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, head, post,
};
use kami_tests::http::{Client, Version};
use kami_tests::lab::{Lab, id};
use serde_json::json;

use super::scene::install_for_limits;

/// By which a client that is in nobody's way is known.
const ENHANCE_YOUR_CALM: u32 = 11;

/// The setting of how much may be sent on a new stream.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// For a head of which nothing is kept.
const NOTHING_KEPT: &[(&str, &str)] = &[];

/// Fails unless somebody else is answered, over both versions of HTTP.
#[track_caller]
fn neighbour_is_answered(door: &Door) {
    let sum = door.call("add", &json!({"a": 1, "b": 2}));
    assert_eq!(sum["structuredContent"], json!({"result": 3}));
    let client = Client::plain(door.address(), Version::Two);
    let sum = client.post(&call(1, "add", &json!({"a": 1, "b": 2}))).expect("it is answered");
    assert_eq!(sum.result()["structuredContent"], json!({"result": 3}));
}

fn place() -> (Lab, Door) {
    let lab = Lab::with_neighbour();
    let door = Door::start(lab.data());
    (lab, door)
}

/// CVE-2023-44487.
#[test]
fn who_begins_and_gives_up_requests_without_end_is_left() {
    let (_lab, door) = place();
    let pair = |stream: u32| {
        let begun = frame(HEADERS, END_HEADERS, stream, &post(NOTHING_KEPT));
        [begun, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    let mut frames = Frames::connect(door.address(), &[]);
    let flood: Vec<u8> = (0..5000).flat_map(|number| pair(2 * number + 1)).collect();
    // It may be closed before all is sent.
    let _ = frames.send(&flood);
    neighbour_is_answered(&door);
    assert_eq!(frames.reason(), Some(ENHANCE_YOUR_CALM));

    // Some at a time, each of which is looked at before it is given up. As many as a minute has are
    // nothing unusual, and more are.
    let mut frames = Frames::connect(door.address(), &[]);
    let (mut sent, mut open) = (0, true);
    while sent < 5000 && open {
        let streams: Vec<u32> = (sent..sent + 50).map(|number| 2 * number + 1).collect();
        let begun = |stream: &u32| frame(HEADERS, END_HEADERS, *stream, &post(NOTHING_KEPT));
        let begun: Vec<u8> = streams.iter().flat_map(begun).collect();
        open = frames.send(&[begun, frame(PING, 0, 0, &[7; 8])].concat()).is_ok();
        // It answers when it has seen them.
        while open {
            match frames.read() {
                Some(read) if read.kind == PING && read.flags & ACK != 0 => break,
                Some(read) => frames.acknowledge(&read),
                None => open = false,
            }
        }
        let given_up = streams.iter().flat_map(|id| frame(RST_STREAM, 0, *id, &[0, 0, 0, 8]));
        open = open && frames.send(&given_up.collect::<Vec<u8>>()).is_ok();
        sent += 50;
        if sent % 500 == 0 {
            neighbour_is_answered(&door);
        }
    }
    assert!((600..2000).contains(&sent), "{sent} were taken");
    neighbour_is_answered(&door);
}

/// CVE-2025-8671: the server is made to give them up.
#[test]
fn who_has_requests_given_up_without_end_is_left() {
    let (_lab, door) = place();
    let mut frames = Frames::connect(door.address(), &[]);
    let mut flood = Vec::new();
    for number in 0..5000 {
        let stream = 2 * number + 1;
        flood.extend(frame(HEADERS, END_HEADERS, stream, &post(NOTHING_KEPT)));
        // The window grows beyond what there can be.
        flood.extend(frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes()));
    }
    let _ = frames.send(&flood);
    neighbour_is_answered(&door);
    assert_eq!(frames.reason(), Some(ENHANCE_YOUR_CALM));
}

#[cfg(target_os = "linux")]
#[test]
fn heads_without_end_or_measure_fill_no_memory() {
    let (_lab, door) = place();
    let before = door.peak_memory();
    let kibibyte = "x".repeat(1 << 10);
    let field = head(&[("x-more", &kibibyte)]);

    // A head that goes on and on.
    let mut frames = Frames::connect(door.address(), &[]);
    let mut sent = frames.send(&frame(HEADERS, 0, 1, &post(NOTHING_KEPT)));
    let more = frame(CONTINUATION, 0, 1, &field.repeat(15));
    let mut times = 0;
    while sent.is_ok() && times < 20_000 {
        sent = frames.send(&more);
        times += 1;
    }
    assert!(times < 20_000, "300 MiB of a head were taken");
    neighbour_is_answered(&door);

    // The same in pieces with nothing in them, of which the size says nothing.
    let mut frames = Frames::connect(door.address(), &[]);
    let mut sent = frames.send(&frame(HEADERS, 0, 1, &post(NOTHING_KEPT)));
    let empty = frame(CONTINUATION, 0, 1, &[]).repeat(1000);
    let mut times = 0;
    while sent.is_ok() && times < 1000 {
        sent = frames.send(&empty);
        times += 1;
    }
    assert!(times < 1000, "a million empty pieces of a head were taken");
    neighbour_is_answered(&door);

    // One that has an end and is too large, and one that is large by repeating what is in a table.
    let mut repeated = [&[0x40, 1, b'x', 127, 0xa1, 0x1e][..], &[b'x'; 4000]].concat();
    repeated.extend_from_slice(&[0xbe; 12_000]);
    for block in [[post(NOTHING_KEPT), field.repeat(22)].concat(), {
        [post(NOTHING_KEPT), repeated].concat()
    }] {
        let mut frames = Frames::connect(door.address(), &[]);
        let (first, rest) = block.split_at(8 << 10);
        let parts =
            [frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, END_HEADERS, 1, rest)];
        frames.send(&parts.concat()).expect("the server reads");
        let body = frames.body(1);
        assert!(body.is_none_or(|body| body.is_empty()), "it is not answered as it was meant");
        neighbour_is_answered(&door);
    }
    let grown = door.peak_memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes of memory");
}

#[cfg(target_os = "linux")]
#[test]
fn floods_of_frames_fill_no_memory_and_keep_nobody_waiting() {
    let (_lab, door) = place();
    neighbour_is_answered(&door);
    let before = door.peak_memory();
    let opened = frame(HEADERS, END_HEADERS, 1, &post(NOTHING_KEPT));
    for (what, begin, flood) in [
        ("pings", Vec::new(), frame(PING, 0, 0, &[7; 8])),
        ("settings", Vec::new(), frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("priorities", Vec::new(), frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])),
        ("windows", Vec::new(), frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("data", opened.clone(), frame(DATA, 0, 1, &[])),
        ("padding", opened, frame(DATA, 8, 1, &[[255].as_slice(), &[0; 255]].concat())),
        ("unknown", Vec::new(), frame(99, 0, 0, &[7; 64])),
    ] {
        // Nothing of what comes back is read.
        let mut frames = Frames::connect(door.address(), &[]);
        frames.stream().set_write_timeout(Some(Duration::from_secs(1))).expect("it is something");
        frames.send(&begin).expect("the server reads");
        let (flood, started) = (flood.repeat(2000), Instant::now());
        let flooding = thread::spawn(move || {
            // Until nothing is taken any more, or for a while.
            while started.elapsed() < Duration::from_secs(3) && frames.send(&flood).is_ok() {}
            frames
        });
        neighbour_is_answered(&door);
        while !flooding.is_finished() {
            neighbour_is_answered(&door);
        }
        let flooded = flooding.join();
        assert!(flooded.is_ok(), "{what}");
    }
    neighbour_is_answered(&door);
    let grown = door.peak_memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes of memory");
}

/// Each connection may have a hundred replies of two mebibytes.
#[cfg(target_os = "linux")]
#[test]
fn replies_that_nobody_takes_fill_no_memory() {
    const CONNECTIONS: usize = 4;
    let lab = Lab::with_neighbour();
    install_for_limits(&lab);
    let door = Door::start(lab.data());
    neighbour_is_answered(&door);
    let before = door.peak_memory();
    let name = id("limited/ramble");
    let large = call(1, &name, &json!({"bytes": 1 << 20})).to_string();
    let fields = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", &*name),
    ];
    let mut greedy: Vec<_> = (0..CONNECTIONS)
        .map(|_| Frames::connect(door.address(), &[(INITIAL_WINDOW_SIZE, 1)]))
        .collect();
    let mut replies = 0;
    for frames in &mut greedy {
        for number in 0..100 {
            if frames.ask(2 * number + 1, &fields, &large).is_err() {
                break;
            }
        }
    }
    // Those that are left have all their heads, and the others end.
    let (mut left, mut closed) = (0, 0);
    for frames in &mut greedy {
        let mut heads = 0;
        loop {
            let Some(read) = frames.read() else {
                closed += 1;
                break;
            };
            frames.acknowledge(&read);
            heads += usize::from(read.kind == HEADERS);
            if heads == 100 {
                left += 1;
                break;
            }
        }
        replies += heads;
        neighbour_is_answered(&door);
    }
    assert!(closed > 0 && left > 0 && replies > 100, "{closed} of {CONNECTIONS} were closed");
    let grown = door.peak_memory().saturating_sub(before);
    // What is counted, and what calls take that run meanwhile.
    assert!(grown < 1 << 30, "{grown} bytes of memory");
    neighbour_is_answered(&door);
}

#[test]
fn what_nobody_takes_or_asks_for_ends_in_time() {
    let lab = Lab::with_neighbour();
    install_for_limits(&lab);
    let door = Door::start(lab.data());
    let address = door.address();
    let name = id("limited/ramble");
    let large = call(1, &name, &json!({"bytes": 100_000})).to_string();
    let fields = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", &*name),
    ];
    thread::scope(|scope| {
        // A reply of which nothing is taken is given up, and no other one of its connection.
        scope.spawn(|| {
            let mut frames = Frames::connect(address, &[(INITIAL_WINDOW_SIZE, 0)]);
            frames.ask(1, &fields, &large).expect("the server reads");
            let given_up = loop {
                let read = frames.read().expect("the connection goes on");
                frames.acknowledge(&read);
                if read.kind == RST_STREAM {
                    break read.stream;
                }
            };
            assert_eq!(given_up, 1);
            let more = [0, 3].map(|stream| frame(WINDOW_UPDATE, 0, stream, &[0, 15, 255, 255]));
            frames.ask(3, &fields, &large).expect("the server reads");
            frames.send(&more.concat()).expect("the server reads");
            let body = frames.body(3).expect("it is answered");
            assert!(body.contains("xxxx"), "{body}");
        });
        // A connection on which nothing is asked ends, though whoever is there says so.
        scope.spawn(|| {
            let mut frames = Frames::connect(address, &[]);
            while let Some(read) = frames.read() {
                frames.acknowledge(&read);
            }
        });
        // So does one that does not say who it is, one that stops in the middle, and one that is asked
        // whether it is there and does not say.
        let unfinished = frame(HEADERS, 0, 1, &post(NOTHING_KEPT));
        let settings = frame(SETTINGS, 0, 0, &[]);
        for begin in [
            Vec::new(),
            PREFACE[..10].to_vec(),
            PREFACE.to_vec(),
            [PREFACE, &settings, &unfinished].concat(),
        ] {
            scope.spawn(move || end_of(address, &begin));
        }
        for _ in 0..10 {
            neighbour_is_answered(&door);
            thread::sleep(Duration::from_secs(1));
        }
    });
    neighbour_is_answered(&door);
}

/// Waits until the server closes a connection on which this was sent.
fn end_of(address: SocketAddr, begin: &[u8]) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.write_all(begin).expect("the server reads");
    // It may take as long as an idle connection, which is longer than anything else here.
    stream.set_read_timeout(Some(Duration::from_secs(150))).expect("it is more than nothing");
    let mut sink = Vec::new();
    let ended = std::io::Read::read_to_end(&mut stream, &mut sink);
    let waited = |error: &std::io::Error| {
        [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind())
    };
    assert!(!ended.as_ref().is_err_and(waited), "it is never closed: {begin:?}");
    let _ = stream.shutdown(Shutdown::Both);
}
