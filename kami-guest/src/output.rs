//! From what a tool's function returns to the result of the call.
//!
//! Which conversion a return type gets is decided where the type is known, in
//! the generated code: an inherent method of [`Probe`] for exactly that type wins
//! over the method of a trait that every `Probe` has.

use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::error::ToolError;
use crate::schema::{output_schema, wrapped_output_schema};
use crate::shape::is_object;
use crate::tool::Reply;
use crate::{Content, Error};

/// A structured result, with content of its own instead of the JSON text that stands in for it.
///
/// ```
/// use kami_guest::prelude::*;
///
/// #[kami_type]
/// struct Size {
///     width: u32,
///     height: u32,
/// }
///
/// /// Draws a grey square.
/// #[kami_tool]
/// fn square(side: u32) -> Json<Size> {
///     # let png = vec![0];
///     Json::new(Size { width: side, height: side }).content([Content::image(png, "image/png")])
/// }
/// ```
///
/// `Json<String>` is the way to return a string as structured content, `{"result": "..."}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Json<T> {
    value: T,
    content: Option<Vec<Content>>,
}

impl<T> Json<T> {
    /// The value as structured content, and as JSON text for a client that knows only text.
    pub fn new(value: T) -> Self {
        Self { value, content: None }
    }

    /// Replaces the JSON text.
    pub fn content(mut self, content: impl IntoIterator<Item = Content>) -> Self {
        self.content = Some(content.into_iter().collect());
        self
    }

    /// The value, as for a test of the function that returned it.
    pub fn into_value(self) -> T {
        self.value
    }
}

/// A type that a tool can return as structured content.
#[diagnostic::on_unimplemented(
    message = "a tool can't return `{Self}`",
    label = "can't be written as JSON, or has no JSON schema",
    note = "return `()`, `String`, `Content`, `Vec<Content>`, or a type that has `#[kami_type]` on it \
            or derives `Serialize` and `JsonSchema`",
    note = "`Result<T, E>` of such a `T` works too"
)]
pub trait ToolOutput: Serialize + JsonSchema {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + JsonSchema> ToolOutput for T {}

/// How what a function returned becomes the outcome of a call, and which schema it has.
///
/// Implemented once, for every `Returns`; it hides the type of success, which
/// the generated code can't name.
pub trait Return<R> {
    /// The outcome of a call that returned this.
    fn outcome(&self, returned: R) -> Result<Reply, Error>;
    /// The schema of the structured content, if there is any.
    fn output_schema(&self) -> Option<Value>;
}

/// A return type taken apart: `R` is what the function returns, `T` what it returns on success.
pub struct Returns<R, T> {
    split: fn(R) -> Result<T, Error>,
    success: Success<T>,
}

impl<R, T> Return<R> for Returns<R, T> {
    fn outcome(&self, returned: R) -> Result<Reply, Error> {
        (self.split)(returned).and_then(self.success.reply)
    }

    fn output_schema(&self) -> Option<Value> {
        (self.success.output_schema)()
    }
}

/// What becomes of a value that isn't an error.
pub struct Success<T> {
    reply: fn(T) -> Result<Reply, Error>,
    output_schema: fn() -> Option<Value>,
}

impl<T> Success<T> {
    fn unstructured(reply: fn(T) -> Result<Reply, Error>) -> Self {
        Self { reply, output_schema: || None }
    }
}

/// Stands for a type that the generated code knows and has no value of yet.
pub struct Probe<T>(PhantomData<fn() -> T>);

impl<T> Probe<T> {
    /// Stands for `T`.
    #[expect(clippy::new_without_default, reason = "only generated code makes one")]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T, E> Probe<Result<T, E>> {
    /// Stands for what a success holds.
    pub fn on_success(&self) -> Probe<T> {
        Probe::new()
    }

    /// The whole conversion, given that of a success.
    pub fn returns(&self, success: Success<T>) -> Returns<Result<T, E>, T>
    where
        E: ToolError,
    {
        Returns { split: |returned| returned.map_err(ToolError::into_error), success }
    }
}

/// What a `Probe` of anything but a `Result` answers.
pub trait Infallible<T> {
    /// Stands for the type itself: it is always a success.
    fn on_success(&self) -> Probe<T> {
        Probe::new()
    }

    /// The whole conversion, given that of a success.
    fn returns(&self, success: Success<T>) -> Returns<T, T> {
        Returns { split: Ok, success }
    }
}

impl<T> Infallible<T> for Probe<T> {}

impl Probe<()> {
    /// No content.
    pub fn success(&self) -> Success<()> {
        Success::unstructured(|()| Ok(Reply::content([])))
    }
}

impl Probe<String> {
    /// Text.
    pub fn success(&self) -> Success<String> {
        Success::unstructured(|text| Ok(Reply::content([Content::text(text)])))
    }
}

impl Probe<&'static str> {
    /// Text.
    pub fn success(&self) -> Success<&'static str> {
        Success::unstructured(|text| Ok(Reply::content([Content::text(text)])))
    }
}

impl Probe<Content> {
    /// The content as it is.
    pub fn success(&self) -> Success<Content> {
        Success::unstructured(|content| Ok(Reply::content([content])))
    }
}

impl Probe<Vec<Content>> {
    /// The content as it is.
    pub fn success(&self) -> Success<Vec<Content>> {
        Success::unstructured(|content| Ok(Reply::content(content)))
    }
}

impl<T> Probe<Json<T>> {
    /// Structured content, and other content that replaces its text.
    pub fn success(&self) -> Success<Json<T>>
    where
        T: ToolOutput,
    {
        Success {
            reply: |Json { value, content }| {
                let mut reply = structured(&value, is_object(&value))?;
                if let Some(content) = content {
                    reply.content = content;
                }
                Ok(reply)
            },
            output_schema: output_schema::<T>,
        }
    }
}

/// Always wrapped, or the result would be an object at one time and `{"result": null}` at another.
impl<T> Probe<Option<T>> {
    /// `{"result": ...}`.
    pub fn success(&self) -> Success<Option<T>>
    where
        T: ToolOutput,
    {
        Success {
            reply: |value| structured(&value, false),
            output_schema: || Some(wrapped_output_schema::<Option<T>>()),
        }
    }
}

/// What a `Probe` of any type that isn't listed above answers.
pub trait Structured<T> {
    /// JSON as structured content and as text.
    fn success(&self) -> Success<T>
    where
        T: ToolOutput,
    {
        Success {
            reply: |value| structured(&value, is_object(&value)),
            output_schema: output_schema::<T>,
        }
    }
}

impl<T> Structured<T> for Probe<T> {}

impl Reply {
    fn content(content: impl IntoIterator<Item = Content>) -> Self {
        Self { content: content.into_iter().collect(), structured: None }
    }
}

/// The value as structured content, and as text.
fn structured(value: &impl Serialize, is_object: bool) -> Result<Reply, Error> {
    let text = serde_json::to_string(value).map_err(|error| {
        Error::new(format_args!("the result can't be written as JSON: {error}"))
    })?;
    let structured = if is_object { text.clone() } else { format!("{{\"result\":{text}}}") };
    Ok(Reply { content: vec![Content::text(text)], structured: Some(structured) })
}
