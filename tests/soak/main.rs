//! A soak from the command line: see [`kami_tests::soak`].

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use kami_tests::soak::{Plan, run};

/// Have the real server answer many calls of good and hostile guests, and see what they leave
///
/// Ends with 1 where an answer is not what it must be, or memory, threads, files, sockets or
/// scratch directories are left. Linux only.
#[derive(Debug, Parser)]
struct Args {
    /// How many calls
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    calls: u64,
    /// How many of them at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=32))]
    at_once: u8,
    /// What chance begins with
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let Args { calls, at_once, seed, json } = Args::parse();
    let plan = Plan { calls, at_once: at_once.into(), seed };
    let bar = ProgressBar::new(calls);
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos} calls, {msg}");
    bar.set_style(style.expect("the template is one"));
    let (started, terminal) = (Instant::now(), std::io::stderr().is_terminal());
    let report = run(&plan, &mut |calls, at| {
        let resident = at.resident >> 10;
        if terminal {
            bar.set_message(format!("{resident} MiB"));
            bar.set_position(calls);
        } else {
            let seconds = started.elapsed().as_secs();
            say(&format!("{seconds} s: {calls} calls, {resident} MiB, {} threads", at.threads));
        }
    });
    bar.finish_and_clear();
    let report = match report {
        Ok(report) => report,
        Err(failure) => {
            say(&format!("error: {failure}"));
            return ExitCode::FAILURE;
        }
    };
    let text = if json { format!("{:#}", report.json()) } else { report.to_string() };
    if writeln!(std::io::stdout(), "{text}").is_err() {
        return ExitCode::FAILURE;
    }
    let faults = report.faults();
    faults.iter().for_each(|fault| say(&format!("error: {fault}")));
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tells whoever watches, who may have gone.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
