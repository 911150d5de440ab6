//! `stead import`.

pub(crate) mod from;

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use stead_engine::{
    history::{runs::committed, state_dir::StateFolder},
    import::{
        ignore::{Ignores, Pattern},
        importer::{Imported, import as import_host},
        options::{Apart, Import, ImportError},
    },
    language::load::load,
    model::{schema::Shape, suggest},
    plan::{document::Wanted, graph::Graph},
    provider::erased::DynProvider,
};
use stead_resources::{
    foreign::PLACES,
    host::{Access, Existing, Reader, Writer},
};

use crate::{
    args,
    commands::import::from::import_from,
    context::Session,
    error::Failure,
    exit::Exit,
    json::ImportDocument,
    render,
    spec_input::{SpecTexts, Told, read_input},
};

/// What import passes over, where it is looked for.
const IGNORES: &str = "/etc/stead/import-ignore.kdl";
/// The name of the host where no file gives one.
const HOST: &str = "host";

/// Writes the host down, if the plan of that is empty; writes nothing but what was asked for.
pub(crate) fn import(session: &Session, args: &args::Import) -> Result<Exit, Failure> {
    if !args.from.0.is_empty() {
        let place = args.out.as_deref().map(Place::of).transpose()?;
        let host = place.as_ref().map_or(HOST, |place| &place.stem);
        let imported = import_from(session, host, &args.from)?;
        return hand_over(session, args, place.as_ref(), &imported);
    }
    let only = patterns(session, &args.only)?;
    let except = patterns(session, &args.except)?;
    let mut ignores = ignores(session, args.ignore.as_deref())?;
    leave_secrets_out(session, &mut ignores);
    if args.missing_from.is_none() && !args.values.is_empty() {
        return Err(Failure::usage(
            "`--var` and `--vars` need a spec",
            "name it: `--missing-from SPEC`",
        ));
    }
    let told = Told::of(&args.values)?;
    let against = args
        .missing_from
        .as_deref()
        .map(|path| session.graph(&SpecTexts::read(path)?, &told))
        .transpose()?;
    let place = args.out.as_deref().map(Place::of).transpose()?;
    let imported = prove(
        session,
        place.as_ref(),
        &only,
        &except,
        &ignores,
        against.as_ref(),
    )?;
    let imported = match imported {
        Err(ImportError::NotEmpty(plan)) => {
            render::message(&session.page_of(&plan));
            return Err(Failure::new(
                Exit::Failed,
                "the imported spec would change this host, so nothing was written",
                "if something changed during the import, try again; otherwise exclude it with `--except KIND:NAME`",
            ));
        }
        imported => imported?,
    };
    mention_launch_configs(session);
    hand_over(session, args, place.as_ref(), &imported)
}

/// Writes what was imported where it was asked for, and tells the rest.
fn hand_over(
    session: &Session,
    args: &args::Import,
    place: Option<&Place>,
    imported: &Imported,
) -> Result<Exit, Failure> {
    if let Some(place) = place {
        place.write(session, imported)?;
    }
    if args.json {
        render::data(&ImportDocument::text(imported));
    } else if place.is_none() {
        render::data(&imported.spec);
    }
    render::message(&render::coverage(&imported.coverage));
    Ok(if imported.coverage.is_complete() {
        Exit::Done
    } else {
        Exit::Incomplete
    })
}

fn mention_launch_configs(session: &Session) {
    let reader = Reader::new(&session.root);
    for place in PLACES.map(Path::new) {
        if let Ok(Some(_)) = reader.stat(place) {
            let place = place.display();
            render::message(&format!(
                "MicroK8s has read {place}; `stead import --from launch-config {place}` imports it too.\n"
            ));
        }
    }
}

fn prove(
    session: &Session,
    place: Option<&Place>,
    only: &[Pattern],
    except: &[Pattern],
    ignores: &Ignores,
    against: Option<&Graph>,
) -> Result<Result<Imported, ImportError>, Failure> {
    let wish = Import {
        host: place.map_or(HOST, |place| &place.stem),
        path: place.map_or(Path::new("-"), |place| &place.spec),
        beside: place.map(|place| place.beside.as_str()),
        apart: if place.is_some() {
            Apart::Yes
        } else {
            Apart::No
        },
        only,
        except,
        ignores,
        against,
    };
    session.confined(async |registry, reader| import_host(registry, reader, &wish).await)
}

fn patterns(session: &Session, words: &[String]) -> Result<Vec<Pattern>, Failure> {
    let pattern = |word: &String| {
        let pattern = Pattern::of(word);
        if session.registry.get(pattern.kind()).is_some() {
            return Ok(pattern);
        }
        let kinds = session.registry.iter().map(|(name, _)| name);
        let help = suggest::help("the kinds are", pattern.kind(), kinds);
        Err(Failure::usage(
            format!("unknown kind `{}`", pattern.kind()),
            help,
        ))
    };
    words.iter().map(pattern).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a list of ignores is input, not the host"
)]
fn ignores(session: &Session, named: Option<&Path>) -> Result<Ignores, Failure> {
    let usual = session.root.join(IGNORES.trim_start_matches('/'));
    let path = match named {
        Some(path) => path.to_owned(),
        None if usual.exists() => usual,
        None => return Ok(Ignores::default()),
    };
    let source = load(path.clone(), read_input(&path)?)?;
    Ok(Ignores::parse(&source)?)
}

/// Passes over what stead itself has written as a secret: to every other kind it is a text like any other.
fn leave_secrets_out(session: &Session, ignores: &mut Ignores) {
    // Whoever may not read the runs may not read the secrets either.
    let committed = committed(&StateFolder::at(&session.state));
    let wanted = committed.ok().flatten().into_iter();
    for Wanted { address, .. } in wanted.flat_map(|(_, wanted)| wanted) {
        let schema = session.registry.of(&address).map(DynProvider::schema);
        let is_secret = schema.is_ok_and(|schema| {
            let mut attributes = schema.attributes.iter();
            attributes.any(|attribute| attribute.shape == Shape::Secret)
        });
        if !is_secret {
            continue;
        }
        let name = &address.name;
        for (kind, there) in session.registry.iter() {
            if there.managed_paths(name) == [name.as_str()] {
                let pattern = Pattern::of(&format!("{kind}:{name}"));
                ignores.add(pattern, format!("the secret of {address} is not imported"));
            }
        }
    }
}

/// Where the spec goes, and what goes beside it.
struct Place {
    /// The file that was named.
    spec: PathBuf,
    /// Its name without the extension: that of the host.
    stem: String,
    /// The name of the folder beside it.
    beside: String,
    /// The folder that they are all in.
    folder: PathBuf,
}

impl Place {
    #[expect(
        clippy::disallowed_methods,
        reason = "the spec is output, not the host"
    )]
    fn of(spec: &Path) -> Result<Self, Failure> {
        let wrong = |fact: String| {
            Failure::usage(fact, "write `--out host.kdl`, in a directory that exists")
        };
        let name = spec.file_stem().and_then(|stem| stem.to_str());
        let Some(stem) = name.filter(|_| !spec.is_dir()) else {
            return Err(wrong(format!(
                "`{}` cannot be the file name of a spec",
                spec.display()
            )));
        };
        let folder = spec
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let folder = folder
            .canonicalize()
            .map_err(|error| wrong(format!("cannot write into `{}`: {error}", folder.display())))?;
        Ok(Self {
            spec: spec.to_owned(),
            stem: stem.to_owned(),
            beside: format!("{stem}.d"),
            folder,
        })
    }

    /// Returns the path of the spec of what concerns this machine alone.
    fn own(&self) -> PathBuf {
        self.spec.with_file_name(format!("{}-own.kdl", self.stem))
    }

    /// Writes the sources first, so that a spec never names what is not there. Each file is whole or as before.
    fn write(&self, session: &Session, imported: &Imported) -> Result<(), Failure> {
        let writer = Writer::new(&self.folder, &self.folder);
        let failed = |error| Failure::of(Exit::Failed, &error);
        for source in &imported.sources {
            let to = Path::new("/").join(&source.to);
            let folders: Vec<_> = to.ancestors().skip(1).collect();
            for folder in folders.into_iter().rev().skip(1) {
                if Reader::new(&self.folder)
                    .stat(folder)
                    .map_err(failed)?
                    .is_none()
                {
                    writer
                        .make_folder(folder, &Access::own(0o700))
                        .map_err(failed)?;
                }
            }
            let host = Reader::new(&session.root);
            let digested = host.digest(&source.from).map_err(failed)?;
            let mut bytes: Option<File> = host.open(&source.from).map_err(failed)?;
            let Some(bytes) = &mut bytes else {
                let message = format!("`{}` was removed meanwhile", source.from.display());
                return Err(Failure::new(Exit::Failed, message, "try again"));
            };
            writer
                .put_file(
                    &to,
                    bytes,
                    digested.as_ref(),
                    &Access::own(0o600),
                    Existing::Replace,
                )
                .map_err(failed)?;
        }
        Self::put(&writer, &self.spec, &imported.spec)?;
        match &imported.own {
            Some(own) => Self::put(&writer, &self.own(), own),
            None => Ok(()),
        }
    }

    fn put(writer: &Writer, path: &Path, text: &str) -> Result<(), Failure> {
        let at = Path::new("/").join(path.file_name().unwrap_or_default());
        writer
            .put_text(&at, text.as_bytes(), 0o600)
            .map_err(|error| Failure::of(Exit::Failed, &error))?;
        render::message(&format!("Wrote {}.\n", path.display()));
        Ok(())
    }
}
