//! Which module of a crate may know which: no two know one another, directly or through others. The compiler sees to that
//! between crates, and to nothing within one.
//!
//! What counts are the modules at the root of a library, each with all that is below it, and what stands in them outside
//! of tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{Item, UseTree};

use super::reach::{File, is_for_tests};
use super::{Finding, Package};

/// Crates with modules that still know one another, and which: they may become fewer.
const KNOTTED: &[(&str, &[&str])] = &[
    ("connect", &["csv", "decode", "digest", "input", "place", "places"]),
    ("expr", &["check", "eval"]),
    ("node", &["exit", "terminal"]),
    ("sdk-rust", SDK),
];

const SDK: &[&str] = &[
    "batch",
    "columns",
    "emitter",
    "fingerprint",
    "glue",
    "made",
    "plan",
    "row",
    "sink",
    "source",
    "table",
    "table_transform",
    "transform",
];

/// By module, the modules that it knows, each with a place where it says so.
type Graph = BTreeMap<String, BTreeMap<String, (PathBuf, usize)>>;

pub fn check(package: &Package, reached: &[File]) -> Vec<Finding> {
    let is_library = |root: &&super::Root| root.file.ends_with("src/lib.rs");
    let Some(root) = package.roots.iter().find(is_library) else { return vec![] };
    let source = root.file.parent().unwrap_or(Path::new(""));
    let Some(library) = reached.iter().find(|file| file.path == root.file) else { return vec![] };
    let graph = graph(source, library, reached);
    let name = source.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let known =
        KNOTTED.iter().find(|(crate_name, _)| *crate_name == name).map_or(&[][..], |(_, known)| known);
    findings(&graph, known, &root.file)
}

fn findings(graph: &Graph, known: &[&str], library: &Path) -> Vec<Finding> {
    let circles = circles(graph);
    let mut findings: Vec<Finding> = vec![];
    for circle in &circles {
        if circle.iter().all(|module| known.contains(&module.as_str())) {
            continue;
        }
        let way = way_around(graph, circle);
        let (file, line) = way.first().map_or((library.to_path_buf(), 1), |(_, _, place)| place.clone());
        let steps: Vec<String> = way.iter().map(|(from, to, _)| format!("`{from}` knows `{to}`")).collect();
        let message = format!("modules know one another in a circle: {}", steps.join(", "));
        findings.push(Finding::new(&file, line, message));
    }
    let still: BTreeSet<&str> = circles.iter().flatten().map(String::as_str).collect();
    for module in known.iter().filter(|module| !still.contains(**module)) {
        let message = format!(
            "`{module}` is in no circle any more: take it out of KNOTTED of xtask/src/tidy/circles.rs"
        );
        findings.push(Finding::new(library, 1, message));
    }
    findings
}

fn graph(source: &Path, library: &File, reached: &[File]) -> Graph {
    let modules: BTreeSet<String> = library
        .syntax
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Mod(module) if !is_for_tests(&module.attrs) => Some(module.ident.to_string()),
            _ => None,
        })
        .collect();
    let exported = exported(library, &modules);
    let mut graph: Graph = modules.iter().map(|module| (module.clone(), BTreeMap::new())).collect();
    for file in reached.iter().filter(|file| !file.is_test && file.path != library.path) {
        let Ok(within) = file.path.strip_prefix(source) else { continue };
        let path = module_path(within);
        let Some(known) = path.first().and_then(|module| graph.get_mut(module)) else { continue };
        let Ok(tokens) = file.text.parse() else { continue };
        let mut names = vec![];
        named(tokens, path.len(), &mut names);
        for (name, line) in names {
            let module = if modules.contains(&name) { Some(&name) } else { exported.get(&name) };
            if let Some(module) = module.filter(|module| **module != path[0]) {
                known.entry(module.clone()).or_insert_with(|| (file.path.clone(), line));
            }
        }
    }
    graph
}

/// `["a", "b"]` for `a/b.rs` and for `a/b/mod.rs`.
fn module_path(within: &Path) -> Vec<String> {
    let mut path: Vec<String> =
        within.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    path
}

/// What the root of a library takes from its modules, by name: whoever names it there knows the module.
fn exported(library: &File, modules: &BTreeSet<String>) -> BTreeMap<String, String> {
    fn leaves(tree: &UseTree, module: &str, found: &mut BTreeMap<String, String>) {
        match tree {
            UseTree::Path(path) => leaves(&path.tree, module, found),
            UseTree::Name(name) => drop(found.insert(name.ident.to_string(), module.to_owned())),
            UseTree::Rename(rename) => drop(found.insert(rename.rename.to_string(), module.to_owned())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, module, found)),
            UseTree::Glob(_) => {}
        }
    }
    let mut found = BTreeMap::new();
    for item in &library.syntax.items {
        if let Item::Use(item) = item
            && let UseTree::Path(path) = &item.tree
            && modules.contains(&path.ident.to_string())
        {
            leaves(&path.tree, &path.ident.to_string(), &mut found);
        }
    }
    found
}

/// The names at the root of the crate that tokens speak of outside of tests, with their lines. `depth`: of the module in
/// which they stand. Looks at tokens, so that what stands in a macro is seen too.
fn named(tokens: TokenStream, depth: usize, names: &mut Vec<(String, usize)>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let is_continued = at >= 2 && is_path_separator(&tokens[at - 2..]);
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' && is_cfg_test(tokens.get(at + 1)) => {
                // The item ends with its first block, or without one.
                let ends = |token: &TokenTree| match token {
                    TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                    TokenTree::Punct(punct) => punct.as_char() == ';',
                    _ => false,
                };
                at = tokens[at..].iter().position(ends).map_or(tokens.len(), |end| at + end);
            }
            TokenTree::Group(group) => {
                let is_module =
                    at >= 2 && matches!(&tokens[at - 2], TokenTree::Ident(ident) if ident == "mod");
                named(group.stream(), depth + usize::from(is_module), names);
            }
            TokenTree::Ident(ident) if !is_continued && (ident == "crate" || ident == "super") => {
                let mut up = if ident == "crate" { depth } else { 1 };
                at += 1;
                while is_path_separator(&tokens[at..])
                    && matches!(tokens.get(at + 2), Some(TokenTree::Ident(next)) if next == "super")
                {
                    up += 1;
                    at += 3;
                }
                if up == depth && is_path_separator(&tokens[at..]) {
                    match tokens.get(at + 2) {
                        Some(TokenTree::Ident(name)) => {
                            names.push((name.to_string(), name.span().start().line));
                        }
                        Some(TokenTree::Group(group)) => first_of_each(group.stream(), names),
                        _ => {}
                    }
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
}

/// Whether it is `[cfg(test)]` or the like.
fn is_cfg_test(token: Option<&TokenTree>) -> bool {
    let Some(TokenTree::Group(group)) = token else { return false };
    let text = group.stream().to_string();
    text.starts_with("cfg") && text.contains("test") && !text.contains("not")
}

fn is_path_separator(tokens: &[TokenTree]) -> bool {
    let is_colon =
        |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    is_colon(tokens.first()) && is_colon(tokens.get(1))
}

/// `a` and `b` of `{a::x, b::{y, z}}`.
fn first_of_each(tokens: TokenStream, names: &mut Vec<(String, usize)>) {
    let mut is_first = true;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) if is_first => {
                names.push((ident.to_string(), ident.span().start().line));
                is_first = false;
            }
            TokenTree::Punct(punct) if punct.as_char() == ',' => is_first = true,
            _ => {}
        }
    }
}

/// The modules that know one another, directly or through others: each such knot once.
fn circles(graph: &Graph) -> Vec<BTreeSet<String>> {
    let reach = |from: &String| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&String> = graph.get(from).into_iter().flat_map(BTreeMap::keys).collect();
        while let Some(module) = next.pop() {
            if seen.insert(module.clone()) {
                next.extend(graph.get(module).into_iter().flat_map(BTreeMap::keys));
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = graph.keys().map(|from| (from, reach(from))).collect();
    let knot = |of: &String| -> BTreeSet<String> {
        reached[of]
            .iter()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(of)))
            .cloned()
            .collect()
    };
    let knots: BTreeSet<BTreeSet<String>> = graph.keys().map(knot).filter(|knot| !knot.is_empty()).collect();
    knots.into_iter().collect()
}

type Step = (String, String, (PathBuf, usize));

/// A shortest way from a module of a knot back to it.
fn way_around(graph: &Graph, knot: &BTreeSet<String>) -> Vec<Step> {
    let ways = knot.iter().filter_map(|start| {
        let mut ways: Vec<Vec<Step>> = vec![vec![]];
        let mut seen = BTreeSet::new();
        loop {
            let mut longer = vec![];
            for way in ways {
                let at = way.last().map_or(start, |(_, to, _)| to);
                for (to, place) in &graph[at] {
                    let mut way = way.clone();
                    way.push((at.clone(), to.clone(), place.clone()));
                    if to == start {
                        return Some(way);
                    }
                    if knot.contains(to) && seen.insert(to.clone()) {
                        longer.push(way);
                    }
                }
            }
            if longer.is_empty() {
                return None;
            }
            ways = longer;
        }
    });
    ways.min_by_key(Vec::len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        let syntax = syn::parse_file(text).expect("source that parses");
        File { path: path.into(), text: text.into(), syntax, is_test: path.ends_with("tests.rs") }
    }

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> = files.iter().map(|(path, text)| file(path, text)).collect();
        let graph = graph(Path::new("src"), &files[0], &files);
        findings(&graph, &[], Path::new("src/lib.rs")).into_iter().map(|found| found.message).collect()
    }

    const CIRCLE: &str = "modules know one another in a circle: `a` knows `b`, `b` knows `a`";

    #[test]
    fn two_modules_that_know_one_another_are_found_however_they_say_it() {
        for (a, b) in [
            ("use crate::b::B;", "use crate::a::A;"),
            ("use crate::{c, b::{B, D}};", "fn f() { crate::a::f() }"),
            ("fn f() -> super::b::B {}", "use super::{a::A, c};"),
            ("fn f() { println!(\"{}\", crate::b::f()) }", "struct B(crate::A);"),
        ] {
            let lib = ("src/lib.rs", "mod a; mod b; mod c; pub use a::A;");
            assert_eq!(
                found(&[lib, ("src/a.rs", a), ("src/b.rs", b), ("src/c.rs", "")]),
                [CIRCLE],
                "{a} {b}"
            );
        }
    }

    #[test]
    fn what_is_below_a_module_counts_as_the_module_and_tests_do_not() {
        let lib = ("src/lib.rs", "mod a; mod b;");
        let deep = ("src/a/deep.rs", "use super::super::b::B; mod c { use super::super::f; }");
        assert_eq!(
            found(&[lib, ("src/a/mod.rs", "mod deep;"), deep, ("src/b.rs", "use crate::a;")]),
            [CIRCLE]
        );
        let within = ("src/a/deep.rs", "use super::b::B; use crate::a::f;");
        assert_eq!(
            found(&[lib, ("src/a/mod.rs", "mod deep;"), within, ("src/b.rs", "use crate::a;")]),
            [""; 0]
        );
        let tests = "use crate::a; #[cfg(test)] mod tests { use crate::b; }";
        for (a, more) in [
            ("#[cfg(test)] mod tests { use crate::b; }", ("src/a/more.rs", "")),
            ("#[cfg(test)] use crate::b;", ("src/a/more.rs", "")),
            ("", ("src/a/tests.rs", "use crate::b;")),
        ] {
            assert_eq!(found(&[lib, ("src/a.rs", a), ("src/b.rs", tests), more]), [""; 0], "{a}");
        }
    }

    #[test]
    fn a_circle_through_others_is_found_and_told_by_its_shortest_way() {
        let lib = ("src/lib.rs", "mod a; mod b; mod c; mod d;");
        let files =
            [("src/a.rs", "use crate::b;"), ("src/b.rs", "use crate::c;"), ("src/d.rs", "use crate::a;")];
        let with = |c| {
            let mut all = vec![lib, ("src/c.rs", c)];
            all.extend(files);
            found(&all)
        };
        assert_eq!(with("use std::a;"), [""; 0]);
        let circle = "modules know one another in a circle: `a` knows `b`, `b` knows `c`, `c` knows `a`";
        assert_eq!(with("use crate::{a, d};"), [circle]);
    }

    #[test]
    fn a_knot_that_is_known_may_stay_and_not_grow_and_is_struck_off_when_it_is_gone() {
        let files = [
            file("src/lib.rs", "mod a; mod b; mod c;"),
            file("src/a.rs", "use crate::b;"),
            file("src/b.rs", "use crate::a;"),
        ];
        let graph = graph(Path::new("src"), &files[0], &files);
        let found = |known: &[&str]| findings(&graph, known, Path::new("src/lib.rs")).len();
        assert_eq!((found(&["a", "b"]), found(&["a"]), found(&["a", "b", "c"])), (0, 1, 1));
    }
}
