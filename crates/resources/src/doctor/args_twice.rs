//! An argument is set twice in its file, and one of the two has no effect.

use crate::{
    doctor::{
        context::{CheckResult, DoctorContext},
        finding::FindingRule,
    },
    microk8s::layout,
};

pub(super) const RULE: FindingRule = FindingRule {
    name: "args-twice",
    fact: "an argument of Kubernetes is set twice, with different values",
    why: "The last one applies. A change of the first one has no effect.",
    criterion: "The argument files of MicroK8s: a flag that occurs more than once, with different values.",
    by_hand: &["remove the lines that do not apply"],
    spec: &[],
};

pub(super) fn check(context: &DoctorContext<'_>) -> CheckResult {
    let Some(layout) = context.microk8s()? else {
        return Ok(None);
    };
    let mut evidence = vec![];
    for file in layout::files() {
        let Some(args) = layout.read_args(context.host, file)? else {
            continue;
        };
        for (flag, values) in args.conflicting_flags() {
            let path = layout.args(file);
            evidence.push(format!(
                "{}: --{flag} is {}",
                path.display(),
                values.join(", and then ")
            ));
        }
    }
    if evidence.is_empty() {
        return Ok(None);
    }
    Ok(Some(RULE.found(evidence)))
}
