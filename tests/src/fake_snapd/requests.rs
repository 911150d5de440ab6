//! What may stand in a request: every other field, and every field of another type, is refused.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    extract::{FromRequest, Multipart, Request},
    http::header::CONTENT_TYPE,
};
use serde_json::{Map, Value};

/// A change of one snap.
#[derive(Debug, Clone, Default)]
pub(super) struct Action {
    pub(super) name: String,
    pub(super) fields: Map<String, Value>,
}

impl Action {
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field)?.as_str()
    }

    pub(super) fn is_true(&self, field: &str) -> bool {
        self.fields.get(field) == Some(&Value::Bool(true))
    }
}

/// A snap that comes as a file.
#[derive(Debug, Clone)]
pub(super) struct Sideload {
    pub(super) name: String,
    pub(super) dangerous: bool,
    pub(super) classic: bool,
}

/// A change of services.
#[derive(Debug, Clone)]
pub(super) struct Services {
    pub(super) action: String,
    pub(super) names: Vec<String>,
    pub(super) persistent: bool,
}

#[derive(Debug, Clone, Copy)]
enum Type {
    Text,
    Flag,
}

/// Fields of each action beside `action`: `docs/api/v2/paths/snaps-name.yaml` and `daemon/api_snaps.go` of snapd.
const ACTIONS: [(&str, &[(&str, Type)]); 9] = {
    use Type::{Flag, Text};
    [
        (
            "install",
            &[
                ("channel", Text),
                ("revision", Text),
                ("cohort-key", Text),
                ("devmode", Flag),
                ("jailmode", Flag),
                ("classic", Flag),
                ("ignore-validation", Flag),
                ("unaliased", Flag),
                ("prefer", Flag),
                ("transaction", Text),
                ("quota-group", Text),
            ],
        ),
        (
            "refresh",
            &[
                ("channel", Text),
                ("revision", Text),
                ("cohort-key", Text),
                ("leave-cohort", Flag),
                ("devmode", Flag),
                ("jailmode", Flag),
                ("classic", Flag),
                ("ignore-validation", Flag),
                ("ignore-running", Flag),
                ("amend", Flag),
                ("transaction", Text),
            ],
        ),
        (
            "remove",
            &[("revision", Text), ("purge", Flag), ("terminate", Flag)],
        ),
        (
            "revert",
            &[
                ("revision", Text),
                ("devmode", Flag),
                ("jailmode", Flag),
                ("classic", Flag),
                ("ignore-validation", Flag),
            ],
        ),
        ("enable", &[]),
        ("disable", &[]),
        (
            "switch",
            &[
                ("channel", Text),
                ("cohort-key", Text),
                ("leave-cohort", Flag),
            ],
        ),
        ("hold", &[("time", Text), ("hold-level", Text)]),
        ("unhold", &[]),
    ]
};

/// Reads the body of a change of one snap.
pub(super) fn action(body: &[u8]) -> Result<Action, String> {
    let mut fields = object(body)?;
    let name = match fields.remove("action") {
        Some(Value::String(name)) => name,
        other => return Err(format!("`action` is {other:?}")),
    };
    let (_, known) = ACTIONS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| format!("unknown action `{name}`"))?;
    for (field, value) in &fields {
        let kind = known.iter().find(|(known, _)| known == field);
        let (_, kind) = kind.ok_or_else(|| format!("`{name}` has no field `{field}`"))?;
        let fits = match kind {
            Type::Text => value.as_str().is_some_and(|text| !text.is_empty()),
            Type::Flag => value.is_boolean(),
        };
        if !fits {
            return Err(format!("`{field}` must not be {value}"));
        }
    }
    if fields.contains_key("cohort-key") && fields.contains_key("revision") {
        return Err("`cohort-key` and `revision` exclude each other".to_owned());
    }
    if name == "hold" && !(fields.contains_key("time") && fields.contains_key("hold-level")) {
        return Err("`hold` needs `time` and `hold-level`".to_owned());
    }
    if let Some(time) = fields.get("time").and_then(Value::as_str)
        && time != "forever"
        && time.parse::<jiff::Timestamp>().is_err()
    {
        return Err(format!("`time` is neither `forever` nor RFC 3339: {time}"));
    }
    if let Some(level) = fields.get("hold-level").and_then(Value::as_str)
        && !["auto-refresh", "general"].contains(&level)
    {
        return Err(format!("unknown `hold-level` {level}"));
    }
    Ok(Action { name, fields })
}

/// Reads the question what the store would send for a snap, and returns the name of the snap beside what is wanted of it.
pub(super) fn header_peek(body: &[u8]) -> Result<(String, Action), String> {
    let mut fields = object(body)?;
    if fields.remove("header-peek") != Some(Value::Bool(true)) {
        return Err("`header-peek` is not true".to_owned());
    }
    let name = match fields.remove("snap-name") {
        Some(Value::String(name)) if !name.is_empty() => name,
        other => return Err(format!("`snap-name` is {other:?}")),
    };
    for (field, value) in &fields {
        let is_known = ["channel", "revision", "cohort-key"].contains(&field.as_str());
        if !is_known || value.as_str().is_none_or(str::is_empty) {
            return Err(format!("`{field}` must not be {value}"));
        }
    }
    let action = Action {
        name: "download".to_owned(),
        fields,
    };
    Ok((name, action))
}

/// Reads the body of a change of services.
pub(super) fn services(body: &[u8]) -> Result<Services, String> {
    let mut fields = object(body)?;
    let action = match fields.remove("action") {
        Some(Value::String(action)) if ["start", "stop", "restart"].contains(&action.as_str()) => {
            action
        }
        other => return Err(format!("`action` is {other:?}")),
    };
    let names = match fields
        .remove("names")
        .map(serde_json::from_value::<Vec<String>>)
    {
        Some(Ok(names)) if !names.is_empty() => names,
        other => return Err(format!("`names` is {other:?}")),
    };
    let own = match action.as_str() {
        "start" => "enable",
        "stop" => "disable",
        _ => "reload",
    };
    let persistent = match fields.remove(own) {
        None => false,
        Some(Value::Bool(flag)) => flag,
        Some(other) => return Err(format!("`{own}` must not be {other}")),
    };
    match fields.keys().next() {
        Some(field) => Err(format!("`{action}` has no field `{field}`")),
        None => Ok(Services {
            action,
            names,
            persistent,
        }),
    }
}

/// Reads a snap that comes as a file, in parts. Booleans are the text `true`.
pub(super) async fn sideload(request: Request) -> Result<Sideload, String> {
    let with_boundary = request.headers().get(CONTENT_TYPE).is_some();
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(|error| format!("{error} (content type: {with_boundary})"))?;
    let (mut file, mut flags) = (None, BTreeSet::new());
    while let Some(part) = parts
        .next_field()
        .await
        .map_err(|error| error.to_string())?
    {
        let name = part.name().unwrap_or_default().to_owned();
        let file_name = part.file_name().map(str::to_owned);
        let bytes = part.bytes().await.map_err(|error| error.to_string())?;
        match (name.as_str(), file_name) {
            ("snap", Some(file_name)) if file.is_none() && !bytes.is_empty() => {
                file = Some(file_name);
            }
            ("action", None) if *bytes == *b"install" => {}
            ("dangerous" | "classic" | "devmode" | "jailmode" | "ignore-running", None)
                if *bytes == *b"true" =>
            {
                flags.insert(name);
            }
            (name, file_name) => {
                return Err(format!(
                    "part `{name}` (file name {file_name:?}) does not fit"
                ));
            }
        }
    }
    let file = file.ok_or("no part `snap` with a file")?;
    let stem = file.strip_suffix(".snap").unwrap_or(&file);
    Ok(Sideload {
        name: stem.split('_').next().unwrap_or(stem).to_owned(),
        dangerous: flags.contains("dangerous") || flags.contains("devmode"),
        classic: flags.contains("classic"),
    })
}

/// Refuses parameters of a query that are not known.
pub(super) fn parameters(given: &BTreeMap<String, String>, known: &[&str]) -> Result<(), String> {
    match given.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("unknown parameter `{name}`")),
        None => Ok(()),
    }
}

fn object(body: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        _ => Err("the body is no JSON object".to_owned()),
    }
}
