//! The stable codes by which people and programs look up why something did not happen.
//!
//! A model reads one short line that ends in a code. What the code means, and what can be done about
//! it, stands here once: for `cargo kami explain`, for the documents, and for whoever embeds this.

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// Such as `KAMI-TIMEOUT`. A code never changes its meaning.
    pub code: &'static str,
    /// What happened, in one sentence.
    pub meaning: &'static str,
    /// What its reader can do about it.
    pub remedy: &'static str,
}

/// Finds what a code means. Case, and the first word, can be left out: `timeout` is enough.
pub fn explain(code: &str) -> Option<&'static Explanation> {
    let wanted = code.trim().trim_matches(['[', ']']).to_ascii_uppercase();
    let wanted = wanted.strip_prefix("KAMI-").unwrap_or(&wanted);
    ALL.iter().find(|explanation| explanation.code["KAMI-".len()..] == *wanted)
}

const fn code(code: &'static str, meaning: &'static str, remedy: &'static str) -> Explanation {
    Explanation { code, meaning, remedy }
}

/// Every code there is, in the order of the alphabet.
pub const ALL: &[Explanation] = &[
    code(
        "KAMI-ADDRESS",
        "A name that the tool may reach leads to an address that is private, loopback, link-local \
         or otherwise not public. Nothing was sent to it.",
        "If that is meant to be reachable, request and grant the address as a range beside the name, \
         such as `10.1.2.3/32`. If not, somebody points a name at your network.",
    ),
    code(
        "KAMI-AMBIGUOUS",
        "The name that was given could mean several installed tools.",
        "Call the tool as `id/tool`; `cargo kami list` shows both.",
    ),
    code(
        "KAMI-ARGUMENTS",
        "The arguments do not fit the tool's input schema, or are larger than `max-arguments-kb`. \
         The tool was not started.",
        "Correct the arguments; `cargo kami inspect` shows the schema.",
    ),
    code(
        "KAMI-AUDIT",
        "The call could not be recorded in the audit log, and so was not made.",
        "A full disk is the usual reason: make room, and calls are made again. The server's log says \
         why, and `cargo kami log verify` whether the log is damaged.",
    ),
    code(
        "KAMI-BUSY",
        "As many calls run as may, of all tools (`--max-concurrent`) or of this one \
         (`max-concurrent-calls`), and too many wait already, or this one waited too long.",
        "Try again after the time that the message tells. If that happens often, make fewer calls at \
         once, or serve with more places, a longer line or more patience.",
    ),
    code(
        "KAMI-CANCELLED",
        "The client did not wait for the call any more. It stands in the audit log only.",
        "Nothing, unless it happens often: then the tool is slower than its client is patient.",
    ),
    code(
        "KAMI-CLIENT",
        "The tool runs as a task alone, and the client does not say that it knows tasks. It stands in \
         the audit log only.",
        "Use a client that knows tasks (`io.modelcontextprotocol/tasks`), or ask the author for a tool \
         that also answers directly.",
    ),
    code(
        "KAMI-CONSENT",
        "What a package asks for was not granted, so it was not installed. It stands in the audit \
         log only.",
        "Read what it asks for, and install it again if you agree.",
    ),
    code(
        "KAMI-CPU",
        "The tool's own code ran longer on a processor than `max-cpu-ms`, and was ended.",
        "Ask for less at once. The author can request more time; `cargo kami run` shows what a call \
         takes.",
    ),
    code(
        "KAMI-ENDED",
        "The server was told to end, and the tool was not done by the time that calls then have.",
        "Ask again in a while. `serve --drain-seconds` gives calls more time.",
    ),
    code(
        "KAMI-ENGINE",
        "The tool could not be compiled to native code on this machine.",
        "The server's log says why. `cargo kami install` compiles, and shows the reason at once.",
    ),
    code(
        "KAMI-EXHAUSTED",
        "The machine had no memory or address space left for the call, which was ended. The tool is \
         within its limits, and the server goes on.",
        "Try again when fewer calls run. If that happens often, raise `ulimit -v`, give the machine \
         more memory, or serve with a lower `--max-concurrent`.",
    ),
    code(
        "KAMI-EXIT",
        "The tool ended itself with an exit status instead of answering.",
        "This is a defect of the tool: its author should return a result or an error.",
    ),
    code(
        "KAMI-FUEL",
        "The tool burnt all of its fuel (`max-fuel`), which counts instructions.",
        "Ask for less at once. The author can request more; `cargo kami run` shows what a call burns.",
    ),
    code(
        "KAMI-HANDLES",
        "The tool held more open files, streams, requests and the like at once than `max-handles`.",
        "Ask for less at once. The author can request more, or close what is not needed any more.",
    ),
    code(
        "KAMI-HEADERS",
        "A request over HTTP says something else in its headers than in its body.",
        "The client, or something between it and this server, is at fault: headers repeat the body.",
    ),
    code(
        "KAMI-HOST",
        "Loading the tool was interrupted on this host.",
        "Try again. If it happens again, the server's log says why.",
    ),
    code(
        "KAMI-INPUT",
        "The tool asked a person or a model something and got no answer: the client cannot be asked for \
         it, refused, or took too long.",
        "Use a client that can be asked, and answer it. Where there is nobody to ask, use a tool that \
         gets everything by its arguments.",
    ),
    code(
        "KAMI-LIMIT",
        "Something was denied because a limit of the call is reached, such as `max-write-mb`.",
        "The denial names the limit and the line that raises it.",
    ),
    code(
        "KAMI-MEMORY",
        "The tool needed more memory than `max-memory-mb`, and gave up.",
        "Ask for less at once. The author can request more.",
    ),
    code(
        "KAMI-NOT-GRANTED",
        "The tool asks for this in its manifest, and the operator did not grant it.",
        "`cargo kami grants TOOL` shows what is granted, and grants more: the denial in the log \
         names the exact command.",
    ),
    code(
        "KAMI-NOT-REQUESTED",
        "The tool tried something that its manifest does not ask for.",
        "The author adds the line that the denial names, and publishes a new version. If the tool is \
         not yours, ask why it tries that.",
    ),
    code(
        "KAMI-PANIC",
        "The tool's code panicked.",
        "This is a defect of the tool; the server's log has the message and the place.",
    ),
    code(
        "KAMI-PIPELINE",
        "The pipeline does not fit the tools that it calls (any more): one of them was uninstalled, or \
         an update takes or gives something else. None of them was called.",
        "The message says which step, and why. Install what is missing, or mend the file and install \
         it again: `cargo kami install` shows each mistake at its line.",
    ),
    code(
        "KAMI-POLICY",
        "The policy file does not permit this, refuses the tool, or cannot be read.",
        "Whoever keeps `kami-policy.toml` decides; `cargo kami policy check` finds mistakes in it.",
    ),
    code(
        "KAMI-RATE",
        "Calls come faster than `max-calls-per-minute` of the tool or of the client.",
        "Wait for as long as the message says.",
    ),
    code(
        "KAMI-REGISTRY",
        "The registry of installed tools cannot be read.",
        "The server's log says why; `cargo kami status` checks it.",
    ),
    code(
        "KAMI-REPLY",
        "The tool's answer is not one: malformed, or of more pieces than there may be.",
        "This is a defect of the tool, or malice.",
    ),
    code(
        "KAMI-SANDBOX",
        "The sandbox could not be set up as it was granted, for example because a bound directory \
         is gone. Nothing of the tool ran.",
        "The server's log says what is missing; `cargo kami grants TOOL` shows what is bound.",
    ),
    code(
        "KAMI-SCHEMA",
        "The tool's input schema cannot be used to check arguments.",
        "The author should simplify it; `cargo kami check` says what is wrong.",
    ),
    code(
        "KAMI-SCOPE",
        "The token of whoever called over HTTP permits to see the tool and not to call it. It stands \
         in the audit log only; the client got status 403.",
        "Give the client a token with the scope `kami:call`, or `tool:PATTERN` for some tools: \
         `cargo kami token create`, or where your issuer assigns scopes.",
    ),
    code(
        "KAMI-SECRET",
        "A secret is granted to the tool and has no value here, so the request was not sent.",
        "`cargo kami secret set NAME` sets it.",
    ),
    code(
        "KAMI-SIGNATURE",
        "The tool's signature does not hold: missing, wrong, or by a key that is not trusted (any \
         more), for this id, or today.",
        "`cargo kami verify` says which; `cargo kami trust list` shows whom you trust.",
    ),
    code(
        "KAMI-SIZE",
        "The tool's result is larger than `max-output-kb`.",
        "Ask for less at once. The author can request more.",
    ),
    code(
        "KAMI-STACK",
        "The tool used up its stack, as endless recursion does.",
        "This is a defect of the tool, or its input is nested too deeply.",
    ),
    code(
        "KAMI-STATE",
        "A request came back with a state that this server did not give for it, or gave long ago.",
        "Begin anew, with the same arguments until the end. States expire after an hour, and when \
         the package is updated.",
    ),
    code(
        "KAMI-STEP",
        "A step of a pipeline failed, and the pipeline ended with it.",
        "The message says which step, what it called, and what came of that, with a code of its own \
         where there is one. `on-error` lets a pipeline go on without a step.",
    ),
    code(
        "KAMI-TAMPERED",
        "The installed file, or what the registry says of it, was changed after it was installed. \
         It does not run.",
        "Install it again from where it came from, and find out who can write to the data directory.",
    ),
    code(
        "KAMI-TIMEOUT",
        "The call took longer than `max-execution-ms` by the clock, waiting included, and was ended.",
        "Ask for less at once. The author can request more time.",
    ),
    code(
        "KAMI-TOOL",
        "The tool itself says that it failed, in its own words.",
        "Read what it says.",
    ),
    code(
        "KAMI-TRAP",
        "The tool's code did something that WebAssembly does not allow, and was ended.",
        "This is a defect of the tool, or malice.",
    ),
    code(
        "KAMI-TRUST",
        "The file of trusted keys cannot be read, so nobody is trusted.",
        "`cargo kami trust list` says what is wrong with it.",
    ),
    code(
        "KAMI-UNKNOWN",
        "There is no installed tool, prompt or resource of that name.",
        "`cargo kami list` shows the names.",
    ),
    code(
        "KAMI-UNSAFE",
        "The tool tried what no tool may do, because it would undermine what is promised: to listen \
         for connections, to link files, to tunnel, to disguise a request's method.",
        "Nothing grants this. If the tool is yours, do it another way; if not, be careful with it.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_found_however_they_are_written() {
        assert!(ALL.is_sorted_by(|a, b| a.code < b.code));
        for written in ["KAMI-TIMEOUT", "timeout", "[KAMI-TIMEOUT]", " kami-timeout "] {
            assert_eq!(explain(written).unwrap().code, "KAMI-TIMEOUT", "{written}");
        }
        assert_eq!(explain("KAMI-NONSENSE"), None);
        assert_eq!(explain(""), None);
    }
}
