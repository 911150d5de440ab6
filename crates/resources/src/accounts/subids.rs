//! Ranges of subordinate user and group IDs: subuid(5), subgid(5).

/// Returns the arguments of each usermod that gives back a range of numbers: several at once would come in another order.
pub(crate) fn usermod_arguments(
    name: &str,
    uid_ranges: &[String],
    gid_ranges: &[String],
) -> Vec<[String; 3]> {
    let uids = uid_ranges.iter().map(|range| ("--add-subuids", range));
    let gids = gid_ranges.iter().map(|range| ("--add-subgids", range));
    uids.chain(gids)
        .filter_map(|(option, range)| Some([option.to_owned(), to_range(range)?, name.to_owned()]))
        .collect()
}

/// Turns `FIRST:COUNT` into `FIRST-LAST`.
fn to_range(range: &str) -> Option<String> {
    let (first, count) = range.split_once(':')?;
    let last = first.parse::<u64>().ok()? + count.parse::<u64>().ok()?.checked_sub(1)?;
    Some(format!("{first}-{last}"))
}
