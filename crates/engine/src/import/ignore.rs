//! What import must ignore, each with a reason: `ignore "file:/etc/motd" reason="the provider writes it"`.

use std::sync::Arc;

use crate::language::{
    error::{SpecError, SpecErrors},
    parse::parse,
    source::{Source, Span},
    spans::name_span,
};

/// What import passes over, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Ignores(Vec<Ignore>);

#[derive(Clone, Debug)]
struct Ignore {
    pattern: Pattern,
    reason: String,
}

/// `KIND`, `KIND:NAME`, or `KIND:BEGINNING*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    kind: String,
    /// `None` means every name.
    name: Option<String>,
}

impl Pattern {
    /// Reads a pattern.
    pub fn new(text: &str) -> Self {
        let (kind, name) = match text.split_once(':') {
            Some((kind, name)) => (kind, Some(name.to_owned())),
            None => (text, None),
        };
        Self {
            kind: kind.to_owned(),
            name,
        }
    }

    /// Returns the kind that it is about.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Whether it means a resource.
    pub fn matches(&self, kind: &str, name: &str) -> bool {
        let is_name = match self.name.as_deref() {
            None => true,
            Some(pattern) => match pattern.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => name == pattern,
            },
        };
        self.kind == kind && is_name
    }
}

impl Ignores {
    /// Passes over nothing.
    pub const fn empty() -> Self {
        Self(vec![])
    }

    /// Reads a file of ignores.
    ///
    /// # Errors
    /// All mistakes in it.
    pub fn parse(source: &Arc<Source>) -> Result<Self, SpecErrors> {
        let document = parse(source)?;
        let mut ignores = vec![];
        let mut errors = vec![];
        for node in document.nodes() {
            let text = |key: usize| node.entry(key).and_then(|entry| entry.value().as_string());
            let reason = node
                .entry("reason")
                .and_then(|entry| entry.value().as_string());
            let is_whole = node.name().value() == "ignore" && node.entries().len() == 2;
            match (text(0), reason.filter(|reason| !reason.trim().is_empty())) {
                (Some(pattern), Some(reason)) if is_whole && node.children().is_none() => {
                    ignores.push(Ignore {
                        pattern: Pattern::new(pattern),
                        reason: reason.to_owned(),
                    });
                }
                _ => errors.push(line_error(name_span(source, node))),
            }
        }
        if errors.is_empty() {
            Ok(Self(ignores))
        } else {
            Err(SpecErrors(errors))
        }
    }

    /// Passes over what a pattern means, too.
    pub fn add(&mut self, pattern: Pattern, reason: String) {
        self.0.push(Ignore { pattern, reason });
    }

    /// Returns why a resource is passed over, if it is.
    pub(crate) fn reason(&self, kind: &str, name: &str) -> Option<&str> {
        let mut meant = self
            .0
            .iter()
            .filter(|ignore| ignore.pattern.matches(kind, name));
        meant.next().map(|ignore| ignore.reason.as_str())
    }
}

fn line_error(span: Span) -> SpecError {
    SpecError::new(
        "ignore::line",
        "this line does not say what to ignore and why",
        span,
    )
    .help(
        "write `ignore \"KIND:NAME\" reason=\"…\"`; a `*` at the end of the name matches anything",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignores(text: &str) -> Result<Ignores, SpecErrors> {
        Ignores::parse(&Arc::new(Source::new("ignore.kdl", text.to_owned())))
    }

    #[test]
    fn ignores_match_kind_and_name_and_require_a_reason() {
        let read = ignores(
            "// ours\nignore \"file:/etc/a*\" reason=\"backup\"\nignore \"user\" reason=\"ldap\"\n",
        )
        .unwrap();
        assert_eq!(read.reason("file", "/etc/ab"), Some("backup"));
        assert_eq!(read.reason("file", "/etc/b"), None);
        assert_eq!(read.reason("directory", "/etc/ab"), None);
        assert_eq!(read.reason("user", "anna"), Some("ldap"));
        assert_eq!(ignores("").unwrap().reason("file", "/etc/a"), None);
        for wrong in [
            "ignore \"file:/a\"",
            "ignore reason=\"x\"",
            "skip \"a\" reason=\"b\"",
            "ignore \"a\" reason=\"\"",
            "ignore \"a\" reason=\"b\" more=1",
        ] {
            assert_eq!(ignores(wrong).unwrap_err().0.len(), 1, "{wrong}");
        }
    }
}
