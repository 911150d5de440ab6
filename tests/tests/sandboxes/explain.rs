//! One resource, explained: why it is wanted so, where it was read, and what runs did to it.

use e2e::{Sandbox, TestEnv};

const SPEC: &str = r#"var "motd" default=(env)"MOTD"
profile "talking" {
    file "/etc/motd" mode="0644" {
        content (var)"motd"
    }
}
host "x" {
    include "kernel.kdl"
    use "talking"
}
"#;
const INCLUDED_SPEC: &str = r#"var "forward" default=0
when fact="os" is-not="none" {
    sysctl "net.ipv4.ip_forward" (var)"forward"
}
iptables-policy "filter/FORWARD" "ACCEPT"
"#;

/// Returns the lines of an explanation, without the time of a run.
fn explanation(sandbox: &Sandbox, words: &[&str]) -> String {
    let stead = sandbox.stead_path();
    let argv = [&["env", "MOTD=hello", &stead, "explain"], words].concat();
    let said = sandbox.run(&argv);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let lines = said.out.lines().map(|line| match line.find(" created; ") {
        Some(_) => "  1 TIME  created; done".to_owned(),
        None => line.replace(char::is_numeric, "9"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn explain_shows_spec_origin_and_observed_source() {
    let sandbox = Sandbox::new();
    sandbox.put("/run/host.kdl", SPEC);
    sandbox.put("/run/kernel.kdl", INCLUDED_SPEC);
    let stead = sandbox.stead_path();
    let apply = [
        "env",
        "MOTD=hello",
        &stead,
        "apply",
        "--yes",
        "/run/host.kdl",
    ];
    let applied = sandbox.run(&apply);
    assert_eq!(applied.code, Some(0), "{}", applied.err);

    let text = explanation(&sandbox, &["file:/etc/motd", "/run/host.kdl"]);
    for line in [
        "  /run/host.kdl:9",
        "    used at /run/host.kdl:9",
        "  content  \"hello\"  /run/host.kdl:9 ← the default of the variable `motd`, /run/host.kdl:9 ← an environment variable, MOTD=hello",
        "  mode     \"9999\"   /run/host.kdl:9",
        "  read from /etc/motd",
        "  1 TIME  created; done",
    ] {
        assert!(text.lines().any(|there| there == line), "{line}\n{text}");
    }

    let given = [
        "sysctl:net.ipv4.ip_forward",
        "/run/host.kdl",
        "--var",
        "forward=1",
    ];
    let text = explanation(&sandbox, &given);
    for part in [
        "    included at /run/host.kdl:9",
        "    when `os` is `",
        ", not \"none\" (/run/kernel.kdl:9)",
        "/run/kernel.kdl:9 ← the variable `forward` is set here, forward=9",
        "  read from /proc/sys/net/ipv9/ip_forward\n    9: 9",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }

    let text = explanation(
        &sandbox,
        &["iptables-policy:filter/FORWARD", "/run/host.kdl"],
    );
    assert!(text.contains("  read from iptables-nft-save\n"), "{text}");
    assert!(text.contains(": :FORWARD ACCEPT ["), "{text}");
    assert!(text.contains("  needed by hook:boot\n"), "{text}");
}

#[test]
fn explain_works_for_undeclared_resources() {
    let sandbox = Sandbox::new();
    let text = explanation(&sandbox, &["sysctl:net.ipv4.ip_forward"]);
    assert!(text.contains("No spec is given or found here."), "{text}");
    assert!(text.contains("No run has changed it."), "{text}");
    sandbox.put(
        "/run/host.kdl",
        "host \"x\" {\n    directory \"/etc/a\"\n}\n",
    );
    let text = explanation(&sandbox, &["directory:/etc/b", "/run/host.kdl"]);
    assert!(
        text.contains("/run/host.kdl does not declare it. Did you mean `directory:/etc/a`?"),
        "{text}"
    );
    assert!(text.contains("  does not exist"), "{text}");
    for (word, expected) in [
        ("nope:x", "unknown kind `nope`"),
        ("sysctl:", "is not an address"),
    ] {
        let said = sandbox.stead(&["explain", word]);
        assert_eq!(said.code, Some(2));
        assert!(said.err.contains(expected), "{}", said.err);
    }
}
