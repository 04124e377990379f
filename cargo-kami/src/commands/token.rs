//! `cargo kami token`: who may connect to a server over HTTP.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use kami_core::audit::{AuditEvent, TokenAction, UtcTime};
use kami_core::auth::NewToken;
use kami_core::registry::{DataDir, Registry, Scope, Token, TokenName, ToolSelection};
use kami_core::signing::Date;
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::ops::audit;
use crate::ops::selection::SelectionFlags;
use crate::settings::Settings;
use crate::shell::Shell;

/// Give clients tokens by which a server over HTTP knows them
///
/// A server that is started with `--auth tokens` answers only to who shows a token, in the header
/// `Authorization: Bearer kami_...`. Each token has a name, which the audit log tells, and permits as
/// much as you say: which tools it sees and calls, how often, and until when.
///
/// A token is shown once, when it is made; only its hash is kept. What you revoke is refused from the
/// next request on, also by servers that run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami token create ci
  cargo kami token create ci --tools 'dev.example.web/*' --exclude post --rate 60 --expires 30d
  cargo kami token create reader --scope kami:read --expires never
  cargo kami token create agent | ssh other-machine 'cat > token'
  cargo kami token list
  cargo kami token revoke ci")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a token, and print it on stdout, this once
    Create(Create),
    /// Show the tokens by name, with what each permits; not the tokens themselves, which nobody has
    List {
        /// Tell them as JSON on stdout, one object on a line
        #[arg(long)]
        json: bool,
    },
    /// Let tokens count for nothing from now on
    Revoke {
        /// Their names
        #[arg(value_name = "NAME", required = true)]
        names: Vec<TokenName>,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// What to call it: letters, digits, `.`, `_` and `-`
    name: TokenName,
    /// What it permits: `kami:read` to list tools, `kami:call` to list and call them, `tool:PATTERN`
    /// to list and call those that fit; may be given again
    #[arg(long, value_name = "SCOPE", default_value = "kami:call", value_delimiter = ',')]
    scope: Vec<Scope>,
    #[command(flatten)]
    tools: SelectionFlags,
    /// The most calls in a minute; a lower `--max-calls-per-minute` of the server holds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Until when: `30d` or `12h` from now, through the end of a day as in `2027-12-31`, or `never`
    #[arg(long, value_name = "TIME", default_value = "90d")]
    expires: Expiry,
    /// Tell the token with what it permits as JSON on stdout, in one object
    #[arg(long)]
    json: bool,
}

/// When a token ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    After(Duration),
    On(Date),
    Never,
}

impl FromStr for Expiry {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const HOUR: u64 = 3600;
        /// A hundred years; who wants more says `never`.
        const LONGEST: u64 = 36_525 * 24 * HOUR;

        if text == "never" {
            return Ok(Self::Never);
        }
        if let Ok(date) = text.parse() {
            return Ok(Self::On(date));
        }
        let unit = match text.chars().next_back() {
            Some('h') => HOUR,
            Some('d') => 24 * HOUR,
            _ => return Err("expected 30d, 12h, a date as in 2027-12-31, or never"),
        };
        let number = text[..text.len() - 1].parse::<u64>().ok();
        let seconds = number.and_then(|number| number.checked_mul(unit));
        match seconds {
            Some(seconds @ 1..=LONGEST) => Ok(Self::After(Duration::from_secs(seconds))),
            _ => Err("expected a whole number of hours or days, from 1h to 36525d"),
        }
    }
}

impl Expiry {
    /// In seconds since 1970.
    fn from(self, now: SystemTime) -> Option<u64> {
        match self {
            Self::After(duration) => Some(since_1970(now + duration)),
            Self::On(date) => Some(since_1970(date.end())),
            Self::Never => None,
        }
    }
}

/// One token in `--json`.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a TokenName,
    /// Only once.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    /// `valid` or `expired`.
    state: &'static str,
    scopes: &'a BTreeSet<Scope>,
    tools: &'a ToolSelection,
    calls_per_minute: Option<u64>,
    /// In UTC.
    created: UtcTime,
    /// `null`: never.
    expires: Option<UtcTime>,
}

impl<'a> Line<'a> {
    fn of(token: &'a Token, secret: Option<&'a str>) -> Self {
        let over = token.expires_at.is_some_and(|end| end <= since_1970(SystemTime::now()));
        Self {
            name: &token.name,
            token: secret,
            state: if over { "expired" } else { "valid" },
            scopes: &token.scopes,
            tools: &token.tools,
            calls_per_minute: token.calls_per_minute,
            created: utc(token.created_at),
            expires: token.expires_at.map(utc),
        }
    }
}

pub fn run(args: &Args, settings: &Settings, shell: &Shell) -> anyhow::Result<Exit> {
    let data = &settings.data_dir;
    match &args.action {
        Action::Create(args) => create(args, data, shell)?,
        Action::List { json } => list(*json, data, shell)?,
        Action::Revoke { names } => revoke(names, data, shell)?,
    }
    Ok(Exit::Success)
}

fn create(args: &Create, data: &DataDir, shell: &Shell) -> anyhow::Result<()> {
    let now = SystemTime::now();
    let token = Token {
        name: args.name.clone(),
        scopes: args.scope.iter().cloned().collect(),
        tools: args.tools.selection(),
        calls_per_minute: args.rate,
        created_at: since_1970(now),
        expires_at: args.expires.from(now),
    };
    if token.expires_at.is_some_and(|end| end <= token.created_at) {
        let message = "that day is over: the token would count for nothing";
        return Err(Failure::new(Exit::Usage, message).into());
    }
    let log = audit::open(data)?;
    let secret = NewToken::generate().context("making a token")?;
    Registry::open(data)?.add_token(&token, secret.hash())?;
    let terms = terms(&token);
    let (action, name) = (TokenAction::Create, token.name.to_string());
    log.append(AuditEvent::Token { action, name, terms: Some(terms.clone()) })?;
    if args.json {
        shell.json(&Line::of(&token, Some(secret.expose())))?;
    } else {
        shell.data(secret.expose())?;
    }
    shell.status("Created", format_args!("the token {}: {terms}", token.name));
    shell.note("it is not shown again; its bearer sends it as `Authorization: Bearer TOKEN`");
    Ok(())
}

fn list(json: bool, data: &DataDir, shell: &Shell) -> anyhow::Result<()> {
    let tokens = Registry::open(data)?.tokens()?;
    for token in &tokens {
        let line = Line::of(token, None);
        if json {
            shell.json(&line)?;
        } else {
            let over = if line.state == "expired" { " (EXPIRED)" } else { "" };
            shell.data(format_args!("{:<24} {}{over}", token.name, terms(token)))?;
        }
    }
    if tokens.is_empty() && !json {
        shell.note("there are no tokens: `cargo kami token create NAME` makes one");
    }
    Ok(())
}

fn revoke(names: &[TokenName], data: &DataDir, shell: &Shell) -> anyhow::Result<()> {
    let log = audit::open(data)?;
    let mut registry = Registry::open(data)?;
    for name in names {
        registry.remove_token(name).with_context(|| {
            Failure::new(Exit::NotFound, format!("cannot revoke the token `{name}`"))
                .help("cargo kami token list shows what there is")
        })?;
        let event =
            AuditEvent::Token { action: TokenAction::Revoke, name: name.to_string(), terms: None };
        log.append(event)?;
        shell.status("Revoked", name);
    }
    Ok(())
}

/// What a token permits, on one line.
fn terms(token: &Token) -> String {
    fn joined<T: Display>(items: &[T]) -> String {
        items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
    }

    let scopes: Vec<String> = token.scopes.iter().map(Scope::to_string).collect();
    let mut terms = scopes.join(" ");
    match token.tools.include.as_slice() {
        [] => terms += ", all tools",
        some => terms += &format!(", tools {}", joined(some)),
    }
    if !token.tools.exclude.is_empty() {
        terms += &format!(" but {}", joined(&token.tools.exclude));
    }
    if !token.tools.tags.is_empty() {
        terms += &format!(", tagged {}", joined(&token.tools.tags));
    }
    if !token.tools.exclude_tags.is_empty() {
        terms += &format!(", not tagged {}", joined(&token.tools.exclude_tags));
    }
    if let Some(rate) = token.calls_per_minute {
        terms += &format!(", {rate} calls a minute");
    }
    match token.expires_at {
        Some(end) => terms + &format!(", until {}", utc(end)),
        None => terms + ", for ever",
    }
}

fn utc(seconds: u64) -> UtcTime {
    UtcTime::from_millis(seconds.saturating_mul(1000))
}

fn since_1970(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_takes_what_people_write() {
        let hours = |hours: u64| Ok(Expiry::After(Duration::from_secs(hours * 3600)));
        for (text, expected) in [
            ("12h", hours(12)),
            ("30d", hours(720)),
            ("never", Ok(Expiry::Never)),
            ("2027-12-31", Ok(Expiry::On("2027-12-31".parse().unwrap()))),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for bad in ["", "d", "0d", "-1d", "30", "30m", "ä", "99999999d", "2027-13-01", "Never"] {
            assert!(bad.parse::<Expiry>().is_err(), "{bad}");
        }
    }
}
