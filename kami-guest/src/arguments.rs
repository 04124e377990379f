//! From the JSON of a call to a tool's arguments, or to an error that says where it is wrong.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Error;
use crate::schema::input_schema;
use crate::shape::is_struct;
use crate::tool::Call;

/// A type that can be an argument of a tool.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be an argument of a tool",
    label = "can't be read from JSON, or has no JSON schema",
    note = "put `#[kami_type]` on a type of your own, or derive `Deserialize` and `JsonSchema`",
    note = "take a type from another crate apart into arguments that JSON knows"
)]
pub trait ToolArgument: DeserializeOwned + JsonSchema {}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + JsonSchema> ToolArgument for T {}

/// A type that can be repeated in an HTTP header: text, an integer or a boolean, or one that may be left out.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be repeated in a header",
    label = "is neither text, nor an integer, nor a boolean",
    note = "`#[kami(header = ...)]` goes on `String`, `bool`, integers, and an `Option` of those"
)]
pub trait HeaderArgument {}

macro_rules! header_arguments {
    ($($ty:ty)*) => { $(impl HeaderArgument for $ty {})* };
}

header_arguments! { String char bool i8 i16 i32 i64 isize u8 u16 u32 u64 usize }

impl<T: HeaderArgument> HeaderArgument for Option<T> {}

/// Compiles if the type can be repeated in a header.
pub const fn fits_header<T: HeaderArgument>() {}

/// How the arguments of a call are read, and which schema they have.
pub struct Takes<T> {
    read: fn(&str) -> serde_json::Result<T>,
    input_schema: fn() -> Value,
}

/// The arguments of a tool with one parameter, if they aren't that parameter.
pub trait Wrapper {
    /// The type of the parameter.
    type Wrapped;
    /// The parameter.
    fn unwrap(self) -> Self::Wrapped;
}

impl<T: DeserializeOwned + JsonSchema> Takes<T> {
    /// The arguments are the fields of `T`.
    pub fn all() -> Self {
        Self { read: |json| serde_json::from_str(json), input_schema: input_schema::<T> }
    }

    /// The arguments are the fields of `T` if that is a struct, else its wrapper's one field.
    pub fn sole<W: DeserializeOwned + JsonSchema + Wrapper<Wrapped = T>>() -> Self {
        if is_struct::<T>() {
            return Self::all();
        }
        Self {
            read: |json| serde_json::from_str(json).map(W::unwrap),
            input_schema: input_schema::<W>,
        }
    }
}

impl<T> Takes<T> {
    /// The arguments of this call.
    pub fn read(&self, call: &Call<'_>) -> Result<T, Error> {
        (self.read)(call.arguments).map_err(|error| explain(call.arguments, &error))
    }

    /// The schema of the argument object.
    pub fn input_schema(&self) -> Value {
        (self.input_schema)()
    }
}

/// "`limits[0].max`: invalid type: string "many", expected u32".
pub fn explain(json: &str, error: &serde_json::Error) -> Error {
    let position = format!(" at line {} column {}", error.line(), error.column());
    let message = error.to_string();
    let message = message.strip_suffix(&position).unwrap_or(&message);
    let path = path_at(json, offset(json, error.line(), error.column()));
    Error::invalid_arguments(match path.as_str() {
        "" => message.to_owned(),
        path => format!("`{path}`: {message}"),
    })
}

/// How many bytes come before a position, where `column` counts bytes from 1.
fn offset(json: &str, line: usize, column: usize) -> usize {
    let line_start: usize =
        json.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    line_start.saturating_add(column).min(json.len())
}

/// The path of the value that was read last before an offset into valid JSON.
///
/// serde_json knows only the position of an error. Finding the path again from there
/// is slower than keeping track of it, but happens only when there is an error.
fn path_at(json: &str, offset: usize) -> String {
    enum Level<'a> {
        Object { key: Option<&'a str>, entered: bool },
        Array { index: Option<usize> },
    }
    let mut levels: Vec<Level<'_>> = Vec::new();
    let read = &json.as_bytes()[..offset];
    let mut at = 0;
    while at < read.len() {
        let byte = read[at];
        let start = at;
        at += 1;
        if byte == b'"' {
            while at < read.len() && read[at] != b'"' {
                at += if read[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
        }
        match (byte, levels.last_mut()) {
            (b' ' | b'\n' | b'\t' | b'\r', _) => {}
            (b'}' | b']', _) => {
                levels.pop();
            }
            (b':', Some(Level::Object { entered, .. })) => *entered = true,
            (b',', Some(Level::Object { key, entered })) => {
                *key = None;
                *entered = false;
            }
            (b',', Some(Level::Array { index })) => *index = index.map(|index| index + 1),
            (_, innermost) => {
                match innermost {
                    Some(Level::Object { key: key @ None, .. }) => {
                        *key = json.get(start + 1..at.saturating_sub(1));
                    }
                    Some(Level::Array { index: index @ None }) => *index = Some(0),
                    _ => {}
                }
                match byte {
                    b'{' => levels.push(Level::Object { key: None, entered: false }),
                    b'[' => levels.push(Level::Array { index: None }),
                    _ => {}
                }
            }
        }
    }

    let mut path = String::new();
    for level in levels {
        match level {
            Level::Object { key: Some(key), entered: true } => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
            }
            Level::Array { index: Some(index) } => path.push_str(&format!("[{index}]")),
            Level::Object { .. } | Level::Array { index: None } => {}
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_that_of_the_value_read_last() {
        let json = "{\n  \"a\": [1, {\"b\": \"x\\\"y\"}, []],\n  \"c\": {}\n}";
        let check = |read: &str, path: &str| {
            let at = json.find(read).unwrap() + read.len();
            assert_eq!(path_at(json, at), path, "after {read:?}");
        };
        check("{", "");
        check("\"a\"", "");
        check("\"a\": [", "a");
        check("[1", "a[0]");
        check("[1, {", "a[1]");
        check("{\"b\"", "a[1]");
        check("\"x\\\"y\"", "a[1].b");
        check("y\"}", "a[1]");
        check("[]", "a[2]");
        check("[]]", "a");
        check("\"c\": {", "c");
        check("{}\n}", "");
    }

    #[test]
    fn positions_count_bytes_in_lines() {
        assert_eq!(offset("{\n\"é\": 1}", 1, 1), 1);
        assert_eq!(offset("{\n\"é\": 1}", 2, 7), 9);
        assert_eq!(offset("{}", 9, 9), 2);
    }
}
