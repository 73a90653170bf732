//! What the stages of a manifest name, loaded all at once, and checked against what they are used as.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use engine::{Component, Engine, LoadError};
use model::diagnostics::{Diagnostic, Span};
use model::limits;
use model::manifest::{Pipeline, Role, Stage, StageRef};
use tokio::task::JoinSet;

use super::{Code, Workshop, builtin, reach};
use crate::build;

impl Workshop {
    /// What each stage stands for, none where something is wrong with it.
    pub(super) async fn load(
        &self,
        pipeline: &Pipeline,
        home: &Path,
    ) -> (Vec<Option<Code>>, Vec<Diagnostic>) {
        let mut codes: Vec<Option<Code>> = pipeline.stages.iter().map(|_| None).collect();
        let mut problems = Vec::new();
        let mut loading = JoinSet::new();
        for (index, stage) in pipeline.stages.iter().enumerate() {
            match &stage.reference.value {
                StageRef::BuiltIn(name) => match builtin::plan(stage, name, pipeline, home, &self.policy) {
                    Ok(built_in) => codes[index] = Some(Code::BuiltIn(Box::new(built_in))),
                    Err(problem) => problems.push(problem),
                },
                StageRef::WasmFile(path) => {
                    loading.spawn(load_file(index, self.engine.clone(), home.join(path)));
                }
                StageRef::Directory(path) if home.join(path).is_file() => {
                    problems.push(no_component(stage, path));
                }
                StageRef::Directory(path) if self.builds => {
                    loading.spawn(build_and_load(index, self.engine.clone(), home.join(path)));
                }
                StageRef::Directory(path) => problems.push(not_built(stage, path)),
                StageRef::Oci(reference) => problems.push(from_registry(stage, &reference.to_string())),
            }
        }
        while let Some(loaded) = loading.join_next().await {
            let Ok((index, loaded)) = loaded else { continue };
            let stage = &pipeline.stages[index];
            match loaded {
                Ok(component) => {
                    let mut found = check(stage, &component);
                    if found.is_empty() {
                        codes[index] = Some(Code::Component(component));
                    }
                    problems.append(&mut found);
                }
                Err(unfit) => problems.push(unfit.diagnostic(stage)),
            }
        }
        (codes, problems)
    }
}

/// Why there is no component.
enum Unfit {
    Unreadable(PathBuf, std::io::Error),
    Load(PathBuf, LoadError),
    Build(PathBuf, anyhow::Error),
}

type Loaded = (usize, Result<Component, Unfit>);

async fn load_file(index: usize, engine: Engine, path: PathBuf) -> Loaded {
    (index, load(engine, path).await)
}

async fn load(engine: Engine, path: PathBuf) -> Result<Component, Unfit> {
    let bytes = read(&path).map_err(|error| Unfit::Unreadable(path.clone(), error))?;
    engine.load(bytes).await.map_err(|error| Unfit::Load(path, error))
}

/// A component's bytes; one more than may be is enough to be refused.
pub fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = limits::COMPONENT_BYTES_MAX as u64 + 1;
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

async fn build_and_load(index: usize, engine: Engine, dir: PathBuf) -> Loaded {
    let from = dir.clone();
    let built = tokio::task::spawn_blocking(move || build::component(&from)).await;
    let component = match built {
        Ok(Ok(component)) => component,
        Ok(Err(error)) => return (index, Err(Unfit::Build(dir, error))),
        Err(error) => return (index, Err(Unfit::Build(dir, error.into()))),
    };
    (index, engine.load(component).await.map_err(|error| Unfit::Load(dir, error)))
}

impl Unfit {
    fn diagnostic(self, stage: &Stage) -> Diagnostic {
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
        }
    }
}

/// A file whose name does not say that it is a component.
fn no_component(stage: &Stage, path: &str) -> Diagnostic {
    let message = format!("`{path}` is a file, and no component by its name");
    let help = "name a component, a file that ends with `.wasm`, or the directory that one is built from";
    Diagnostic::new("stage::file", message).label(stage.reference.span, "this file").help(help)
}

fn not_built(stage: &Stage, path: &str) -> Diagnostic {
    let message = format!("stage `{}` is a directory, and nothing is built unless you say so", *stage.name);
    let help = format!(
        "add `--build`, or build it once with `conveyor build {path} -o {}.wasm` and name that file",
        *stage.name
    );
    Diagnostic::new("stage::directory", message).label(stage.reference.span, "this directory").help(help)
}

fn from_registry(stage: &Stage, reference: &str) -> Diagnostic {
    let message = format!("`{reference}` is in a registry, which this version cannot pull from");
    let problem = Diagnostic::new("stage::registry", message).label(stage.reference.span, "this reference");
    problem.help("name a `.wasm` file")
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
        let help = format!("`conveyor inspect {}` shows the schema of its config", *stage.reference);
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
