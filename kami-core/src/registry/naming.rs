//! Which name each tool gets on the wire.

use std::collections::HashMap;

use crate::digest::Digest;
use crate::name::{PackageId, ToolName};

/// The tools by which a server that does not list all tools has them found and called. No package's
/// tool is called so, whether a server has them or not: how a tool is called does not change with
/// the way in which it is served.
pub const SEARCH_TOOLS: &str = "search_tools";
/// See [`SEARCH_TOOLS`].
pub const CALL_TOOL: &str = "call_tool";

/// The names that no package's tool has.
pub(super) const RESERVED: [&str; 2] = [SEARCH_TOOLS, CALL_TOOL];

/// All that decides how a tool is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unnamed<'a> {
    /// The package that it belongs to.
    pub id: &'a PackageId,
    /// By which name the operator wants that package to be called.
    pub alias: Option<&'a ToolName>,
    /// Its own name.
    pub tool: &'a ToolName,
    /// Whether its package has no other tool.
    pub alone: bool,
}

/// Names tools: each its own name or the operator's alias where that is unique, else with its
/// package's short name before it, else its whole id, else a digest of both after it. Nothing is
/// called by a `reserved` name.
///
/// The result depends on the set of tools only, not on the order of installs.
pub(super) fn wire_names(tools: &[Unnamed<'_>], reserved: &[&str]) -> Vec<ToolName> {
    let is_reserved = |name: &ToolName| reserved.contains(&name.as_str());
    let mut levels = vec![0; tools.len()];
    let mut names: Vec<ToolName> = tools.iter().map(|tool| tool.at(0)).collect();
    loop {
        let mut holders: HashMap<&ToolName, u32> = HashMap::with_capacity(names.len());
        for name in &names {
            *holders.entry(name).or_default() += 1;
        }
        let clashes = |at: &usize| holders[&names[*at]] > 1 || is_reserved(&names[*at]);
        let clashes: Vec<usize> = (0..names.len()).filter(clashes).collect();
        if clashes.is_empty() {
            return names;
        }
        // An alias was chosen by the operator, and yields only to another alias.
        let aliased = |at: &usize| {
            levels[*at] == 0 && tools[*at].alias.is_some() && !is_reserved(&names[*at])
        };
        let yielding: Vec<usize> = clashes.iter().copied().filter(|at| !aliased(at)).collect();
        let yielding = if yielding.is_empty() { clashes } else { yielding };
        for at in yielding {
            levels[at] += 1;
            names[at] = tools[at].at(levels[at]);
        }
    }
}

/// The names that a tool may get as others come and go, but for those that no person would write.
pub(super) fn possible_names(
    id: &PackageId,
    alias: Option<&ToolName>,
    tool: &ToolName,
) -> Vec<ToolName> {
    let mut names = Vec::new();
    for alias in [None, alias] {
        for alone in [true, false] {
            let unnamed = Unnamed { id, alias, tool, alone };
            names.extend((0..=2).map(|level| unnamed.at(level)));
        }
    }
    names
}

impl Unnamed<'_> {
    /// The name that is tried after `level` others were taken.
    fn at(&self, level: u32) -> ToolName {
        let Self { id, alias, tool, alone } = self;
        let name = match (level, alias) {
            (0, Some(alias)) if *alone => return ToolName::clone(alias),
            (0, Some(alias)) => format!("{alias}_{tool}"),
            (0, None) => return ToolName::clone(tool),
            (1, _) => format!("{}_{tool}", id.short()),
            (2, _) => format!("{id}_{tool}"),
            (salt, _) => {
                let digest = Digest::of(format!("{id}/{tool}/{salt}").as_bytes()).short();
                let room = ToolName::MAX_LENGTH - digest.len() - 1;
                let tool = tool.as_str();
                format!("{}_{digest}", &tool[..tool.len().min(room)])
            }
        };
        ToolName::lossy(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the tools of some packages, each with its alias, in the order of names.
    fn names(packages: &[(&str, &[&str], Option<&str>)]) -> Vec<String> {
        let parsed: Vec<_> = packages
            .iter()
            .map(|(id, tools, alias)| {
                let tools: Vec<ToolName> = tools.iter().map(|tool| tool.parse().unwrap()).collect();
                let alias = alias.map(|alias| alias.parse::<ToolName>().unwrap());
                (id.parse::<PackageId>().unwrap(), tools, alias)
            })
            .collect();
        let mut unnamed = Vec::new();
        for (id, tools, alias) in &parsed {
            let alone = tools.len() == 1;
            let alias = alias.as_ref();
            unnamed.extend(tools.iter().map(|tool| Unnamed { id, alias, tool, alone }));
        }
        let shown = |(name, of): (ToolName, &Unnamed<'_>)| format!("{name}={}/{}", of.id, of.tool);
        let mut named: Vec<_> =
            wire_names(&unnamed, &[]).into_iter().zip(&unnamed).map(shown).collect();
        named.sort();
        unnamed.reverse();
        let mut again: Vec<_> =
            wire_names(&unnamed, &[]).into_iter().zip(&unnamed).map(shown).collect();
        again.sort();
        assert_eq!(named, again, "the order of the tools does not matter");
        named
    }

    #[test]
    fn names_are_short_where_they_can_be_and_always_unique() {
        assert_eq!(
            names(&[
                ("com.a.web", &["fetch", "post"], None),
                ("com.b.net", &["fetch"], None),
                ("org.c.net", &["fetch"], None),
            ]),
            [
                "com_b_net_fetch=com.b.net/fetch",
                "org_c_net_fetch=org.c.net/fetch",
                "post=com.a.web/post",
                "web_fetch=com.a.web/fetch",
            ]
        );
    }

    #[test]
    fn aliases_win_and_do_not_shift_others() {
        assert_eq!(
            names(&[("com.a.web", &["fetch"], None), ("com.b.net", &["get"], Some("fetch"))]),
            ["fetch=com.b.net/get", "web_fetch=com.a.web/fetch"]
        );
        assert_eq!(
            names(&[("com.a.web", &["get", "put"], Some("site"))]),
            ["site_get=com.a.web/get", "site_put=com.a.web/put"]
        );
    }

    #[test]
    fn nothing_is_called_by_a_reserved_name() {
        let id = |id: &str| id.parse::<PackageId>().unwrap();
        let (web, call, find) = (id("com.a.web"), id("com.b.call"), id("com.c.find"));
        let tool = |name: &str| name.parse::<ToolName>().unwrap();
        let (own, short, alias) = (tool("call_tool"), tool("tool"), tool("call"));
        let named = |unnamed: &[Unnamed<'_>]| {
            let names = wire_names(unnamed, &RESERVED);
            names.iter().map(ToolName::to_string).collect::<Vec<_>>()
        };
        let of = |id, alias, tool| Unnamed { id, alias, tool, alone: false };
        assert_eq!(named(&[of(&web, None, &own)]), ["web_call_tool"]);
        // By its package's short name, and by an alias.
        assert_eq!(
            named(&[of(&web, None, &short), of(&call, None, &short)]),
            ["web_tool", "com_b_call_tool"]
        );
        assert_eq!(named(&[of(&find, Some(&alias), &short)]), ["find_tool"]);
    }

    #[test]
    fn names_too_long_to_tell_apart_get_a_digest() {
        let long = "x".repeat(64);
        let named = names(&[("com.a.web", &[&long], None), ("com.b.web", &[&long], None)]);
        let mut wire: Vec<&str> =
            named.iter().map(|name| name.split('=').next().unwrap()).collect();
        assert!(wire.iter().all(|name| name.len() <= 64), "{wire:?}");
        wire.dedup();
        assert_eq!(wire.len(), 2);
    }
}
