//! `stead apply`.

use std::{path::Path, time::Instant};

use stead_engine::{
    plan::document::{FORMAT, Plan},
    run::recover::Persistence,
};

use crate::{
    args::{Apply, scope},
    context::{Session, Wish},
    error::Failure,
    exit::Exit,
    render,
    run::executor::Bench,
    spec_input::{SpecTexts, Told, read_input, spec_path},
};

/// Plans, asks, applies and verifies.
pub(crate) fn apply(session: &Session, args: &Apply) -> Result<Exit, Failure> {
    let path = spec_path(args.spec.as_deref())?;
    let input = Input::read(session, &path, args)?;
    session.must_be_root("apply")?;
    let bench = Bench::set_up(session, args.consent.json)?;
    if let Some(outcome) = bench.recover(Persistence::TriesAgain)?
        && Exit::from(&outcome) == Exit::Residue
    {
        return Ok(Exit::Residue);
    }
    let begin = Instant::now();
    let (plan, origin) = match input {
        Input::Saved(plan) => (*plan, None),
        Input::Spec(wish) => {
            let (plan, origin) = session.plan_wish(wish)?;
            (plan.scoped(scope(&args.only.only)), origin)
        }
    };
    let bench = bench.keeping(origin);
    if plan.is_empty() {
        if !args.consent.json {
            render::page(&render::no_changes(&plan, &path, begin.elapsed()));
        }
        bench.end_unchanged(&plan);
        return Ok(Exit::Done);
    }
    refuse_too_costly(&plan, args)?;
    bench.carry_out(&plan, &args.consent)
}

/// What `apply` was given.
enum Input {
    Saved(Box<Plan>),
    Spec(Wish),
}

impl Input {
    fn read(session: &Session, path: &Path, args: &Apply) -> Result<Self, Failure> {
        let bytes = read_input(path)?;
        let Some(plan) = saved_plan(path, &bytes)? else {
            let told = Told::of(&args.values)?;
            let texts = SpecTexts::of(path, bytes)?;
            return Ok(Self::Spec(session.wish(texts, told, &args.only.only)?));
        };
        if !args.only.only.is_empty() {
            return Err(Failure::usage(
                "`--only` cannot be used with a saved plan",
                "plan again with `--only`",
            ));
        }
        if !args.values.is_empty() {
            return Err(Failure::usage(
                "`--var` and `--vars` cannot be used with a saved plan",
                "plan again with `--var`",
            ));
        }
        Ok(Self::Saved(Box::new(plan)))
    }
}

/// Returns the plan that the bytes of a file are, if they are one.
fn saved_plan(path: &Path, bytes: &[u8]) -> Result<Option<Plan>, Failure> {
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Ok(None);
    }
    let failed = |fault: String| {
        Failure::usage(
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

fn refuse_too_costly(plan: &Plan, args: &Apply) -> Result<(), Failure> {
    if let Some(limit) = args
        .max_download
        .filter(|limit| plan.summary.download > *limit)
    {
        let message = format!(
            "the plan downloads {} bytes, more than the {limit} allowed",
            plan.summary.download
        );
        return Err(Failure::new(
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
        return Err(Failure::new(
            Exit::Failed,
            message,
            "nothing was done; raise `--max-restarts`",
        ));
    }
    Ok(())
}
