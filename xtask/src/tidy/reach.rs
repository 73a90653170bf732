//! Follows `mod` from the roots of a package, so that a file that nothing reaches is found, and so that a file
//! is known to be for tests alone where `#[cfg(test)]` stands above it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use syn::{Attribute, Expr, Item, ItemMod, Lit, Meta};

use super::{Finding, Package};

/// A source file that belongs to a package, parsed.
pub struct File {
    pub path: PathBuf,
    pub text: String,
    pub syntax: syn::File,
    /// Compiled for tests alone.
    pub is_test: bool,
}

/// Answers with all that is reached; what is not becomes a finding.
pub fn check(package: &Package, findings: &mut Vec<Finding>) -> Result<Vec<File>> {
    let mut reached = Reached::default();
    for root in &package.roots {
        let directory = root.file.parent().unwrap_or(Path::new(""));
        reached.visit(&root.file, directory, root.is_test, findings)?;
    }
    let home = package.manifest.parent().unwrap_or(Path::new(""));
    for file in rust_files(home, true)? {
        let is_included = reached.included.contains(&file);
        if !reached.files.contains_key(&file) && !is_included {
            findings.push(Finding::new(
                &file,
                1,
                "no module reaches this file: name it in one, or delete it",
            ));
        }
    }
    Ok(reached.files.into_values().collect())
}

#[derive(Default)]
struct Reached {
    files: BTreeMap<PathBuf, File>,
    /// What `include_str!` and the like name.
    included: Vec<PathBuf>,
}

impl Reached {
    /// `directory` is where the modules that this file names are looked for.
    fn visit(
        &mut self,
        path: &Path,
        directory: &Path,
        is_test: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        if let Some(known) = self.files.get_mut(path) {
            // The same file in two roots: for tests alone only where both say so.
            known.is_test &= is_test;
            return Ok(());
        }
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let syntax = syn::parse_file(&text).with_context(|| format!("cannot parse {}", path.display()))?;
        self.included.extend(included(&text, path));
        let beside = path.parent().unwrap_or(directory);
        let modules = modules(&syntax.items, directory, beside, is_test);
        self.files.insert(path.to_path_buf(), File { path: path.to_path_buf(), text, syntax, is_test });
        for Module { name, line, candidates, is_test } in modules {
            match candidates.iter().find(|(file, _)| file.is_file()) {
                Some((file, directory)) => self.visit(file, directory, is_test, findings)?,
                None => findings.push(Finding::new(path, line, format!("the module `{name}` has no file"))),
            }
        }
        Ok(())
    }
}

struct Module {
    name: String,
    line: usize,
    /// Files that it may be in, each with the directory of its own modules.
    candidates: Vec<(PathBuf, PathBuf)>,
    is_test: bool,
}

/// The modules in files of their own, those that modules written in place name included. `beside` is where
/// `#[path]` starts: beside the file, but within a module written in place, where the others start too.
fn modules(items: &[Item], directory: &Path, beside: &Path, is_test: bool) -> Vec<Module> {
    let mut found = vec![];
    for item in items {
        let Item::Mod(module) = item else { continue };
        let name = module.ident.to_string();
        let is_test = is_test || is_for_tests(&module.attrs);
        match &module.content {
            Some((_, items)) => {
                let within = directory.join(&name);
                found.extend(modules(items, &within, &within, is_test));
            }
            None => {
                let line = module.ident.span().start().line;
                found.push(Module { line, candidates: candidates(module, directory, beside), is_test, name });
            }
        }
    }
    found
}

fn candidates(module: &ItemMod, directory: &Path, beside: &Path) -> Vec<(PathBuf, PathBuf)> {
    let name = module.ident.to_string();
    match module.attrs.iter().find_map(path_attribute) {
        Some(path) => {
            let file = beside.join(path);
            let within = file.parent().unwrap_or(beside).to_path_buf();
            vec![(file, within)]
        }
        None => vec![
            (directory.join(format!("{name}.rs")), directory.join(&name)),
            (directory.join(&name).join("mod.rs"), directory.join(&name)),
        ],
    }
}

fn path_attribute(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(meta) = &attribute.meta else { return None };
    let Expr::Lit(value) = &meta.value else { return None };
    match &value.lit {
        Lit::Str(path) if meta.path.is_ident("path") => Some(path.value()),
        _ => None,
    }
}

/// Whether `#[cfg(test)]` or the like stands among the attributes.
pub fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string();
            condition == "test" || (condition.starts_with("all") && condition.contains("test"))
        }
        _ => false,
    })
}

/// Files that the text names in `include!`, `include_str!` or `include_bytes!`.
fn included(text: &str, path: &Path) -> Vec<PathBuf> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let after = |opening: &'static str| text.split(opening).skip(1);
    let calls = after("include!(").chain(after("include_str!(")).chain(after("include_bytes!("));
    let literals = calls.filter_map(|call| call.trim_start().strip_prefix('"')?.split('"').next());
    literals.filter_map(|name| directory.join(name).canonicalize().ok()).collect()
}

/// All Rust files of a package, but not those of packages within it.
fn rust_files(directory: &Path, is_root: bool) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    if !is_root && directory.join("Cargo.toml").is_file() {
        return Ok(files);
    }
    for entry in
        std::fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?
    {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files.extend(rust_files(&path, false)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Root;
    use super::*;

    type Told = (Vec<(String, bool)>, Vec<(String, String)>);

    /// Lays files, and answers with what was reached (and whether for tests alone), and what was found.
    fn reach(files: &[(&str, &str)]) -> Told {
        let directory = tempfile::tempdir().expect("a directory");
        let home = directory.path().canonicalize().expect("a directory");
        for (name, text) in files {
            let path = home.join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        }
        let root = |name: &str, is_test| Root { file: home.join(name), is_test };
        let mut roots = vec![root("src/lib.rs", false)];
        if home.join("tests/it.rs").is_file() {
            roots.push(root("tests/it.rs", true));
        }
        let package = Package { manifest: home.join("Cargo.toml"), roots };
        let mut findings = vec![];
        let reached = check(&package, &mut findings).expect("files that parse");
        let short = |path: &Path| path.strip_prefix(&home).expect("within").display().to_string();
        (
            reached.iter().map(|file| (short(&file.path), file.is_test)).collect(),
            findings.into_iter().map(|finding| (short(&finding.file), finding.message)).collect(),
        )
    }

    #[test]
    fn modules_are_followed_wherever_they_may_lie() {
        let (reached, findings) = reach(&[
            ("src/lib.rs", "mod a; mod b; mod inline { mod c; } #[path = \"else/where.rs\"] mod d;"),
            ("src/a.rs", "mod deep; #[cfg(test)] #[path = \"a_tests.rs\"] mod tests;"),
            ("src/a_tests.rs", ""),
            ("src/a/deep.rs", ""),
            ("src/b/mod.rs", "mod deep;"),
            ("src/b/deep.rs", ""),
            ("src/inline/c.rs", ""),
            ("src/else/where.rs", "#[cfg(test)] mod tests;"),
            ("src/else/tests.rs", ""),
            ("tests/it.rs", ""),
        ]);
        assert_eq!(findings, []);
        let tests: Vec<_> = reached.iter().filter(|(_, is_test)| *is_test).map(|(name, _)| &**name).collect();
        assert_eq!(reached.len(), 10);
        assert_eq!(tests, ["src/a_tests.rs", "src/else/tests.rs", "tests/it.rs"]);
    }

    #[test]
    fn a_file_that_nothing_reaches_is_found() {
        let (_, findings) = reach(&[
            ("src/lib.rs", "mod a; const T: &str = include_str!(\"../template/main.rs\");"),
            ("src/a.rs", ""),
            ("src/dead.rs", ""),
            ("template/main.rs", ""),
            ("inner/Cargo.toml", ""),
            ("inner/src/lib.rs", ""),
        ]);
        let files: Vec<_> = findings.iter().map(|(file, _)| &**file).collect();
        assert_eq!(files, ["src/dead.rs"], "what is included lives, and a package within is not ours");
    }

    #[test]
    fn a_module_without_a_file_is_found() {
        let (_, findings) = reach(&[("src/lib.rs", "mod gone;")]);
        assert_eq!(findings, [("src/lib.rs".into(), "the module `gone` has no file".into())]);
    }
}
