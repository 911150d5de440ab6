//! Landlock: the kernel prevents the planning thread from writing.

use std::path::Path;

use landlock::{
    ABI, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus,
};

/// The newest kernel interface that is used; on an older kernel, what that one has.
const NEWEST: ABI = ABI::V5;

/// Whether the kernel keeps the promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Nothing can be written any more.
    Enforced,
    /// The kernel has no Landlock, or only a part of it.
    Partial,
}

/// Takes from this thread, and all that it starts, every right to write files, except below `except` and to /dev/null.
/// There is no way back.
pub fn forbid_writes(except: &[&Path]) -> Result<Confinement, RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_write(NEWEST))?
        .create()?;
    for path in except.iter().copied().chain([Path::new("/dev/null")]) {
        if let Ok(dir) = PathFd::new(path) {
            rules = rules.add_rule(PathBeneath::new(dir, AccessFs::from_write(NEWEST)))?;
        }
    }
    let status = rules.restrict_self()?;
    let is_enforced = matches!(
        status.ruleset,
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced
    );
    Ok(if is_enforced {
        Confinement::Enforced
    } else {
        Confinement::Partial
    })
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test makes and looks at its own directory"
)]
mod tests {
    use std::{fs, thread};

    use super::*;

    #[test]
    fn confined_thread_can_read_but_not_write() {
        let dir = tempfile::tempdir().unwrap();
        let allowed = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("there"), "text").unwrap();
        let confinement = thread::scope(|scope| {
            let confined = scope.spawn(|| {
                let confinement = forbid_writes(&[allowed.path()]).unwrap();
                assert_eq!(
                    fs::read_to_string(dir.path().join("there")).unwrap(),
                    "text"
                );
                fs::write(allowed.path().join("new"), "text").unwrap();
                let refused = fs::write(dir.path().join("new"), "text").is_err();
                assert_eq!(refused, confinement == Confinement::Enforced);
                // So are the threads that it starts.
                let write = || fs::write(dir.path().join("new"), "text").is_err();
                let refused = thread::scope(|scope| scope.spawn(write).join().unwrap());
                assert_eq!(refused, confinement == Confinement::Enforced);
                confinement
            });
            confined.join().unwrap()
        });
        fs::write(dir.path().join("new"), "only that thread was confined").unwrap();
        let has_landlock = fs::read_to_string("/sys/kernel/security/lsm")
            .is_ok_and(|list| list.contains("landlock"));
        assert!(!has_landlock || confinement == Confinement::Enforced);
    }
}
