//! `cargo kami explain`: what a code means.

use kami_core::code::{self, Explanation};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::shell::Shell;

/// Tell what a code such as KAMI-TIMEOUT means, and what to do about it
///
/// Models and logs get one short line that ends in a code. Without a code, all of them are listed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami explain KAMI-NOT-GRANTED
  cargo kami explain timeout
  cargo kami explain")]
pub struct Args {
    /// The code; case and the `KAMI-` before it can be left out
    #[arg(value_name = "CODE")]
    code: Option<String>,
    /// Tell it as JSON on stdout, one object on a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line {
    code: &'static str,
    meaning: &'static str,
    remedy: &'static str,
}

pub fn run(args: &Args, shell: &Shell) -> anyhow::Result<Exit> {
    let wanted: Vec<&Explanation> = match &args.code {
        None => code::ALL.iter().collect(),
        Some(code) => vec![code::explain(code).ok_or_else(|| {
            Failure::new(Exit::NotFound, format!("there is no code `{}`", code.escape_debug()))
                .help("`cargo kami explain` lists all of them")
        })?],
    };
    for Explanation { code, meaning, remedy } in &wanted {
        if args.json {
            shell.json(&Line { code, meaning, remedy })?;
        } else if args.code.is_some() {
            shell.data(format_args!("{code}\n\n{meaning}\n\n{remedy}"))?;
        } else {
            let (first, _) = meaning.split_once(". ").unwrap_or((meaning, ""));
            shell.data(format_args!("{code:<20} {}", first.trim_end_matches('.')))?;
        }
    }
    Ok(Exit::Success)
}
