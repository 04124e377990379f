//! What a function becomes, and how its mistakes are spoken of.

/// What an attribute makes of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tool,
    Resource,
    Prompt,
}

impl Kind {
    /// The word with its article.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Tool => "a tool",
            Self::Resource => "a resource",
            Self::Prompt => "a prompt",
        }
    }

    /// The attribute as one writes it.
    pub fn attribute(self) -> &'static str {
        match self {
            Self::Tool => "#[kami_tool]",
            Self::Resource => "#[kami_resource]",
            Self::Prompt => "#[kami_prompt]",
        }
    }

    /// Who runs the function, and needs no promise of safety to do so.
    pub fn caller(self) -> &'static str {
        match self {
            Self::Tool => "the model that calls it",
            Self::Resource => "the client that reads it",
            Self::Prompt => "the person who picks it",
        }
    }

    /// What the types of its parameters have to be known for.
    pub fn typed(self) -> &'static str {
        match self {
            Self::Tool => "its schema is made from its types",
            Self::Resource | Self::Prompt => "its arguments are read as its types say",
        }
    }

    /// The keys of `#[kami(...)]` on its parameters.
    pub fn parameter_keys(self) -> &'static [&'static str] {
        match self {
            Self::Tool => &["default", "header"],
            Self::Resource => &["complete"],
            Self::Prompt => &["default", "complete", "name", "title"],
        }
    }
}
