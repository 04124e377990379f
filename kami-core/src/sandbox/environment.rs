//! Who reads the environment, where somebody wants to know.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use super::State;
use crate::grants::Recorder;

/// The interface of which one function is replaced, for guests built for any compatible version.
const ENVIRONMENT: &str = "wasi:cli/environment@0.2.12";

/// Puts a function that tells `recorder` in the place of wasmtime-wasi's.
pub(super) fn link(
    linker: &mut Linker<State>,
    recorder: &Arc<dyn Recorder>,
    variables: &[(String, String)],
) -> wasmtime::Result<()> {
    let (recorder, variables) = (Arc::clone(recorder), variables.to_vec());
    linker.allow_shadowing(true);
    linker.instance(ENVIRONMENT)?.func_wrap(
        "get-environment",
        move |_: StoreContextMut<'_, State>, (): ()| {
            recorder.environment();
            Ok((variables.clone(),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
