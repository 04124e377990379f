//! The calls of a soak, and how often each is made.

use serde_json::{Value, json};

use super::dice::Dice;
use super::expect::Expect;
use super::world::World;
use crate::lab::id;

/// One kind of call.
pub(super) struct Kind {
    /// What it is, in a few words.
    pub(super) name: &'static str,
    /// How often it is made, beside the others. What takes milliseconds is rare, so that a million
    /// calls take minutes.
    share: u64,
    /// Makes one.
    pub(super) make: fn(&mut Dice, &World) -> Call,
}

/// One request, and what must come of it.
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) params: Value,
    pub(super) expect: Expect,
}

const fn kind(name: &'static str, share: u64, make: fn(&mut Dice, &World) -> Call) -> Kind {
    Kind { name, share, make }
}

fn call(tool: &str, arguments: Value, expect: Expect) -> Call {
    let params = json!({"name": id(tool), "arguments": arguments});
    Call { method: "tools/call", params, expect }
}

fn gives(text: impl Into<String>) -> Expect {
    Expect::Gives(text.into())
}

/// Throws a kind, each as often as its share says.
pub(super) fn any(dice: &mut Dice) -> &'static Kind {
    let mut at = dice.below(ALL.iter().map(|kind| kind.share).sum());
    let found = ALL.iter().find(|kind| {
        let here = at < kind.share;
        at = at.saturating_sub(kind.share);
        here
    });
    found.expect("the number is below the sum of all shares")
}

/// Every kind.
pub(super) const ALL: &[Kind] = &[
    // What minds its own business.
    kind("sum", 360, |dice, _| {
        let (a, b) = (dice.below(1 << 40), dice.below(1 << 40));
        let expect = Expect::Structured(json!({"result": a + b}));
        call("neighbour/add", json!({"a": a, "b": b}), expect)
    }),
    kind("sum too large", 20, |_, _| {
        let expect = Expect::Fails("the sum is too large");
        call("neighbour/add", json!({"a": i64::MAX, "b": 1}), expect)
    }),
    kind("echo", 80, |dice, _| {
        let text = format!("echo {}", dice.below(1 << 40));
        Call {
            method: "tools/call",
            params: json!({"name": "shout", "arguments": {"text": text}}),
            expect: gives(text.to_uppercase()),
        }
    }),
    kind("list of tools", 2, |_, _| Call {
        method: "tools/list",
        params: json!({}),
        expect: Expect::Listed,
    }),
    // What makes no sense.
    kind("wrong arguments", 50, |dice, _| {
        let arguments = match dice.below(3) {
            0 => json!({"a": 1}),
            1 => json!({"a": "one", "b": [[]]}),
            _ => json!({"a": 1, "b": "x".repeat(4096)}),
        };
        call("neighbour/add", arguments, Expect::Code("KAMI-ARGUMENTS"))
    }),
    kind("unknown tool", 40, |dice, _| {
        call(&format!("nobody{}/add", dice.below(1 << 40)), json!({}), Expect::Unknown)
    }),
    // What ends badly.
    kind("panic", 50, |_, _| {
        call("crash/panic", json!({"message": "boo"}), Expect::Code("KAMI-PANIC"))
    }),
    kind("exit", 40, |_, _| call("crash/exit", json!({"status": 3}), Expect::Code("KAMI-EXIT"))),
    kind("endless recursion", 20, |_, _| {
        call("crash/recurse", json!({}), Expect::Code("KAMI-STACK"))
    }),
    kind("memory bomb", 8, |_, _| call("crash/allocate", json!({}), Expect::Code("KAMI-MEMORY"))),
    kind("fuel", 20, |_, _| {
        call("starved/count", json!({"to": 1_000_000_000}), Expect::Code("KAMI-FUEL"))
    }),
    kind("spin to the clock's end", 2, |_, _| {
        call("hasty/spin", json!({}), Expect::Code("KAMI-TIMEOUT"))
    }),
    kind("spin to the processor's end", 2, |_, _| {
        call("lean/spin", json!({}), Expect::Code("KAMI-CPU"))
    }),
    kind("sleep without end", 10, |_, _| {
        call("hasty/sleep", json!({"millis": 60_000}), Expect::Code("KAMI-TIMEOUT"))
    }),
    // What says too much.
    kind("forged message", 40, |_, _| {
        let line = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
        call("loud/forge", json!({"line": line}), gives("the real answer"))
    }),
    kind("long answer", 15, |_, _| {
        call("loud/ramble", json!({"bytes": 60_000}), Expect::Length(60_000))
    }),
    kind("answer too long", 15, |dice, _| {
        let bytes = (64 << 10) + 1 + dice.below(1 << 20);
        call("loud/ramble", json!({"bytes": bytes}), Expect::Code("KAMI-SIZE"))
    }),
    kind("long complaint", 5, |_, _| {
        call("loud/complain", json!({"bytes": 1 << 18}), Expect::Fails("y…"))
    }),
    kind("flood of output", 15, |_, _| call("loud/flood", json!({"bytes": 256 << 10}), gives(""))),
    kind("log", 10, |_, _| call("loud/chatter", json!({"times": 10, "bytes": 100}), gives(""))),
    kind("flood of the log", 2, |_, _| {
        call("loud/chatter", json!({"times": 2000, "bytes": 1000}), gives(""))
    }),
    // What reaches for files.
    kind("file outside", 20, |_, _| {
        call("crash/read", json!({"path": "/etc/passwd"}), Expect::Fails("os error"))
    }),
    kind("file in a mount", 20, |_, _| {
        call("files/read", json!({"path": "/docs/page.txt"}), gives("a page"))
    }),
    kind("write where one reads", 10, |_, _| {
        let arguments = json!({"how": "Write", "path": "/docs/new.txt"});
        call("files/change", arguments, Expect::Fails("os error"))
    }),
    kind("scratch file", 30, |dice, _| {
        let note = dice.below(1 << 40).to_string();
        let expect = gives(format!("before: [], own: {note}, all: note"));
        call("files/scratch", json!({"note": note, "wait_millis": 0}), expect)
    }),
    kind("many scratch files", 2, |_, _| {
        let arguments = json!({"how": "Files", "directories": ["/scratch"]});
        call("files/fill", arguments, Expect::Says(", then ".to_owned()))
    }),
    kind("full scratch directory", 3, |_, _| {
        let arguments = json!({"how": "WriteAll", "directories": ["/scratch"]});
        call("files/fill", arguments, Expect::Says(", then ".to_owned()))
    }),
    kind("hoard of files", 2, |_, _| {
        call("files/hoard", json!({"path": "/docs/page.txt"}), Expect::Code("KAMI-HANDLES"))
    }),
    kind("kept file", 5, |dice, _| {
        let name = format!("file{}", dice.below(8));
        let expect = Expect::Says(name.clone());
        call("keeper/keep", json!({"name": name, "kibibytes": 4}), expect)
    }),
    kind("discarded files", 3, |_, _| call("keeper/discard", json!({}), gives(""))),
    // What reaches out.
    kind("socket denied", 20, |_, world| {
        let expect = Expect::Denied("Permission denied", "KAMI-NOT-REQUESTED");
        call("web/connect", json!({"address": world.web.address()}), expect)
    }),
    kind("listening denied", 10, |_, _| {
        let expect = Expect::Denied("Permission denied", "KAMI-UNSAFE");
        call("web/listen", json!({"address": "127.0.0.1:0"}), expect)
    }),
    kind("datagram denied", 5, |_, world| {
        let arguments = json!({"address": world.web.address()});
        call("web/send_datagram", arguments, Expect::Fails("Permission denied"))
    }),
    kind("name denied", 15, |_, _| {
        let expect = Expect::Denied("", "KAMI-NOT-REQUESTED");
        call("web/resolve", json!({"name": "localhost"}), expect)
    }),
    kind("request denied", 20, |_, world| {
        let expect = Expect::Denied("denied by the host's policy", "KAMI-NOT-REQUESTED");
        call("web/get", json!({"url": world.elsewhere.origin()}), expect)
    }),
    kind("socket", 5, |_, world| {
        let address = world.web.address();
        let expect = gives(format!("connected to {address}"));
        call("dialler/connect", json!({"address": address}), expect)
    }),
    kind("request", 25, |_, world| {
        call("web/get", json!({"url": format!("{}/page", world.web.origin())}), gives("200 fine"))
    }),
    kind("redirect", 5, |_, world| {
        let origin = world.web.origin();
        let url = format!("{origin}/redirect?{origin}/page");
        call("web/follow", json!({"url": url}), gives("fine"))
    }),
    kind("server that never answers", 5, |_, world| {
        let url = format!("{}/never", world.web.origin());
        call("hurried/get", json!({"url": url}), Expect::Code("KAMI-TIMEOUT"))
    }),
    kind("server that drips", 5, |_, world| {
        let url = format!("{}/drip", world.web.origin());
        call("hurried/get", json!({"url": url}), Expect::Code("KAMI-TIMEOUT"))
    }),
    kind("server that is left", 5, |_, world| {
        let url = format!("{}/never", world.web.origin());
        let arguments = json!({"url": url, "timeout_millis": 20});
        call("web/get", arguments, Expect::Fails("timed out"))
    }),
    kind("endless answer", 1, |_, world| {
        let url = format!("{}/endless", world.web.origin());
        call("web/get", json!({"url": url}), Expect::Fails("more than 1048576 bytes"))
    }),
    kind("endless headers", 1, |_, world| {
        let url = format!("{}/rude/endless-headers", world.web.origin());
        call("web/get", json!({"url": url}), Expect::Fails("failed: "))
    }),
    // What nobody waits for.
    kind("sleep, cancelled", 5, |_, _| {
        call("patient/sleep", json!({"millis": 60_000}), Expect::Nothing)
    }),
    kind("spin, cancelled", 1, |_, _| call("patient/spin", json!({}), Expect::Nothing)),
    kind("request, cancelled", 4, |_, world| {
        let url = format!("{}/never", world.web.origin());
        call("web/get", json!({"url": url}), Expect::Nothing)
    }),
    kind("scratch file, cancelled", 4, |_, _| {
        call("files/scratch", json!({"note": "", "wait_millis": 60_000}), Expect::Nothing)
    }),
    // What changes meanwhile.
    kind("grant that changes", 20, |_, world| {
        let denied = Expect::Denied("denied by the host's policy", "KAMI-NOT-GRANTED");
        let expect = Expect::OneOf(vec![gives("200 fine"), denied]);
        call("changing/get", json!({"url": world.web.origin()}), expect)
    }),
    kind("package that comes and goes", 20, |_, _| {
        // Its file may be gone while it is still in the catalog, for the catalog's 50 ms.
        let gone = Expect::Code("KAMI-REGISTRY");
        let expect = Expect::OneOf(vec![gives("the real answer"), Expect::Unknown, gone]);
        call("coming/forge", json!({"line": ""}), expect)
    }),
];
