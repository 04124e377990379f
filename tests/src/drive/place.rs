//! Where it is measured: a data directory with tools, and the servers that are compared.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kami_core::grants::{Capabilities, Limit};
use kami_core::manifest::{Annotations, ToolDefinition};
use serde_json::json;

use super::client::{Http, Piped, Request};
use crate::guests::{guest, native_peer, program, without_settings};
use crate::lab::{Lab, limits, seal, single};
use crate::raw::Raw;
use crate::soak::Vitals;

/// The tool that every measurement of a call has called.
pub const ECHO: &str = "echo";

/// A data directory with the guest `workload`, and as many other tools as it takes.
pub struct Place {
    lab: Lab,
}

impl Place {
    /// A place with `tools` tools, or with those of the guest alone where that is more.
    ///
    /// The others are real packages, signed and installed, that nobody ever calls.
    pub fn with_tools(tools: usize) -> Self {
        let lab = Lab::new();
        let workload = guest("workload");
        lab.install(workload);
        let component = Raw::default().component();
        let requests = Capabilities { limits: limits(16, 1000), ..Capabilities::default() };
        let others = tools.saturating_sub(workload.manifest().tools.len());
        let others = (0..others).map(|n| single(&component, &format!("other-{n:05}"), &requests));
        lab.install_all(others);
        let place = Self { lab };
        // Native code is made when a package is installed; here, that was not the program's doing.
        place.kami(&[]).call(&Request::call(ECHO, &json!({"text": "hello"})));
        place
    }

    /// A place with the guest alone, whose instructions are counted.
    pub fn metered() -> Self {
        let workload = guest("workload");
        let manifest = workload.manifest();
        let mut requests = manifest.requests.clone();
        let fuel = requests.limits.with(Limit::Fuel, 1 << 50);
        requests.limits = fuel.expect("the limit is possible");
        let tools = manifest
            .tools
            .iter()
            .map(|tool| ToolDefinition { annotations: Annotations::default(), ..tool.clone() });
        let lab = Lab::new();
        lab.install(&seal(workload.component(), "workload", tools.collect(), &requests));
        Self { lab }
    }

    /// The data directory and what is in it.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The command that serves the tools over pipes.
    pub fn serve(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(["--quiet", "serve", "--data-dir"]).arg(self.lab.data().path()).args(flags);
        without_settings(&mut command);
        command
    }

    /// A server of the tools, over pipes.
    pub fn kami(&self, flags: &[&str]) -> Piped {
        Piped::start(&mut self.serve(flags))
    }

    /// A server of the tools, over HTTP.
    pub fn kami_http(&self, flags: &[&str]) -> Listening {
        Listening::start(|address| {
            let mut command = self.serve(flags);
            command.args(["--http", address]);
            command
        })
    }

    /// Forgets the native code of every package.
    pub fn forget_native_code(&self) {
        let cache = self.lab.data().cache_dir();
        std::fs::remove_dir_all(cache).expect("the cache can be removed");
    }
}

/// How a native server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Native {
    /// As rmcp's manual shows it.
    Stdio,
    /// With rmcp's faster pipes.
    Pipes,
}

impl Native {
    /// The command that serves.
    pub fn command(self) -> Command {
        let mut command = Command::new(native_peer());
        command.arg(match self {
            Self::Stdio => "stdio",
            Self::Pipes => "pipes",
        });
        command
    }

    /// A server, over pipes.
    pub fn start(self) -> Piped {
        Piped::start(&mut self.command())
    }
}

/// A native server, over HTTP.
pub fn native_http() -> Listening {
    Listening::start(|address| {
        let mut command = Command::new(native_peer());
        command.args(["http", address]);
        command
    })
}

/// A server in a process of its own, which listens on an address of this machine.
pub struct Listening {
    child: Child,
    address: String,
}

impl Listening {
    fn start(command: impl FnOnce(&str) -> Command) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("there are free ports").to_string();
        let mut command = command(&address);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("the server starts");
        Self { child, address }
    }

    /// A connection.
    pub fn connect(&self) -> Http {
        Http::connect(&self.address)
    }

    /// The id of its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It may have ended by itself; then both fail, and that is as it should be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The memory of a process that is resident now, in bytes.
///
/// # Panics
/// Where there is no such process, or no `/proc`.
pub fn resident(process: u32) -> u64 {
    Vitals::of(process).expect("the process runs, on Linux").resident << 10
}

/// The memory of a process that is resident now, in bytes, where what many of its mappings share, as
/// guests do the image that they begin with, counts once.
///
/// # Panics
/// Where there is no such process, or no `/proc`.
pub fn own_memory(process: u32) -> u64 {
    let file = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"));
    let text = file.expect("the process runs, on Linux");
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.expect("Linux says it") << 10
}

/// The processor time that the threads of a process, those that there are now, have had so far.
///
/// # Panics
/// Where there is no such process, or no `/proc`.
pub fn processor_time(process: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task"));
    let threads = threads.expect("the process runs, on Linux").flatten();
    let nanos = threads.filter_map(|thread| {
        // One that has just ended has no file any more.
        let times = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        times.split(" ").next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum::<u64>())
}

/// Does `work` on one core, with every process that it starts.
///
/// On two, what is measured of a short round trip is mostly how long the system takes to wake a core
/// that has fallen asleep, which on a virtual machine is several times what either side does.
///
/// # Panics
/// Where the system does not let the thread choose.
pub fn on_one_core<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let pinned = || {
        // SAFETY: a set of no cores is all zeros, and the calls get its address and its size.
        let chosen = unsafe {
            let mut cores: libc::cpu_set_t = std::mem::zeroed();
            let here = usize::try_from(libc::sched_getcpu()).expect("it runs somewhere");
            libc::CPU_SET(here, &mut cores);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const cores)
        };
        assert_eq!(chosen, 0, "a thread may stay where it is");
        work()
    };
    std::thread::scope(|scope| scope.spawn(pinned).join().expect("it is measured"))
}

/// From the start of a process to its first answer.
pub fn to_first_answer(command: &mut Command, request: &Request) -> Duration {
    let started = Instant::now();
    let mut server = Piped::start(command);
    server.call(request);
    started.elapsed()
}
