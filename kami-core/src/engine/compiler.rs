//! Compiling, where that is to be bounded in time and memory: in another process.
//!
//! No count of what is in a component tells what compiling it takes. What does bound it is an
//! operating system's limits on a process, and this crate starts none. So whoever embeds it may say
//! how native code comes about: `cargo kami` hands the component to a process of its own program,
//! which calls [`native_code`] under limits.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::{Allocation, EngineError, Metering, config};
use crate::component::Component;

/// Makes native code of components, elsewhere.
///
/// It is called on threads that may block, from several at once.
#[derive(Clone)]
pub struct Compiler(Arc<Compile>);

type Compile =
    dyn Fn(&Component, Metering, Allocation) -> Result<Vec<u8>, EngineError> + Send + Sync;

impl Compiler {
    /// Has `compile` make the native code.
    ///
    /// # Safety
    /// What `compile` gives is run as it is. It must be what [`native_code`] of this same version of
    /// this crate gave for the same component, metering and allocation, and nobody may have changed
    /// it since.
    pub unsafe fn new(
        compile: impl Fn(&Component, Metering, Allocation) -> Result<Vec<u8>, EngineError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Arc::new(compile))
    }

    pub(super) fn compile(
        &self,
        component: &Component,
        metering: Metering,
        allocation: Allocation,
    ) -> Result<Vec<u8>, EngineError> {
        (self.0)(component, metering, allocation)
    }
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compiler")
    }
}

/// The native code of a component, for the [`Compiler`] of an engine in another process.
///
/// It starts no thread that ticks and reserves no address space for instances.
///
/// # Errors
/// Where the component is not valid.
///
/// # Security
/// The component is hostile. Its counts are bounded, the time and memory that this takes are not:
/// call it in a process that has limits.
pub fn native_code(
    component: &Component,
    metering: Metering,
    allocation: Allocation,
) -> Result<Vec<u8>, EngineError> {
    let engine =
        wasmtime::Engine::new(&config(metering, allocation)).map_err(EngineError::Start)?;
    engine
        .precompile_component(component.bytes())
        .map_err(|error| EngineError::Compile(error.into()))
}

/// Lets so many compile at a time.
pub(super) struct Turns {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Turns {
    pub(super) fn new(count: usize) -> Self {
        Self { free: Mutex::new(count), freed: Condvar::new() }
    }

    /// Waits for a turn, which ends with the value.
    pub(super) fn take(&self) -> Turn<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = *free == 0;
        let free = self.freed.wait_while(free, |free| *free == 0);
        *free.unwrap_or_else(PoisonError::into_inner) -= 1;
        Turn { turns: self, waited }
    }
}

/// One of the [`Turns`].
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    /// Whether somebody else had it before.
    pub(super) waited: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.turns.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.turns.freed.notify_one();
    }
}
