//! `stead import`.

pub(crate) mod from;

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use stead_engine::{
    history::{runs::committed, state_dir::StateDir},
    import::{
        ignore::{Ignores, Pattern},
        importer::{Imported, import as import_host},
        options::{ImportError, ImportOptions, MachineSpecific},
    },
    language::load::load,
    model::{schema::Shape, suggest},
    plan::{document::DesiredResource, graph::Graph},
    provider::erased::DynProvider,
};
use stead_resources::{
    foreign::LAUNCH_CONFIG_PATHS,
    host::{FileAttributes, IfExists, Reader, Writer},
};

use crate::{
    args,
    commands::import::from::import_from,
    context::Context,
    error::CommandError,
    exit::Exit,
    json::ImportDocument,
    render,
    spec_input::{SpecOverrides, SpecTexts, read_input},
};

/// What import passes over, where it is looked for.
const IGNORE_FILE: &str = "/etc/stead/import-ignore.kdl";
/// The name of the host where no file gives one.
const DEFAULT_HOST: &str = "host";

/// Writes the host down, if the plan of that is empty; writes nothing but what was asked for.
pub(crate) fn import(context: &Context, args: &args::ImportArgs) -> Result<Exit, CommandError> {
    if !args.from.0.is_empty() {
        let output = args.out.as_deref().map(OutputPaths::new).transpose()?;
        let host = output.as_ref().map_or(DEFAULT_HOST, |output| &output.stem);
        let imported = import_from(context, host, &args.from)?;
        return write_result(context, args, output.as_ref(), &imported);
    }
    let only = parse_patterns(context, &args.only)?;
    let except = parse_patterns(context, &args.except)?;
    let mut ignores = load_ignores(context, args.ignore.as_deref())?;
    ignore_secrets(context, &mut ignores);
    if args.missing_from.is_none() && !args.values.is_empty() {
        return Err(CommandError::usage(
            "`--var` and `--vars` need a spec",
            "name it: `--missing-from SPEC`",
        ));
    }
    let overrides = SpecOverrides::of(&args.values)?;
    let against = args
        .missing_from
        .as_deref()
        .map(|path| context.graph(&SpecTexts::read(path)?, &overrides))
        .transpose()?;
    let output = args.out.as_deref().map(OutputPaths::new).transpose()?;
    let imported = import_verified(
        context,
        output.as_ref(),
        &only,
        &except,
        &ignores,
        against.as_ref(),
    )?;
    mention_launch_configs(context);
    write_result(context, args, output.as_ref(), &imported)
}

/// Writes what was imported where it was asked for, and tells the rest.
fn write_result(
    context: &Context,
    args: &args::ImportArgs,
    output: Option<&OutputPaths>,
    imported: &Imported,
) -> Result<Exit, CommandError> {
    if let Some(output) = output {
        output.write(context, imported)?;
    }
    if args.json {
        render::print_data(&ImportDocument::text(imported));
    } else if output.is_none() {
        render::print_data(&imported.spec);
    }
    render::eprint_message(&render::coverage(&imported.coverage));
    Ok(if imported.coverage.is_complete() {
        Exit::Done
    } else {
        Exit::Incomplete
    })
}

fn mention_launch_configs(context: &Context) {
    let reader = Reader::new(&context.root);
    for place in LAUNCH_CONFIG_PATHS.map(Path::new) {
        if let Ok(Some(_)) = reader.stat(place) {
            let place = place.display();
            render::eprint_message(&format!(
                "MicroK8s has read {place}; `stead import --from launch-config {place}` imports it too.\n"
            ));
        }
    }
}

/// Imports this host; where the plan of that is not empty, shows it.
fn import_verified(
    context: &Context,
    output: Option<&OutputPaths>,
    only: &[Pattern],
    except: &[Pattern],
    ignores: &Ignores,
    existing: Option<&Graph>,
) -> Result<Imported, CommandError> {
    let options = ImportOptions {
        host: output.map_or(DEFAULT_HOST, |output| &output.stem),
        path: output.map_or(Path::new("-"), |output| &output.spec),
        files_dir: output.map(|output| output.files_dir.as_str()),
        machine_specific: if output.is_some() {
            MachineSpecific::Separate
        } else {
            MachineSpecific::Inline
        },
        only,
        except,
        ignores,
        existing,
    };
    let imported = context
        .run_read_only(async |registry, reader| import_host(registry, reader, &options).await)?;
    match imported {
        Err(ImportError::NotEmpty(plan)) => {
            render::eprint_message(&context.render_plan(&plan));
            Err(CommandError::new(
                Exit::Failed,
                "the imported spec would change this host, so nothing was written",
                "if something changed during the import, try again; otherwise exclude it with `--except KIND:NAME`",
            ))
        }
        imported => Ok(imported?),
    }
}

fn parse_patterns(context: &Context, words: &[String]) -> Result<Vec<Pattern>, CommandError> {
    let pattern = |word: &String| {
        let pattern = Pattern::new(word);
        if context.registry.get(pattern.kind()).is_some() {
            return Ok(pattern);
        }
        let kinds = context.registry.iter().map(|(name, _)| name);
        let help = suggest::did_you_mean("the kinds are", pattern.kind(), kinds);
        Err(CommandError::usage(
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
fn load_ignores(context: &Context, named: Option<&Path>) -> Result<Ignores, CommandError> {
    let usual = context.root.join(IGNORE_FILE.trim_start_matches('/'));
    let path = match named {
        Some(path) => path.to_owned(),
        None if usual.exists() => usual,
        None => return Ok(Ignores::default()),
    };
    let source = load(path.clone(), read_input(&path)?)?;
    Ok(Ignores::parse(&source)?)
}

/// Passes over what stead itself has written as a secret: to every other kind it is a text like any other.
fn ignore_secrets(context: &Context, ignores: &mut Ignores) {
    // Whoever may not read the runs may not read the secrets either.
    let committed = committed(&StateDir::new(&context.state_dir));
    let wanted = committed.ok().flatten().into_iter();
    for DesiredResource { address, .. } in wanted.flat_map(|(_, wanted)| wanted) {
        let schema = context
            .registry
            .provider_of(&address)
            .map(DynProvider::schema);
        let is_secret = schema.is_ok_and(|schema| {
            let mut attributes = schema.attributes.iter();
            attributes.any(|attribute| attribute.shape == Shape::Secret)
        });
        if !is_secret {
            continue;
        }
        let name = &address.name;
        for (kind, there) in context.registry.iter() {
            if there.managed_paths(name) == [name.as_str()] {
                let pattern = Pattern::new(&format!("{kind}:{name}"));
                ignores.add(pattern, format!("the secret of {address} is not imported"));
            }
        }
    }
}

/// Where the spec goes, and what goes beside it.
struct OutputPaths {
    /// The file that was named.
    spec: PathBuf,
    /// Its name without the extension: that of the host.
    stem: String,
    /// The name of the directory beside it.
    files_dir: String,
    /// The directory that they are all in.
    dir: PathBuf,
}

impl OutputPaths {
    #[expect(
        clippy::disallowed_methods,
        reason = "the spec is output, not the host"
    )]
    fn new(spec: &Path) -> Result<Self, CommandError> {
        let wrong = |fact: String| {
            CommandError::usage(fact, "write `--out host.kdl`, in a directory that exists")
        };
        let name = spec.file_stem().and_then(|stem| stem.to_str());
        let Some(stem) = name.filter(|_| !spec.is_dir()) else {
            return Err(wrong(format!(
                "`{}` cannot be the file name of a spec",
                spec.display()
            )));
        };
        let directory = spec
            .parent()
            .filter(|directory| !directory.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let directory = directory.canonicalize().map_err(|error| {
            wrong(format!(
                "cannot write into `{}`: {error}",
                directory.display()
            ))
        })?;
        Ok(Self {
            spec: spec.to_owned(),
            stem: stem.to_owned(),
            files_dir: format!("{stem}.d"),
            dir: directory,
        })
    }

    /// Returns the path of the spec of what concerns this machine alone.
    fn machine_spec(&self) -> PathBuf {
        self.spec.with_file_name(format!("{}-own.kdl", self.stem))
    }

    /// Writes the sources first, so that a spec never names what is not there. Each file is whole or as before.
    fn write(&self, context: &Context, imported: &Imported) -> Result<(), CommandError> {
        let writer = Writer::new(&self.dir, &self.dir);
        let failed = |error| CommandError::from_error(Exit::Failed, &error);
        for source in &imported.sources {
            let to = Path::new("/").join(&source.to);
            let dirs: Vec<_> = to.ancestors().skip(1).collect();
            for directory in dirs.into_iter().rev().skip(1) {
                if Reader::new(&self.dir)
                    .stat(directory)
                    .map_err(failed)?
                    .is_none()
                {
                    writer
                        .create_dir(directory, &FileAttributes::for_current_user(0o700))
                        .map_err(failed)?;
                }
            }
            let host = Reader::new(&context.root);
            let digested = host.digest(&source.from).map_err(failed)?;
            let mut bytes: Option<File> = host.open(&source.from).map_err(failed)?;
            let Some(bytes) = &mut bytes else {
                let message = format!("`{}` was removed meanwhile", source.from.display());
                return Err(CommandError::new(Exit::Failed, message, "try again"));
            };
            writer
                .write_file(
                    &to,
                    bytes,
                    digested.as_ref(),
                    &FileAttributes::for_current_user(0o600),
                    IfExists::Replace,
                )
                .map_err(failed)?;
        }
        Self::write_text(&writer, &self.spec, &imported.spec)?;
        match &imported.machine_spec {
            Some(own) => Self::write_text(&writer, &self.machine_spec(), own),
            None => Ok(()),
        }
    }

    fn write_text(writer: &Writer, path: &Path, text: &str) -> Result<(), CommandError> {
        let at = Path::new("/").join(path.file_name().unwrap_or_default());
        writer
            .write_text(&at, text.as_bytes(), 0o600)
            .map_err(|error| CommandError::from_error(Exit::Failed, &error))?;
        render::eprint_message(&format!("Wrote {}.\n", path.display()));
        Ok(())
    }
}
