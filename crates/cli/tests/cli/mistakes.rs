//! Mistakes in specs of several files: each is shown where it was written, with the way by which it came to where it is used.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test makes the files that it gives to the program"
)]

use std::{fs, process::Command};

/// Spaces that make a file one that is read on all cores, and each of its lines a piece of its own.
const PADDING: usize = 40_000;

/// Validates `host.kdl` among these files, and returns what was said. Large files that say the same are refused as they are.
fn validation_error(files: &[(&str, &str)], arguments: &[&str]) -> String {
    let said = validation_error_once(files, arguments);
    let has = |of: fn(&str) -> bool| files.iter().any(|(_, text)| of(text));
    // The spaces would be in the text of a string of several lines; and a file may have enough lines as it is.
    if !has(|text| text.contains("\"\"\"")) && !has(|text| text.len() > PADDING) {
        let large = |text: &str| text.replace('\n', &format!("{}\n", " ".repeat(PADDING)));
        let large: Vec<_> = files
            .iter()
            .map(|(name, text)| (*name, large(text)))
            .collect();
        let large: Vec<_> = large.iter().map(|(name, text)| (*name, &**text)).collect();
        assert_eq!(validation_error_once(&large, arguments), said);
    }
    said
}

/// Validates `host.kdl` among these files, for a host with recorded facts, and returns what was said.
fn validation_error_once(files: &[(&str, &str)], arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let facts = r#"{"format": "stead.facts/1", "facts": {"cloud": "azure", "memory": 3900, "os": "debian", "os-version": "13"}}"#;
    fs::write(dir.path().join("facts.json"), facts).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_stead"))
        .args(["validate", "host.kdl", "--facts", "facts.json"])
        .args(arguments)
        .current_dir(&dir)
        .env("NO_COLOR", "1")
        .env("STEAD_TEST_MODE", "0999")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(output.stdout, b"", "{said}");
    let lines = said.lines().map(str::trim_end);
    lines.collect::<Vec<_>>().join("\n")
}

macro_rules! refused {
    ($($name:ident: $($file:literal => $text:literal),+ $(; $($argument:literal),+)?;)*) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!(validation_error(&[$(($file, $text)),+], &[$($($argument),+)?]));
        }
    )*};
}

refused! {
    undeclared_variable_is_rejected:
        "host.kdl" => "var \"dns\" default=\"1.1.1.1\"\nhost \"x\" {\n    file \"/a\" {\n        content (var)\"dsn\"\n    }\n    file \"/b\" {\n        content (var)\"dns\"\n    }\n}\n";
    unused_variable_is_rejected:
        "host.kdl" => "var \"dns\" default=\"1.1.1.1\"\nhost \"x\" {\n}\n";
    variable_without_value_is_rejected:
        "host.kdl" => "host \"x\" {\n    include \"parts/common.kdl\"\n}\n",
        "parts/common.kdl" => "var \"owner\"\nfile \"/a\" owner=(var)\"owner\"\n";
    variable_declared_twice_is_rejected:
        "host.kdl" => "var \"dns\" default=\"1.1.1.1\"\nhost \"x\" {\n    include \"common.kdl\"\n    file \"/a\" owner=(var)\"dns\"\n}\n",
        "common.kdl" => "var \"dns\" default=\"8.8.8.8\"\n";
    cyclic_variables_are_rejected:
        "host.kdl" => "var \"a\" default=(var)\"b\"\nvar \"b\" default=(var)\"a\"\nhost \"x\" {\n    file \"/a\" owner=(var)\"a\"\n}\n";
    default_of_wrong_type_is_rejected:
        "host.kdl" => "var \"many\" type=\"number\" default=\"ten\"\nhost \"x\" {\n    sysctl \"vm.swappiness\" (var)\"many\"\n}\n";
    unknown_variable_type_is_rejected:
        "host.kdl" => "var \"many\" type=\"integer\" default=10\nhost \"x\" {\n    sysctl \"vm.swappiness\" (var)\"many\"\n}\n";
    misspelled_declaration_is_rejected:
        "host.kdl" => "var \"many\" defualt=10\nhost \"x\" {\n    sysctl \"vm.swappiness\" (var)\"many\"\n}\n";
    assigned_value_of_wrong_type_is_rejected:
        "host.kdl" => "var \"many\" default=10\nhost \"x\" {\n    sysctl \"vm.swappiness\" (var)\"many\"\n}\n"; "--var", "many=ten";
    value_for_undeclared_variable_is_rejected:
        "host.kdl" => "var \"many\" default=10\nhost \"x\" {\n    sysctl \"vm.swappiness\" (var)\"many\"\n}\n"; "--var", "mayn=10";
    assigned_value_invalid_for_the_kind_is_rejected:
        "host.kdl" => "host \"x\" {\n    include \"parts/common.kdl\"\n}\n",
        "parts/common.kdl" => "var \"mode\" default=\"0644\"\nfile \"/a\" mode=(var)\"mode\"\n"; "--var", "mode=rw-r--r--";
    default_invalid_for_the_kind_is_rejected:
        "host.kdl" => "host \"x\" {\n    include \"parts/common.kdl\"\n}\n",
        "parts/common.kdl" => "include \"values.kdl\"\n\nfile \"/a\" mode=(var)\"mode\"\n",
        "parts/values.kdl" => "var \"mode\" default=(var)\"strict\"\nvar \"strict\" default=\"0888\"\n";
    invalid_vars_file_is_rejected:
        "host.kdl" => "var \"many\" default=10\nhost \"x\" {\n    sysctl \"vm.swappiness\" (var)\"many\"\n}\n",
        "values.kdl" => "many 1 2\nother \"x\"\nother \"y\"\n"; "--vars", "values.kdl";
    unset_environment_variable_is_rejected:
        "host.kdl" => "host \"x\" {\n    file \"/a\" owner=(env)\"STEAD_TEST_NOWHERE\"\n}\n";
    environment_value_invalid_for_the_kind_is_rejected:
        "host.kdl" => "host \"x\" {\n    file \"/a\" mode=(env)\"STEAD_TEST_MODE\"\n}\n";
    unknown_fact_is_rejected:
        "host.kdl" => "host \"x\" {\n    file \"/a\" owner=(fact)\"memroy\"\n}\n";
    unknown_annotation_is_rejected:
        "host.kdl" => "host \"x\" {\n    file \"/a\" owner=(variable)\"dns\"\n    (fact)file \"/b\"\n}\n";
    condition_with_unknown_comparison_is_rejected:
        "host.kdl" => "host \"x\" {\n    when fact=\"cloud\" equals=\"azure\" {\n        directory \"/a\"\n    }\n}\n";
    condition_without_operand_is_rejected:
        "host.kdl" => "host \"x\" {\n    when is=\"azure\" {\n        directory \"/a\"\n    }\n    when fact=\"cloud\" {\n        directory \"/b\"\n    }\n    when \"cloud\" is=\"azure\" {\n    }\n}\n";
    condition_with_two_comparisons_is_rejected:
        "host.kdl" => "host \"x\" {\n    when fact=\"memory\" at-least=1000 below=4000 {\n        directory \"/a\"\n    }\n}\n";
    condition_on_wrong_type_is_rejected:
        "host.kdl" => "host \"x\" {\n    when fact=\"memory\" below=\"4G\" {\n        directory \"/a\"\n    }\n    when fact=\"os-version\" at-least=12 {\n        directory \"/b\"\n    }\n}\n";
    condition_on_unknown_fact_is_rejected:
        "host.kdl" => "host \"x\" {\n    when fact=\"clod\" is=\"azure\" {\n        directory \"/a\"\n    }\n}\n";
    error_in_inactive_branch_is_rejected:
        "host.kdl" => "host \"x\" {\n    when fact=\"cloud\" is=\"aws\" {\n        directory \"/a\" mod=\"0755\"\n        file \"/b\" owner=(var)\"nobody\"\n    }\n}\n";
    missing_include_is_rejected:
        "host.kdl" => "host \"x\" {\n    include \"parts/common.kdl\"\n    directory \"relative\"\n}\n",
        "parts/common.kdl" => "include \"comon.kdl\"\n";
    include_of_a_directory_is_rejected:
        "host.kdl" => "host \"x\" {\n    include \"parts\"\n}\n",
        "parts/common.kdl" => "directory \"/a\"\n";
    cyclic_includes_are_rejected:
        "host.kdl" => "host \"x\" {\n    include \"parts/a.kdl\"\n}\n",
        "parts/a.kdl" => "include \"b.kdl\"\n",
        "parts/b.kdl" => "when fact=\"cloud\" is=\"aws\" {\n    include \"../parts/a.kdl\"\n}\n";
    include_with_a_host_is_rejected:
        "host.kdl" => "host \"x\" {\n    include \"other.kdl\"\n}\n",
        "other.kdl" => "host \"y\" {\n    directory \"/a\"\n}\n";
    resource_included_outside_the_host_is_rejected:
        "host.kdl" => "include \"other.kdl\"\n\nhost \"x\" {\n}\n",
        "other.kdl" => "directory \"/a\"\n";
    syntax_error_in_included_file_is_rejected:
        "host.kdl" => "host \"x\" {\n    include \"other.kdl\"\n}\n",
        "other.kdl" => "directory \"/a\" {\n    mode \"0755\n}\n";
    unknown_kind_in_included_file_is_rejected:
        "host.kdl" => "host \"x\" {\n    include \"a.kdl\"\n}\n",
        "a.kdl" => "include \"b.kdl\"\n",
        "b.kdl" => "sysclt \"vm.swappiness\" \"1\"\nincldue \"c.kdl\"\n";
    duplicate_address_across_files_is_rejected:
        "host.kdl" => "host \"x\" {\n    include \"a.kdl\"\n    include \"b.kdl\"\n}\n",
        "a.kdl" => "sysctl \"vm.swappiness\" \"1\"\n",
        "b.kdl" => "sysctl \"vm.swappiness\" \"2\"\n";
    override_without_base_or_twice_is_rejected:
        "host.kdl" => "host \"x\" {\n    include \"a.kdl\"\n    sysctl \"vm.swappiness\" \"2\" override=#true\n    sysctl \"vm.swappiness\" \"3\" override=#true\n    sysctl \"vm.overcommit_memory\" \"1\" override=#true\n    sysctl \"vm.dirty_ratio\" \"1\" override=1\n}\n",
        "a.kdl" => "sysctl \"vm.swappiness\" \"1\"\n";
    missing_and_duplicate_profiles_are_rejected:
        "host.kdl" => "profile \"small\" {\n}\nprofile \"small\" {\n}\nhost \"x\" {\n    use \"smal\"\n}\n";
    cyclic_profiles_are_rejected:
        "host.kdl" => "profile \"a\" {\n    use \"b\"\n}\nprofile \"b\" {\n    use \"a\"\n}\nhost \"x\" {\n    use \"a\"\n}\n";
    error_in_profile_is_rejected:
        "host.kdl" => "var \"mode\" default=\"1\"\nprofile \"a\" {\n    directory \"/a\" mode=(var)\"mode\"\n}\nhost \"x\" {\n    use \"a\"\n}\n";
    misplaced_keywords_are_rejected:
        "host.kdl" => "use \"a\"\nwhen fact=\"cloud\" is=\"azure\" {\n    directory \"/a\"\n}\nhost \"x\" {\n    var \"a\" default=\"b\"\n    profile \"c\" {\n    }\n    include\n    include \"a.kdl\" \"b.kdl\"\n    include (var)\"a\"\n    use \"x\" {\n        directory \"/a\"\n    }\n}\n";
    numeric_host_name_is_rejected:
        "host.kdl" => "host (fact)\"memory\" {\n}\n";
    needs_of_undeclared_resource_is_rejected:
        "host.kdl" => "host \"x\" {\n    include \"a.kdl\"\n    directory \"/srv\"\n}\n",
        "a.kdl" => "file \"/srv/x\" needs=\"directory:/srb\"\n";
    errors_in_several_files_are_all_reported:
        "host.kdl" => "var \"a\" default=1\nhost \"x\" {\n    include \"a.kdl\"\n    include \"b.kdl\"\n    directory \"c\"\n}\n",
        "a.kdl" => "directory \"/a\" mod=\"0755\"\nsysctl \"vm.swappiness\" (var)\"a\"\n",
        "b.kdl" => "file \"/b\" mode=9\n";
}

#[test]
fn overlong_chain_of_uses_or_variables_is_rejected() {
    use std::fmt::Write;

    let mut profiles = String::new();
    let mut variables = String::new();
    for number in 0..20_000 {
        let next = number + 1;
        writeln!(
            profiles,
            "profile \"p{number}\" {{\n    use \"p{next}\"\n}}"
        )
        .unwrap();
        writeln!(variables, "var \"v{number}\" default=(var)\"v{next}\"").unwrap();
    }
    profiles += "profile \"p20000\" {\n}\nhost \"x\" {\n    use \"p0\"\n}\n";
    variables +=
        "var \"v20000\" default=\"0644\"\nhost \"x\" {\n    file \"/a\" mode=(var)\"v0\"\n}\n";
    let said = validation_error(&[("host.kdl", &profiles)], &[]);
    assert!(said.contains("more than 128 includes, profiles and conditions are nested"));
    let said = validation_error(&[("host.kdl", &variables)], &[]);
    assert!(said.contains("more than 32 variables refer to one another"));
}
