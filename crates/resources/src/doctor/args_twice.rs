//! An argument stands in its file twice, and one of the two does nothing.

use crate::{
    doctor::{
        context::{Look, Patient},
        finding::Ailment,
    },
    microk8s::layout,
};

pub(super) const AILMENT: Ailment = Ailment {
    name: "args-twice",
    fact: "an argument of Kubernetes is written twice, with two values",
    why: "Of several the last one counts. Whoever changes the first one changes nothing.",
    looks_at: "Each file of arguments of MicroK8s: a flag that is there more than once, with values that differ.",
    by_hand: &["take the lines away that do not count"],
    spec: &[],
};

pub(super) fn look(patient: &Patient<'_>) -> Look {
    let Some(layout) = patient.microk8s()? else {
        return Ok(None);
    };
    let mut evidence = vec![];
    for file in layout::files() {
        let Some(args) = layout.read_args(patient.host, file)? else {
            continue;
        };
        for (flag, values) in args.contradictions() {
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
    Ok(Some(AILMENT.seen(evidence)))
}
