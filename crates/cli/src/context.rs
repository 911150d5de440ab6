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
        spec_cache::{self, CachedSpec},
        state_dir::StateDir,
    },
    language::{
        assignment::Assignment,
        error::SpecErrors,
        inputs::{ReadFile, SpecInputs},
        resolve::resolve,
        source::Source,
        spec::{Spec, SpecSources},
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
    facts::read_facts,
    host::{LinuxHost, Reader, Writer, landlock::forbid_writes},
};
use tokio::runtime;
use tracing::{Instrument, debug_span};

use crate::{
    args::{OutputOptions, Paths},
    error::CommandError,
    exit::Exit,
    render::{self, Detail},
    spec_input::{SpecOverrides, SpecTexts, with_inputs},
};

/// Where the state directory is.
const STATE_DIR: &str = "var/lib/stead";
/// Where the lock is.
const LOCK_PATH: &str = "run/stead/lock";
/// What every command works with.
pub(crate) struct Context {
    pub(crate) registry: Registry<LinuxHost>,
    pub(crate) root: PathBuf,
    pub(crate) state_dir: PathBuf,
    /// How much of a plan is shown.
    detail: Detail,
}

/// What a spec asks for.
pub(crate) enum SpecRequest {
    /// As the last apply kept it.
    Cached(CachedRequest),
    /// As it was read now; of a whole spec with what it came from.
    Resolved(Box<Graph>, Option<SpecOrigin>),
}

/// What the last apply kept, and what it takes to resolve the spec after all.
pub(crate) struct CachedRequest {
    asked: CachedSpec,
    texts: SpecTexts,
    overrides: SpecOverrides,
}

/// What a spec was resolved from.
pub(crate) struct SpecOrigin {
    basis: SpecSources,
    assignments: Vec<Assignment>,
}

impl Context {
    pub(crate) fn new(paths: &Paths, output: OutputOptions) -> Self {
        Self {
            registry: stead_resources::registry(),
            root: paths.root.clone(),
            state_dir: paths
                .state_dir
                .clone()
                .unwrap_or_else(|| paths.root.join(STATE_DIR)),
            detail: if output.verbose {
                Detail::Whole
            } else {
                Detail::Folded
            },
        }
    }

    /// Shows a plan.
    pub(crate) fn render_plan(&self, plan: &Plan) -> String {
        render::plan(&self.registry, plan, self.detail)
    }

    /// Returns the path of the lock.
    pub(crate) fn lock_path(&self) -> PathBuf {
        self.root.join(LOCK_PATH)
    }

    /// Makes the power to change the host.
    pub(crate) fn writer(&self) -> Writer {
        Writer::new(&self.root, &StateDir::new(&self.state_dir).blobs_dir())
    }

    /// Says so when this user cannot change the host.
    pub(crate) fn require_root(&self, command: &str) -> Result<(), CommandError> {
        if geteuid().is_root() || self.root != Path::new("/") {
            return Ok(());
        }
        let message = format!("`stead {command}` changes this host and needs root");
        Err(CommandError::new(
            Exit::Failed,
            message,
            format!("run `sudo stead {command}`"),
        ))
    }

    /// Finds out what a spec asks for: from what the last apply kept if nothing of it has changed, else from its files.
    pub(crate) fn load_spec(
        &self,
        texts: SpecTexts,
        overrides: SpecOverrides,
        only: &[String],
    ) -> Result<SpecRequest, CommandError> {
        if only.is_empty()
            && let Some(cached) = self.find_cached(&texts, &overrides)
        {
            return Ok(SpecRequest::Cached(CachedRequest {
                asked: cached,
                texts,
                overrides,
            }));
        }
        let mut spec = self.resolve_spec(&texts, &overrides)?;
        let sources = std::mem::take(&mut spec.sources);
        let graph = Box::new(self.build_graph(spec, only)?);
        let origin = SpecOrigin {
            basis: sources,
            assignments: overrides.assignments,
        };
        Ok(SpecRequest::Resolved(
            graph,
            only.is_empty().then_some(origin),
        ))
    }

    /// Finds what the last apply kept of a spec.
    fn find_cached(&self, texts: &SpecTexts, overrides: &SpecOverrides) -> Option<CachedSpec> {
        let state = StateDir::new(&self.state_dir);
        let facts = || self.facts().unwrap_or_default();
        let find =
            |inputs: &SpecInputs<'_>| spec_cache::load(&state, &program_id()?, &texts.main, inputs);
        let read = |path: &Path| texts.included(path);
        debug_span!("kept spec").in_scope(|| with_inputs(overrides, &read, &facts, find))
    }

    /// Keeps what a spec asks for that was read as a whole for a plan.
    pub(crate) fn store_cached(&self, origin: Option<&SpecOrigin>, plan: &Plan) {
        let state = StateDir::new(&self.state_dir);
        if let (Some(SpecOrigin { basis, assignments }), Some(program)) = (origin, program_id()) {
            // It only saves time: without it the files are read again.
            drop(spec_cache::store(
                &state,
                &program,
                basis,
                assignments,
                plan,
            ));
        }
    }

    /// Reads and resolves a spec with what it is told.
    fn resolve_spec(
        &self,
        texts: &SpecTexts,
        overrides: &SpecOverrides,
    ) -> Result<Spec, CommandError> {
        let unread = OnceCell::new();
        let facts = || {
            self.facts().unwrap_or_else(|failure| {
                // Whoever reads facts cannot fail but for want of a thread.
                drop(unread.set(failure));
                Facts::default()
            })
        };
        let read = |path: &Path| texts.included(path);
        let spec = self.resolve_with(&texts.main, overrides, &read, &facts);
        match unread.into_inner() {
            Some(failure) => Err(failure),
            None => Ok(spec?),
        }
    }

    /// Resolves a spec with what it is told; what it includes comes by `read`, and the facts of this host by `facts`.
    pub(crate) fn resolve_with(
        &self,
        source: &Arc<Source>,
        overrides: &SpecOverrides,
        read: &ReadFile<'_>,
        facts: &dyn Fn() -> Facts,
    ) -> Result<Spec, SpecErrors> {
        let resolve = |inputs: &SpecInputs<'_>| resolve(source, inputs, &self.registry);
        debug_span!("spec").in_scope(|| with_inputs(overrides, read, facts, resolve))
    }

    /// Reads the facts of this host.
    pub(crate) fn facts(&self) -> Result<Facts, CommandError> {
        self.run_read_only(async |_, reader| {
            read_facts(reader).instrument(debug_span!("facts")).await
        })
    }

    /// Resolves a spec, and draws its graph.
    pub(crate) fn graph(
        &self,
        texts: &SpecTexts,
        overrides: &SpecOverrides,
    ) -> Result<Graph, CommandError> {
        let spec = self.resolve_spec(texts, overrides)?;
        self.build_graph(spec, &[])
    }

    /// Draws the graph of all of a spec, or of what `KIND` or `KIND:NAME` names.
    fn build_graph(&self, mut spec: Spec, only: &[String]) -> Result<Graph, CommandError> {
        let build = |spec| debug_span!("graph").in_scope(|| Graph::build(spec, &self.registry));
        if !only.is_empty() {
            // A mistake in what is left out is one, too.
            build(spec.clone())?;
            retain_selected(&mut spec, only)?;
        }
        Ok(build(spec)?)
    }

    /// Plans what a spec asks for, and says why what differs does so. Returns also what the spec was resolved from, if it was read as a
    /// whole.
    pub(crate) fn plan_request(
        &self,
        request: SpecRequest,
    ) -> Result<(Plan, Option<SpecOrigin>), CommandError> {
        let CachedRequest {
            asked,
            texts,
            overrides,
        } = match request {
            SpecRequest::Resolved(graph, origin) => return Ok((self.plan(&graph)?, origin)),
            SpecRequest::Cached(kept) => kept,
        };
        let CachedSpec { host, desired } = asked;
        let planned =
            self.try_run_read_only(async |registry, reader| {
                match planner::plan_desired(registry, reader, &host, desired).await {
                    Err(PlanError::Problems(_)) => Ok(None),
                    planned => {
                        Ok::<_, PlanError>(Some(self.explain(registry, reader, planned?).await))
                    }
                }
            })?;
        let plan = match planned {
            Some(plan) => plan,
            // Where its problems stand only the files of the spec can show.
            None => self.plan(&self.graph(&texts, &overrides)?)?,
        };
        Ok((plan, None))
    }

    /// Plans a spec, and says why what differs does so.
    pub(crate) fn plan(&self, graph: &Graph) -> Result<Plan, CommandError> {
        self.try_run_read_only(async |registry, reader| {
            let plan = planner::plan(registry, reader, graph).await?;
            Ok::<_, PlanError>(self.explain(registry, reader, plan).await)
        })
    }

    async fn explain(&self, registry: &Registry<LinuxHost>, reader: &Reader, plan: Plan) -> Plan {
        let state = StateDir::new(&self.state_dir);
        let explaining = explain(registry, reader, &state, plan);
        explaining.instrument(debug_span!("causes")).await
    }

    /// As [`Context::run_read_only`], for work that may fail itself.
    pub(crate) fn try_run_read_only<T: Send, E: Send>(
        &self,
        work: impl AsyncFnOnce(&Registry<LinuxHost>, &Reader) -> Result<T, E> + Send,
    ) -> Result<T, CommandError>
    where
        CommandError: From<E>,
    {
        Ok(self.run_read_only(work)??)
    }

    /// Runs `work` with a reader, on a thread that the kernel lets write nothing.
    pub(crate) fn run_read_only<T: Send>(
        &self,
        work: impl AsyncFnOnce(&Registry<LinuxHost>, &Reader) -> T + Send,
    ) -> Result<T, CommandError> {
        thread::scope(|scope| {
            let confined = scope.spawn(|| {
                forbid_writes(&[])
                    .map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
                let runtime = runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
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
fn program_id() -> Option<String> {
    let meta = std::fs::metadata("/proc/self/exe").ok()?;
    let file = [meta.dev(), meta.ino(), meta.size()];
    let changed = (meta.ctime(), meta.ctime_nsec());
    Some(format!(
        "{} {file:?} {changed:?}",
        env!("CARGO_PKG_VERSION")
    ))
}

/// Keeps what `KIND` or `KIND:NAME` names.
fn retain_selected(spec: &mut Spec, only: &[String]) -> Result<(), CommandError> {
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
            let help =
                suggest::did_you_mean("this spec has", pattern, known.iter().map(String::as_str));
            return Err(CommandError::usage(
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
