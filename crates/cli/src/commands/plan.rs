//! `stead plan`.

use std::{io::Write, os::unix::fs::OpenOptionsExt, path::Path, time::Instant};

use stead_engine::{plan, recover::Newest, state_folder::StateFolder, window::Stage};

use super::apply::scope;
use crate::{
    args::Plan,
    exit::Exit,
    failure::Failure,
    render,
    session::{Session, Told, spec_path},
};

/// Shows what would change; writes nothing but the file that was asked for.
pub(crate) fn plan(session: &Session, args: &Plan) -> Result<Exit, Failure> {
    let path = spec_path(args.spec.spec.as_deref())?;
    let graph = session.graph(&path, &Told::of(&args.spec.values)?, &args.only.only)?;
    let begin = Instant::now();
    let plan = session.plan(&graph)?.scoped(scope(&args.only.only));
    let time = begin.elapsed();
    if let Some(out) = &args.out {
        save(out, &plan)?;
    }
    if args.json {
        let document = serde_json::to_string_pretty(&plan).expect("a plan has string keys");
        render::data(&format!("{document}\n"));
    } else if plan.is_empty() {
        render::page(&render::no_changes(&plan, &path, time));
    } else {
        render::page(&session.page_of(&plan));
        match &args.out {
            Some(out) => render::message(&format!(
                "Saved; `stead apply {}` carries it out.\n",
                out.display()
            )),
            None => render::message(&format!(
                "`stead apply {}` carries it out.\n",
                path.display()
            )),
        }
    }
    // Without root the runs cannot be read, and then there is nothing to say about them.
    if let Ok(Some(Newest { run, stage, .. })) = Newest::find(&StateFolder::at(&session.state)) {
        let what = match stage {
            Stage::Ended(_) => None,
            Stage::Pending(_) => Some(
                "waits to be confirmed: `stead confirm` keeps it, `stead revert` takes it back",
            ),
            Stage::Begun | Stage::GoingBack { .. } => Some(
                "has not ended. If it is not under way, it was interrupted: `stead recover` puts the host back",
            ),
        };
        if let Some(what) = what {
            let note = render::paint::warning("note:");
            render::message(&format!("{note} run {run} {what}.\n"));
        }
    }
    Ok(if plan.is_empty() {
        Exit::Done
    } else {
        Exit::Pending
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the saved plan is output, not the host"
)]
fn save(path: &Path, plan: &plan::Plan) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::Failed,
            format!("cannot save `{}`: {error}", path.display()),
            "name another file",
        )
    };
    let document = serde_json::to_vec_pretty(plan).expect("a plan has string keys");
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.stead-new"));
    let write = || {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
            .open(&temporary)?;
        file.write_all(&document)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(failed)
}
