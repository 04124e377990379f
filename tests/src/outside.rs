//! A place as a person has it: a directory outside of the checkout, a data directory of its own,
//! the program on the PATH, and a terminal.
//!
//! Packages that are made there keep what they ship in their own `target/`, as anybody's do. What
//! cargo makes on the way goes to one directory for all of them, so that the SDK is compiled once.
//! For that, packages that are built at the same time must differ in name.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use kami_core::registry::DataDir;
use tempfile::TempDir;

use crate::guests::{cargo, program, root};

/// The longest silence of a terminal: cargo says nothing while it compiles one large crate.
const SILENCE: Duration = Duration::from_secs(300);

/// A directory that ends with its value.
pub struct Outside {
    directory: TempDir,
    path: PathBuf,
}

impl Outside {
    /// An empty directory.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let path = directory.path().canonicalize().expect("the directory is there");
        Self { directory, path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The data directory that programs use here.
    pub fn data(&self) -> DataDir {
        DataDir::new(self.path.join(".kami"))
    }

    /// A command in this directory, whose environment holds nothing of the one that tests it.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.current_dir(&self.path);
        for (variable, _) in std::env::vars_os() {
            let name = variable.to_string_lossy();
            let ours = name.starts_with("CARGO_") && name != "CARGO_HOME";
            if ours || name.starts_with("KAMI_") || name.starts_with("RUST_") || name == "CARGO" {
                command.env_remove(&variable);
            }
        }
        command.env("PATH", path_with_program());
        command.env("KAMI_DATA_DIR", self.data().path());
        command.env("CARGO_BUILD_BUILD_DIR", build_directory());
        // What the checkout itself needs is there; nothing else is fetched.
        command.env("CARGO_NET_OFFLINE", "true");
        command.env("TERM", "dumb").env("NO_COLOR", "1");
        command
    }

    /// Runs `cargo-kami` without a terminal, and gives what came of it.
    pub fn kami(&self, arguments: &[&str]) -> Reply {
        self.kami_with_input(arguments, "")
    }

    /// Runs `cargo-kami` with something on its stdin.
    pub fn kami_with_input(&self, arguments: &[&str], input: &str) -> Reply {
        let mut command = self.command("cargo-kami");
        command.args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        // A program that fails early reads nothing, which is no failure of ours.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        Reply::of(child.wait_with_output().expect("a child can be waited for"))
    }

    /// Runs a script of `sh` at a terminal until its first failure, answers every question with
    /// `answer`, and gives how it ended and what the terminal showed.
    pub fn at_terminal(&self, script: &str, answer: &str) -> (ExitStatus, String) {
        self.converse(script, |shown, terminal| {
            let asks = |end: &&[u8]| shown.windows(end.len()).any(|text| text == *end);
            let asked = QUESTIONS.iter().any(asks);
            if asked {
                writeln!(terminal, "{answer}").expect("the terminal takes the answer");
            }
            asked
        })
    }

    /// The same, where each of `dialog` is a question and what is typed.
    pub fn in_dialog(&self, script: &str, mut dialog: &[(&str, &str)]) -> (ExitStatus, String) {
        self.converse(script, |shown, terminal| match dialog {
            [(question, answer), rest @ ..]
                if shown.windows(question.len()).any(|text| text == question.as_bytes()) =>
            {
                writeln!(terminal, "{answer}").expect("the terminal takes the answer");
                dialog = rest;
                true
            }
            _ => false,
        })
    }

    /// The same, where each of `dialog` is a question and what is typed once the terminal does not
    /// show it.
    pub fn in_secret(&self, script: &str, mut dialog: &[(&str, &str)]) -> (ExitStatus, String) {
        self.converse(script, |shown, terminal| match dialog {
            [(question, answer), rest @ ..] if shown.ends_with(question.as_bytes()) => {
                let asked = Instant::now();
                while shows_input(terminal) {
                    assert!(asked.elapsed() < SILENCE, "the terminal would show what is typed");
                    thread::yield_now();
                }
                writeln!(terminal, "{answer}").expect("the terminal takes the answer");
                dialog = rest;
                true
            }
            _ => false,
        })
    }

    /// Runs a script at a terminal. `reply` gets what was shown since it last said that it answered.
    fn converse(
        &self,
        script: &str,
        mut reply: impl FnMut(&[u8], &mut File) -> bool,
    ) -> (ExitStatus, String) {
        let (mut terminal, line) = open_terminal().expect("there are terminals");
        let mut shell = self.command("sh");
        let copy = || line.try_clone().expect("a handle can be copied");
        shell.args(["-ec", script]).stdin(copy()).stdout(copy()).stderr(copy());
        let mut child = Ended(shell.spawn().expect("there is a shell"));
        // The end comes when nobody has the line any more.
        drop((shell, line));
        let mut screen = terminal.try_clone().expect("a handle can be copied");
        let (sender, chunks) = channel();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            // On Linux, a terminal that everybody left gives an error.
            while let Ok(length @ 1..) = screen.read(&mut chunk) {
                if sender.send(chunk[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        let (mut shown, mut answered) = (Vec::new(), 0);
        loop {
            match chunks.recv_timeout(SILENCE) {
                Ok(chunk) => shown.extend(chunk),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("nothing more happens after\n{}", String::from_utf8_lossy(&shown))
                }
            }
            if reply(&shown[answered..], &mut terminal) {
                answered = shown.len();
            }
        }
        let status = child.0.wait().expect("a child can be waited for");
        (status, String::from_utf8_lossy(&shown).replace('\r', ""))
    }

    /// Has cargo forget what it compiled of the package called `name`, whose Cargo.toml is in
    /// `directory` here: nobody else would have a use for it, as a path tells packages apart.
    pub fn forget(&self, name: &str, directory: &str) {
        let native: &[&str] = &[];
        for flags in [native, &["--release", "--target", "wasm32-wasip2"]] {
            let mut clean = self.command("cargo");
            clean.args(["clean", "--quiet", "--package", name]).args(flags);
            let status = clean.current_dir(self.path.join(directory)).status();
            assert!(status.expect("cargo starts").success(), "{clean:?} fails");
        }
    }

    /// Ends it now, so that a failure to remove it is seen.
    pub fn close(self) {
        self.directory.close().expect("the directory can be removed");
    }
}

impl Default for Outside {
    fn default() -> Self {
        Self::new()
    }
}

/// How every question ends, and every prompt for what is not to be seen.
const QUESTIONS: [&[u8]; 2] = [b"[y/N] ", b"(not shown): "];

/// What came of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The exit code; -1 after a signal.
    pub code: i32,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

impl Reply {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program writes text");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// What was written to stdout, after the expected end.
    ///
    /// # Panics
    /// Where it ended in another way.
    pub fn data(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        &self.stdout
    }
}

/// A child that ends with its value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself; then both fail, and that is as it should be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn path_with_program() -> OsString {
    let directory = program().parent().expect("a program is in a directory").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(directory).chain(std::env::split_paths(&path));
    std::env::join_paths(all).expect("cargo's paths can be joined")
}

/// Where cargo compiles everything, in the target directory of this checkout. The crates that are
/// needed are fetched before the first use, as this checkout's Cargo.lock has them.
fn build_directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

    DIRECTORY.get_or_init(|| {
        let mut fetch = cargo();
        fetch.args(["fetch", "--quiet", "--target", "wasm32-wasip2"]).current_dir(root());
        let status = fetch.status().expect("cargo starts");
        assert!(status.success(), "{fetch:?} ended with {status}");
        let target = program().ancestors().nth(2).expect("cargo built the program in its target");
        target.join("kami-tests/guests")
    })
}

/// Whether a terminal shows what is typed.
fn shows_input(terminal: &File) -> bool {
    let mut settings = std::mem::MaybeUninit::uninit();
    // SAFETY: the handle is open, and the pointer is to enough room.
    let known = unsafe { libc::tcgetattr(terminal.as_raw_fd(), settings.as_mut_ptr()) };
    assert_eq!(known, 0, "a terminal has settings");
    // SAFETY: the function succeeded, so it wrote all of it.
    unsafe { settings.assume_init() }.c_lflag & libc::ECHO != 0
}

/// A new terminal of 100 columns: the side of who looks at it, and the side of programs.
fn open_terminal() -> io::Result<(File, OwnedFd)> {
    let (mut terminal, mut line) = (-1, -1);
    let mut size = libc::winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let (name, settings) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the pointers are to live values, or null where the function allows that.
    let opened =
        unsafe { libc::openpty(&raw mut terminal, &raw mut line, name, settings, &raw mut size) };
    if opened != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the function succeeded, so both are open, and nobody else has them.
    let (terminal, line) = unsafe { (File::from_raw_fd(terminal), OwnedFd::from_raw_fd(line)) };
    for handle in [terminal.as_raw_fd(), line.as_raw_fd()] {
        // SAFETY: the handle is open, and the call touches no memory.
        if unsafe { libc::fcntl(handle, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok((terminal, line))
}
