//! The JSON documents that stead prints, besides the plan itself, and the schema of them all.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use serde_with::skip_serializing_none;
use stead_engine::{
    history::journal::Outcome,
    import::{coverage::Coverage, importer::Imported},
    language::error::SpecError,
    model::facts::Facts,
    plan::document::Plan,
    rehearsal::report::Rehearsal,
    run::event::Event,
};
use stead_resources::doctor::finding::DoctorReport;

/// What went wrong, as data.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ErrorDocument {
    /// `stead.error/1`.
    format: String,
    /// The exit code of the process.
    exit: u8,
    /// All that went wrong; never empty.
    errors: Vec<ErrorEntry>,
}

/// One thing that went wrong.
#[skip_serializing_none]
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ErrorEntry {
    /// A stable code, for mistakes in a spec.
    #[serde(default)]
    pub(crate) code: Option<String>,
    /// The fact.
    pub(crate) message: String,
    /// What caused it, from the general to the particular.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) causes: Vec<String>,
    /// What to do about it.
    #[serde(default)]
    pub(crate) help: Option<String>,
    /// Where in the spec, the main place first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) labels: Vec<Label>,
}

/// A place in a spec.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Label {
    /// The file, as it was named.
    file: String,
    /// The line, counted from 1.
    line: usize,
    /// The column in characters, counted from 1.
    column: usize,
    /// The first byte.
    offset: usize,
    /// Bytes.
    length: usize,
    /// What is to be said there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    text: String,
}

/// A host, written down.
#[skip_serializing_none]
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ImportDocument {
    /// `stead.import/1`.
    format: String,
    /// What became of everything, by kind.
    coverage: Coverage,
    /// The spec.
    spec: String,
    /// The spec of what concerns this machine alone, if that is one of its own.
    #[serde(default)]
    #[serde(rename = "own")]
    machine_spec: Option<String>,
}

/// What a look at a host has found.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DoctorDocument {
    /// `stead.doctor/1`.
    format: String,
    #[serde(flatten)]
    examination: DoctorReport,
}

/// What a spec may ask about a host.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct FactsDocument {
    /// `stead.facts/1`.
    format: String,
    /// The facts, by name: numbers and texts.
    pub(crate) facts: Facts,
}

/// What came of trying a spec on a clone.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RehearsalDocument {
    /// `stead.rehearsal/1`.
    format: String,
    /// Whether all that was asked for holds.
    #[serde(rename = "holds")]
    succeeded: bool,
    #[serde(flatten)]
    rehearsal: Rehearsal,
}

/// One line of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EventDocument {
    /// `stead.event/1`.
    format: String,
    #[serde(flatten)]
    line: Line,
}

/// What a line of a run says.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Line {
    /// Something happened.
    Event(Event),
    /// The last line, or that of an interrupted run that was put back first.
    Final(FinalEvent),
}

/// How a run ended.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[schemars(rename = "Last")]
pub(crate) enum FinalEvent {
    /// It ended so.
    Outcome {
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// An interrupted run was put back so.
    Recovered {
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// There was nothing to do.
    Unchanged,
}

impl ErrorDocument {
    pub(crate) fn new(exit: u8, errors: Vec<ErrorEntry>) -> Self {
        Self {
            format: "stead.error/1".to_owned(),
            exit,
            errors,
        }
    }

    pub(crate) fn text(&self) -> String {
        to_json_line(self)
    }
}

impl ImportDocument {
    pub(crate) fn text(imported: &Imported) -> String {
        to_json_line(&Self {
            format: "stead.import/1".to_owned(),
            coverage: imported.coverage.clone(),
            spec: imported.spec.clone(),
            machine_spec: imported.machine_spec.clone(),
        })
    }
}

impl DoctorDocument {
    pub(crate) fn text(examination: DoctorReport) -> String {
        to_json_line(&Self {
            format: "stead.doctor/1".to_owned(),
            examination,
        })
    }
}

impl FactsDocument {
    const FORMAT: &str = "stead.facts/1";

    pub(crate) fn text(facts: Facts) -> String {
        let document = Self {
            format: Self::FORMAT.to_owned(),
            facts,
        };
        serde_json::to_string_pretty(&document).expect("documents have string keys") + "\n"
    }

    /// Whether this version reads it.
    pub(crate) fn is_known(&self) -> bool {
        self.format == Self::FORMAT
    }
}

impl RehearsalDocument {
    pub(crate) fn text(rehearsal: Rehearsal) -> String {
        to_json_line(&Self {
            format: "stead.rehearsal/1".to_owned(),
            succeeded: rehearsal.succeeded(),
            rehearsal,
        })
    }
}

impl EventDocument {
    pub(crate) fn json_line(line: Line) -> String {
        to_json_line(&Self {
            format: "stead.event/1".to_owned(),
            line,
        })
    }
}

impl From<&SpecError> for ErrorEntry {
    fn from(error: &SpecError) -> Self {
        let labels = error.places().into_iter().map(|(span, text)| Label {
            file: span.source.path.display().to_string(),
            line: span.line(),
            column: span.column(),
            offset: span.offset,
            length: span.length,
            text,
        });
        Self {
            code: Some(error.code.to_owned()),
            message: error.message.clone(),
            causes: vec![],
            help: error.help.clone(),
            labels: labels.collect(),
        }
    }
}

fn to_json_line(document: &impl Serialize) -> String {
    let text = serde_json::to_string(document).expect("documents have string keys");
    text + "\n"
}

/// Returns the JSON Schema of all documents.
pub(crate) fn schema() -> String {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let documents = json!({
        "stead.plan/1": schema_ref::<Plan>(&mut generator),
        "stead.event/1": schema_ref::<EventDocument>(&mut generator),
        "stead.doctor/1": schema_ref::<DoctorDocument>(&mut generator),
        "stead.facts/1": schema_ref::<FactsDocument>(&mut generator),
        "stead.rehearsal/1": schema_ref::<RehearsalDocument>(&mut generator),
        "stead.import/1": schema_ref::<ImportDocument>(&mut generator),
        "stead.error/1": schema_ref::<ErrorDocument>(&mut generator),
    });
    let definitions: Map<String, Value> = generator.take_definitions(true);
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Documents that stead prints, by their format",
        "oneOf": documents.as_object().into_iter().flat_map(Map::values).collect::<Vec<_>>(),
        "$defs": definitions,
    });
    format!("{schema:#}\n")
}

fn schema_ref<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

#[cfg(test)]
mod tests {
    #[test]
    fn schema_matches_the_file_in_the_repository() {
        let kept = include_str!("../schema/stead.json");
        assert_eq!(
            super::schema(),
            kept,
            "write it anew: `stead kinds --schema > crates/cli/schema/stead.json`"
        );
    }
}
