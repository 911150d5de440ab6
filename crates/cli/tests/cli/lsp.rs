//! `stead lsp`: what a scripted editor says and what it is told.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test makes the files that it gives to the program"
)]

use std::fs;

use serde_json::{Value, json};

use crate::editor::Editor;

/// Opens a text and returns what is wrong with it, each as `CODE LINE:CHARACTER-CHARACTER`.
fn diagnose(text: &str) -> Vec<String> {
    let mut editor = Editor::start();
    editor.open("host.kdl", text);
    summaries(&editor.diagnostics("host.kdl"))
}

fn summaries(diagnostics: &[Value]) -> Vec<String> {
    let one = |it: &Value| {
        let (start, end) = (&it["range"]["start"], &it["range"]["end"]);
        format!(
            "{} {}:{}-{}",
            it["code"].as_str().unwrap(),
            start["line"],
            start["character"],
            end["character"]
        )
    };
    diagnostics.iter().map(one).collect()
}

#[test]
fn diagnostics_follow_edits_of_the_text() {
    let mut editor = Editor::start();
    editor.open("host.kdl", "host \"x\" {\n    sysclt \"a.b\" \"1\"\n}\n");
    let diagnostics = editor.diagnostics("host.kdl");
    assert_eq!(summaries(&diagnostics), ["spec::unknown-kind 1:4-10"]);
    let message = diagnostics[0]["message"].as_str().unwrap();
    assert!(
        message.starts_with("unknown kind `sysclt`\nhelp: did you mean `sysctl`?"),
        "{message}"
    );
    assert_eq!(diagnostics[0]["source"], "stead");
    assert_eq!(diagnostics[0]["severity"], 1);

    editor.change("host.kdl", "host \"x\" {\n    sysctl \"a.b\" \"1\"\n}\n");
    assert_eq!(summaries(&editor.diagnostics("host.kdl")), [""; 0]);

    editor.change("host.kdl", "host \"x\" {\n    sysctl \"a.b\" \"1\n}\n");
    assert_eq!(
        summaries(&editor.diagnostics("host.kdl")),
        ["spec::syntax 1:17-18"]
    );

    editor.change("host.kdl", "");
    assert_eq!(
        summaries(&editor.diagnostics("host.kdl")),
        ["spec::empty 0:0-0"]
    );
}

#[test]
fn diagnostics_report_a_cycle_of_needs() {
    let text = "host \"x\" {\n    sysctl \"a.b\" \"1\" needs=\"sysctl:c.d\"\n    sysctl \"c.d\" \"1\" needs=\"sysctl:a.b\"\n}\n";
    assert_eq!(diagnose(text).len(), 1, "{:?}", diagnose(text));
}

#[test]
fn diagnostics_appear_in_the_included_file() {
    let mut editor = Editor::start();
    editor.write("parts/more.kdl", "\nsysctl \"a.b\" \"1\" modee=\"x\"\n");
    editor.open(
        "host.kdl",
        "host \"x\" {\n    include \"parts/more.kdl\"\n}\n",
    );
    assert_eq!(summaries(&editor.diagnostics("host.kdl")), [""; 0]);
    let there = editor.diagnostics("parts/more.kdl");
    assert_eq!(summaries(&there), ["spec::unknown-attribute 1:17-22"]);
    let related = &there[0]["relatedInformation"][0];
    assert_eq!(related["message"], "included here");
    assert_eq!(related["location"]["uri"], editor.uri("host.kdl"));
    assert_eq!(related["location"]["range"]["start"]["line"], 1);

    // What is not saved counts, and what is closed does not.
    editor.open("parts/more.kdl", "sysctl \"a.b\" \"1\"\n");
    assert_eq!(summaries(&editor.diagnostics("parts/more.kdl")), [""; 0]);
    editor.close("parts/more.kdl");
    assert_eq!(
        summaries(&editor.diagnostics("parts/more.kdl")),
        ["spec::unknown-attribute 1:17-22"]
    );

    // It is not a part of the spec any more.
    editor.change("host.kdl", "host \"x\" {\n    sysctl \"a.b\" \"1\"\n}\n");
    assert_eq!(summaries(&editor.diagnostics("parts/more.kdl")), [""; 0]);
}

#[test]
fn unsaved_document_can_be_included() {
    let mut editor = Editor::start();
    editor.open("more.kdl", "sysctl \"a.b\" \"1\"\n");
    editor.open("host.kdl", "host \"x\" {\n    include \"more.kdl\"\n}\n");
    assert_eq!(summaries(&editor.diagnostics("host.kdl")), [""; 0]);
    editor.close("more.kdl");
    assert_eq!(
        summaries(&editor.diagnostics("host.kdl")),
        ["spec::include 1:12-22"]
    );
}

#[test]
fn included_file_is_checked_within_its_spec() {
    let mut editor = Editor::start();
    let spec = "var \"value\" default=\"1\"\nhost \"x\" {\n    include \"parts/more.kdl\"\n}\n";
    editor.write("laptop.kdl", spec);
    editor.open(
        "parts/more.kdl",
        "sysctl \"a.b\" (var)\"value\" needs=\"sysctl:c.d\"\n",
    );
    assert_eq!(
        summaries(&editor.diagnostics("parts/more.kdl")),
        ["spec::needs 0:32-44"]
    );
    editor.change("parts/more.kdl", "sysctl \"a.b\" (var)\"value\"\n");
    assert_eq!(summaries(&editor.diagnostics("parts/more.kdl")), [""; 0]);
}

#[test]
fn file_without_spec_is_checked_alone() {
    let mut editor = Editor::start();
    editor.open(
        "more.kdl",
        "sysctl \"a.b\" (var)\"value\"\nsysctl \"c.d\" mode=\"1\"\n",
    );
    assert_eq!(
        summaries(&editor.diagnostics("more.kdl")),
        ["spec::unknown-attribute 1:13-17"]
    );
    // Other programs read KDL too.
    editor.open("other.kdl", "keybinds {\n    bind \"a\"\n}\n");
    assert_eq!(summaries(&editor.diagnostics("other.kdl")), [""; 0]);
}

#[test]
fn diagnostics_point_to_the_origin_of_a_value() {
    let mut editor = Editor::start();
    let text = "var \"mode\" default=\"99\"\nhost \"x\" {\n    file \"/etc/motd\" content=\"\" mode=(var)\"mode\"\n}\n";
    editor.open("host.kdl", text);
    let diagnostics = editor.diagnostics("host.kdl");
    assert_eq!(summaries(&diagnostics), ["spec::value 0:19-23"]);
    let related = &diagnostics[0]["relatedInformation"][0];
    assert_eq!(related["message"], "used here");
    assert_eq!(related["location"]["range"]["start"]["line"], 2);
}

#[test]
fn unassigned_variable_is_a_warning() {
    let text = "var \"value\"\nhost \"x\" {\n    sysctl \"a.b\" (var)\"value\"\n}\n";
    let mut editor = Editor::start();
    editor.open("host.kdl", text);
    let diagnostics = editor.diagnostics("host.kdl");
    assert_eq!(summaries(&diagnostics), ["spec::var-missing 2:17-29"]);
    assert_eq!(diagnostics[0]["severity"], 2);

    let mut editor = Editor::start_with(
        &["--var", "value=1", "--var", "of-another-spec=2"],
        &json!({}),
    );
    editor.open("host.kdl", text);
    assert_eq!(summaries(&editor.diagnostics("host.kdl")), [""; 0]);
    assert!(editor.hover("host.kdl", 2, 26).contains("given: `1`"));
}

#[test]
fn positions_use_utf_16_unless_client_offers_utf_8() {
    let text = "host \"x\" {\n    /* ü😀 */ sysctl \"a.b\" \"1\" modee=\"😀\" needs=\"sysctl:c.d\"\n    sysctl \"c.d\" \"1\"\n}\n";
    let line = text.lines().nth(1).unwrap();
    let utf_8 = line.find("modee").unwrap();
    let utf_16 = line[..utf_8].encode_utf16().count();
    assert_eq!(utf_8 - utf_16, 3);
    assert_eq!(
        diagnose(text),
        [format!("spec::unknown-attribute 1:{utf_16}-{}", utf_16 + 5)]
    );

    let offered = json!({ "general": { "positionEncodings": ["utf-8", "utf-16"] } });
    let mut editor = Editor::start_with(&[], &offered);
    assert_eq!(editor.capabilities["positionEncoding"], "utf-8");
    editor.open("host.kdl", text);
    assert_eq!(
        summaries(&editor.diagnostics("host.kdl")),
        [format!("spec::unknown-attribute 1:{utf_8}-{}", utf_8 + 5)]
    );

    let mut editor = Editor::start();
    assert_eq!(editor.capabilities["positionEncoding"], "utf-16");
    editor.open("host.kdl", text);
    let behind = line[..line.find("c.d").unwrap()].encode_utf16().count();
    let places = editor.definition("host.kdl", 1, behind);
    assert_eq!(places, [("host.kdl".to_owned(), 2, 11)]);
}

#[test]
fn completion_offers_keywords_and_kinds() {
    let mut editor = Editor::start();
    assert_eq!(editor.complete("|"), ["host", "var", "include", "profile"]);
    let within = editor.complete("host \"x\" {\n    sys|\n}\n");
    for expected in ["sysctl", "file", "when", "use"] {
        assert!(within.contains(&expected.to_owned()), "{within:?}");
    }
    assert!(!within.contains(&"host".to_owned()), "{within:?}");
    assert_eq!(editor.complete("// |"), [""; 0]);
    // What a new file will be is not known yet.
    let new = editor.complete_in("new.kdl", "|");
    for expected in ["host", "var", "when", "sysctl"] {
        assert!(new.contains(&expected.to_owned()), "{new:?}");
    }
}

#[test]
fn completion_offers_each_attribute_once() {
    let mut editor = Editor::start();
    let found = editor.complete("host \"x\" {\n    file \"/etc/motd\" mode=\"0644\" |\n}\n");
    for expected in ["owner", "content", "needs", "absent", "override"] {
        assert!(found.contains(&expected.to_owned()), "{found:?}");
    }
    assert!(!found.contains(&"mode".to_owned()), "{found:?}");
    let as_child = editor.complete("host \"x\" {\n    file \"/etc/motd\" {\n        |\n    }\n}\n");
    assert!(as_child.contains(&"content".to_owned()), "{as_child:?}");
    assert!(!as_child.contains(&"override".to_owned()), "{as_child:?}");
    assert_eq!(
        editor.text_after_completion("host \"x\" {\n    file \"/etc/motd\" ow|\n}\n", "owner"),
        "host \"x\" {\n    file \"/etc/motd\" owner=\n}\n"
    );
    assert_eq!(
        editor.text_after_completion(
            "host \"x\" {\n    file \"/etc/motd\" ow|=\"root\"\n}\n",
            "owner"
        ),
        "host \"x\" {\n    file \"/etc/motd\" owner=\"root\"\n}\n"
    );
}

#[test]
fn completion_offers_addresses_of_other_files() {
    let mut editor = Editor::start();
    editor.write("more.kdl", "directory \"/srv/ü\"\n");
    let spec = |needs: &str| {
        format!(
            "host \"x\" {{\n    include \"more.kdl\"\n    sysctl \"a.b\" \"1\"\n    sysctl \"c.d\" \"1\" needs={needs}\n}}\n"
        )
    };
    let found = editor.complete(&spec("\"|\""));
    assert!(found.contains(&"directory:/srv/ü".to_owned()), "{found:?}");
    assert!(found.contains(&"sysctl:a.b".to_owned()), "{found:?}");
    for typed in ["|", "\"sys|\"", "\"|sys\"", "\"sys|"] {
        let completed = editor.text_after_completion(&spec(typed), "sysctl:a.b");
        assert_eq!(completed, spec("\"sysctl:a.b\""), "{typed}");
    }
}

#[test]
fn completion_offers_variables_facts_profiles_and_files() {
    let mut editor = Editor::start();
    editor.write(
        "more.kdl",
        "var \"dns\" default=\"9.9.9.9\"\nprofile \"small\" { sysctl \"a.b\" \"1\"; }\n",
    );
    editor.write("parts/own.kdl", "");
    let check = |editor: &mut Editor, line: &str, expected: &[&str]| {
        let text = format!("include \"more.kdl\"\nhost \"x\" {{\n    {line}\n}}\n");
        let found = editor.complete(&text);
        for expected in expected {
            assert!(found.contains(&(*expected).to_owned()), "{line}: {found:?}");
        }
    };
    check(&mut editor, "sysctl \"a.b\" (var)\"|\"", &["dns"]);
    check(&mut editor, "sysctl \"a.b\" (|", &["var", "fact", "env"]);
    check(
        &mut editor,
        "sysctl \"a.b\" (fact)\"|\"",
        &["memory", "hostname"],
    );
    check(&mut editor, "when fact=\"|\"", &["memory", "cloud"]);
    check(
        &mut editor,
        "when fact=\"hostname\" |",
        &["is", "is-not", "at-least", "below"],
    );
    check(&mut editor, "when fact=\"hostname\" is=\"|\"", &["toaster"]);
    check(&mut editor, "use \"|\"", &["small"]);
    check(&mut editor, "include \"|\"", &["more.kdl", "parts/"]);
    check(&mut editor, "include \"parts/|\"", &["parts/own.kdl"]);
}

#[test]
fn completion_offers_values_of_the_schema() {
    let mut editor = Editor::start();
    assert_eq!(
        editor.complete("host \"x\" {\n    iptables-policy \"filter/FORWARD\" persist=|\n}\n"),
        ["#true", "#false"]
    );
    let text = "host \"x\" {\n    iptables-policy \"filter/FORWARD\" \"ACCEPT\" family=\"|\"\n}\n";
    let found = editor.complete(text);
    assert!(found.contains(&"ipv6".to_owned()), "{found:?}");
}

#[test]
fn completion_offers_values_of_the_host() {
    let mut editor = Editor::start();
    editor.install_microk8s();
    let check = |editor: &mut Editor, line: &str, expected: &[&str]| {
        let text = format!("host \"x\" {{\n    {line}\n}}\n");
        let found = editor.complete(&text);
        for expected in expected {
            assert!(found.contains(&(*expected).to_owned()), "{line}: {found:?}");
        }
    };
    check(&mut editor, "addons \"|\"", &["microk8s"]);
    check(
        &mut editor,
        "addons \"microk8s\" { | }",
        &["dns", "exclusive"],
    );
    check(&mut editor, "kube-args \"|\"", &["kube-proxy", "kubelet"]);
    check(
        &mut editor,
        "kube-args \"kube-proxy\" { | }",
        &["cluster-cidr"],
    );
    check(
        &mut editor,
        "kube-args \"kube-proxy\" { cluster-cidr | }",
        &["10.1.0.0/16", "#null"],
    );
    check(
        &mut editor,
        "kube-args \"kube-proxy\" { proxy-mode \"|\"; }",
        &["iptables", "nftables"],
    );
    check(&mut editor, "sysctl \"|\"", &["net.ipv4.ip_forward"]);
    check(&mut editor, "hook \"|\"", &["boot", "snap-refresh"]);
}

#[test]
fn hover_shows_documentation_and_host_values() {
    let mut editor = Editor::start();
    let text = "var \"value\" default=\"1\"\n\
        host (fact)\"hostname\" {\n    \
        sysctl \"a.b\" (var)\"value\" persist=#true\n    \
        sysctl \"c.d\" \"2\" needs=\"sysctl:a.b\"\n    \
        when fact=\"memory\" below=1 {}\n}\n";
    editor.open("host.kdl", text);
    let mut check = |line: usize, word: &str, expected: &str| {
        let at = text.lines().nth(line).unwrap().find(word).unwrap() + 1;
        let said = editor.hover("host.kdl", line, at);
        assert!(said.contains(expected), "{word}: {said}");
    };
    check(2, "sysctl", "```kdl\nsysctl \"");
    check(2, "sysctl", "- `persist` (#true or #false): ");
    check(2, "persist", "**persist** (#true or #false)");
    check(2, "#true", "**persist** (#true or #false)");
    check(2, "value", "default `\"1\"`, host.kdl:1");
    check(3, "needs", "a resource that comes first");
    check(3, "sysctl:a.b", "host.kdl:3\n```kdl\nsysctl \"a.b\"");
    check(1, "hostname", "Here: `toaster`");
    check(4, "memory", "In MiB");
    check(4, "when", "if a comparison is true");
    check(4, "below", "less than this");
    assert_eq!(editor.hover("host.kdl", 5, 0), "");
}

#[test]
fn definition_resolves_across_files() {
    let mut editor = Editor::start();
    editor.write(
        "parts/more.kdl",
        "var \"value\" default=\"1\"\nprofile \"small\" {\n    sysctl \"a.b\" (var)\"value\"\n}\n",
    );
    let text = "include \"parts/more.kdl\"\n\
        host \"x\" {\n    \
        use \"small\"\n    \
        sysctl \"c.d\" (var)\"value\" needs=\"sysctl:a.b\"\n    \
        when var=\"value\" is=\"1\" {}\n}\n";
    editor.open("host.kdl", text);
    let mut check = |line: usize, word: &str, file: &str, at: (u64, u64)| {
        let character = text.lines().nth(line).unwrap().find(word).unwrap() + 1;
        let places = editor.definition("host.kdl", line, character);
        assert_eq!(places, [(file.to_owned(), at.0, at.1)], "{word}");
    };
    check(0, "parts/more.kdl", "parts/more.kdl", (0, 0));
    check(2, "small", "parts/more.kdl", (1, 8));
    check(3, "value", "parts/more.kdl", (0, 4));
    check(3, "sysctl:a.b", "parts/more.kdl", (2, 11));
    check(4, "value", "parts/more.kdl", (0, 4));
    assert_eq!(editor.definition("host.kdl", 1, 1), []);
    // From the part, what the spec declares is found.
    editor.open(
        "parts/more.kdl",
        "sysctl \"e.f\" \"1\" needs=\"sysctl:c.d\"\n",
    );
    let places = editor.definition("parts/more.kdl", 0, 26);
    assert_eq!(places, [("host.kdl".to_owned(), 3, 11)]);
}

#[test]
fn formatting_matches_fmt() {
    let mut editor = Editor::start();
    editor.open("host.kdl", "host   \"ü\"   {\nsysctl \"a.b\"   \"1\"\n}\n");
    let expected = "host \"ü\" {\n    sysctl \"a.b\" \"1\"\n}\n";
    let edits = editor.format("host.kdl");
    assert_eq!(edits[0]["newText"], expected);
    let whole =
        json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 3, "character": 0 } });
    assert_eq!(edits[0]["range"], whole);
    editor.change("host.kdl", expected);
    assert_eq!(editor.format("host.kdl"), json!([]));
    editor.change("host.kdl", "host {");
    assert_eq!(editor.format("host.kdl"), Value::Null);
    assert!(
        !editor.root_dir().join("host.kdl").exists(),
        "nothing is written"
    );
}

#[test]
fn diagnostics_follow_changes_on_disk() {
    let watching =
        json!({ "workspace": { "didChangeWatchedFiles": { "dynamicRegistration": true } } });
    let mut editor = Editor::start_with(&[], &watching);
    editor.write("more.kdl", "sysctl \"a.b\" \"1\"\n");
    editor.open("host.kdl", "host \"x\" {\n    include \"more.kdl\"\n}\n");
    assert_eq!(summaries(&editor.diagnostics("host.kdl")), [""; 0]);
    assert!(
        editor
            .server_requests
            .contains(&"client/registerCapability".to_owned())
    );
    fs::remove_file(editor.root_dir().join("more.kdl")).unwrap();
    editor.notify("workspace/didChangeWatchedFiles", &json!({ "changes": [] }));
    assert_eq!(
        summaries(&editor.diagnostics("host.kdl")),
        ["spec::include 1:12-22"]
    );
}

#[test]
fn server_exits_with_0_only_after_shutdown() {
    let mut editor = Editor::start();
    assert_eq!(editor.request("shutdown", &Value::Null), Ok(Value::Null));
    let late = editor.request("shutdown", &Value::Null).unwrap_err();
    assert_eq!(late["code"], -32600);
    editor.notify("exit", &Value::Null);
    assert_eq!(editor.wait_for_exit(), Some(0));

    let mut editor = Editor::start();
    editor.notify("exit", &Value::Null);
    assert_eq!(editor.wait_for_exit(), Some(1));

    // It goes away without a word.
    assert_eq!(Editor::start().wait_for_exit(), Some(1));
    assert_eq!(Editor::uninitialized(&[]).wait_for_exit(), Some(1));
}

#[test]
fn server_survives_invalid_requests() {
    let mut editor = Editor::uninitialized(&[]);
    let code = |refused: Result<Value, Value>| refused.unwrap_err()["code"].clone();
    assert_eq!(
        code(editor.request("textDocument/hover", &json!({}))),
        -32002
    );
    editor.notify("textDocument/didOpen", &json!({}));
    assert!(editor.initialize(&json!({})).is_ok());
    assert_eq!(code(editor.initialize(&json!({}))), -32600);
    assert_eq!(
        code(editor.request("textDocument/hover", &json!({}))),
        -32602
    );
    assert_eq!(
        code(editor.request("textDocument/somersault", &json!({}))),
        -32601
    );
    editor.notify("$/cancelRequest", &json!({ "id": 99 }));
    editor.notify("textDocument/didOpen", &json!({ "textDocument": 1 }));
    editor.notify("textDocument/didChange", &json!([]));
    let nowhere = json!({
        "textDocument": { "uri": "untitled:Untitled-1" },
        "position": { "line": 7, "character": 7 },
    });
    for method in [
        "textDocument/hover",
        "textDocument/completion",
        "textDocument/definition",
    ] {
        assert_eq!(
            editor.request(method, &nowhere),
            Ok(Value::Null),
            "{method}"
        );
    }
    editor.open("host.kdl", "host \"x\" {}\n");
    assert_eq!(summaries(&editor.diagnostics("host.kdl")), [""; 0]);
}
