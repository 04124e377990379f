//! Every environment variable that is read, declared once; the help prints this list.

/// A variable with the sentence that documents it.
pub struct Variable {
    pub name: &'static str,
    pub doc: &'static str,
}

pub const DATA_DIR: Variable = Variable {
    name: "KAMI_DATA_DIR",
    doc: "Where installed tools, grants and keys are kept [default: ~/.kami]",
};

pub const CONFIG: Variable = Variable {
    name: "KAMI_CONFIG",
    doc: "The config file [default: config.toml in the data directory]",
};

pub const PROFILE: Variable =
    Variable { name: "KAMI_PROFILE", doc: "The profile of the config file that `serve` takes" };

pub const POLICY: Variable = Variable {
    name: "KAMI_POLICY",
    doc: "The policy file [default: kami-policy.toml in the data directory]",
};

pub const SECRETS_PASSPHRASE: Variable = Variable {
    name: "KAMI_SECRETS_PASSPHRASE",
    doc: "The passphrase of the secrets, where nobody is to be asked for it",
};

pub const KEY_PASSPHRASE: Variable = Variable {
    name: "KAMI_KEY_PASSPHRASE",
    doc: "The passphrase of secret keys, where nobody is to be asked for it",
};

pub const LOG: Variable = Variable {
    name: "KAMI_LOG",
    doc: "What is logged, such as `debug` or `kami_core=trace,rmcp=warn`",
};

pub const RUST_LOG: Variable =
    Variable { name: "RUST_LOG", doc: "The same, where KAMI_LOG is not set" };

pub const COMPILE_SECONDS: Variable = Variable {
    name: "KAMI_COMPILE_SECONDS",
    doc: "The longest that compiling one tool may take [default: 300]",
};

pub const COMPILE_MEMORY: Variable = Variable {
    name: "KAMI_COMPILE_MEMORY_MB",
    doc: "The most memory that compiling one tool may take [default: 2048]",
};

pub const OPTION: Variable = Variable {
    name: "KAMI_<OPTION>",
    doc: "Any other global option, or one of `serve`, as KAMI_MAX_CONCURRENT",
};

pub const OTLP_ENDPOINT: Variable = Variable {
    name: "OTEL_EXPORTER_OTLP_ENDPOINT",
    doc: "Where `serve` sends traces and metrics, as --otlp-endpoint",
};

pub const OTLP_HEADERS: Variable = Variable {
    name: "OTEL_EXPORTER_OTLP_HEADERS",
    doc: "What it shows there, such as `authorization=Bearer%20...`",
};

pub const OTLP_SERVICE: Variable =
    Variable { name: "OTEL_SERVICE_NAME", doc: "By which name it is known there [default: kami]" };

pub const CARGO: Variable =
    Variable { name: "CARGO", doc: "The cargo that compiles; cargo itself sets it" };

pub const RUSTC: Variable = Variable { name: "RUSTC", doc: "The compiler that cargo uses" };

pub const RUSTFLAGS: Variable =
    Variable { name: "RUSTFLAGS", doc: "Flags for the compiler, kept beside those of `build`" };

pub const CARGO_ENCODED_RUSTFLAGS: Variable =
    Variable { name: "CARGO_ENCODED_RUSTFLAGS", doc: "The same, separated by the character 0x1f" };

pub const CARGO_HOME: Variable = Variable {
    name: "CARGO_HOME",
    doc: "Where cargo keeps sources, whose path is kept out of artifacts",
};

/// Read by the library that decides about colours.
pub const NO_COLOR: Variable =
    Variable { name: "NO_COLOR", doc: "No colours, unless --color asks for them" };

pub const ALL: &[Variable] = &[
    DATA_DIR,
    CONFIG,
    PROFILE,
    POLICY,
    SECRETS_PASSPHRASE,
    KEY_PASSPHRASE,
    LOG,
    RUST_LOG,
    COMPILE_SECONDS,
    COMPILE_MEMORY,
    OPTION,
    OTLP_ENDPOINT,
    OTLP_HEADERS,
    OTLP_SERVICE,
    CARGO,
    RUSTC,
    RUSTFLAGS,
    CARGO_ENCODED_RUSTFLAGS,
    CARGO_HOME,
    NO_COLOR,
];

/// What is this program's alone, and granted to no tool by whatever name.
pub const PRIVATE: &[Variable] = &[SECRETS_PASSPHRASE, KEY_PASSPHRASE, OTLP_HEADERS];

/// The variables that say what an option says, the first of which holds.
pub fn of_key(key: &str) -> Vec<String> {
    let own = format!("KAMI_{}", key.replace('-', "_").to_uppercase());
    let other = match key {
        "log" => RUST_LOG.name,
        "otlp-endpoint" => OTLP_ENDPOINT.name,
        _ => return vec![own],
    };
    vec![own, other.to_owned()]
}

impl Variable {
    /// The value, unless it is unset or empty.
    pub fn get(&self) -> Option<std::ffi::OsString> {
        std::env::var_os(self.name).filter(|value| !value.is_empty())
    }
}
