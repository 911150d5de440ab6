//! What several kinds know of files: content, metadata, `*.d` directories, certificates, git heads, sources of secrets.

pub(crate) mod certificate;
pub(crate) mod conf_d;
pub(crate) mod content;
pub(crate) mod git;
pub(crate) mod metadata;
pub(crate) mod secret_source;
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test makes and looks at its own directory"
)]
pub(crate) mod test_root;
