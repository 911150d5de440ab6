//! `stead apply`.

use std::{path::Path, time::Instant};

use stead_engine::{
    plan::document::{FORMAT, Plan},
    run::recover::OnResidue,
};

use crate::{
    args::{ApplyArgs, scope},
    context::{Context, SpecRequest},
    error::CommandError,
    exit::Exit,
    render,
    run::executor::LockedRunner,
    spec_input::{SpecOverrides, SpecTexts, find_spec, read_input},
};

/// Plans, asks, applies and verifies.
pub(crate) fn apply(context: &Context, args: &ApplyArgs) -> Result<Exit, CommandError> {
    let path = find_spec(args.spec.as_deref())?;
    let input = Input::read(context, &path, args)?;
    context.require_root("apply")?;
    let bench = LockedRunner::lock(context, args.options.json)?;
    if let Some(outcome) = bench.recover(OnResidue::Retry)?
        && Exit::from(&outcome) == Exit::Residue
    {
        return Ok(Exit::Residue);
    }
    let begin = Instant::now();
    let (plan, origin) = match input {
        Input::Saved(plan) => (*plan, None),
        Input::Spec(request) => {
            let (plan, origin) = context.plan_request(request)?;
            (plan.with_scope(scope(&args.selection.only)), origin)
        }
    };
    let bench = bench.with_spec_origin(origin);
    if plan.is_empty() {
        if !args.options.json {
            render::print_text(&render::no_changes(&plan, &path, begin.elapsed()));
        }
        bench.end_unchanged(&plan);
        return Ok(Exit::Done);
    }
    refuse_too_costly(&plan, args)?;
    bench.execute(&plan, &args.options)
}

/// What `apply` was given.
enum Input {
    Saved(Box<Plan>),
    Spec(SpecRequest),
}

impl Input {
    fn read(context: &Context, path: &Path, args: &ApplyArgs) -> Result<Self, CommandError> {
        let bytes = read_input(path)?;
        let Some(plan) = read_saved_plan(path, &bytes)? else {
            let overrides = SpecOverrides::of(&args.values)?;
            let texts = SpecTexts::of(path, bytes)?;
            return Ok(Self::Spec(context.load_spec(
                texts,
                overrides,
                &args.selection.only,
            )?));
        };
        if !args.selection.only.is_empty() {
            return Err(CommandError::usage(
                "`--only` cannot be used with a saved plan",
                "plan again with `--only`",
            ));
        }
        if !args.values.is_empty() {
            return Err(CommandError::usage(
                "`--var` and `--vars` cannot be used with a saved plan",
                "plan again with `--var`",
            ));
        }
        Ok(Self::Saved(Box::new(plan)))
    }
}

/// Returns the plan that the bytes of a file are, if they are one.
fn read_saved_plan(path: &Path, bytes: &[u8]) -> Result<Option<Plan>, CommandError> {
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Ok(None);
    }
    let failed = |fault: String| {
        CommandError::usage(
            format!(
                "`{}` is not a plan that this version of stead can read: {fault}",
                path.display()
            ),
            "create it again with `stead plan --out FILE`",
        )
    };
    let document: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| failed(error.to_string()))?;
    match document["format"].as_str() {
        Some(FORMAT) => serde_json::from_value(document)
            .map(Some)
            .map_err(|error| failed(error.to_string())),
        Some(other) => Err(failed(format!("its format is `{other}`, not `{FORMAT}`"))),
        None => Err(failed("it has no format".to_owned())),
    }
}

fn refuse_too_costly(plan: &Plan, args: &ApplyArgs) -> Result<(), CommandError> {
    if let Some(limit) = args
        .max_download
        .filter(|limit| plan.summary.download > *limit)
    {
        let message = format!(
            "the plan downloads {} bytes, more than the {limit} allowed",
            plan.summary.download
        );
        return Err(CommandError::new(
            Exit::Failed,
            message,
            "nothing was done; raise `--max-download`",
        ));
    }
    if let Some(limit) = args
        .max_restarts
        .filter(|limit| plan.summary.restarts > *limit)
    {
        let message = format!(
            "the plan restarts {} services, more than the {limit} allowed",
            plan.summary.restarts
        );
        return Err(CommandError::new(
            Exit::Failed,
            message,
            "nothing was done; raise `--max-restarts`",
        ));
    }
    Ok(())
}
