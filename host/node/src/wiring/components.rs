//! What the stages of a manifest name, loaded all at once, and checked against what they are used as.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{Component, Engine, LoadError};
use model::diagnostics::{Diagnostic, Span};
use model::ids::Digest;
use model::limits;
use model::lock::Pinned;
use model::manifest::{OciRef, Role, Stage, StageRef};
use registry::image_ref::ImageRef;
use tokio::task::{Id, JoinSet};

use super::{Code, Draft, Resolver, builtin, reach};
use crate::build;
use crate::pulled::{Bundle, Loaded, PullError, Puller, Pushed, Wanted};

impl Resolver {
    /// What each stage stands for, none where something is wrong with it.
    pub(super) async fn load(&self, draft: &Draft) -> (Vec<Option<Code>>, Vec<Diagnostic>) {
        let (pipeline, home) = (&draft.pipeline, &draft.home);
        let (components, mut problems) = self.components(draft, |_| true).await;
        let mut codes: Vec<Option<Code>> = pipeline.stages.iter().map(|_| None).collect();
        for ((stage, component), code) in pipeline.stages.iter().zip(components).zip(&mut codes) {
            match (&stage.reference.value, component) {
                (StageRef::BuiltIn(name), _) => {
                    match builtin::plan(stage, name, pipeline, home, &self.policy) {
                        Ok(built_in) => *code = Some(Code::BuiltIn(Box::new(built_in))),
                        Err(problem) => problems.push(problem),
                    }
                }
                (_, Some(Loaded { component, .. })) => {
                    let mut found = check(stage, &component);
                    if found.is_empty() {
                        *code = Some(Code::Component(component));
                    }
                    problems.append(&mut found);
                }
                (_, None) => {}
            }
        }
        (codes, problems)
    }

    /// The components of the stages that are some and are meant, whatever they are; none where one cannot be had, with why.
    pub async fn components(
        &self,
        draft: &Draft,
        is_meant: impl Fn(&Stage) -> bool,
    ) -> (Vec<Option<Loaded>>, Vec<Diagnostic>) {
        let stages = &draft.pipeline.stages;
        let mut named: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, stage) in stages.iter().enumerate() {
            if !matches!(stage.reference.value, StageRef::BuiltIn(_)) && is_meant(stage) {
                named.entry(stage.reference.to_string()).or_default().push(index);
            }
        }
        let mut problems = Vec::new();
        let mut loading = JoinSet::new();
        // Of a task that breaks nothing comes back: who waits for it is known here.
        let mut waiting: HashMap<Id, Vec<usize>> = HashMap::new();
        for (reference, users) in named {
            match self.place(draft, &stages[users[0]], &reference) {
                Ok(place) => {
                    let (engine, puller) = (self.engine.clone(), self.puller.clone());
                    let task = loading.spawn(async move { place.load(&engine, &puller).await });
                    waiting.insert(task.id(), users);
                }
                Err(refused) => problems.extend(users.iter().map(|user| refused(&stages[*user]))),
            }
        }
        let mut components: Vec<Option<Loaded>> = stages.iter().map(|_| None).collect();
        while let Some(loaded) = loading.join_next_with_id().await {
            let (id, loaded) = match loaded {
                Ok((id, loaded)) => (id, loaded),
                Err(broke) => (broke.id(), Err(Unfit::Broke(broke.to_string()))),
            };
            let users = waiting.remove(&id).unwrap_or_default();
            match loaded {
                Ok(loaded) => users.iter().for_each(|user| components[*user] = Some(loaded.clone())),
                Err(unfit) => problems.extend(users.iter().map(|user| unfit.diagnostic(&stages[*user]))),
            }
        }
        (components, problems)
    }

    /// Where a component is to be had.
    fn place(&self, draft: &Draft, stage: &Stage, reference: &str) -> Result<Place, Refused> {
        let path = |path: &str| draft.home.join(path);
        let pinned = draft.lock.as_ref().and_then(|lock| lock.components.get(reference)).cloned();
        let bundled = draft.bundle.as_ref().filter(|bundle| bundle.has(reference));
        match (&stage.reference.value, bundled) {
            (StageRef::Oci(reference), _) => {
                let image =
                    ImageRef::try_from(reference).map_err(|error| no_image(reference, error.to_string()))?;
                Ok(Place::Image(Box::new(Wanted { image, pinned }), draft.bundle.clone()))
            }
            (StageRef::BuiltIn(_), _) => Err(Box::new(no_component)),
            (_, Some(bundle)) => Ok(Place::Bundled(reference.to_owned(), bundle.clone())),
            (StageRef::WasmFile(_) | StageRef::Directory(_), _) if let Some(pushed) = &draft.pushed => {
                match pinned {
                    Some(pinned) => Ok(Place::Pushed {
                        path: reference.to_owned(),
                        pinned: Box::new(pinned),
                        from: pushed.clone(),
                    }),
                    None => Err(Box::new(not_pushed)),
                }
            }
            (StageRef::WasmFile(file), _) => {
                Ok(Place::File(path(file), pinned.map(|pinned| pinned.component)))
            }
            (StageRef::Directory(file), _) if path(file).is_file() => Err(Box::new(no_component)),
            (StageRef::Directory(dir), _) if pinned.is_none() && !path(dir).exists() => {
                Err(Box::new(not_there))
            }
            (StageRef::Directory(dir), _) if self.builds => {
                let keeps = self.keeps_builds;
                Ok(Place::Source { dir: path(dir), keeps, pinned: pinned.map(|pinned| pinned.component) })
            }
            (StageRef::Directory(dir), _) => match pinned {
                Some(pinned) => Ok(Place::Built(path(dir), Box::new(pinned))),
                None => Err(Box::new(not_built)),
            },
        }
    }
}

type Refused = Box<dyn Fn(&Stage) -> Diagnostic>;

/// Where a component is to be had.
enum Place {
    /// A file, and what it has to be.
    File(PathBuf, Option<Digest>),
    /// The directory of its source, to be built, and what that has to come to.
    Source {
        dir: PathBuf,
        keeps: bool,
        pinned: Option<Digest>,
    },
    /// What was built of a directory when the lock was written.
    Built(PathBuf, Box<Pinned>),
    Image(Box<Wanted>, Option<Arc<Bundle>>),
    /// A path, of which a bundle has what was there.
    Bundled(String, Arc<Bundle>),
    /// A path, of which this node's registry has what was there when it was deployed.
    Pushed {
        path: String,
        pinned: Box<Pinned>,
        from: Pushed,
    },
}

/// Why there is no component.
enum Unfit {
    Unreadable(PathBuf, std::io::Error),
    Load(PathBuf, LoadError),
    Build(PathBuf, anyhow::Error),
    /// It is not what the lock has.
    Unlocked {
        path: PathBuf,
        expected: Digest,
        came: Digest,
    },
    /// What was built is not here.
    Gone(PathBuf),
    /// This program failed while it loaded it.
    Broke(String),
    Pull {
        error: Arc<PullError>,
        is_pinned: bool,
    },
}

impl Place {
    async fn load(self, engine: &Engine, puller: &Puller) -> Result<Loaded, Unfit> {
        match self {
            Self::File(path, pinned) => {
                let bytes = read(&path).map_err(|error| Unfit::Unreadable(path.clone(), error))?;
                local(engine, path, bytes, pinned).await
            }
            Self::Source { dir, keeps, pinned } => {
                let from = dir.clone();
                let built = tokio::task::spawn_blocking(move || build::component(&from)).await;
                let bytes = match built {
                    Ok(Ok(bytes)) => bytes,
                    Ok(Err(error)) => return Err(Unfit::Build(dir, error)),
                    Err(error) => return Err(Unfit::Build(dir, error.into())),
                };
                if keeps {
                    puller.keep(&bytes);
                }
                local(engine, dir, bytes, pinned).await
            }
            Self::Built(dir, pinned) => {
                let of_pull = |error| Unfit::Pull { error: Arc::new(error), is_pinned: true };
                let component = puller.built(engine, &pinned).await.map_err(of_pull)?;
                let component = component.ok_or(Unfit::Gone(dir))?;
                Ok(Loaded { component, image: None, bytes: pinned.bytes, digest: pinned.component })
            }
            Self::Image(wanted, bundle) => {
                let is_pinned = wanted.pins();
                let loaded = puller.component(engine, &wanted, bundle.as_deref()).await;
                loaded.map_err(|error| Unfit::Pull { error, is_pinned })
            }
            Self::Bundled(path, bundle) => {
                let of_pull = |error| Unfit::Pull { error: Arc::new(error), is_pinned: true };
                let bytes = puller.bundled(&bundle, &path).await.map_err(of_pull)?;
                local(engine, path.into(), bytes, None).await
            }
            Self::Pushed { path, pinned, from } => {
                let of_pull = |error| Unfit::Pull { error: Arc::new(error), is_pinned: true };
                let component =
                    puller.pushed(engine, &from, &path, pinned.component).await.map_err(of_pull)?;
                Ok(Loaded { component, image: None, bytes: pinned.bytes, digest: pinned.component })
            }
        }
    }
}

async fn local(
    engine: &Engine,
    path: PathBuf,
    bytes: impl Into<bytes::Bytes>,
    pinned: Option<Digest>,
) -> Result<Loaded, Unfit> {
    let bytes = bytes.into();
    let came = |expected: Digest| Digest::by(expected.algorithm(), &bytes);
    if let Some((expected, came)) =
        pinned.map(|expected| (expected, came(expected))).filter(|(one, other)| one != other)
    {
        return Err(Unfit::Unlocked { path, expected, came });
    }
    let size = bytes.len() as u64;
    let component = engine.load(bytes).await.map_err(|error| Unfit::Load(path, error))?;
    let digest = component.digest();
    Ok(Loaded { component, image: None, bytes: size, digest })
}

/// A component's bytes; one more than may be is enough to be refused.
pub fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = limits::COMPONENT_BYTES_MAX as u64 + 1;
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Unfit {
    fn diagnostic(&self, stage: &Stage) -> Diagnostic {
        let at = stage.reference.span;
        match self {
            Self::Unreadable(path, error) => {
                let message = format!("`{}` cannot be read: {error}", path.display());
                let help = "build it (`conveyor build DIR -o FILE`) or name the file that is there; paths are relative to the manifest";
                Diagnostic::new("stage::unreadable", message).label(at, "this file").help(help)
            }
            Self::Load(path, error) if error.is_of_compiling() => {
                let message = format!("`{}` cannot be compiled: {error}", path.display());
                Diagnostic::new("stage::compile", message).label(at, "this component")
            }
            Self::Load(path, error) => {
                let message = format!("`{}` is not a stage: {error}", path.display());
                let help = "`conveyor inspect FILE` shows what a component is";
                Diagnostic::new("stage::load", message).label(at, "this component").help(help)
            }
            Self::Build(path, error) => {
                let message = format!("`{}` cannot be built: {error:#}", path.display());
                let help = "mend it until `conveyor build DIR` builds it";
                Diagnostic::new("stage::build", message).label(at, "this directory").help(help)
            }
            Self::Unlocked { path, expected, came } => {
                let message = format!(
                    "`{}` is not what the lock has: {expected} is locked, and it is {came}",
                    path.display()
                );
                let help = "`conveyor lock --build` with the manifest locks what it is now; without `--build`, a run takes what is locked";
                Diagnostic::new("lock::differs", message).label(at, "this").help(help)
            }
            Self::Gone(path) => {
                let message =
                    format!("what was built of `{}` when it was locked is not here any more", path.display());
                let help = "build and lock it again with `conveyor lock --build` and the manifest";
                Diagnostic::new("lock::gone", message).label(at, "this directory").help(help)
            }
            Self::Broke(why) => {
                let message = format!("`{}` was not loaded: the host itself failed: {why}", *stage.reference);
                let help = "this is a fault of Conveyor: please report it with what is printed above";
                Diagnostic::new("stage::host", message).label(at, "this component").help(help)
            }
            Self::Pull { error, is_pinned } => error.diagnostic(stage, *is_pinned),
        }
    }
}

/// A file whose name does not say that it is a component.
fn no_component(stage: &Stage) -> Diagnostic {
    let path = &stage.reference;
    let message = format!("`{path}` is a file, and no component by its name");
    let help = "name a component, a file that ends with `.wasm`, or the directory that one is built from";
    Diagnostic::new("stage::file", message).label(stage.reference.span, "this file").help(help)
}

fn not_there(stage: &Stage) -> Diagnostic {
    let message = format!("`{}` is not there", *stage.reference);
    let help = "check the name: it is relative to the manifest, or of a connector (`conveyor inspect` lists those) or an image";
    Diagnostic::new("stage::unreadable", message).label(stage.reference.span, "this directory").help(help)
}

/// A path that was not pushed with the manifest.
fn not_pushed(stage: &Stage) -> Diagnostic {
    let message = format!("`{}` was not pushed to this node with the manifest", *stage.reference);
    let help = "deploy it with `conveyor deploy`, which pushes what is named by a path and says in the lock what it is";
    Diagnostic::new("stage::pushed", message).label(stage.reference.span, "this component").help(help)
}

fn not_built(stage: &Stage) -> Diagnostic {
    let path = &stage.reference;
    let message = format!("stage `{}` is a directory, and nothing is built unless you say so", *stage.name);
    let help = format!(
        "add `--build`, or build it once with `conveyor build {path} -o {}.wasm` and name that file",
        *stage.name
    );
    Diagnostic::new("stage::directory", message).label(stage.reference.span, "this directory").help(help)
}

/// A name that no registry can have.
fn no_image(reference: &OciRef, why: String) -> Refused {
    let reference = reference.to_string();
    Box::new(move |stage| {
        let message = format!("`{reference}` is no reference: {why}");
        Diagnostic::new("stage::reference", message).label(stage.reference.span, "this reference")
    })
}

/// What is wrong with a component as this stage uses it.
fn check(stage: &Stage, component: &Component) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let kind = component.kind();
    if kind.role() != *stage.role {
        problems.push(wrong_role(stage, component));
        return problems;
    }
    problems.extend(reach::needs_left(stage, component));
    let config = serde_json::Value::Object(stage.with.value.clone());
    for problem in component.check_config(&config) {
        let message = format!("`{}` does not take this config: {}", *stage.name, problem.message);
        let span: Span = stage.with.span_of(&problem.pointer);
        let build = if matches!(stage.reference.value, StageRef::Directory(_)) { " --build" } else { "" };
        let help = format!("`conveyor inspect {}{build}` shows the schema of its config", *stage.reference);
        problems.push(Diagnostic::new("stage::config", message).label(span, "this").help(help));
    }
    problems
}

fn wrong_role(stage: &Stage, component: &Component) -> Diagnostic {
    let (found, wanted) = (component.kind(), *stage.role);
    let article = |role: Role| match role {
        Role::Source => "a source",
        Role::Transform => "a transform",
        Role::Sink => "a sink",
    };
    let message = format!(
        "`{}` stands as {}, but its component is {}: it exports `{found}`",
        *stage.name,
        article(wanted),
        article(found.role())
    );
    let help = format!("write `{}: {}`, or name another component", found.role(), *stage.reference);
    let problem = Diagnostic::new("stage::role", message).label(stage.role.span, "as this");
    problem.label(stage.reference.span, format!("this exports `{found}`")).help(help)
}
