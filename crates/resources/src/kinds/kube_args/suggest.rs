//! Flags and values that an editor may suggest.

use std::collections::BTreeSet;

use crate::{
    host::Reader,
    microk8s::layout::{self, Layout},
};

/// Names the flags that a file of arguments has now, or has in this release before anybody changes it.
pub(crate) fn flags(host: &Reader, file: &str) -> Vec<String> {
    let flags: BTreeSet<String> = all_flags(host, file).map(|(flag, _)| flag).collect();
    let is_own = |flag: &String| layout::is_self_managed(file, flag);
    flags.into_iter().filter(|flag| !is_own(flag)).collect()
}

/// Returns the values that a flag has now, or has before anybody changes it.
pub(crate) fn values_of_flag(host: &Reader, file: &str, flag: &str) -> Vec<String> {
    let same = all_flags(host, file).filter(|(name, _)| name == flag);
    let values: BTreeSet<String> = same.filter_map(|(_, value)| value).collect();
    values.into_iter().collect()
}

pub(crate) fn all_flags(
    host: &Reader,
    file: &str,
) -> impl Iterator<Item = (String, Option<String>)> {
    let layout = Layout::find(host).ok().flatten();
    let files = layout.map(|layout| {
        let now = layout.read_args(host, file).ok().flatten();
        [now, layout.default_args(host, file).ok()]
    });
    let files = files.into_iter().flatten().flatten();
    files.flat_map(|file| file.flags())
}
