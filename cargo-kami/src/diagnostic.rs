//! Mistakes in an author's file, shown at the line they stand on.

use std::fmt;
use std::path::{Path, PathBuf};

use kami_core::manifest::source::{Problem, SourceError};
use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report,
};

/// One file or several with mistakes in them.
#[derive(Debug, Default)]
pub struct InvalidManifests {
    files: Vec<InvalidManifest>,
}

#[derive(Debug)]
struct InvalidManifest {
    path: PathBuf,
    text: String,
    error: SourceError,
}

impl InvalidManifests {
    /// One file's mistakes.
    pub fn one(path: &Path, text: String, error: SourceError) -> Self {
        let mut files = Self::default();
        files.add(path, text, error);
        files
    }

    /// Adds a file's mistakes to those of others.
    pub fn add(&mut self, path: &Path, text: String, error: SourceError) {
        self.files.push(InvalidManifest { path: path.to_owned(), text, error });
    }

    /// Adds all files of `others`.
    pub fn extend(&mut self, others: Self) {
        self.files.extend(others.files);
    }

    /// Fails with the mistakes, if there are any.
    pub fn into_result(self) -> Result<(), Self> {
        if self.files.is_empty() { Ok(()) } else { Err(self) }
    }

    /// One report for each mistake, as the compiler shows it.
    pub fn reports(&self, colored: bool) -> Vec<String> {
        let theme =
            if colored { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_links(false);
        self.files.iter().flat_map(|file| file.reports(&handler)).collect()
    }
}

impl InvalidManifest {
    fn reports(&self, handler: &GraphicalReportHandler) -> impl Iterator<Item = String> {
        let name = relative(&self.path).display().to_string();
        self.error.problems.iter().map(move |problem| {
            let report = Report::new(diagnostic(problem))
                .with_source_code(NamedSource::new(&name, self.text.clone()).with_language("TOML"));
            let mut text = String::new();
            // Writing to a string fails only where the diagnostic itself cannot be shown.
            match handler.render_report(&mut text, report.as_ref()) {
                Ok(()) => text,
                Err(fmt::Error) => format!("{name}: {}", problem.message),
            }
        })
    }
}

fn diagnostic(problem: &Problem) -> MietteDiagnostic {
    let label = LabeledSpan::at(problem.span.clone(), problem.label.clone());
    let diagnostic = MietteDiagnostic::new(problem.message.clone()).with_label(label);
    match &problem.help {
        Some(help) => diagnostic.with_help(help.clone()),
        None => diagnostic,
    }
}

/// The path as one types it here, where it lies below the current directory.
pub fn relative(path: &Path) -> &Path {
    let below = std::env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok());
    below.filter(|path| !path.as_os_str().is_empty()).unwrap_or(path)
}

impl fmt::Display for InvalidManifests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: usize = self.files.iter().map(|file| file.error.problems.len()).sum();
        let plural = if count == 1 { "mistake" } else { "mistakes" };
        match self.files.as_slice() {
            [file] => write!(f, "{count} {plural} in {}", relative(&file.path).display()),
            files => write!(f, "{count} {plural} in {} files", files.len()),
        }
    }
}

impl std::error::Error for InvalidManifests {}

#[cfg(test)]
mod tests {
    use super::*;
    use kami_core::manifest::source::{Defaults, Source};

    #[test]
    fn a_mistake_is_shown_with_file_line_column_and_remedy() {
        let text = "[package.metadata.kami]\nid = \"dev.example.x\"\ntitel = \"X\"\n";
        let path = ["package", "metadata", "kami"];
        let error = Source::parse(text, &path, &Defaults::default()).unwrap_err();
        let invalid = InvalidManifests::one(Path::new("x/Cargo.toml"), text.to_owned(), error);
        let report = invalid.reports(false).concat();
        for part in
            ["unknown key `titel`", "x/Cargo.toml:3:1", "did you mean `title`?", "titel = \"X\""]
        {
            assert!(report.contains(part), "{part:?} is not in\n{report}");
        }
        assert_eq!(invalid.to_string(), "1 mistake in x/Cargo.toml");
    }

    #[test]
    fn a_mistake_in_an_empty_file_can_be_shown() {
        let error = Source::parse("", &["package"], &Defaults::default()).unwrap_err();
        let invalid = InvalidManifests::one(Path::new("Cargo.toml"), String::new(), error);
        assert!(invalid.reports(false).concat().contains("[package] is missing"));
    }
}
