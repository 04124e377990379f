//! Work on hostile components that cannot be bounded where it is done: in a process that can.
//!
//! What a compiler takes for a component is found out by compiling it. So this program starts itself
//! with one of [`Job`]'s hidden arguments, hands the component to the new process on stdin, and reads
//! the result from its stdout. Before it reads anything, that process limits its own memory, CPU
//! time and files; its environment is empty, and it is killed when its time is over. A component that
//! crashes the compiler crashes that process.
//!
//! What comes back is believed as if it had been made here. It was made by the same program (on
//! Linux by the same inode, even if the file was replaced meanwhile), which read nothing but the
//! component. A component that could make the compiler lie could have done so in this process, with
//! more in its reach.

use std::io::{self, Read, Write as _};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kami_core::component::{Artifact, Component, MAX_BYTES};
use kami_core::engine::{self, Allocation, Compiler, EngineError, Metering};

use crate::exit::{Exit, Failure};
use crate::shell;

/// The most native code that is read: about ten times the largest component that there is.
const MAX_RESULT: u64 = 1 << 30;

/// The most of its complaints that is read.
const MAX_COMPLAINT: u64 = 16 << 10;

/// How many threads compile one component. Each reserves address space, which is limited.
const MAX_THREADS: usize = 4;

/// How the process ends that found the component to be wrong, and said why.
const REFUSED: u8 = 3;

/// How often a process that should have ended is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// What compiling one component may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// From start to end, by the clock.
    pub time: Duration,
    /// All memory of the process, in mebibytes.
    pub memory_mb: u64,
}

impl Default for CompileLimits {
    /// CPython with its library, which is as large as components come, takes twenty seconds of two
    /// cores and half a gigabyte of address space.
    fn default() -> Self {
        Self { time: Duration::from_secs(300), memory_mb: 2048 }
    }
}

/// What a process that is started here does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Makes native code.
    Compile(Metering, Allocation),
    /// Prints the interface.
    Wit,
}

impl Job {
    const ALL: [Self; 5] = [
        Self::Compile(Metering::Off, Allocation::Pool),
        Self::Compile(Metering::Off, Allocation::OnDemand),
        Self::Compile(Metering::Fuel, Allocation::Pool),
        Self::Compile(Metering::Fuel, Allocation::OnDemand),
        Self::Wit,
    ];

    /// The argument by which a process knows its job; no command of a person begins so.
    fn argument(self) -> &'static str {
        match self {
            Self::Compile(Metering::Off, Allocation::Pool) => "--worker=compile",
            Self::Compile(Metering::Off, Allocation::OnDemand) => "--worker=compile-on-demand",
            Self::Compile(Metering::Fuel, Allocation::Pool) => "--worker=compile-with-fuel",
            Self::Compile(Metering::Fuel, Allocation::OnDemand) => {
                "--worker=compile-with-fuel-on-demand"
            }
            Self::Wit => "--worker=wit",
        }
    }

    /// The job of this process, if it was started for one.
    pub fn of_this_process() -> Option<Self> {
        let argument = std::env::args_os().nth(1)?;
        Self::ALL.into_iter().find(|job| argument == job.argument())
    }

    /// Does the job, as the process that was started for it.
    pub fn work(self) -> ExitCode {
        let result = limit_this_process().and_then(|()| self.result());
        let written = result.and_then(|bytes| Ok(shell::hand_over(&bytes)?));
        match written {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                shell::complain(format_args!("{error:#}"));
                ExitCode::from(REFUSED)
            }
        }
    }

    fn result(self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io::stdin().lock().take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        match self {
            Self::Compile(metering, allocation) => {
                let component = Component::parse(bytes)?;
                engine::native_code(&component, metering, allocation).map_err(|error| match error {
                    // Whoever started this process says that it was compiling.
                    EngineError::Compile(cause) => anyhow::anyhow!(cause),
                    error => error.into(),
                })
            }
            Self::Wit => Ok(print_wit(&bytes)?.into_bytes()),
        }
    }
}

/// Has components compiled in processes of this program, within `limits`.
pub fn compiler(limits: CompileLimits) -> Compiler {
    let compile = move |component: &Component, metering: Metering, allocation: Allocation| {
        let end = run(Job::Compile(metering, allocation), component.bytes(), limits);
        match end.map_err(EngineError::Worker)? {
            End::Done(native) => Ok(native),
            End::Refused(why) => Err(EngineError::Compile(why.into())),
            End::TooSlow => Err(EngineError::TooSlow { limit: limits.time }),
            End::TooMuchMemory => Err(EngineError::TooMuchMemory { limit_mb: limits.memory_mb }),
            End::Crashed(how) => Err(EngineError::Crashed { how }),
        }
    };
    // SAFETY: a process of this same program that ended well has written what `native_code` gave for
    // these bytes, and nothing else, to a pipe that only these two processes hold.
    unsafe { Compiler::new(compile) }
}

/// The interface of an artifact's component, as WIT.
///
/// # Errors
/// Where it has none that can be read, or reading it takes more than `limits`.
pub fn wit(artifact: &Artifact, limits: CompileLimits) -> anyhow::Result<String> {
    let end =
        run(Job::Wit, artifact.component().bytes(), limits).context("reading the interface")?;
    let why = match end {
        End::Done(text) => return String::from_utf8(text).context("reading the interface"),
        End::Refused(why) => why,
        End::TooSlow => format!("it took more than {} s", limits.time.as_secs()),
        End::TooMuchMemory => format!("it took more than {} MiB of memory", limits.memory_mb),
        End::Crashed(how) => format!("its reader crashed ({how})"),
    };
    Err(Failure::new(Exit::Artifact, format!("cannot read the interface: {why}")).into())
}

fn print_wit(component: &[u8]) -> anyhow::Result<String> {
    let decoded = wit_component::decode(component)?;
    let mut printer = wit_component::WitPrinter::default();
    printer.print(decoded.resolve(), decoded.package(), &[]).context("printing it")?;
    Ok(printer.output.to_string())
}

/// How a process ended.
enum End {
    Done(Vec<u8>),
    /// It found the component to be wrong.
    Refused(String),
    TooSlow,
    TooMuchMemory,
    Crashed(String),
}

/// Runs a job in a process of its own.
fn run(job: Job, component: &[u8], limits: CompileLimits) -> io::Result<End> {
    let deadline = Instant::now() + limits.time;
    let mut child = Running(command(job, limits)?.spawn()?);
    let stdin = child.0.stdin.take();
    let stdout = child.0.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let stderr = child.0.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    thread::scope(|scope| {
        scope.spawn(move || {
            // A process that ends early reads no more; how it ended tells the rest.
            stdin.and_then(|mut stdin| stdin.write_all(component).ok())
        });
        let complaint = scope.spawn(move || read_start(stderr));
        let (sender, output) = channel();
        scope.spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.take(MAX_RESULT + 1).read_to_end(&mut bytes);
            // Nobody listens any more once the time is over.
            sender.send(read.map(|_| bytes))
        });
        let ended = child.wait_until(deadline, &output);
        // With it end its pipes, and with them the threads that use them.
        child.end();
        let Some((status, bytes)) = ended? else { return Ok(End::TooSlow) };
        let complaint = complaint.join().unwrap_or_default();
        Ok(if bytes.len() as u64 > MAX_RESULT {
            End::TooMuchMemory
        } else {
            end(status, bytes, &complaint)
        })
    })
}

/// The program that runs here, with a job and nothing else.
fn command(job: Job, limits: CompileLimits) -> io::Result<Command> {
    // The file may have been replaced by another version since this one was started.
    #[cfg(target_os = "linux")]
    let mut command = Command::new("/proc/self/exe");
    #[cfg(not(target_os = "linux"))]
    let mut command = Command::new(std::env::current_exe()?);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    command.arg(job.argument());
    command.arg(limits.memory_mb.to_string());
    command.arg((limits.time.as_secs().saturating_mul(threads as u64)).to_string());
    command.env_clear().env("RAYON_NUM_THREADS", threads.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    command.current_dir("/");
    Ok(command)
}

/// A process that ends with its value.
struct Running(Child);

impl Running {
    /// Waits for all that it writes, and for its end; gives nothing if the time is over before.
    fn wait_until(
        &mut self,
        deadline: Instant,
        output: &Receiver<io::Result<Vec<u8>>>,
    ) -> io::Result<Option<(ExitStatus, Vec<u8>)>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let bytes = match output.recv_timeout(left) {
            Ok(bytes) => bytes?,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        // It could have closed its output and go on, or have written more than is read.
        loop {
            match self.0.try_wait()? {
                Some(status) => return Ok(Some((status, bytes))),
                None if Instant::now() >= deadline => return Ok(None),
                None => thread::sleep(LOOK),
            }
        }
    }

    fn end(&mut self) {
        // It may have ended by itself; then there is nothing to kill, and that is as it should be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads the first part, and lets the rest go by, so that its writer is not held up.
fn read_start(mut stderr: impl Read) -> String {
    let mut start = Vec::new();
    // What was read before an error is worth showing too.
    let _ = stderr.by_ref().take(MAX_COMPLAINT).read_to_end(&mut start);
    let _ = io::copy(&mut stderr, &mut io::sink());
    String::from_utf8_lossy(&start).trim().to_owned()
}

fn end(status: ExitStatus, native: Vec<u8>, complaint: &str) -> End {
    // What the standard library, the allocator's caller, and the system say where memory ends.
    let out_of_memory = ["memory allocation of", "Cannot allocate memory", "out of memory"];
    let refused = status.code() == Some(i32::from(REFUSED));
    if status.success() {
        End::Done(native)
    } else if out_of_memory.iter().any(|words| complaint.contains(words)) {
        End::TooMuchMemory
    } else if refused {
        End::Refused(complaint.to_owned())
    } else {
        died(status, complaint)
    }
}

#[cfg(unix)]
fn died(status: ExitStatus, complaint: &str) -> End {
    use std::os::unix::process::ExitStatusExt as _;
    let cpu_time = rustix::process::Signal::XCPU.as_raw();
    if status.signal() == Some(cpu_time) { End::TooSlow } else { crashed(status, complaint) }
}

#[cfg(not(unix))]
fn died(status: ExitStatus, complaint: &str) -> End {
    crashed(status, complaint)
}

fn crashed(status: ExitStatus, complaint: &str) -> End {
    let first = complaint.lines().find(|line| !line.trim().is_empty());
    End::Crashed(match first {
        Some(line) => format!("{status}: {line}"),
        None => status.to_string(),
    })
}

/// Takes from this process what it does not need for its job.
#[cfg(unix)]
fn limit_this_process() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let mut arguments = std::env::args().skip(2).map(|text| text.parse::<u64>());
    let mut next = || arguments.next().and_then(Result::ok).context("a limit is missing");
    let (memory_mb, cpu_seconds) = (next()?, next()?);
    // Whoever started this process reads the result; without a reader there is no use in it.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    for (resource, limit) in [
        (Resource::As, memory_mb.saturating_mul(1 << 20)),
        (Resource::Cpu, cpu_seconds.max(1)),
        // Three are open, and the system is asked for the CPU's features.
        (Resource::Nofile, 32),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
    ] {
        // Only a privileged process may have more than it was started with.
        let limit = getrlimit(resource).maximum.map_or(limit, |most| limit.min(most));
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(resource, limit).with_context(|| format!("limiting {resource:?}"))?;
    }
    // Calls that run have the right of way. Where that cannot be said, they share.
    let _ = rustix::process::nice(5);
    Ok(())
}

/// Here only the clock limits it.
#[cfg(not(unix))]
fn limit_this_process() -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_has_an_argument_of_its_own() {
        for job in Job::ALL {
            let same = Job::ALL.iter().filter(|other| other.argument() == job.argument());
            assert_eq!(same.count(), 1, "{job:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn every_end_of_a_process_is_told_from_the_others() {
        use std::os::unix::process::ExitStatusExt as _;
        let of =
            |raw: i32, complaint: &str| match end(ExitStatus::from_raw(raw), vec![1], complaint) {
                End::Done(_) => "done",
                End::Refused(_) => "refused",
                End::TooSlow => "slow",
                End::TooMuchMemory => "memory",
                End::Crashed(_) => "crashed",
            };
        let exited = |code: u8| i32::from(code) << 8;
        assert_eq!(of(0, ""), "done");
        assert_eq!(of(exited(REFUSED), "unknown import"), "refused");
        assert_eq!(of(exited(101), "thread 'main' panicked"), "crashed");
        assert_eq!(
            of(rustix::process::Signal::ABORT.as_raw(), "memory allocation of 8 bytes failed"),
            "memory"
        );
        assert_eq!(of(rustix::process::Signal::SEGV.as_raw(), ""), "crashed");
        assert_eq!(of(rustix::process::Signal::XCPU.as_raw(), ""), "slow");
        assert_eq!(of(rustix::process::Signal::KILL.as_raw(), ""), "crashed");
    }
}
