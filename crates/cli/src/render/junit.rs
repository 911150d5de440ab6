//! A plan as a JUnit report: a suite for the host, a case for each resource. A resource as desired passes, a pending change fails,
//! and a resource that could not be read is skipped.

use std::collections::BTreeSet;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use stead_engine::{
    model::address::Address,
    plan::document::{Plan, Reason},
    provider::registry::Registry,
};
use stead_resources::host::LinuxHost;

use crate::render::{
    format::one_line,
    plan_view::{self, ChangeView, Detail},
    print::push_line,
    text::plan::change,
};

/// Shows a plan.
pub(crate) fn junit(registry: &Registry<LinuxHost>, plan: &Plan) -> String {
    let changes = plan_view::changes(registry, plan);
    let differing: BTreeSet<_> = changes.iter().map(|shown| &shown.planned.address).collect();
    let mut suite = TestSuite::new(one_line(&plan.host));
    for shown in &changes {
        let planned = &shown.planned;
        suite.add_test_case(test_case(
            &planned.address,
            &planned.reason,
            failure_status(shown),
        ));
    }
    for wanted in &plan.desired {
        let address = &wanted.address;
        if !differing.contains(address) {
            suite.add_test_case(test_case(
                address,
                &wanted.reason,
                unchanged_status(plan, address),
            ));
        }
    }
    let mut report = Report::new("stead plan");
    report.add_test_suite(suite);
    report
        .to_string()
        .expect("writing to a String cannot fail, and the times are none")
}

fn test_case(address: &Address, because: &Reason, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(one_line(&address.to_string()), status);
    case.set_classname(one_line(&address.kind));
    if let Reason::Spec { file, line } | Reason::Implied { file, line, .. } = because {
        let file = one_line(&file.display().to_string());
        case.extra.insert("file".into(), file.into());
        case.extra.insert("line".into(), line.to_string().into());
    }
    case
}

fn failure_status(shown: &ChangeView<'_>) -> TestCaseStatus {
    let mut text = anstream::adapter::strip_str(&change(shown, Detail::Folded)).to_string();
    for cost in plan_view::change_costs(shown.planned) {
        let warning = cost.warning.map(|warning| format!("{warning}: "));
        let said = format!("{}{}", warning.unwrap_or_default(), cost.text);
        push_line(&mut text, format_args!("      {}", one_line(&said)));
    }
    let (word, address) = (shown.symbol.word(), &shown.planned.address);
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_message(one_line(&format!("would {word} {address}")));
    status.set_type(word);
    status.set_description(text);
    status
}

fn unchanged_status(plan: &Plan, address: &Address) -> TestCaseStatus {
    let unseen = plan
        .unobserved
        .iter()
        .filter(|unseen| unseen.address == *address);
    let names: Vec<_> = unseen.map(|unseen| unseen.attribute.as_str()).collect();
    if names.is_empty() {
        return TestCaseStatus::success();
    }
    let mut status = TestCaseStatus::skipped();
    status.set_message(one_line(&format!(
        "could not be read: {}",
        names.join(", ")
    )));
    status
}

#[cfg(test)]
mod tests {
    use super::{super::hostile_fixture, *};

    fn render_plan(plan: &Plan) -> String {
        junit(&stead_resources::registry(), plan)
    }

    #[test]
    fn junit_escapes_hostile_text() {
        insta::assert_snapshot!(render_plan(&hostile_fixture::plan()));
    }

    #[test]
    fn junit_maps_each_resource_to_a_test_case() {
        let text = render_plan(&hostile_fixture::plan());
        let document = roxmltree::Document::parse(&text).unwrap();
        let suites: Vec<_> = document
            .descendants()
            .filter(|node| node.has_tag_name("testsuite"))
            .collect();
        let [suite] = suites[..] else {
            panic!("{text}");
        };
        assert_eq!(suite.attribute("name"), Some("x\"><h1>|`"));
        let counts = ["tests", "failures", "errors", "skipped"].map(|name| suite.attribute(name));
        assert_eq!(counts, [Some("7"), Some("5"), Some("0"), Some("1")]);
        let cases: Vec<_> = suite
            .children()
            .filter(|node| node.has_tag_name("testcase"))
            .collect();
        let outcomes: Vec<_> = cases
            .iter()
            .map(|case| {
                let outcome = case.children().find(roxmltree::Node::is_element);
                outcome.map_or("passed", |node| node.tag_name().name())
            })
            .collect();
        let failed = ["failure"; 5];
        assert_eq!(outcomes[..5], failed);
        assert_eq!(outcomes[5..], ["passed", "skipped"]);
        assert_eq!(cases[0].attribute("classname"), Some("file"));
        assert_eq!(cases[0].attribute("line"), Some("7"));
        let failure = cases[0].text().unwrap_or_default().to_owned()
            + cases[0].first_element_child().unwrap().text().unwrap();
        assert!(failure.contains("+<script>alert(1)</script>"), "{failure}");
        assert!(failure.contains("from hosts/"), "{failure}");
    }

    #[test]
    fn junit_report_passes_without_changes() {
        let text = render_plan(&hostile_fixture::empty());
        let document = roxmltree::Document::parse(&text).unwrap();
        let suite = document
            .descendants()
            .find(|node| node.has_tag_name("testsuite"))
            .unwrap();
        let counts = ["tests", "failures"].map(|name| suite.attribute(name));
        assert_eq!(counts, [Some("1"), Some("0")]);
    }
}
