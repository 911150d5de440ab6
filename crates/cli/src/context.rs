//! The context of every command: the host, the kinds, the state directory and the spec.

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use nix::unistd::geteuid;
use stead_engine::history::state_dir::StateFolder;
use stead_engine::{
    drift::explain::explain,
    history::spec_cache::{self, Asked},
    language::{
        assignment::Given,
        error::SpecErrors,
        inputs::{Read, Surroundings},
        load::{LIMIT, load},
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
    args::{AnySpec, Extent, Place, Values},
    error::Failure,
    exit::Exit,
    json::FactsDocument,
    render::{self, Detail},
};

/// Where the state folder is.
const STATE: &str = "var/lib/stead";
/// Where the lock is.
const LOCK: &str = "run/stead/lock";
/// Where a spec is looked for when none is named.
const SPECS: [&str; 2] = ["host.kdl", "/etc/stead/host.kdl"];

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

/// The files of a spec, each read once, however often it is compared or resolved.
pub(crate) struct SpecTexts {
    main: Arc<Source>,
    included: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
}

impl SpecTexts {
    /// Reads the file that the user named.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        Self::of(path, read_input(path)?)
    }

    /// Takes what was read of that file already.
    pub(crate) fn of(path: &Path, bytes: Vec<u8>) -> Result<Self, Failure> {
        Ok(Self {
            main: load(path.to_owned(), bytes)?,
            included: Mutex::default(),
        })
    }

    fn included(&self, path: &Path) -> io::Result<Vec<u8>> {
        let included = || self.included.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = included().get(path) {
            return Ok(bytes.clone());
        }
        let bytes = read_included(path)?;
        included().insert(path.to_owned(), bytes.clone());
        Ok(bytes)
    }
}

/// What a spec was resolved from.
pub(crate) struct Origin {
    basis: Basis,
    given: Vec<Given>,
}

/// What a spec is told besides its text.
#[derive(Clone, Default)]
pub(crate) struct Told {
    /// Values for its variables.
    pub(crate) given: Vec<Given>,
    /// The environment, if not that of this process.
    pub(crate) environment: Option<BTreeMap<String, String>>,
    /// The facts, if not those of this host.
    pub(crate) facts: Option<Facts>,
}

impl Told {
    /// What was typed; everything else comes from this host.
    pub(crate) fn of(values: &Values) -> Result<Self, Failure> {
        let mut given = vec![];
        for path in &values.vars {
            given.extend(Given::of_file(&SpecTexts::read(path)?.main)?);
        }
        let typed = values.var.iter();
        given.extend(typed.filter_map(|text| Given::of_argument(text)));
        Ok(Self {
            given,
            ..Self::default()
        })
    }

    /// What was typed of a spec that may be meant for another host.
    pub(crate) fn of_any(args: &AnySpec) -> Result<Self, Failure> {
        Self::of_host(&args.spec.values, args.facts.as_deref())
    }

    /// What was typed, with the facts of another host if a file has them.
    pub(crate) fn of_host(values: &Values, facts: Option<&Path>) -> Result<Self, Failure> {
        Ok(Self {
            facts: facts.map(recorded_facts).transpose()?,
            ..Self::of(values)?
        })
    }
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

/// Does something with all that a spec is told besides its text.
fn surrounded<T>(
    told: &Told,
    read: &Read<'_>,
    facts: &dyn Fn() -> Facts,
    work: impl FnOnce(&Surroundings<'_>) -> T,
) -> T {
    work(&Surroundings {
        read,
        given: &told.given,
        environment: &|name| match &told.environment {
            Some(environment) => environment.get(name).cloned(),
            None => std::env::var(name).ok(),
        },
        facts: &|| told.facts.clone().unwrap_or_else(facts),
    })
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

/// Returns the path of the spec: the one that was named, else the first that exists of the usual ones.
#[expect(clippy::disallowed_methods, reason = "a spec is input, not the host")]
pub(crate) fn spec_path(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    SPECS
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .ok_or_else(|| {
            Failure::usage(
                format!(
                    "no spec is given, and there is neither `{}` nor `{}`",
                    SPECS[0], SPECS[1]
                ),
                "give one, for instance `stead plan laptop.kdl`",
            )
        })
}

/// Reads a file that the user named, but no more of it than a spec can have.
pub(crate) fn read_input(path: &Path) -> Result<Vec<u8>, Failure> {
    read_limited(path).map_err(|error| {
        Failure::usage(
            format!("cannot read `{}`: {error}", path.display()),
            "give a file that exists and that you may read",
        )
    })
}

/// Reads a file that a spec includes. Whatever else stands there, such as a pipe that nobody writes to, is not waited for.
#[expect(clippy::disallowed_methods, reason = "a spec is input, not the host")]
pub(crate) fn read_included(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    read_limited(path)
}

/// Reads a file, but no more of it than a spec can have.
#[expect(clippy::disallowed_methods, reason = "a spec is input, not the host")]
fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    let file = std::fs::File::open(path)?;
    io::Read::read_to_end(&mut io::Read::take(file, LIMIT + 1), &mut bytes)?;
    Ok(bytes)
}

/// Reads facts that `stead facts --json` printed.
fn recorded_facts(path: &Path) -> Result<Facts, Failure> {
    let document: Result<FactsDocument, _> = serde_json::from_slice(&read_input(path)?);
    let fault = match document {
        Ok(document) if document.is_known() => return Ok(document.facts),
        Ok(_) => "its format is another".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Failure::usage(
        format!("`{}` does not contain facts: {fault}", path.display()),
        "give a file that `stead facts --json` printed",
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
