//! Showing what came of a call: the result on stdout, everything else on stderr.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use kami_core::call::{
    CallError, CallOutcome, CallReport, Content, ContentBody, ResourceBody, ToolResult,
};
use kami_core::grants::Denial;
use kami_core::mcp;
use kami_core::name::PackageId;

use crate::exit::Exit;
use crate::shell::{Shell, one_line, printable, quoted};
use crate::summary;

/// The flags by which a person chooses how a result is shown.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct OutputOptions {
    /// Tell the result as JSON on stdout, in the shape that MCP clients get
    #[arg(long)]
    json: bool,
    /// Write the first image, sound or resource of the result to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Shows the outcome of a call of a tool of `package`, under the name by which it was called.
///
/// # Errors
/// Where stdout or the output file cannot be written.
pub fn show(
    name: &str,
    package: &PackageId,
    report: &CallReport,
    options: &OutputOptions,
    shell: &Shell,
) -> anyhow::Result<Exit> {
    if options.json {
        shell.json(&mcp::result_json(report))?;
    } else if let CallOutcome::Complete(result) = &report.outcome {
        show_result(result, shell)?;
    }
    if let (CallOutcome::Complete(result), Some(path)) = (&report.outcome, &options.output) {
        save(result, path, shell)?;
    }
    explain(name, package, report, shell);
    Ok(match &report.outcome {
        CallOutcome::Complete(_) => Exit::Success,
        CallOutcome::InputRequired(_) | CallOutcome::Failed(_) => Exit::Tool,
    })
}

/// Tells on stderr all that there is to tell about a call besides its result.
pub fn explain(name: &str, package: &PackageId, report: &CallReport, shell: &Shell) {
    for (stream, captured) in [("stdout", &report.stdout), ("stderr", &report.stderr)] {
        if captured.dropped > 0 {
            shell.note(format_args!(
                "the first {} bytes of the tool's {stream} were dropped",
                captured.dropped
            ));
        }
        for line in captured.text.lines() {
            shell.say(format_args!("{stream:>12} {}", printable(line)));
        }
    }
    tell_denials(name, package, &report.denials, shell);
    match &report.outcome {
        CallOutcome::Complete(_) => {}
        CallOutcome::InputRequired(input) => {
            show_failure(name, &input.unanswered(), shell);
            // A key is the tool's own word, and this is a line that people paste.
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            let mut keys = input.requests.iter().map(|request| request.key.as_str());
            let key = keys.find(|key| key.chars().all(plain)).unwrap_or("KEY");
            shell.help(format_args!("answer it with --answer '{key}=...', or at a terminal"));
        }
        CallOutcome::Failed(error) => show_failure(name, error, shell),
    }
    let stats = &report.stats;
    if stats.inside.is_zero() {
        // Nothing of the tool ran.
        return;
    }
    let fuel = stats.fuel.map(|fuel| format!(", {fuel} units of fuel")).unwrap_or_default();
    let memory = summary::size(stats.memory_peak_bytes as usize);
    shell.status(
        "Finished",
        format_args!(
            "`{name}` in {:.1?} ({:.1?} of processor time), {memory} of memory{fuel}",
            stats.inside, stats.cpu
        ),
    );
}

/// Tells what was denied to a tool of `package`, and what to do about it.
pub fn tell_denials(name: &str, package: &PackageId, denials: &[Denial], shell: &Shell) {
    for denial in denials {
        let (text, code) = (denial.to_string(), denial.rule.code());
        shell.warn(format_args!("`{name}`: {} [{code}]", printable(&text)));
        if let Some(hint) = denial.hint(package.as_str()) {
            shell.help(printable(&hint));
        }
    }
}

fn show_failure(tool: &str, error: &CallError, shell: &Shell) {
    shell.mistake(format_args!("`{tool}`: {}", quoted(&error.for_model())));
    match error {
        CallError::Panicked { message, location } => {
            shell.note(format_args!(
                "it panicked at {}: {}",
                printable(location),
                printable(message)
            ));
        }
        CallError::Sandbox(source) => {
            let chain = anyhow::Chain::new(source).map(ToString::to_string).collect::<Vec<_>>();
            shell.note(printable(&chain.join(": ")));
        }
        CallError::TimedOut { .. } => {
            shell.help("its author can ask for more: max-execution-ms under [package.metadata.kami.security]");
        }
        CallError::OutOfMemory { .. } => {
            shell.help(
                "its author can ask for more: max-memory-mb under [package.metadata.kami.security]",
            );
        }
        CallError::OutOfCpu { .. } => {
            shell.help(
                "its author can ask for more: max-cpu-ms under [package.metadata.kami.security]",
            );
        }
        CallError::TooManyHandles { .. } => {
            shell.help(
                "its author can ask for more: max-handles under [package.metadata.kami.security]",
            );
        }
        CallError::TooLarge { .. } => {
            shell.help(
                "its author can ask for more: max-output-kb under [package.metadata.kami.security]",
            );
        }
        CallError::OutOfFuel { .. } => {
            shell.help(
                "its author can ask for more: max-fuel under [package.metadata.kami.security]",
            );
        }
        _ => {}
    }
}

fn show_result(result: &ToolResult, shell: &Shell) -> anyhow::Result<()> {
    for content in &result.content {
        let line = match &content.body {
            ContentBody::Text(text) if shell.shows_data() => printable(text).into_owned(),
            ContentBody::Text(text) => text.clone(),
            ContentBody::ResourceLink(link) => one_line(&format!("[{} {}]", link.name, link.uri)),
            _ => match binary(content) {
                Some((kind, bytes)) => {
                    format!("[{}, {}]", one_line(kind), summary::size(bytes.len()))
                }
                None => continue,
            },
        };
        shell.data(line)?;
    }
    Ok(())
}

/// What could be written to a file, with its media type.
fn binary(content: &Content) -> Option<(&str, &[u8])> {
    match &content.body {
        ContentBody::Image(media) | ContentBody::Audio(media) => {
            Some((&media.mime_type, &media.data))
        }
        ContentBody::Resource(resource) => {
            let kind = resource.mime_type.as_deref().unwrap_or("resource");
            match &resource.body {
                ResourceBody::Text(text) => Some((kind, text.as_bytes())),
                ResourceBody::Blob(bytes) => Some((kind, bytes)),
            }
        }
        ContentBody::Text(_) | ContentBody::ResourceLink(_) => None,
    }
}

fn save(result: &ToolResult, path: &PathBuf, shell: &Shell) -> anyhow::Result<()> {
    let Some((kind, bytes)) = result.content.iter().find_map(binary) else {
        shell.warn("the result holds no image, sound or resource, so no file was written");
        return Ok(());
    };
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))?;
    shell.status(
        "Wrote",
        format_args!("{} ({}, {})", path.display(), printable(kind), summary::size(bytes.len())),
    );
    Ok(())
}
