//! The resolved values of a spec: of variables, of the environment, of facts.

use std::{
    cell::{OnceCell, RefCell},
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kdl::{KdlEntry, KdlValue};

use crate::{
    language::{
        assignment::AssignedValue,
        error::SpecError,
        inputs::SpecInputs,
        provenance::ValueOrigin,
        source::{Source, Span},
        spans::{entry_span, value_span},
        variable::{VariableDecl, override_without_base, unknown_annotation},
    },
    model::{
        facts::{Fact, Facts},
        suggest,
    },
};

/// The most variables of which each is the default of the one before.
const MAX_NESTING: usize = 32;

/// A value and where it comes from, the nearest first.
pub(crate) type ResolvedValue = (KdlValue, Vec<(Span, String)>);

/// The variables of a spec, the environment and the facts.
pub(crate) struct Bindings<'a> {
    declared: BTreeMap<String, VariableDecl>,
    inputs: &'a SpecInputs<'a>,
    facts: OnceCell<Facts>,
    /// What was asked for of the environment and of the facts, with the answers.
    lookups: RefCell<(BTreeMap<String, String>, BTreeMap<String, Fact>)>,
}

impl<'a> Bindings<'a> {
    /// Gathers declarations; says which clash.
    pub(crate) fn new(
        declared: impl IntoIterator<Item = VariableDecl>,
        inputs: &'a SpecInputs<'a>,
        errors: &mut Vec<SpecError>,
    ) -> Self {
        let mut plain: BTreeMap<String, VariableDecl> = BTreeMap::new();
        let mut overrides: BTreeMap<String, VariableDecl> = BTreeMap::new();
        for one in declared {
            let among = if one.is_override.is_some() {
                &mut overrides
            } else {
                &mut plain
            };
            match among.get(&one.name) {
                None => drop(among.insert(one.name.clone(), one)),
                Some(first) => errors.push(
                    SpecError::new(
                        "spec::duplicate",
                        format!("the variable `{}` is declared twice", one.name),
                        one.span,
                    )
                    .label(first.span.clone(), "first here")
                    .help("keep one of them, or write `override=#true` on the one that applies"),
                ),
            }
        }
        for (name, one) in overrides {
            match plain.get(&name) {
                Some(base) => {
                    let r#type = one.r#type.or(Some(base.r#type()));
                    plain.insert(name, VariableDecl { r#type, ..one });
                }
                None => errors.push(override_without_base(
                    &format!("the variable `{name}`"),
                    one.is_override.expect("kept among the overrides"),
                )),
            }
        }
        Self {
            declared: plain,
            inputs,
            facts: OnceCell::new(),
            lookups: RefCell::default(),
        }
    }

    /// Returns what was asked for so far, with the answers.
    pub(crate) fn lookups(&self) -> (BTreeMap<String, String>, BTreeMap<String, Fact>) {
        self.lookups.take()
    }

    /// Finds variables that nothing asks for, that are asked for and not declared, and values that no variable takes.
    pub(crate) fn check(&self, variable_uses: &[(String, Span)]) -> Vec<SpecError> {
        let mut errors = vec![];
        let mentioned: BTreeSet<&str> = variable_uses
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        let names = || self.declared.keys().map(String::as_str);
        let undeclared = |name: &str, span: &Span| {
            SpecError::new(
                "spec::var",
                format!("the variable `{name}` is not declared"),
                span.clone(),
            )
            .help(match suggest::nearest(name, names()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("write `var \"{name}\"` beside `host`"),
            })
        };
        for (name, span) in variable_uses {
            if !self.declared.contains_key(name) {
                errors.push(undeclared(name, span));
            }
        }
        for given in self.inputs.assignments {
            if !self.declared.contains_key(&given.name) {
                errors.push(undeclared(&given.name, &given.name_span));
            }
        }
        for (name, one) in &self.declared {
            if !mentioned.contains(name.as_str()) {
                errors.push(
                    SpecError::new(
                        "spec::var-unused",
                        format!("the variable `{name}` is not used"),
                        one.span.clone(),
                    )
                    .help(format!(
                        "write `(var)\"{name}\"` where its value belongs, or remove it"
                    )),
                );
            }
        }
        errors
    }

    /// Returns the value of a variable.
    pub(crate) fn variable(&self, name: &str, at: &Span) -> Result<ResolvedValue, SpecError> {
        self.resolve_variable(name, at, &mut vec![])
    }

    fn resolve_variable<'v>(
        &'v self,
        name: &str,
        at: &Span,
        within: &mut Vec<&'v str>,
    ) -> Result<ResolvedValue, SpecError> {
        let (name, one) = self
            .declared
            .get_key_value(name)
            .expect("a spec with a name that is not declared is not resolved");
        if within.contains(&name.as_str()) {
            let names = within.iter().map(|name| format!("`{name}`"));
            let path: Vec<_> = names.chain([format!("`{name}`")]).collect();
            return Err(SpecError::new(
                "spec::var",
                format!(
                    "the variable `{name}` refers to itself: {}",
                    path.join(" → ")
                ),
                one.span.clone(),
            )
            .help("give one of them a value"));
        }
        if within.len() == MAX_NESTING {
            let fact = format!("more than {MAX_NESTING} variables refer to one another");
            return Err(SpecError::new("spec::too-deep", fact, one.span.clone())
                .help("give one of them a value"));
        }
        let given = self.inputs.assignments.iter().rev();
        if let Some(given) = given.into_iter().find(|given| given.name == *name) {
            let value = match &given.value {
                AssignedValue::Typed(value) => value.clone(),
                AssignedValue::Untyped(text) => {
                    let value = one.r#type().parse(text);
                    value.ok_or_else(|| one.type_mismatch(text, &given.span))?
                }
            };
            one.check(&value, &given.span)?;
            let said = format!("the variable `{name}` is set here");
            return Ok((value, vec![(given.span.clone(), said)]));
        }
        let Some(default) = &one.default else {
            return Err(SpecError::new(
                "spec::var-missing",
                format!("the variable `{name}` has no value"),
                at.clone(),
            )
            .label(one.span.clone(), "declared without a default here")
            .help(format!(
                "use `--var {name}=VALUE`, or write `default=` where it is declared"
            )));
        };
        let span = value_span(&one.source, default);
        within.push(name);
        let (value, from) = self.resolve_entry(&one.source, default, within)?;
        within.pop();
        one.check(&value, from.first().map_or(&span, |(span, _)| span))?;
        let mut chain = vec![(span, format!("the default of the variable `{name}`"))];
        chain.extend(from);
        Ok((value, chain))
    }

    /// Returns the value of an entry and where it comes from; nowhere if it is written itself.
    pub(crate) fn entry_value(
        &self,
        source: &Arc<Source>,
        entry: &KdlEntry,
    ) -> Result<ResolvedValue, SpecError> {
        self.resolve_entry(source, entry, &mut vec![])
    }

    fn resolve_entry<'v>(
        &'v self,
        source: &Arc<Source>,
        entry: &KdlEntry,
        within: &mut Vec<&'v str>,
    ) -> Result<ResolvedValue, SpecError> {
        let Some(annotation) = entry.ty() else {
            return Ok((entry.value().clone(), vec![]));
        };
        let span = value_span(source, entry);
        let Some(name) = entry.value().as_string() else {
            return Err(SpecError::new(
                "spec::annotation",
                format!("`({})` is followed by a name in quotes", annotation.value()),
                span,
            )
            .help(format!("write `({})\"NAME\"`", annotation.value())));
        };
        match annotation.value() {
            "var" => self.resolve_variable(name, &span, within),
            "fact" => self.fact(name, &span),
            "env" => self.environment(name, &span),
            other => Err(unknown_annotation(other, span)),
        }
    }

    fn environment(&self, name: &str, at: &Span) -> Result<ResolvedValue, SpecError> {
        let value = (self.inputs.environment)(name).ok_or_else(|| {
            SpecError::new(
                "spec::env",
                format!("the environment variable `{name}` is not set"),
                at.clone(),
            )
            .help(format!(
                "set it: `{name}=… stead plan`; with `sudo` add `--preserve-env={name}`"
            ))
        })?;
        let mut asked = self.lookups.borrow_mut();
        asked.0.insert(name.to_owned(), value.clone());
        let source = Arc::new(Source::of_value("environment", format!("{name}={value}")));
        let span = Span::new(&source, name.len() + 1..source.text.len());
        let said = "an environment variable".to_owned();
        Ok((KdlValue::String(value), vec![(span, said)]))
    }

    /// Returns a fact. The facts are read when the first is asked for.
    pub(crate) fn fact(&self, name: &str, at: &Span) -> Result<ResolvedValue, SpecError> {
        let facts = self.facts.get_or_init(self.inputs.facts);
        let Some(fact) = facts.0.get(name) else {
            let known = facts.0.keys().map(String::as_str);
            return Err(SpecError::new(
                "spec::fact",
                format!("there is no fact `{name}`"),
                at.clone(),
            )
            .help(suggest::did_you_mean("the facts are", name, known)));
        };
        let mut asked = self.lookups.borrow_mut();
        asked.1.insert(name.to_owned(), fact.clone());
        let value = match fact {
            Fact::Number(number) => KdlValue::Integer((*number).into()),
            Fact::Text(text) => KdlValue::String(text.clone()),
        };
        let source = Arc::new(Source::of_value("facts", format!("{name}={fact}")));
        let span = Span::new(&source, name.len() + 1..source.text.len());
        Ok((value, vec![(span, "a fact of this host".to_owned())]))
    }

    /// Puts the value into an entry that asks for one, and says where it comes from.
    pub(crate) fn substitute(
        &self,
        source: &Arc<Source>,
        entry: &mut KdlEntry,
    ) -> Result<ValueOrigin, SpecError> {
        let (value, from) = self.entry_value(source, entry)?;
        let origin = ValueOrigin {
            at: entry_span(source, entry),
            value: value.to_string(),
            from,
        };
        entry.set_value(value);
        Ok(origin)
    }
}
