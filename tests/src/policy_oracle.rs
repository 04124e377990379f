//! Which sections of a policy decide, by another way than the policy's own: labels are compared as
//! lists, and sections are ranked by one number.

/// One section that says everything there is to say.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// `default`, `publisher` or `tool`.
    pub kind: &'a str,
    /// The key or label, or the id or pattern; empty for the default.
    pub name: &'a str,
    /// What it says about refusing, if anything.
    pub refuse: Option<bool>,
    /// Whether it has a grant.
    pub grants: bool,
    /// Whether it has a ceiling.
    pub has_ceiling: bool,
}

/// What sections make of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is refused, by the section at this place.
    Refused(usize),
    /// It may run.
    Permitted {
        /// The section whose grant replaces the operator's.
        granted_by: Option<usize>,
        /// The sections whose ceilings hold, in the order of their places.
        ceilings: Vec<usize>,
    },
}

/// Decides about the package `id`, signed by `key`, which is trusted under `label`.
pub fn decide(
    sections: &[Section<'_>],
    id: &str,
    key: Option<&str>,
    label: Option<&str>,
) -> Decision {
    let ranked = |says: &dyn Fn(&Section<'_>) -> bool| {
        let applying = sections.iter().enumerate().filter(|(_, section)| says(section));
        applying
            .filter_map(|(at, section)| Some((rank(section, id, key, label)?, at)))
            .max()
            .map(|(_, at)| at)
    };
    if let Some(at) = ranked(&|section| section.refuse.is_some())
        && sections[at].refuse == Some(true)
    {
        return Decision::Refused(at);
    }
    let holds =
        |at: &usize| sections[*at].has_ceiling && rank(&sections[*at], id, key, label).is_some();
    Decision::Permitted {
        granted_by: ranked(&|section| section.grants),
        ceilings: (0..sections.len()).filter(holds).collect(),
    }
}

/// How specific a section is about a package; `None` where it is about others.
fn rank(section: &Section<'_>, id: &str, key: Option<&str>, label: Option<&str>) -> Option<usize> {
    let labels: Vec<&str> = id.split('.').collect();
    match section.kind {
        "default" => Some(0),
        "publisher" if key == Some(section.name) => Some(2),
        "publisher" if key.is_some() && label == Some(section.name) => Some(1),
        "tool" if section.name == id => Some(usize::MAX),
        "tool" => {
            let pattern: Vec<&str> = section.name.split('.').collect();
            let (last, above) = pattern.split_last()?;
            let below = *last == "*" && labels.len() > above.len() && labels.starts_with(above);
            below.then_some(2 + above.len())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kami_core::grants::Grant;
    use kami_core::policy::{Policy, SectionName, Subject};
    use kami_core::signing::SecretKey;

    fn text(sections: &[Section<'_>]) -> String {
        let mut text = "version = 1\n".to_owned();
        for Section { kind, name, refuse, grants, has_ceiling } in sections {
            let name = if name.is_empty() { String::new() } else { format!(".\"{name}\"") };
            text += &format!("[{kind}{name}]\n");
            text += &refuse.map(|refuse| format!("refuse = {refuse}\n")).unwrap_or_default();
            text += if *grants { "grant = {}\n" } else { "" };
            text += if *has_ceiling { "ceiling = {}\n" } else { "" };
        }
        text
    }

    fn decided(
        sections: &[Section<'_>],
        id: &str,
        key: Option<&SecretKey>,
        label: Option<&str>,
    ) -> Decision {
        let policy = Policy::parse(&text(sections), std::path::Path::new("/")).unwrap();
        let place = |name: &SectionName| {
            let written = |section: &Section<'_>| match name {
                SectionName::Default => section.kind == "default",
                SectionName::Publisher(p) => {
                    section.kind == "publisher" && section.name == p.to_string()
                }
                SectionName::Tool(p) => section.kind == "tool" && section.name == p.to_string(),
            };
            sections.iter().position(written).expect("it is one of those written")
        };
        let (id, signer) = (id.parse().unwrap(), key.map(SecretKey::public));
        let subject = Subject { id: &id, signer: signer.as_ref(), label };
        match policy.apply(subject, &Grant::default()) {
            Err(refusal) => Decision::Refused(place(&refusal.section)),
            Ok(ruling) => {
                let mut ceilings: Vec<usize> =
                    ruling.ceilings.iter().map(|(name, _)| place(name)).collect();
                ceilings.sort_unstable();
                Decision::Permitted { granted_by: ruling.granted_by.as_ref().map(place), ceilings }
            }
        }
    }

    /// Every set of sections, about every package, with something else in each section each time.
    #[test]
    fn policies_decide_as_the_oracle_does() {
        let secret = SecretKey::generate().unwrap();
        let key = secret.public().to_string();
        let names = [
            ("default", ""),
            ("publisher", "alice"),
            ("publisher", key.as_str()),
            ("tool", "dev.example.*"),
            ("tool", "dev.example.deep.*"),
            ("tool", "dev.example.deep.fetch"),
        ];
        let mut refused = 0;
        for set in 1..1 << names.len() {
            for salt in 0..8_usize {
                let chosen = (0..names.len()).filter(|at| set >> at & 1 == 1);
                let sections: Vec<Section<'_>> = chosen
                    .map(|at| {
                        let mix = (set ^ (salt * 37)).wrapping_mul(at * 2 + 3) >> 1;
                        Section {
                            kind: names[at].0,
                            name: names[at].1,
                            refuse: [None, Some(true), Some(false), None][mix % 4],
                            grants: mix / 4 % 2 == 1,
                            has_ceiling: mix / 8 % 2 == 1,
                        }
                    })
                    .collect();
                for id in ["org.other", "dev.example", "dev.example.deep", "dev.example.deep.fetch"]
                {
                    for (signer, label) in
                        [(None, None), (Some(&secret), None), (Some(&secret), Some("alice"))]
                    {
                        let expected = decide(&sections, id, signer.map(|_| key.as_str()), label);
                        let actual = decided(&sections, id, signer, label);
                        assert_eq!(actual, expected, "{id} in\n{}", text(&sections));
                        refused += usize::from(matches!(actual, Decision::Refused(_)));
                    }
                }
            }
        }
        assert!(refused > 100, "only {refused} were refused");
    }
}
