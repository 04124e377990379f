//! Some of the installed tools, as they are typed: for a server, or for a token.

use kami_core::registry::{PackageTag, ToolPattern, ToolSelection};

/// The flags that select tools.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SelectionFlags {
    /// Only these tools: a name, or `package-id/tool`, where `*` stands for any characters; may be
    /// given again [default: all]
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    tools: Vec<ToolPattern>,
    /// Not these tools; may be given again
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    exclude: Vec<ToolPattern>,
    /// Of those, only the tools of packages with this tag, or with any if it is given again
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    tag: Vec<PackageTag>,
    /// No tools of packages with this tag; may be given again
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    exclude_tag: Vec<PackageTag>,
}

impl SelectionFlags {
    /// What they select.
    pub fn selection(&self) -> ToolSelection {
        ToolSelection {
            include: self.tools.clone(),
            exclude: self.exclude.clone(),
            tags: self.tag.clone(),
            exclude_tags: self.exclude_tag.clone(),
        }
    }
}
