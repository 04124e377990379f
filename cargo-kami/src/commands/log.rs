//! `cargo kami log`: what was installed, granted, called, denied and refused.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use kami_core::audit::{
    self, AuditDamage, AuditEvent, AuditFilter, AuditReader, AuditRecord, CallRecord, ChainHead,
    UtcTime,
};
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::ops::host;
use crate::settings::Settings;
use crate::shell::{Shell, one_line, printable};

/// How often `--follow` looks for new records.
const POLL: Duration = Duration::from_millis(200);

/// Show what happened: installs, changes of grants and trust, calls, denials and refusals
///
/// Every record is chained to the one before it, so that `log verify` finds what was altered,
/// removed or added. Of the arguments of calls there is a digest, unless `serve` or `call` was
/// started with `--audit-arguments full`; of their results there is nothing.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  cargo kami log                                    the last 50 records
  cargo kami log --tool fetch --since 2h            what one tool did
  cargo kami log --kind denial -n 5                 calls in which something was denied
  cargo kami log --follow --json | jq .outcome      as it happens
  cargo kami log verify                             whether it is all there, and as it was written
  cargo kami log head > /elsewhere/kami-log         note the end of the log where no attacker is
  cargo kami log verify --expect \"$(cat /elsewhere/kami-log)\""
)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Check every record, and that none is missing
    Verify {
        /// A place that `log head` printed, to which the log must still lead
        #[arg(long, value_name = "SEQ:HASH")]
        expect: Option<ChainHead>,
        /// Tell the result as JSON on stdout
        #[arg(long)]
        json: bool,
    },
    /// Print the number and the hash of the last record
    Head,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Only records about this tool, as agents call it, or the package of this id
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Only records of this kind; `denial` is for calls in which something was denied
    #[arg(long, value_name = "KIND", value_parser = AuditFilter::KINDS.to_vec())]
    kind: Option<String>,
    /// Only records from then on: 30s, 10m, 2h or 7d ago, or a time as in 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Show this many of the last records
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 50)]
    lines: usize,
    /// Tell them as JSON on stdout, one object on a line, as they are in the log
    #[arg(long)]
    json: bool,
    /// Go on with new records, until Ctrl-C or until nobody reads them
    #[arg(short, long)]
    follow: bool,
}

/// What `--since` takes.
#[derive(Debug, Clone, Copy)]
struct Since(UtcTime);

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = text.parse() {
            return Ok(Self(time));
        }
        let seconds = |unit| match unit {
            's' => Some(1),
            'm' => Some(60),
            'h' => Some(3600),
            'd' => Some(86_400),
            _ => None,
        };
        let ago = || {
            let unit = text.chars().next_back()?;
            let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
            Some(Duration::from_secs(number.checked_mul(seconds(unit)?)?))
        };
        let ago = ago().ok_or("expected 30s, 10m, 2h, 7d, or a time as in 2026-01-31T12:00:00Z")?;
        Ok(Self(UtcTime::now().before(ago)))
    }
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    match &args.action {
        Some(Action::Verify { expect, json }) => verify(*expect, *json, settings, shell),
        Some(Action::Head) => {
            shell.data(audit::head(&settings.data_dir)?)?;
            Ok(Exit::Success)
        }
        None => show(&args.show, settings, shell),
    }
}

fn verify(
    expect: Option<ChainHead>,
    json: bool,
    settings: &Settings,
    shell: &Shell,
) -> anyhow::Result<Exit> {
    let verified = audit::verify(&settings.data_dir, expect)?;
    if json {
        shell.json(&json!({
            "records": verified.records,
            "files": verified.files,
            "head": verified.head,
            "dropped": verified.dropped,
            "beyondHead": verified.beyond_head,
            "tornBytes": verified.torn_bytes,
        }))?;
        return Ok(Exit::Success);
    }
    let (records, head) = (verified.records, verified.head.sequence);
    if verified.dropped.sequence > 0 {
        shell.note(format_args!(
            "the records up to {} are not kept any more",
            verified.dropped.sequence
        ));
    }
    if verified.beyond_head > 0 || verified.torn_bytes > 0 {
        shell.note(format_args!(
            "a process ended while it wrote: the head does not cover {} records, and {} bytes are \
             no record; the next process that writes records this",
            verified.beyond_head, verified.torn_bytes
        ));
    }
    shell.status("Verified", format_args!("{records} records, the last of them number {head}"));
    Ok(Exit::Success)
}

fn show(args: &Show, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let filter = AuditFilter {
        tool: args.tool.clone(),
        kind: args.kind.clone(),
        since: args.since.map(|since| since.0),
    };
    let mut reader = AuditReader::new(&settings.data_dir);
    let tail = reader.tail(args.lines, &filter)?;
    for record in &tail.records {
        print(record, args.json, shell)?;
    }
    if args.follow {
        return follow(reader, &filter, args.json, shell);
    }
    if let Some(damage) = tail.damage.into_iter().next() {
        return Err(audit::AuditError::from(damage))
            .context(Failure::new(Exit::Audit, "some records cannot be read").help(ADVICE));
    }
    if tail.records.is_empty() && !args.json {
        shell.note("there are no such records");
    }
    Ok(Exit::Success)
}

/// What to do about a line that cannot be read.
const ADVICE: &str = "`cargo kami log verify` tells what was altered first";

fn follow(
    mut reader: AuditReader,
    filter: &AuditFilter,
    json: bool,
    shell: &Shell,
) -> anyhow::Result<Exit> {
    let mut step = || -> anyhow::Result<()> {
        while let Some(record) = reader.next_record()? {
            match record {
                Ok(record) if filter.wants(&record) => print(&record, json, shell)?,
                Ok(_) => {}
                Err(damage) => warn(&damage, shell),
            }
        }
        Ok(())
    };
    host::runtime()?.block_on(async {
        let (interrupted, unread) = (tokio::signal::ctrl_c(), shell.unread());
        tokio::pin!(interrupted, unread);
        loop {
            step()?;
            tokio::select! {
                result = &mut interrupted => {
                    result.context("waiting for Ctrl-C")?;
                    return Ok(Exit::Interrupted);
                }
                () = &mut unread => return Ok(Exit::OutputClosed),
                () = tokio::time::sleep(POLL) => {}
            }
        }
    })
}

fn warn(damage: &AuditDamage, shell: &Shell) {
    shell.warn(damage);
    shell.help(ADVICE);
}

fn print(record: &AuditRecord, json: bool, shell: &Shell) -> std::io::Result<()> {
    if json {
        let line =
            if shell.shows_data() { printable(&record.line) } else { (&*record.line).into() };
        return shell.data(line);
    }
    let AuditRecord { time, event, .. } = record;
    shell.data(format_args!("{time} {:<9} {}", event.kind(), one_line(&describe(event))))
}

/// One line about an event. It holds foreign text.
fn describe(event: &AuditEvent) -> String {
    match event {
        AuditEvent::Install { package, version, replaced, source, signer, .. } => {
            let instead = replaced.as_ref().map(|v| format!(" instead of {v}")).unwrap_or_default();
            let signer = signer.as_deref().unwrap_or("nobody");
            format!("{package} {version}{instead}, signed by {signer}, from {source}")
        }
        AuditEvent::Uninstall { package, version } => {
            let version = version.as_ref().map(|v| format!(" {v}")).unwrap_or_default();
            format!("{package}{version}")
        }
        AuditEvent::Grant { package, before, after } => format!("{package}: {after}, was {before}"),
        AuditEvent::Keygen { name, key } => format!("`{name}`: {key}"),
        AuditEvent::Trust { action, key, label } => format!("{} `{label}`: {key}", word(action)),
        AuditEvent::Secret { action, name } => format!("{} {name}", word(action)),
        AuditEvent::Policy { file, digest } => match digest {
            Some(digest) => format!("{file}, {digest}"),
            None => format!("none any more: {file} is gone"),
        },
        AuditEvent::Call(call) => describe_call(call),
        AuditEvent::Refusal { tool, code, reason, client, identity, .. } => {
            let client = client.as_ref().map(|c| format!(", to {c}")).unwrap_or_default();
            let identity = shown(identity.as_ref());
            format!("`{tool}`{client}{identity}: {reason} [{code}]")
        }
        AuditEvent::Token { action, name, terms } => {
            let terms = terms.as_ref().map(|terms| format!(": {terms}")).unwrap_or_default();
            format!("{} `{name}`{terms}", word(action))
        }
        AuditEvent::Recovery { adopted, discarded_bytes } => format!(
            "a process ended while it wrote: {adopted} records before this one were kept, and \
             {discarded_bytes} bytes were no record"
        ),
        AuditEvent::Retention { through } => {
            format!("the records up to {} are not kept any more", through.sequence)
        }
    }
}

fn describe_call(call: &CallRecord) -> String {
    let CallRecord { tool, package, version, outcome, .. } = call;
    let client = call.client.as_ref().map(|c| format!(" by {c}")).unwrap_or_default();
    let identity = shown(call.identity.as_ref());
    let took = Duration::from_micros(call.micros);
    let mut line =
        format!("{tool} ({package} {version}): {outcome} after {took:.1?}{client}{identity}");
    if let Some(pipeline) = call.method.strip_prefix("pipeline ") {
        line += &format!(", for {pipeline}");
    }
    for denial in &call.denials {
        line += &format!("; denied: {}, as {}", denial.thing, denial.rule);
    }
    if call.denials_omitted > 0 {
        line += &format!("; {} more denials", call.denials_omitted);
    }
    line
}

/// Who somebody has shown to be.
fn shown(identity: Option<&String>) -> String {
    identity.map(|identity| format!(" as {identity}")).unwrap_or_default()
}

/// The word by which the log names an action.
fn word(action: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(action).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_what_people_write() {
        let now = UtcTime::now();
        let since = |text: &str| text.parse::<Since>().map(|since| since.0);
        for (text, seconds) in [("0s", 0), ("90s", 90), ("10m", 600), ("2h", 7200), ("7d", 604_800)]
        {
            let expected = now.before(Duration::from_secs(seconds));
            let found = since(text).unwrap();
            let later = expected.before(Duration::ZERO);
            assert!(found >= later && found.before(Duration::from_secs(60)) < expected, "{text}");
        }
        assert_eq!(since("2026-01-31T12:00:00Z"), Ok("2026-01-31T12:00:00Z".parse().unwrap()));
        for bad in ["", "h", "2", "-2h", "2w", "ä", "99999999999999999999d", "yesterday"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }
}
