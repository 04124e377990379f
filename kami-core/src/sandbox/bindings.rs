//! Host and guest sides of the contract in `wit/`, generated.

wasmtime::component::bindgen!({
    path: "wit",
    world: "server",
    exports: { default: async },
});

/// The first version of the contract, which stays runnable.
pub mod v0_1 {
    wasmtime::component::bindgen!({
        path: "wit/v0.1",
        world: "kami-tool",
        exports: { default: async },
    });
}
