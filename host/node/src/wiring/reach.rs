//! What the stages of a pipeline reach: needs against grants, and grants made ready under the policy of this
//! process.

use std::collections::BTreeMap;
use std::path::Path;

use engine::{Access, AccessOptions, Component, OpenDir};
use model::diagnostics::Diagnostic;
use model::grants::{Need, NeedError, missing};
use model::manifest::{Pipeline, Stage};

use super::Policy;

/// What a component cannot do without, by its own word and by what it imports; and what it says that is no
/// need.
pub fn needs(component: &Component) -> (Vec<Need>, Vec<(String, NeedError)>) {
    let mut needs = Vec::new();
    let mut unknown = Vec::new();
    for text in &component.about().needs {
        match text.parse() {
            Ok(need) => needs.push(need),
            Err(error) => unknown.push((text.clone(), error)),
        }
    }
    // No language runtime drags HTTP in: who imports it means to send requests.
    if component.imports_http() && !needs.iter().any(|need| matches!(need, Need::Http(_))) {
        needs.push(Need::AnyHttp);
    }
    (needs, unknown)
}

/// One problem for each need that the manifest does not grant.
pub fn needs_left(stage: &Stage, component: &Component) -> Vec<Diagnostic> {
    let (needs, unknown) = needs(component);
    let at = stage.grants.span.unwrap_or(stage.reference.span);
    let place = if stage.grants.span.is_some() { "these do not grant it" } else { "this component" };
    let left = missing(&needs, &stage.grants.value).into_iter().map(|need| {
        let message = match need {
            Need::AnyHttp => format!("`{}` sends HTTP requests, and no host is granted to it", *stage.name),
            need => format!("`{}` cannot do without `{need}`, which is not granted", *stage.name),
        };
        let help = match stage.grants.span {
            Some(_) => format!("add `{}` to its `grants`", need.entry()),
            None => format!("add `{}` to the stage", need.line()),
        };
        Diagnostic::new("stage::need", message).label(at, place).help(help)
    });
    let unknown = unknown.into_iter().map(|(text, error)| {
        let message = format!("`{}` says that it cannot do without `{text}`, which is no need", *stage.name);
        let problem = Diagnostic::new("stage::need", message).label(stage.reference.span, "this component");
        problem.help(format!("mend its `about`: {error}"))
    });
    left.chain(unknown).collect()
}

/// By stage: what its grants open, or what is wrong with them on this machine.
pub(super) fn accesses(pipeline: &Pipeline, home: &Path, policy: &Policy) -> (Vec<Access>, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    let open = |stage: &Stage| open(stage, home, policy, &mut problems);
    (pipeline.stages.iter().map(open).collect(), problems)
}

fn open(stage: &Stage, home: &Path, policy: &Policy, problems: &mut Vec<Diagnostic>) -> Access {
    let decl = &stage.grants;
    let mut dirs = Vec::new();
    for (dir, span) in decl.value.dirs.iter().zip(&decl.dirs) {
        match directory(&home.join(&dir.host), policy) {
            Ok(host) => dirs.push(OpenDir { host, guest: dir.guest.clone(), mode: dir.mode }),
            Err(why) => {
                let message = format!("`{}` cannot be granted {}: {why}", *stage.name, dir.host);
                let help = "name a directory that is there, relative to the manifest, and inside every `--allow-root`";
                problems.push(Diagnostic::new("stage::grant", message).label(*span, "this").help(help));
            }
        }
    }
    let mut secrets = BTreeMap::new();
    for (name, span) in decl.value.secrets.iter().zip(&decl.secrets) {
        match policy.secret(name) {
            Ok(secret) => {
                secrets.insert(name.clone(), secret);
            }
            Err(error) if policy.needs_secrets => {
                let message = format!("secret `{name}` of `{}` has no value: {error:#}", *stage.name);
                let problem = Diagnostic::new("stage::secret", message).label(*span, "granted here");
                problems.push(problem.help(policy.secret_help(name)));
            }
            Err(_) => {}
        }
    }
    Access::new(AccessOptions { grants: decl.value.clone(), dirs, secrets, ..AccessOptions::default() })
}

fn directory(path: &Path, policy: &Policy) -> Result<std::path::PathBuf, String> {
    let resolved = path.canonicalize().map_err(|error| error.to_string())?;
    if !resolved.is_dir() {
        return Err("it is no directory".to_owned());
    }
    policy.roots.check(&resolved).map_err(|error| error.to_string())
}
