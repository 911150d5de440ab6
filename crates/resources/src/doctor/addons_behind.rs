//! The addons of MicroK8s are from another release than MicroK8s.

use crate::{
    doctor::{
        context::{Look, Patient},
        finding::Ailment,
    },
    files::git,
    microk8s::addons::repositories::{CORE, OF_SNAP, folder_of},
};

pub(super) const AILMENT: Ailment = Ailment {
    name: "addons-behind",
    fact: "the addons of MicroK8s are from another release than MicroK8s",
    why: "A refresh of the snap does not update its addons. Addons of an older release install old versions, and some do not work with the API of the new release.",
    looks_at: "The commit of /var/snap/microk8s/common/addons/core, if it was cloned from the snap, against the commit in the current snap.",
    by_hand: &[
        "microk8s addons repo add core /snap/microk8s/current/addons/core --force   (enabled addons stay as they are; disable and enable an addon to update it)",
    ],
    spec: &[],
};
/// So much of a commit is shown.
const SHOWN: usize = 12;

pub(super) fn look(patient: &Patient<'_>) -> Look {
    let host = patient.host;
    let Some(layout) = patient.microk8s()? else {
        return Ok(None);
    };
    let clone = folder_of(CORE);
    let origin = git::origin(host, &clone)?;
    // One that somebody has put there is theirs to look after.
    if !origin.is_some_and(|origin| origin.starts_with(OF_SNAP)) {
        return Ok(None);
    }
    let bundled = layout.snap().join("addons").join(CORE);
    let commit = |head: Option<git::Head>| head.and_then(|head| head.commit);
    let there = commit(git::head(host, &clone)?);
    let brought = commit(git::head(host, &bundled)?);
    let (Some(there), Some(brought)) = (there, brought) else {
        return Ok(None);
    };
    if there == brought {
        return Ok(None);
    }
    let short = |commit: &str| commit.chars().take(SHOWN).collect::<String>();
    Ok(Some(AILMENT.seen(vec![
        format!("{} is at {}", clone.display(), short(&there)),
        format!("{} is at {}", bundled.display(), short(&brought)),
    ])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{files::test_root::Root, microk8s::layout::Layout};

    const OLD: &str = "0123456789abcdef0123456789abcdef01234567";
    const NEW: &str = "89abcdef0123456789abcdef0123456789abcdef";

    fn check(origin: &str, there: &str, expected: bool) {
        let clone = "/var/snap/microk8s/common/addons/core/.git";
        let bundled = "/snap/microk8s/x2/addons/core/.git";
        let root = Root::new(&[
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
        root.link("/var/snap/microk8s/current", "x2");
        let host = root.reader();
        let patient = Patient {
            host: &host,
            microk8s: Ok(Layout::find(&host).unwrap()),
            hooks: None,
        };
        let found = look(&patient).map_err(|hidden| hidden.0).unwrap();
        let evidence = found.map(|found| found.evidence.join("; "));
        let seen = "/var/snap/microk8s/common/addons/core is at 0123456789ab; /snap/microk8s/x2/addons/core is at 89abcdef0123";
        assert_eq!(
            evidence.as_deref(),
            expected.then_some(seen),
            "{origin} {there}"
        );
    }

    #[test]
    fn a_clone_of_the_snap_is_held_against_what_the_snap_brings_now() {
        check("/snap/microk8s/x1/addons/core", OLD, true);
        check("/snap/microk8s/x1/addons/core", NEW, false);
        check("https://example.org/addons.git", OLD, false);
    }
}
