//! The program `cargo-kami`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cargo_kami::main()
}
