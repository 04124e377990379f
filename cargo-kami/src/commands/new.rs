//! `cargo kami new`: a package that builds, tests and runs at once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kami_core::name::PackageId;

use crate::diagnostic::relative;
use crate::exit::{Exit, Failure};
use crate::ops::scratch::{ScratchDir, replace_file};
use crate::shell::Shell;
use crate::template::{Template, Values};
use crate::workspace::Workspace;

/// Start a tool: a package that builds, tests and runs at once
///
/// Inside a workspace the package becomes a member. If anything fails, nothing is left behind.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo kami new my-tool                        a function of its arguments
  cargo kami new my-fetcher --template http     reads from the web
  cargo kami new tools/finder --template files  reads a directory that the operator names")]
pub struct Args {
    /// The directory to make; its name is the package's
    #[arg(value_name = "NAME")]
    path: PathBuf,
    /// What to start from
    #[arg(long, short, value_enum, default_value = "hello")]
    template: Template,
    /// The package's name, where it is not the directory's
    #[arg(long)]
    name: Option<String>,
    /// The id, in reverse-DNS [default: dev.example.NAME]
    #[arg(long)]
    id: Option<PackageId>,
}

pub fn run(args: &Args, shell: &Shell) -> anyhow::Result<Exit> {
    let path = std::path::absolute(&args.path)
        .with_context(|| format!("finding {}", args.path.display()))?;
    let name = package_name(args, &path)?;
    let id = match &args.id {
        Some(id) => id.clone(),
        None => format!("dev.example.{}", name.replace('_', "-")).parse()?,
    };
    vacant(&path)?;
    let workspace = Workspace::around(&path)?;
    let values = Values::new(&name, &id, args.template, &path, workspace.as_ref());
    create(&path, args.template, &values, workspace)?;
    let template = args.template.to_string();
    shell.status("Created", format_args!("tool `{name}` from the template `{template}`"));
    next_steps(args, &path, &name, shell);
    Ok(Exit::Success)
}

/// The package's name: fit for cargo, for a Rust identifier and for the last label of an id.
fn package_name(args: &Args, path: &Path) -> Result<String, Failure> {
    let last = || path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = args.name.clone().or_else(last).unwrap_or_default();
    let refuse = |why: &str| {
        Failure::new(
            Exit::Usage,
            format!("`{}` cannot be the name of a tool: {why}", name.escape_debug()),
        )
        .help("choose another by --name, such as `my-tool`")
    };
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(inner) {
        return Err(refuse("it is made of a-z, 0-9, `-` and `_`, and starts with a letter"));
    }
    if name.len() > 63 {
        return Err(refuse("it is longer than 63 characters"));
    }
    if name.ends_with(['-', '_']) {
        return Err(refuse("it ends with a letter or digit"));
    }
    if RESERVED.contains(&name.replace('-', "_").as_str()) {
        return Err(refuse("Rust or cargo use it already"));
    }
    Ok(name)
}

/// Keywords, crates that every program sees, and names that cargo or the SDK need.
const RESERVED: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "kami_guest",
    "kami_guest_macros",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Refuses a place where something is already.
fn vacant(path: &Path) -> anyhow::Result<()> {
    match fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(taken(path, "is not empty").into()),
        },
        Err(_) if !path.try_exists()? => Ok(()),
        Err(_) => Err(taken(path, "is there already and is no directory").into()),
    }
}

fn taken(path: &Path, how: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{} {how}", relative(path).display())).help(
        "choose another name, or add `kami-guest` and [package.metadata.kami] to what is there",
    )
}

/// Writes everything under a temporary name beside its place, and then moves it there.
fn create(
    path: &Path,
    template: Template,
    values: &Values,
    workspace: Option<Workspace>,
) -> anyhow::Result<()> {
    let parent = path.parent().context("the root directory cannot be a package")?;
    fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    let directory = ScratchDir::new(parent)
        .with_context(|| format!("making a directory in {}", parent.display()))?;
    for (name, content) in template.files() {
        let file = directory.path().join(name);
        if let Some(above) = file.parent() {
            fs::create_dir_all(above).with_context(|| format!("making {}", above.display()))?;
        }
        fs::write(&file, values.fill_in(content)).with_context(|| format!("writing {name}"))?;
    }
    directory.keep(path).with_context(|| format!("making {}", path.display()))?;
    let Some((manifest, text)) = workspace.and_then(|workspace| workspace.with_member(path)) else {
        return Ok(());
    };
    replace_file(&manifest, text.as_bytes()).with_context(|| {
        // Alone it would not build, as cargo wants it among the members.
        let _ = fs::remove_dir_all(path);
        format!("adding the package to {}", manifest.display())
    })
}

fn next_steps(args: &Args, path: &Path, name: &str, shell: &Shell) {
    let steps = [
        format!("cd {}", quoted(&relative(path).display().to_string())),
        "cargo test".to_owned(),
        "cargo kami build".to_owned(),
        "cargo kami sign".to_owned(),
        args.template.install().to_owned(),
        format!("cargo kami call {name} --input '{}'", args.template.input()),
    ];
    shell.say("\nNext:");
    for step in steps {
        shell.say(format_args!("  {step}"));
    }
}

/// The text as a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | '.' | '\\' | ':');
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Result<String, Failure> {
        let args = Args { path: name.into(), template: Template::Hello, name: None, id: None };
        package_name(&args, Path::new(name))
    }

    #[test]
    fn names_are_fit_for_every_use() {
        for good in ["my-tool", "x", "a_1"] {
            assert_eq!(named(good).unwrap(), good);
        }
        for bad in
            ["", "My", "1x", "-x", "a b", "x-", "fn", "proc-macro", "ä", &"x".repeat(64), ".."]
        {
            assert!(named(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("mine"), "").unwrap();
        assert!(vacant(&path).is_err());
        let id = "dev.example.x".parse().unwrap();
        let values = Values::new("x", &id, Template::Hello, &path, None);
        assert!(create(&path, Template::Hello, &values, None).is_err());
        let names: Vec<_> =
            fs::read_dir(home.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["x"]);
    }
}
