//! Measurements from the command line: see [`kami_tests::drive`].

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::{Parser, Subcommand};
use kami_tests::drive::client::{Piped, Request};
use kami_tests::drive::place::{Place, processor_time, to_first_answer};
use kami_tests::drive::report::{Report, Setting, shown};
use kami_tests::drive::samples::{Samples, Shown};
use kami_tests::drive::targets::{self, Inside, Scale};
use kami_tests::drive::{growth, plot};
use kami_tests::guests::root;
use serde_json::Value;

/// What people have to say to the figures.
const PROSE: &str = include_str!("prose.md");

/// Measure the server against a native one, and write docs/PERFORMANCE.md
///
/// Build it with `--release`: what is measured is built as this program is. Takes some minutes, in
/// which nothing else should run on the machine. Linux only.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    /// Measure just enough to see that everything works
    #[arg(long)]
    smoke: bool,
    /// The folder in which PERFORMANCE.md and its plots are written; docs, unless it is only a smoke
    /// test, whose figures are printed and not kept
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Measure only these: inside, cpu, pipes, http, start, waiting, idle, growth
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    #[command(subcommand)]
    command: Option<Any>,
}

#[derive(Debug, Subcommand)]
enum Any {
    /// Measure any MCP server that is spoken to on stdin and stdout
    Server {
        /// The tool to call
        #[arg(long)]
        tool: String,
        /// Its arguments, as JSON
        #[arg(long, default_value = "{}")]
        arguments: String,
        /// How many calls
        #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
        calls: u32,
        /// How many of them at once
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
        at_once: u16,
        /// The command that starts the server
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.command {
        Some(command) => any(command),
        None => ours(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Measures our server against the native one, and writes what came of it.
fn ours(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let scale = if args.smoke { Scale::SMOKE } else { Scale::FULL };
    let all = ["inside", "cpu", "pipes", "http", "start", "waiting", "idle", "growth"];
    if let Some(unknown) = args.only.iter().find(|name| !all.contains(&name.as_str())) {
        return Err(format!("there is no `{unknown}`; there are {}", all.join(", ")).into());
    }
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| only == name);
    let started = Instant::now();
    let begin = |name: &str| say(&format!("{:4} s: {name}", started.elapsed().as_secs()));

    let mut rows = Vec::new();
    let few = Place::with_tools(10);
    if wanted("inside") || wanted("cpu") {
        let inside = Inside::new();
        if wanted("inside") {
            begin("calls inside the host");
            rows.extend(inside.calls(scale));
        }
        if wanted("cpu") {
            begin("guests that compute");
            rows.extend(inside.computing(scale));
        }
    }
    if wanted("pipes") {
        begin("calls over pipes");
        rows.extend(targets::over_pipes(&few, scale));
    }
    if wanted("http") {
        begin("calls over HTTP");
        rows.extend(targets::over_http(&few, scale));
    }
    if wanted("start") {
        begin("starts of the process");
        let many = Place::with_tools(scale.many_tools);
        rows.extend(targets::starting(&few, &many, scale));
    }
    if wanted("waiting") {
        begin("guests that wait");
        rows.extend(targets::waiting(&few, scale));
    }
    if wanted("idle") {
        begin("an idle server");
        let tools = scale.many_tools / 10;
        rows.push(targets::idle(&Place::with_tools(tools), tools));
    }
    let mut growths = Vec::new();
    if wanted("growth") {
        begin("how costs grow");
        growths.push(growth::with_tools(scale));
        growths.push(growth::with_size(&few, scale));
        growths.push(growth::with_calls_at_once(&few, scale));
        growths.push(growth::with_cores(&few, scale));
    }
    let report = Report { setting: setting(), rows, growths };
    match (&args.out, args.smoke || !args.only.is_empty()) {
        (Some(folder), _) => write(&report, folder),
        (None, false) => write(&report, &root().join("docs")),
        (None, true) => print(&report.markdown("performance", PROSE)),
    }
}

/// Writes the document, with its plots in a folder beside it.
fn write(report: &Report, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let plots = folder.join("performance");
    std::fs::create_dir_all(&plots)?;
    for growth in &report.growths {
        plot::draw(growth, &plots.join(format!("{}.svg", growth.name)))?;
    }
    let file = folder.join("PERFORMANCE.md");
    std::fs::write(&file, report.markdown("performance", PROSE))?;
    say(&format!("wrote {}", file.display()));
    Ok(())
}

/// Measures any server.
fn any(command: &Any) -> Result<(), Box<dyn std::error::Error>> {
    let Any::Server { tool, arguments, calls, at_once, command } = command;
    let arguments: Value = serde_json::from_str(arguments)?;
    let request = Request::call(tool, &arguments);
    let start = || {
        let (program, arguments) = command.split_first().expect("a command is required");
        let mut command = Command::new(program);
        command.args(arguments);
        command
    };
    let mut starts = Samples::new();
    (0..10).for_each(|_| starts.push(to_first_answer(&mut start(), &request)));
    let mut server = Piped::start(&mut start());
    server.call(&request);
    let process = server.process();
    let before = processor_time(process);
    let one_by_one = server.one_by_one(&request, *calls as usize);
    let between = processor_time(process);
    let (taken, together) = server.at_once(&request, (*at_once).into(), *calls as usize);
    let after = processor_time(process);
    let rows = [
        ("process start to first answer", shown(&starts)),
        ("one by one: each answer", shown(&one_by_one)),
        ("one by one: processor time of each", Shown((between - before) / *calls).to_string()),
        ("at once: each answer", shown(&together)),
        ("at once: one every", Shown(taken / *calls).to_string()),
        ("at once: processor time of each", Shown((after - between) / *calls).to_string()),
    ];
    rows.iter().try_for_each(|(what, figure)| print(&format!("{what:36}{figure}")))
}

/// The machine, and what ran on it.
fn setting() -> Setting {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok();
        let text = output.and_then(|output| String::from_utf8(output.stdout).ok());
        text.map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let after_colon = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        let value = line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim());
        value.unwrap_or("unknown").to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let lock = file(&root().join("Cargo.lock").display().to_string());
    let version = |package: &str| {
        let entry = lock
            .split("[[package]]")
            .find(|entry| entry.lines().any(|line| line == format!("name = \"{package}\"")));
        let line = entry.and_then(|e| e.lines().find_map(|line| line.strip_prefix("version = ")));
        line.unwrap_or("unknown").trim_matches('"').to_owned()
    };
    let built = if cfg!(debug_assertions) { "for development" } else { "for release" };
    Setting {
        facts: vec![
            ("date", said("date", &["-u", "+%F"])),
            ("processor", after_colon(&file("/proc/cpuinfo"), "model name")),
            ("cores", cores.to_string()),
            ("memory", after_colon(&file("/proc/meminfo"), "MemTotal")),
            ("kernel", said("uname", &["-sr"])),
            ("load before", file("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")),
            ("rustc", said("rustc", &["--version"])),
            ("wasmtime", version("wasmtime")),
            ("rmcp", version("rmcp")),
            ("kami", format!("{}, built {built}", version("kami-core"))),
        ],
    }
}

fn print(text: &str) -> Result<(), Box<dyn std::error::Error>> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Tells whoever watches, who may have gone.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
