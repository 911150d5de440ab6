//! Did-you-mean, and how lists of allowed words are written out.

/// The most words that a list names before it only counts the rest.
const MAX_LISTED: usize = 24;

/// Returns the word of `allowed` that `word` was probably meant to be.
pub fn nearest<'a>(word: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let tolerated = (word.chars().count() / 3).clamp(1, 4);
    allowed
        .into_iter()
        .filter(|candidate| *candidate != word)
        .filter_map(|candidate| {
            let distance = strsim::osa_distance(&lower, &candidate.to_lowercase());
            let within = lower.len() >= 3
                && (candidate.starts_with(&lower)
                    || lower.starts_with(candidate) && candidate.len() >= 3);
            (distance <= tolerated || within).then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// Writes words out: `` `a`, `b` or `c` ``.
pub fn join_or<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    if words.len() > MAX_LISTED {
        let shown = words[..MAX_LISTED].join(", ");
        return format!("{shown} and {} more", words.len() - MAX_LISTED);
    }
    match words.as_slice() {
        [] => "none".to_owned(),
        [only] => only.clone(),
        [front @ .., last] => format!("{} or {last}", front.join(", ")),
    }
}

/// Writes the help for a word that is not allowed: what was probably meant, then everything that is allowed.
pub fn did_you_mean<'a>(
    what: &str,
    word: &str,
    allowed: impl IntoIterator<Item = &'a str>,
) -> String {
    let allowed: Vec<&str> = allowed.into_iter().collect();
    let list = join_or(allowed.iter().copied());
    match nearest(word, allowed) {
        Some(meant) => format!("did you mean `{meant}`? {what}: {list}"),
        None => format!("{what}: {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [&str; 4] = ["file", "sysctl", "iptables-policy", "iptables-rule"];

    fn check(word: &str, expected: Option<&str>) {
        assert_eq!(nearest(word, KINDS), expected, "{word}");
    }

    #[test]
    fn nearest_corrects_typos() {
        check("fiel", Some("file"));
        check("sysclt", Some("sysctl"));
        check("iptables_rule", Some("iptables-rule"));
        check("FILE", Some("file"));
    }

    #[test]
    fn nearest_completes_prefixes() {
        check("iptables", Some("iptables-rule"));
    }

    #[test]
    fn nearest_ignores_unrelated_words() {
        check("package", None);
        check("", None);
    }

    #[test]
    fn join_or_separates_with_commas_and_or() {
        assert_eq!(join_or(["a"]), "`a`");
        assert_eq!(join_or(["a", "b", "c"]), "`a`, `b` or `c`");
    }

    #[test]
    fn join_or_counts_the_rest_of_long_lists() {
        let words: Vec<String> = (0..30).map(|n| n.to_string()).collect();
        assert!(join_or(words.iter().map(String::as_str)).ends_with("`23` and 6 more"));
    }
}
