//! Plans for tests whose texts contain markup, control characters and escapes.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};
use stead_engine::{
    model::{
        address::Address,
        change::{Change, Effects},
        state::Desired,
    },
    plan::{
        cause::Cause,
        document::{DesiredResource, Diff, Plan, PlannedChange, Reason, Remark, Unobserved},
    },
};

/// What breaks out of HTML, Markdown, XML and terminals, in one name.
pub(super) const NAME: &str = "/a`b``c|d</details><script>alert(1)</script>&amp;\n\n# @all #1 [x](http://y) ]]>\u{1b}[2J\u{202e}";

/// A text that would close fences, comments and sections.
pub(super) const TEXT: &str = "```\n``````\n~~~\n</details>\n\n<script>alert(1)</script>\n<!-- -->\n]]>\n/merge\n@all\n\u{7}\r\n";

/// A plan with a change of each sort and all that it can cost.
pub(super) fn plan() -> Plan {
    let file = |state: Value| json!({"content": state, "mode": "0644"});
    let changes = vec![
        planned_change(
            Address::new("file", NAME),
            Change::Update {
                before: file(json!("```\n")),
                after: file(json!(TEXT)),
            },
            Effects::default(),
        ),
        PlannedChange {
            cause: Some(Cause::Manual {
                run: 3,
                person: "<b>@bob</b>".to_owned(),
                evidence: NAME.to_owned(),
            }),
            ..planned_change(
                Address::new("iptables-policy", "filter/FORWARD"),
                Change::Update {
                    before: json!({"ipv4-nft": "DROP"}),
                    after: json!({"ipv4-nft": "AC|CE`PT"}),
                },
                Effects {
                    may_cut_network: Some(format!("as {NAME} says")),
                    ..Effects::default()
                },
            )
        },
        planned_change(
            Address::new("restart", "kubelite"),
            Change::Update {
                before: json!({"started": "a"}),
                after: json!({"started": "b"}),
            },
            Effects {
                restarts: vec!["snap.<i>".to_owned()],
                outage: 20_000,
                ..Effects::default()
            },
        ),
        planned_change(
            Address::new("snap", "microk8s"),
            Change::Create {
                after: json!({"channel": "1.32/`stable`", "classic": true}),
            },
            Effects {
                download: 50_000_000,
                ..Effects::default()
            },
        ),
        planned_change(
            Address::new("directory", "/gone"),
            Change::Delete {
                before: json!({"mode": "0755"}),
            },
            Effects {
                irreversible: Some("<u>all of it</u>".to_owned()),
                ..Effects::default()
            },
        ),
    ];
    let mut comparison = Diff {
        changes,
        ..Diff::default()
    };
    comparison.unobserved.push(Unobserved {
        address: Address::new("sysctl", "kernel.unseen"),
        attribute: "boot".to_owned(),
    });
    comparison.remarks.push(Remark {
        address: Address::new("sysctl", "kernel.same"),
        text: format!("note {NAME}"),
    });
    let mut wanted: Vec<_> = comparison
        .changes
        .iter()
        .map(|planned| planned.address.clone())
        .collect();
    wanted.extend(["kernel.same", "kernel.unseen"].map(|name| Address::new("sysctl", name)));
    build_plan("x\"><h1>|`", wanted, comparison)
}

/// A plan that changes nothing.
pub(super) fn empty() -> Plan {
    let wanted = vec![Address::new("sysctl", "kernel.same")];
    build_plan("calm", wanted, Diff::default())
}

/// A plan with so many changes, each of a text of sixty lines, and each with a cost.
pub(super) fn large(count: usize) -> Plan {
    let text = "ä`|<&\n".repeat(60);
    let changes = (0..count).map(|number| {
        planned_change(
            Address::new("file", format!("/srv/{number}/{}", "<".repeat(200))),
            Change::Create {
                after: json!({"content": text}),
            },
            Effects {
                may_cut_network: Some("&".repeat(400)),
                ..Effects::default()
            },
        )
    });
    let comparison = Diff {
        changes: changes.collect(),
        ..Diff::default()
    };
    build_plan("large", vec![], comparison)
}

fn planned_change(address: Address, change: Change<Value>, effects: Effects) -> PlannedChange {
    PlannedChange {
        address,
        change,
        reason: spec_reason(),
        cause: None,
        effects,
    }
}

fn spec_reason() -> Reason {
    Reason::Spec {
        file: Path::new("hosts/<b>`|\n.kdl").into(),
        line: 7,
    }
}

fn build_plan(host: &str, wanted: Vec<Address>, comparison: Diff) -> Plan {
    let readings: BTreeMap<_, _> = wanted
        .iter()
        .map(|address| (address.clone(), "digest".to_owned()))
        .collect();
    let wanted = wanted.into_iter().map(|address| DesiredResource {
        address,
        desired: Desired::Absent,
        needs: vec![],
        reason: spec_reason(),
    });
    Plan::new(host.to_owned(), wanted.collect(), comparison, readings)
}
