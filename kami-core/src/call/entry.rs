//! Into a fresh sandbox and out of it again, and how that ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use super::{CallError, CallStats, EventSink, Outcome, Report, Said, cut};
use crate::resolve::VerifiedPackage;
use crate::sandbox::{CpuExhausted, Sandbox, State, is_out_of_memory};
use crate::scheduler::Principal;

/// When to come again where a call has a place and the engine's pool has none, as while components
/// describe themselves, which takes no longer as a rule.
const POOL_RETRY: Duration = Duration::from_secs(1);

/// When to come again where the machine has no memory left: other calls have it, and end.
const MEMORY_RETRY: Duration = Duration::from_secs(1);

/// Waits for a place, enters a package's sandbox on behalf of a principal, and reports what came of
/// it. No secret of the guest is left in the report.
pub(super) async fn admitted<T: Said>(
    principal: Principal,
    package: &VerifiedPackage,
    events: Arc<dyn EventSink>,
    body: impl AsyncFnOnce(&mut Store<State>) -> wasmtime::Result<Outcome<T>>,
) -> Report<T> {
    let started = Instant::now();
    let sandbox = package.sandbox();
    let _place = match sandbox.admit(principal, package.priority()).await {
        Ok(place) => place,
        Err(refusal) => return Report::without_entry(refusal.into(), started),
    };
    let mut report = enter(sandbox, events, sandbox.effective().limits().execution(), body).await;
    report.scrub(sandbox.scrubber());
    report.stats.total = started.elapsed();
    report
}

/// Enters a fresh sandbox, runs `body` in it within `limit`, and reports how that ended.
pub(super) async fn enter<T>(
    sandbox: &Sandbox,
    events: Arc<dyn EventSink>,
    limit: Duration,
    body: impl AsyncFnOnce(&mut Store<State>) -> wasmtime::Result<Outcome<T>>,
) -> Report<T> {
    let started = Instant::now();
    let mut store = match sandbox.store(events).await {
        Ok(store) => store,
        Err(error) => return Report::without_entry(CallError::Sandbox(error), started),
    };
    let cpu = store.data().cpu();
    let ended = tokio::time::timeout(limit, cpu.measure(body(&mut store))).await;
    let inside = started.elapsed();
    let state = store.data();
    let stderr = state.take_stderr();
    let outcome = match ended {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::Failed(classify(&error, sandbox, state, &stderr.text)),
        Err(_) => Outcome::Failed(CallError::TimedOut { limit }),
    };
    let stats = CallStats {
        total: inside,
        inside,
        memory_peak_bytes: state.memory_peak_bytes(),
        fuel: sandbox.fuel_burnt(&store),
        cpu: cpu.spent(),
        events_dropped: state.events_dropped(),
        is_sum: false,
    };
    let (denials, denials_omitted) = state.take_denials();
    Report { outcome, stats, denials, denials_omitted, stdout: state.take_stdout(), stderr }
}

/// Tells from wasmtime's error, the sandbox's state and the guest's last words how it ended.
fn classify(error: &wasmtime::Error, sandbox: &Sandbox, state: &State, stderr: &str) -> CallError {
    let limits = sandbox.effective().limits();
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return CallError::Exited(exit.0);
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return CallError::Busy { retry: POOL_RETRY };
    }
    if error.is::<CpuExhausted>() {
        return CallError::OutOfCpu { limit: limits.cpu() };
    }
    let trap = error.downcast_ref::<Trap>();
    match trap {
        Some(Trap::OutOfFuel) => return CallError::OutOfFuel { limit: limits.fuel().unwrap_or(0) },
        Some(Trap::StackOverflow) => return CallError::StackOverflow,
        _ => {}
    }
    let root = error.root_cause();
    if is_out_of_memory(error) {
        return CallError::Exhausted { retry: MEMORY_RETRY };
    }
    if is_out_of_handles(root) {
        return CallError::TooManyHandles { limit: limits.handles() };
    }
    if let Some((location, message)) = last_panic(stderr) {
        return CallError::Panicked { message, location };
    }
    // A panic comes first: a guest may well survive that memory was refused to it. One that does
    // not is ended by its allocator, which does not panic.
    if state.memory_was_refused() {
        return CallError::OutOfMemory { limit_bytes: limits.memory_bytes() };
    }
    if state.memory_ran_out() {
        return CallError::Exhausted { retry: MEMORY_RETRY };
    }
    let root = root.to_string();
    if root.contains("fuel allocated for hostcalls") {
        return CallError::TooLarge { limit_bytes: limits.output_bytes() };
    }
    let reason = match trap {
        Some(trap) => trap.to_string(),
        None => root.lines().next().unwrap_or("no reason given").to_owned(),
    };
    CallError::Trapped { reason: cut(reason) }
}

/// Whether what ended the guest is that it held too many handles: of those that it knows, or of what
/// the host keeps behind them.
fn is_out_of_handles(root: &(dyn std::error::Error + 'static)) -> bool {
    matches!(root.downcast_ref(), Some(ResourceTableError::Full))
        || root.to_string().ends_with("store handle limit exceeded")
}

/// Finds the last panic in what a guest wrote: its location, and the first line of its message.
///
/// Rust writes `thread 'main' panicked at src/lib.rs:5:9:` and the message on the next line.
fn last_panic(stderr: &str) -> Option<(String, String)> {
    let (_, after) = stderr.rsplit_once(" panicked at ")?;
    let mut lines = after.lines();
    let location = lines.next()?.trim_end_matches(':');
    let is_location = location.rsplitn(3, ':').take(2).all(|part| part.parse::<u32>().is_ok());
    let message = lines.next().unwrap_or_default();
    is_location.then(|| (cut(location.to_owned()), cut(message.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_found_in_what_a_guest_wrote() {
        let stderr = "noise\n\nthread 'main' (1) panicked at src/lib.rs:12:5:\nindex out of bounds\nnote: run with\n";
        let (location, message) = last_panic(stderr).unwrap();
        assert_eq!(
            (location.as_str(), message.as_str()),
            ("src/lib.rs:12:5", "index out of bounds")
        );
        for other in
            ["", "nothing panicked at all", "x panicked at the disco\n", " panicked at a:b:c:\n"]
        {
            assert_eq!(last_panic(other), None, "{other:?}");
        }
    }
}
