//! The addons of MicroK8s are from another release than MicroK8s.

use crate::{
    doctor::{
        context::{CheckResult, DoctorContext},
        finding::FindingRule,
    },
    files::git,
    microk8s::addons::repositories::{CORE, SNAP_PREFIX, repository_dir},
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "addons-behind",
    fact: "the addons of MicroK8s are from another release than MicroK8s",
    why: "A refresh of the snap does not update its addons. Addons of an older release install old versions, and some do not work with the API of the new release.",
    criterion: "The commit of /var/snap/microk8s/common/addons/core, if it was cloned from the snap, against the commit in the current snap.",
    by_hand: &[
        "microk8s addons repo add core /snap/microk8s/current/addons/core --force   (enabled addons stay as they are; disable and enable an addon to update it)",
    ],
    spec: &[],
};
/// So much of a commit is shown.
const SHOWN_DIGITS: usize = 12;

pub(super) fn check(context: &DoctorContext<'_>) -> CheckResult {
    let host = context.host;
    let Some(layout) = context.microk8s()? else {
        return Ok(None);
    };
    let clone = repository_dir(CORE);
    let origin = git::origin_url(host, &clone)?;
    // One that somebody has put there is theirs to look after.
    if !origin.is_some_and(|origin| origin.starts_with(SNAP_PREFIX)) {
        return Ok(None);
    }
    let bundled = layout.snap().join("addons").join(CORE);
    let commit = |head: Option<git::Head>| head.and_then(|head| head.commit);
    let there = commit(git::read_head(host, &clone)?);
    let brought = commit(git::read_head(host, &bundled)?);
    let (Some(there), Some(brought)) = (there, brought) else {
        return Ok(None);
    };
    if there == brought {
        return Ok(None);
    }
    let short = |commit: &str| commit.chars().take(SHOWN_DIGITS).collect::<String>();
    Ok(Some(RULE.found(vec![
        format!("{} is at {}", clone.display(), short(&there)),
        format!("{} is at {}", bundled.display(), short(&brought)),
    ])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{files::test_root::TestRoot, microk8s::layout::Layout};

    const OLD: &str = "0123456789abcdef0123456789abcdef01234567";
    const NEW: &str = "89abcdef0123456789abcdef0123456789abcdef";

    fn assert_found(origin: &str, there: &str, expected: bool) {
        let clone = "/var/snap/microk8s/common/addons/core/.git";
        let bundled = "/snap/microk8s/x2/addons/core/.git";
        let root = TestRoot::new(&[
            ("/var/snap/microk8s/x2/args/kubelite", ""),
            (
                &format!("{clone}/config"),
                &format!("[remote \"origin\"]\n\turl = {origin}\n"),
            ),
            (&format!("{clone}/HEAD"), "ref: refs/heads/1.32\n"),
            (&format!("{clone}/refs/heads/1.32"), &format!("{there}\n")),
            (&format!("{bundled}/HEAD"), "ref: refs/heads/1.33\n"),
            (
                &format!("{bundled}/packed-refs"),
                &format!("# pack-refs\n{NEW} refs/heads/1.33\n"),
            ),
        ]);
        root.symlink("/var/snap/microk8s/current", "x2");
        let host = root.reader();
        let context = DoctorContext {
            host: &host,
            microk8s: Ok(Layout::find(&host).unwrap()),
            hooks: None,
        };
        let found = check(&context).map_err(|hidden| hidden.0).unwrap();
        let evidence = found.map(|found| found.evidence.join("; "));
        let seen = "/var/snap/microk8s/common/addons/core is at 0123456789ab; /snap/microk8s/x2/addons/core is at 89abcdef0123";
        assert_eq!(
            evidence.as_deref(),
            expected.then_some(seen),
            "{origin} {there}"
        );
    }

    #[test]
    fn addons_behind_compares_clone_with_bundled_commit() {
        assert_found("/snap/microk8s/x1/addons/core", OLD, true);
        assert_found("/snap/microk8s/x1/addons/core", NEW, false);
        assert_found("https://example.org/addons.git", OLD, false);
    }
}
