//! Tokens by which clients show who they are, and what each of them may do.
//!
//! What is kept of a token is its hash: who reads the registry learns none. A token is found by that
//! hash, so that no comparison takes longer the more of a guess is right.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row};
use serde::{Deserialize, Serialize};

use super::row::{RowError, column, required, seconds};
use super::selection::{ToolPattern, ToolPatternError, ToolSelection};
use super::{Registry, RegistryError};
use crate::digest::Digest;

macro_rules! columns {
    () => {
        "name, scopes, tools, calls_per_minute, created_at, expires_at"
    };
}

/// All tokens, in the order of their names.
const ALL: &str = concat!("SELECT ", columns!(), " FROM tokens ORDER BY name");

/// The token with a hash. An index finds it.
pub(super) const BY_HASH: &str = concat!("SELECT ", columns!(), " FROM tokens WHERE hash = ?1");

const INSERT: &str =
    concat!("INSERT INTO tokens (", columns!(), ", hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");

const DELETE: &str = "DELETE FROM tokens WHERE name = ?1";

/// How many tokens there may be. Each is looked up by an index; this is for who lists them.
const MOST: i64 = 10_000;

/// What an operator calls a token: `[A-Za-z0-9._-]{1,64}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenName(String);

/// Text that is not a [`TokenName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a name for a token: expected 1 to 64 letters, digits, `.`, `_` and `-`")]
pub struct TokenNameError;

impl TokenName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenName {
    type Err = TokenNameError;

    fn from_str(text: &str) -> Result<Self, TokenNameError> {
        let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let fits = (1..=64).contains(&text.len()) && text.chars().all(known);
        if fits { Ok(Self(text.to_owned())) } else { Err(TokenNameError) }
    }
}

impl TryFrom<String> for TokenName {
    type Error = TokenNameError;

    fn try_from(text: String) -> Result<Self, TokenNameError> {
        text.parse()
    }
}

impl From<TokenName> for String {
    fn from(name: TokenName) -> Self {
        name.0
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A right that whoever connects may have. Rights add up: who has fewer of them may do less.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// `kami:read`: to see which tools there are.
    Read,
    /// `kami:call`: to see and to call them.
    Call,
    /// `tool:PATTERN`: to see and to call those that fit the pattern.
    Tool(ToolPattern),
}

/// Text that is not a [`Scope`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Of no known kind.
    #[error("not a scope: expected `kami:read`, `kami:call` or `tool:PATTERN`")]
    Unknown,
    /// A pattern that fits nothing.
    #[error(transparent)]
    Pattern(#[from] ToolPatternError),
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        match (text, text.strip_prefix("tool:")) {
            ("kami:read", _) => Ok(Self::Read),
            ("kami:call", _) => Ok(Self::Call),
            (_, Some(pattern)) => Ok(Self::Tool(pattern.parse()?)),
            _ => Err(ScopeError::Unknown),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Self, ScopeError> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("kami:read"),
            Self::Call => f.write_str("kami:call"),
            Self::Tool(pattern) => write!(f, "tool:{pattern}"),
        }
    }
}

/// What holds for whoever shows a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// What the operator calls it.
    pub name: TokenName,
    /// What it permits.
    pub scopes: BTreeSet<Scope>,
    /// With which tools.
    pub tools: ToolSelection,
    /// The most calls in a minute, if it has a rate of its own.
    pub calls_per_minute: Option<u64>,
    /// In seconds since 1970.
    pub created_at: u64,
    /// From when on it counts for nothing, in seconds since 1970; `None`: never.
    pub expires_at: Option<u64>,
}

impl Registry {
    /// Adds a token, of which only the hash is known here.
    ///
    /// # Errors
    /// Where there is one of this name, or as many as there may be, or the database cannot be
    /// written.
    pub fn add_token(&mut self, token: &Token, hash: Digest) -> Result<(), RegistryError> {
        let failed = |error| RegistryError::sql(&self.dir, error);
        let count = "SELECT count(*) FROM tokens";
        let count: i64 = self.connection.query_row(count, [], |row| row.get(0)).map_err(failed)?;
        if count >= MOST {
            return Err(RegistryError::TooManyTokens);
        }
        let scopes: Vec<String> = token.scopes.iter().map(Scope::to_string).collect();
        let tools = serde_json::to_string(&token.tools).map_err(RegistryError::Grant)?;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        // One statement is a transaction. The generation stays: it is about tools.
        let added = self.connection.execute(
            INSERT,
            (
                token.name.as_str(),
                scopes.join(" "),
                tools,
                token.calls_per_minute.map(number),
                number(token.created_at),
                token.expires_at.map(number),
                hash.to_string(),
            ),
        );
        match added {
            Ok(_) => Ok(()),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                Err(RegistryError::TokenExists(token.name.clone()))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// All tokens, ordered by name.
    ///
    /// # Errors
    /// Where the database, or one of them, cannot be read.
    pub fn tokens(&self) -> Result<Vec<Token>, RegistryError> {
        let failed = |error| RegistryError::sql(&self.dir, error);
        let mut statement = self.connection.prepare_cached(ALL).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        let mut tokens = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            tokens.push(read(row)?);
        }
        Ok(tokens)
    }

    /// The token with this hash, whether it has expired or not.
    ///
    /// # Errors
    /// Where the database, or this token's entry, cannot be read.
    pub fn token(&self, hash: Digest) -> Result<Option<Token>, RegistryError> {
        by_hash(&self.connection, hash)
            .map_err(|error| RegistryError::sql(&self.dir, error))?
            .transpose()
    }

    /// Removes a token, even one that cannot be read: nobody who shows it is known from now on.
    ///
    /// # Errors
    /// Where there is none of this name, or the database cannot be written.
    pub fn remove_token(&mut self, name: &TokenName) -> Result<(), RegistryError> {
        let removed = self.connection.execute(DELETE, [name.as_str()]);
        match removed.map_err(|error| RegistryError::sql(&self.dir, error))? {
            0 => Err(RegistryError::NoToken(name.clone())),
            _ => Ok(()),
        }
    }
}

type Found = Option<Result<Token, RegistryError>>;

fn by_hash(connection: &Connection, hash: Digest) -> rusqlite::Result<Found> {
    let mut statement = connection.prepare_cached(BY_HASH)?;
    statement.query_row([hash.to_string()], |row| Ok(read(row))).optional()
}

fn read(row: &Row<'_>) -> Result<Token, RegistryError> {
    let token = || -> Result<Token, RowError> {
        Ok(Token {
            name: required(row, "name", str::parse)?,
            scopes: required(row, "scopes", |text| {
                text.split_whitespace().map(str::parse).collect::<Result<_, ScopeError>>()
            })?,
            tools: required(row, "tools", |text| serde_json::from_str(text))?,
            calls_per_minute: number(row, "calls_per_minute")?,
            created_at: seconds(row, "created_at")?,
            expires_at: number(row, "expires_at")?,
        })
    };
    token().map_err(|source| {
        let name = row.get_ref("name").ok().and_then(|name| name.as_str().ok()).unwrap_or("?");
        RegistryError::TokenDamaged { token: name.escape_debug().take(64).collect(), source }
    })
}

fn number(row: &Row<'_>, name: &'static str) -> Result<Option<u64>, RowError> {
    column(row, name, |value| Ok(value.as_i64_or_null()?.map(u64::try_from).transpose()?))
}
