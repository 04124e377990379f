//! The only place that writes to the terminal: data to stdout, everything else to stderr.
//!
//! Status lines look as cargo's do, since cargo's own stand between them.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::diagnostic::InvalidManifests;
use crate::exit::Failure;

const STATUS: Style = AnsiColor::BrightGreen.on_default().bold();
const NOTE: Style = AnsiColor::BrightCyan.on_default().bold();
const WARNING: Style = AnsiColor::BrightYellow.on_default().bold();
const ERROR: Style = AnsiColor::BrightRed.on_default().bold();

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless the environment says no.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// The word, as cargo takes it too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

/// Gives bytes to the process that started this one for them.
///
/// # Errors
/// Where it has gone.
pub fn hand_over(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Tells the process that started this one why it gets nothing.
pub fn complain(why: impl Display) {
    // One that has gone does not hear it.
    let _ = writeln!(io::stderr(), "{why}");
}

/// The terminal, or whatever stands in its place.
#[derive(Debug, Clone)]
pub struct Shell {
    color: Color,
    colored: bool,
    quiet: bool,
}

impl Shell {
    /// Decides whether there are colours: by flag, then by environment, then by terminal.
    pub fn new(color: Color, quiet: bool) -> Self {
        let colored = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
            }
        };
        Self { color, colored, quiet }
    }

    /// What was asked for, to pass on to cargo.
    pub fn color(&self) -> Color {
        self.color
    }

    /// Whether stderr has colours.
    pub fn colored(&self) -> bool {
        self.colored
    }

    /// Whether only failures are to be told.
    pub fn quiet(&self) -> bool {
        self.quiet
    }

    /// Writes a line of data to stdout.
    ///
    /// # Errors
    /// Where stdout cannot be written, as when its reader has gone.
    pub fn data(&self, line: impl Display) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{line}")?;
        stdout.flush()
    }

    /// Writes a value as one line of JSON to stdout.
    ///
    /// # Errors
    /// Where stdout cannot be written, as when its reader has gone.
    pub fn json(&self, value: &impl Serialize) -> io::Result<()> {
        self.data(serde_json::to_string(value)?)
    }

    /// Says what is being done or was done: a verb, right-aligned, and its object.
    pub fn status(&self, verb: &str, object: impl Display) {
        if !self.quiet {
            let verb = format!("{verb:>12}");
            self.print(format_args!("{} {object}", self.paint(STATUS, &verb)));
        }
    }

    /// Writes a line that belongs to the status above it, or stands for itself.
    pub fn say(&self, line: impl Display) {
        if !self.quiet {
            self.print(line);
        }
    }

    /// Writes a line that a person needs to decide, however quiet the program is to be.
    pub fn tell(&self, line: impl Display) {
        self.print(line);
    }

    /// Says something that one may want to know.
    pub fn note(&self, message: impl Display) {
        if !self.quiet {
            self.titled(NOTE, "note", message);
        }
    }

    /// Says what one can do next: an exact command or line.
    pub fn help(&self, message: impl Display) {
        self.titled(NOTE, "help", message);
    }

    /// Says something that is probably wrong.
    pub fn warn(&self, message: impl Display) {
        self.titled(WARNING, "warning", message);
    }

    /// Says that something is wrong, while the work goes on.
    pub fn mistake(&self, message: impl Display) {
        self.titled(ERROR, "error", message);
    }

    /// Tells why the program fails: what was being done, each cause, and what to do about it.
    pub fn error(&self, error: &anyhow::Error) {
        for invalid in error.chain().filter_map(|cause| cause.downcast_ref::<InvalidManifests>()) {
            for report in invalid.reports(self.colored) {
                self.print(report);
            }
        }
        self.mistake(error);
        let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
        if !causes.is_empty() {
            self.print("\nCaused by:");
            for cause in causes {
                self.print(format_args!("  {}", printable(&cause).replace('\n', "\n  ")));
            }
            self.print("");
        }
        if let Some(help) = Failure::help_of(error) {
            self.help(help);
        }
    }

    /// Asks a question that is answered by yes or no, where no is the default; `None` if there is
    /// nobody to ask, as neither input nor stderr may be redirected.
    ///
    /// # Errors
    /// Where the answer cannot be read.
    pub fn confirm(&self, question: impl Display) -> io::Result<Option<bool>> {
        if !self.interactive() {
            return Ok(None);
        }
        let question = self.paint(NOTE, &question.to_string());
        let answer = self.line(format_args!("{question} [y/N]"))?.unwrap_or_default();
        Ok(Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")))
    }

    /// Asks for a line; `None` at the end of the input.
    ///
    /// # Errors
    /// Where the answer cannot be read.
    pub fn line(&self, prompt: impl Display) -> io::Result<Option<String>> {
        // Others can write while the person thinks.
        let mut stderr = io::stderr();
        write!(stderr, "{prompt} ")?;
        stderr.flush()?;
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer)?;
        Ok((read > 0).then_some(answer))
    }

    /// Asks for what nobody may read over a shoulder; `None` if there is nobody to ask.
    ///
    /// # Errors
    /// Where the answer cannot be read.
    pub fn hidden(&self, prompt: impl Display) -> io::Result<Option<String>> {
        if !self.interactive() {
            return Ok(None);
        }
        let mut stderr = io::stderr().lock();
        write!(stderr, "{} ", self.paint(NOTE, &prompt.to_string()))?;
        stderr.flush()?;
        let silent = rpassword::ConfigBuilder::new().output_discard();
        // What is asked here is answered here, and not at another terminal of this process.
        let silent = if cfg!(unix) { silent.input_file_path("/dev/stdin") } else { silent };
        let answer = rpassword::read_password_with_config(silent.build())?;
        writeln!(stderr)?;
        Ok(Some(answer))
    }

    /// Whether stdout is a terminal, which foreign text could drive.
    pub fn shows_data(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Waits until nobody reads stdout any more; for ever where that cannot be told, as of a file.
    /// Call it inside the runtime.
    pub async fn unread(&self) {
        #[cfg(unix)]
        if let Ok(pipe) = stdout_pipe() {
            // An error of a pipe's writing end is that its reading end is closed.
            let _ = pipe.ready(tokio::io::Interest::ERROR).await;
            return;
        }
        std::future::pending().await
    }

    /// Whether a person can be asked.
    pub fn interactive(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Shows that work goes on until the returned value is dropped; only on a terminal.
    pub fn working(&self, message: impl Into<Cow<'static, str>>) -> Working {
        let visible = !self.quiet && io::stderr().is_terminal();
        let target =
            if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target).with_message(message);
        if let Ok(style) = ProgressStyle::with_template("{spinner:>12} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Working(bar)
    }

    fn titled(&self, style: Style, title: &str, message: impl Display) {
        let message = message.to_string();
        self.print(format_args!("{}: {}", self.paint(style, title), printable(&message)));
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colored { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// A closed stderr leaves nobody to tell.
    fn print(&self, line: impl Display) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

/// Stdout, if it is a pipe, to be watched and not to be written. It stays in the mode in which others
/// have it too.
#[cfg(unix)]
fn stdout_pipe() -> io::Result<tokio::net::unix::pipe::Sender> {
    use std::fs::File;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::FileTypeExt as _;

    let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    if stdout.metadata()?.file_type().is_fifo() {
        tokio::net::unix::pipe::Sender::from_file_unchecked(stdout)
    } else {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A sign of life, which goes away when it is dropped.
#[derive(Debug)]
pub struct Working(ProgressBar);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Text from an artifact or a guest, without what would drive a terminal or reorder a line.
pub fn printable(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| matches!(c, '\n' | '\t') || !is_deceptive(c);
    if text.chars().all(harmless) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().map(|c| if harmless(c) { c } else { '\u{fffd}' }).collect())
    }
}

/// The same for what must stay on one line of ours, so that an author's words cannot look like a
/// line of their own; cut where it is longer than anybody reads.
pub fn one_line(text: &str) -> String {
    const LONGEST: usize = 300;
    let mut line: String =
        text.chars().take(LONGEST).map(|c| if is_deceptive(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line
}

/// The same for what may have several lines, each of which but the first is marked as a tool's own.
pub fn quoted(text: &str) -> String {
    printable(text).replace('\n', "\n           | ")
}

/// Control characters, and the invisible ones that turn the direction of text or hide in it.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{feff}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_drive_the_terminal() {
        assert_eq!(printable("a\tb\nc"), "a\tb\nc");
        assert_eq!(printable("\u{1b}[2Jx\u{9b}\r"), "\u{fffd}[2Jx\u{fffd}\u{fffd}");
        assert_eq!(printable("a\u{202e}b"), "a\u{fffd}b");
    }

    #[test]
    fn foreign_text_cannot_add_a_line_of_ours() {
        assert_eq!(one_line("x\n   signed by Alice"), "x\u{fffd}   signed by Alice");
        assert_eq!(one_line(&"x".repeat(400)).chars().count(), 301);
        assert_eq!(quoted("x\nhelp: y\r"), "x\n           | help: y\u{fffd}");
    }
}
