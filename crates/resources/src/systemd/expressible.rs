//! Whether a spec can express the files of a unit.

use stead_engine::language::print::is_representable;

use crate::{
    host::{HostError, Reader},
    systemd::{
        check::{check_consistency, check_drop_ins, check_text},
        files::{AdminFiles, UnitFile, drop_in_dir},
        name::UnitName,
        state::UnitState,
        text::UnitText,
    },
};

/// Whether import writes the files of a unit as those of a `unit`, and not as files: all of them, or none.
pub(crate) fn is_expressible(host: &Reader, name: &str) -> Result<bool, HostError> {
    if UnitName::parse(name).is_err() || !host.has_systemd()? {
        return Ok(false);
    }
    let own = match AdminFiles::read(host, name) {
        Err(HostError::ThroughSymlink { .. }) => return Ok(false),
        own => own?,
    };
    let mut names = host
        .list_dir(&drop_in_dir(name))?
        .into_iter()
        .filter_map(|name| name.into_string().ok());
    let has_other_files = names.any(|file| file.strip_suffix(".conf").is_none());
    let state = UnitState {
        content: own.content,
        drop_ins: own.drop_ins,
        access: (!own.access.is_empty()).then_some(own.access),
        masked: Some(own.is_masked),
        ..UnitState::default()
    };
    Ok(!has_other_files && are_files_representable(name, &state))
}

/// Whether a spec can say what is in the files of a unit.
pub(crate) fn are_files_representable(name: &str, state: &UnitState) -> bool {
    let (Some(content), Some(drop_ins)) = (&state.content, &state.drop_ins) else {
        return false;
    };
    let is_text = |file: &UnitFile| file.text().is_some_and(is_representable);
    let is_nothing = *content == UnitFile::ABSENT;
    let is_plain = (is_nothing || is_text(content))
        && drop_ins.values().flatten().all(is_text)
        && state.access.is_none();
    let files = UnitState {
        content: (!is_nothing).then(|| content.clone()),
        drop_ins: Some(drop_ins.clone()),
        masked: state.masked,
        ..UnitState::default()
    };
    // A unit file with `Also=` says of others whether they are enabled.
    let text = content.text().unwrap_or_default();
    let says_of_others = !UnitText::parse([text]).also_units().is_empty();
    is_plain && !says_of_others && is_consistent(name, &files)
}

/// Whether a wish contradicts neither itself nor its name.
pub(crate) fn is_consistent(name: &str, wish: &UnitState) -> bool {
    let content = wish.content.as_ref().and_then(UnitFile::text);
    let text = UnitText::parse(content);
    check_consistency(name, wish).is_empty()
        && check_drop_ins(wish).is_empty()
        && (content.is_none() || check_text(name, wish, &text).is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SERVICE: &str = "[Service]\nExecStart=/bin/x\n[Install]\nWantedBy=multi-user.target\n";

    fn check(name: &str, state: Value, expected: bool) {
        let text = state.to_string();
        let state = serde_json::from_value(state).unwrap();
        assert_eq!(are_files_representable(name, &state), expected, "{text}");
    }

    #[test]
    fn unit_files_that_no_spec_can_state_are_inexpressible() {
        let nothing = json!({"unset": true});
        let access = json!({"/x": {"mode": 384, "uid": 0, "gid": 0, "xattrs": null}});
        check(
            "a.service",
            json!({"content": SERVICE, "drop-ins": {}}),
            true,
        );
        check(
            "a.service",
            json!({"content": nothing, "drop-ins": {"10-x": "[Service]\nNice=1\n"}}),
            true,
        );
        check(
            "a.service",
            json!({"content": SERVICE, "drop-ins": {}, "access": access}),
            false,
        );
        check("a.service", json!({"content": "", "drop-ins": {}}), false);
        check(
            "a.service",
            json!({"content": "[Service]\nNice=1\n", "drop-ins": {}}),
            false,
        );
        check(
            "a.service",
            json!({"content": format!("{SERVICE}Also=b.service\n"), "drop-ins": {}}),
            false,
        );
        check(
            "a.service",
            json!({"content": nothing, "drop-ins": {"10-x": {"link": "/dev/null"}}}),
            false,
        );
        check("a.service", json!({"drop-ins": {}}), false);
    }
}
