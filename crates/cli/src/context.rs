//! The context of every command: the host, the kinds and the state directory; and how it resolves and plans a spec.

use std::{
    cell::OnceCell,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use nix::unistd::geteuid;
use stead_engine::{
    drift::explain::explain,
    history::{
        spec_cache::{self, Asked},
        state_dir::StateFolder,
    },
    language::{
        assignment::Given,
        error::SpecErrors,
        inputs::{Read, Surroundings},
        resolve::resolve,
        source::Source,
        spec::{Basis, Spec},
    },
    model::{facts::Facts, suggest},
    plan::{
        document::{Plan, PlanError},
        graph::Graph,
        planner,
    },
    provider::registry::Registry,
};
use stead_resources::{
    facts::facts,
    host::{Live, Reader, Writer, landlock::read_only},
};
use tokio::runtime;
use tracing::{Instrument, debug_span};

use crate::{
    args::{Extent, Place},
    error::Failure,
    exit::Exit,
    render::{self, Detail},
    spec_input::{SpecTexts, Told, surrounded},
};

/// Where the state folder is.
const STATE: &str = "var/lib/stead";
/// Where the lock is.
const LOCK: &str = "run/stead/lock";
/// What every command works with.
pub(crate) struct Session {
    pub(crate) registry: Registry<Live>,
    pub(crate) root: PathBuf,
    pub(crate) state: PathBuf,
    /// How much of a plan is shown.
    detail: Detail,
}

/// What a spec asks for.
pub(crate) enum Wish {
    /// As the last apply kept it.
    Kept(KeptWish),
    /// As it was read now; of a whole spec with what it came from.
    Read(Box<Graph>, Option<Origin>),
}

/// What the last apply kept, and what it takes to resolve the spec after all.
pub(crate) struct KeptWish {
    asked: Asked,
    texts: SpecTexts,
    told: Told,
}

/// What a spec was resolved from.
pub(crate) struct Origin {
    basis: Basis,
    given: Vec<Given>,
}

impl Session {
    pub(crate) fn new(place: &Place, extent: Extent) -> Self {
        Self {
            registry: stead_resources::registry(),
            root: place.root.clone(),
            state: place
                .state_dir
                .clone()
                .unwrap_or_else(|| place.root.join(STATE)),
            detail: if extent.verbose {
                Detail::Whole
            } else {
                Detail::Folded
            },
        }
    }

    /// Shows a plan.
    pub(crate) fn page_of(&self, plan: &Plan) -> String {
        render::plan(&self.registry, plan, self.detail)
    }

    /// Returns the path of the lock.
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join(LOCK)
    }

    /// Makes the power to change the host.
    pub(crate) fn writer(&self) -> Writer {
        Writer::new(&self.root, &StateFolder::at(&self.state).blobs())
    }

    /// Says so when this user cannot change the host.
    pub(crate) fn must_be_root(&self, command: &str) -> Result<(), Failure> {
        if geteuid().is_root() || self.root != Path::new("/") {
            return Ok(());
        }
        let message = format!("`stead {command}` changes this host and needs root");
        Err(Failure::new(
            Exit::Failed,
            message,
            format!("run `sudo stead {command}`"),
        ))
    }

    /// Finds out what a spec asks for: from what the last apply kept if nothing of it has changed, else from its files.
    pub(crate) fn wish(
        &self,
        texts: SpecTexts,
        told: Told,
        only: &[String],
    ) -> Result<Wish, Failure> {
        if only.is_empty()
            && let Some(asked) = self.kept(&texts, &told)
        {
            return Ok(Wish::Kept(KeptWish { asked, texts, told }));
        }
        let mut spec = self.resolved(&texts, &told)?;
        let basis = std::mem::take(&mut spec.basis);
        let graph = Box::new(self.graph_of(spec, only)?);
        let basis = Origin {
            basis,
            given: told.given,
        };
        Ok(Wish::Read(graph, only.is_empty().then_some(basis)))
    }

    /// Finds what the last apply kept of a spec.
    fn kept(&self, texts: &SpecTexts, told: &Told) -> Option<Asked> {
        let state = StateFolder::at(&self.state);
        let facts = || self.facts().unwrap_or_default();
        let find = |surroundings: &Surroundings<'_>| {
            spec_cache::find(&state, &program()?, &texts.main, surroundings)
        };
        let read = |path: &Path| texts.included(path);
        debug_span!("kept spec").in_scope(|| surrounded(told, &read, &facts, find))
    }

    /// Keeps what a spec asks for that was read as a whole for a plan.
    pub(crate) fn keep(&self, origin: Option<&Origin>, plan: &Plan) {
        let state = StateFolder::at(&self.state);
        if let (Some(Origin { basis, given }), Some(program)) = (origin, program()) {
            // It only saves time: without it the files are read again.
            drop(spec_cache::keep(&state, &program, basis, given, plan));
        }
    }

    /// Reads and resolves a spec with what it is told.
    fn resolved(&self, texts: &SpecTexts, told: &Told) -> Result<Spec, Failure> {
        let unread = OnceCell::new();
        let facts = || {
            self.facts().unwrap_or_else(|failure| {
                // Whoever reads facts cannot fail but for want of a thread.
                drop(unread.set(failure));
                Facts::default()
            })
        };
        let read = |path: &Path| texts.included(path);
        let spec = self.resolved_with(&texts.main, told, &read, &facts);
        match unread.into_inner() {
            Some(failure) => Err(failure),
            None => Ok(spec?),
        }
    }

    /// Resolves a spec with what it is told; what it includes comes by `read`, and the facts of this host by `facts`.
    pub(crate) fn resolved_with(
        &self,
        source: &Arc<Source>,
        told: &Told,
        read: &Read<'_>,
        facts: &dyn Fn() -> Facts,
    ) -> Result<Spec, SpecErrors> {
        let resolve =
            |surroundings: &Surroundings<'_>| resolve(source, surroundings, &self.registry);
        debug_span!("spec").in_scope(|| surrounded(told, read, facts, resolve))
    }

    /// Reads the facts of this host.
    pub(crate) fn facts(&self) -> Result<Facts, Failure> {
        self.confined(async |_, reader| facts(reader).instrument(debug_span!("facts")).await)
    }

    /// Resolves a spec, and draws its graph.
    pub(crate) fn graph(&self, texts: &SpecTexts, told: &Told) -> Result<Graph, Failure> {
        let spec = self.resolved(texts, told)?;
        self.graph_of(spec, &[])
    }

    /// Draws the graph of all of a spec, or of what `KIND` or `KIND:NAME` names.
    fn graph_of(&self, mut spec: Spec, only: &[String]) -> Result<Graph, Failure> {
        let build = |spec| debug_span!("graph").in_scope(|| Graph::build(spec, &self.registry));
        if !only.is_empty() {
            // A mistake in what is left out is one, too.
            build(spec.clone())?;
            select(&mut spec, only)?;
        }
        Ok(build(spec)?)
    }

    /// Plans what a spec asks for, and says why what differs does so. Returns also what the spec was resolved from, if it was read as a
    /// whole.
    pub(crate) fn plan_wish(&self, wish: Wish) -> Result<(Plan, Option<Origin>), Failure> {
        let KeptWish { asked, texts, told } = match wish {
            Wish::Read(graph, origin) => return Ok((self.plan(&graph)?, origin)),
            Wish::Kept(kept) => kept,
        };
        let Asked { host, wanted } = asked;
        let planned = self.planned(async |registry, reader| {
            planner::plan_wanted(registry, reader, &host, wanted).await
        })?;
        let plan = match planned {
            // Where that stands only the files of the spec can show.
            Err(PlanError::Problems(_)) => self.plan(&self.graph(&texts, &told)?)?,
            planned => planned?,
        };
        Ok((plan, None))
    }

    /// Plans a spec, and says why what differs does so.
    pub(crate) fn plan(&self, graph: &Graph) -> Result<Plan, Failure> {
        let planned =
            self.planned(async |registry, reader| planner::plan(registry, reader, graph).await)?;
        Ok(planned?)
    }

    fn planned(
        &self,
        plan: impl AsyncFnOnce(&Registry<Live>, &Reader) -> Result<Plan, PlanError> + Send,
    ) -> Result<Result<Plan, PlanError>, Failure> {
        let state = StateFolder::at(&self.state);
        self.confined(async |registry, reader| {
            let plan = plan(registry, reader).await?;
            let explaining = explain(registry, reader, &state, plan);
            Ok::<_, PlanError>(explaining.instrument(debug_span!("causes")).await)
        })
    }

    /// Runs `work` with a reader, on a thread that the kernel lets write nothing.
    pub(crate) fn confined<T: Send>(
        &self,
        work: impl AsyncFnOnce(&Registry<Live>, &Reader) -> T + Send,
    ) -> Result<T, Failure> {
        thread::scope(|scope| {
            let confined = scope.spawn(|| {
                read_only(&[]).map_err(|error| Failure::of(Exit::Failed, &error))?;
                let runtime = runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(|error| Failure::of(Exit::Failed, &error))?;
                Ok(runtime.block_on(work(&self.registry, &Reader::new(&self.root))))
            });
            confined
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Says which program runs: its version, and the file that it is. Nobody can set when a file was last changed.
#[expect(
    clippy::disallowed_methods,
    reason = "it is this program, not the host"
)]
fn program() -> Option<String> {
    let meta = std::fs::metadata("/proc/self/exe").ok()?;
    let file = [meta.dev(), meta.ino(), meta.size()];
    let changed = (meta.ctime(), meta.ctime_nsec());
    Some(format!(
        "{} {file:?} {changed:?}",
        env!("CARGO_PKG_VERSION")
    ))
}

/// Keeps what `KIND` or `KIND:NAME` names.
fn select(spec: &mut Spec, only: &[String]) -> Result<(), Failure> {
    let is_meant = |pattern: &str, kind: &str, address: &str| pattern == kind || pattern == address;
    for pattern in only {
        let mut known: Vec<String> = vec![];
        for resource in &spec.resources {
            known.push(resource.address.kind.to_string());
            known.push(resource.address.to_string());
        }
        if !known.contains(pattern) {
            known.sort();
            known.dedup();
            let help = suggest::help("this spec has", pattern, known.iter().map(String::as_str));
            return Err(Failure::usage(
                format!("nothing in the spec matches `{pattern}`"),
                help,
            ));
        }
    }
    spec.resources.retain(|resource| {
        let address = resource.address.to_string();
        only.iter()
            .any(|pattern| is_meant(pattern, &resource.address.kind, &address))
    });
    Ok(())
}
