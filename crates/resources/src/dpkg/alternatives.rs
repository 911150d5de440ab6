//! Which links of update-alternatives(1) were chosen by hand: those that differ from the automatic choice.

use std::{collections::BTreeSet, path::Path};

use crate::host::{HostError, Reader};

/// What update-alternatives knows, a file for each name: update-alternatives(1), FILES.
const ADMIN_DIR: &str = "/var/lib/dpkg/alternatives";
/// Where the links are.
const LINKS: &str = "/etc/alternatives";
/// The largest file that is read, in bytes.
const LIMIT: u64 = 4 << 20;

/// What there is to choose from for one name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Alternatives {
    /// Names of links that go along.
    secondary_links: Vec<String>,
    /// The path of the highest priority.
    best: Option<String>,
}

/// Returns the paths of the links that somebody chose, with those that go along.
pub(crate) fn manual_links(host: &Reader) -> Result<BTreeSet<String>, HostError> {
    let mut chosen = BTreeSet::new();
    for name in host.list_dir(Path::new(ADMIN_DIR))? {
        let text = host.read_text(&Path::new(ADMIN_DIR).join(&name), LIMIT)?;
        let alternatives = Alternatives::parse(&text.unwrap_or_default());
        let link = Path::new(LINKS).join(&name);
        if host.stat(&link)?.is_none() {
            continue;
        }
        let target = host.read_link(&link)?.display().to_string();
        if alternatives.best.is_some_and(|best| best != target) {
            let names = [name.to_string_lossy().into_owned()]
                .into_iter()
                .chain(alternatives.secondary_links);
            chosen.extend(names.map(|name| format!("{LINKS}/{name}")));
        }
    }
    Ok(chosen)
}

impl Alternatives {
    /// How it is chosen, the link, the names that go along with their links, a blank line; then for each alternative its path, its
    /// priority and a line for each name that goes along.
    fn parse(text: &str) -> Self {
        let mut lines = text.lines().skip(2);
        let mut secondary_links = vec![];
        for name in lines
            .by_ref()
            .take_while(|line| !line.is_empty())
            .step_by(2)
        {
            secondary_links.push(name.to_owned());
        }
        let rest: Vec<&str> = lines.collect();
        let mut best: Option<(i64, &str)> = None;
        for block in rest.chunks(2 + secondary_links.len()) {
            let [path, priority, ..] = block else {
                continue;
            };
            let Ok(priority) = priority.parse() else {
                continue;
            };
            // Of several with the same priority the first one counts.
            if best.is_none_or(|(highest, _)| priority > highest) {
                best = Some((priority, path));
            }
        }
        Self {
            secondary_links,
            best: best.map(|(_, path)| path.to_owned()),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes its own directory")]
mod tests {
    use super::*;
    use crate::files::test_root::TestRoot;

    const IPTABLES: &str = "auto\n/usr/sbin/iptables\niptables-restore\n/usr/sbin/iptables-restore\niptables-save\n/usr/sbin/iptables-save\n\n\
        /usr/sbin/iptables-legacy\n10\n/usr/sbin/iptables-legacy-restore\n/usr/sbin/iptables-legacy-save\n\
        /usr/sbin/iptables-nft\n20\n/usr/sbin/iptables-nft-restore\n\n\n";

    fn check(target: &str, expected: &[&str]) {
        let root = TestRoot::new(&[
            ("/var/lib/dpkg/alternatives/iptables", IPTABLES),
            ("/var/lib/dpkg/alternatives/gone", "auto\n/x\n\n/y\n1\n\n"),
            ("/etc/alternatives/README", ""),
        ]);
        std::os::unix::fs::symlink(target, root.at("/etc/alternatives/iptables")).unwrap();
        let chosen = manual_links(&root.reader()).unwrap();
        assert_eq!(
            chosen.iter().map(String::as_str).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn alternative_is_chosen_unless_it_is_the_best() {
        check("/usr/sbin/iptables-nft", &[]);
        let all = ["", "-restore", "-save"].map(|end| format!("/etc/alternatives/iptables{end}"));
        check(
            "/usr/sbin/iptables-legacy",
            &all.each_ref().map(String::as_str),
        );
    }
}
