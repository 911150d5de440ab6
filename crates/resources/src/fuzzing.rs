//! Entry points of the fuzz targets in `fuzz/`. Each function reads any bytes and panics if a property of the reader is broken.
//! It is no part of the interface of the crate.

use stead_engine::import::translate::ForeignSpec;

use crate::{
    foreign::{iptables, iptables_save::RulesFile},
    microk8s::args_file::{ArgsFile, Grammar, check_value},
    netfilter::{Family, Rule, SavedTables, TableVariant, quote, split_at_jump, split_saved},
};

/// Reads a spec with all kinds.
pub fn spec(bytes: &[u8]) {
    stead_engine::fuzzing::spec(bytes, &crate::registry());
}

/// Reads what `iptables-save` prints, from the kernel and as a file to import. The words of a rule that stead writes are the words
/// that it reads.
pub fn iptables_save(bytes: &[u8]) {
    let mut saved = SavedTables::parse(&String::from_utf8_lossy(bytes));
    for column in TableVariant::ALL {
        saved.name_foreign_rules(column);
        let _named = saved.rules_by_name();
    }
    let chains = saved.tables.values().flat_map(|chains| chains.values());
    for rule in chains.flat_map(|chain| &chain.rules) {
        let _split = split_at_jump(&rule.text);
        let Some(words) = split_saved(&rule.text) else {
            continue;
        };
        let written: Vec<String> = words.iter().map(|word| quote(word)).collect();
        assert_eq!(
            split_saved(&written.join(" ")),
            Some(words.clone()),
            "the words of `{}` change when they are written",
            rule.text
        );
        for family in [Family::Ipv4, Family::Ipv6] {
            let _rule = Rule::canonical(&words, family);
        }
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        if let Ok(file) = RulesFile::parse("rules", family, bytes) {
            iptables::add_to(&mut ForeignSpec::default(), vec![file], None);
        }
    }
}

/// Reads a file of arguments of `MicroK8s` and edits it. A flag that was set has its value, one that was removed is gone, and setting
/// it twice is setting it once.
pub fn args_file(bytes: &[u8]) {
    const NEW: &str = "v";
    let text = String::from_utf8_lossy(bytes);
    for grammar in [Grammar::Kubelite, Grammar::Shell] {
        let file = ArgsFile::parse(&text, grammar);
        let _contradictions = file.conflicting_flags();
        let flags = file.flags();
        let values = flags.values().rev().flatten().map(String::as_str);
        let values = values.chain([NEW]).cycle();
        for (name, value) in flags.keys().zip(values) {
            if is_name(name) && check_value(value, grammar).is_ok() {
                edit(&file, name, value, grammar);
            }
        }
    }
}

fn edit(file: &ArgsFile, name: &str, value: &str, grammar: Grammar) {
    let read = |file: &ArgsFile| ArgsFile::parse(&file.text(), grammar).flags();
    let mut edited = file.clone();
    edited.set(name, Some(value));
    assert_eq!(
        read(&edited).get(name),
        Some(&Some(value.to_owned())),
        "`{name}` has not the value that was set, {grammar:?}"
    );
    let once = edited.text();
    edited.set(name, Some(value));
    assert_eq!(edited.text(), once, "setting `{name}` twice, {grammar:?}");
    edited.unset(name);
    assert!(
        !read(&edited).contains_key(name),
        "`{name}` is still there, {grammar:?}"
    );
}

/// Whether a flag of a program may have this name.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}
