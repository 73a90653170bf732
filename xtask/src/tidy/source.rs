//! Checks within one file: its size, that of its functions, the names of its modules, what it says of itself,
//! and what is left to be done.

use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, ImplItemFn, ItemFn, ItemMod, Meta, Signature, TraitItemFn};

use super::Finding;
use super::reach::{File, is_for_tests};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
/// Names that say where somebody once put things, and not what they are.
const EMPTY_NAMES: [&str; 10] =
    ["core", "common", "shared", "util", "utils", "helper", "helpers", "manager", "managers", "misc"];
/// Macros that stand for work to be done.
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];

pub fn check(file: &File) -> Vec<Finding> {
    let mut visitor = Visitor { path: &file.path, is_test: file.is_test, findings: vec![] };
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        visitor
            .find(1, format!("{lines} lines are more than {FILE_LINES_MAX}: split the file by what it does"));
    }
    if !file.is_test && !file.syntax.attrs.iter().any(is_module_doc) {
        visitor.find(1, "a module begins with `//!`: what is it for, and what is not in it?");
    }
    visitor.name(1, &module_name(&file.path));
    visitor.visit_file(&file.syntax);
    if let Ok(tokens) = file.text.parse::<TokenStream>() {
        visitor.unfinished(tokens);
    }
    visitor.findings
}

struct Visitor<'a> {
    path: &'a Path,
    is_test: bool,
    findings: Vec<Finding>,
}

impl Visitor<'_> {
    fn find(&mut self, line: usize, message: impl Into<String>) {
        self.findings.push(Finding::new(self.path, line, message));
    }

    fn name(&mut self, line: usize, name: &str) {
        if EMPTY_NAMES.contains(&name) {
            self.find(line, format!("the module name `{name}` says nothing: name what it is for"));
        }
    }

    /// A test may be as long as its story.
    fn function(&mut self, attributes: &[Attribute], signature: &Signature, block: &Block) {
        let is_test = |attribute: &Attribute| {
            attribute
                .path()
                .segments
                .last()
                .is_some_and(|last| last.ident == "test" || last.ident == "proptest")
        };
        if self.is_test || attributes.iter().any(is_test) {
            return;
        }
        let start = signature.span().start().line;
        let lines = block.span().end().line - start + 1;
        if lines > FUNCTION_LINES_MAX {
            let name = &signature.ident;
            self.find(start, format!("`{name}` has {lines} lines, more than {FUNCTION_LINES_MAX}: split it"));
        }
    }

    /// Looks at tokens, so that what stands within another macro is seen too.
    fn unfinished(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        for (i, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.unfinished(group.stream()),
                TokenTree::Ident(ident) if UNFINISHED.iter().any(|name| ident == name) => {
                    let is_call =
                        matches!(tokens.get(i + 1), Some(TokenTree::Punct(next)) if next.as_char() == '!');
                    if is_call {
                        self.find(
                            ident.span().start().line,
                            format!("`{ident}!` stands for work to be done: do it"),
                        );
                    }
                }
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.attrs, &item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.function(&item.attrs, &item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.attrs, &item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.name(item.ident.span().start().line, &item.ident.to_string());
        let was_test = self.is_test;
        self.is_test |= is_for_tests(&item.attrs);
        visit::visit_item_mod(self, item);
        self.is_test = was_test;
    }
}

fn is_module_doc(attribute: &Attribute) -> bool {
    matches!(&attribute.meta, Meta::NameValue(meta) if meta.path.is_ident("doc"))
}

/// `a` for `a.rs` and for `a/mod.rs`.
fn module_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    let name = if stem == "mod" { path.parent().and_then(Path::file_name).unwrap_or_default() } else { stem };
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings_at(path: &str, text: &str, is_test: bool) -> Vec<(usize, String)> {
        let syntax = syn::parse_file(text).expect("source that parses");
        let file = File { path: path.into(), text: text.into(), syntax, is_test };
        check(&file).into_iter().map(|finding| (finding.line, finding.message)).collect()
    }

    fn findings(text: &str) -> Vec<(usize, String)> {
        findings_at("src/place.rs", text, false)
    }

    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    work();\n".repeat(lines - 2))
    }

    #[track_caller]
    fn assert_found(found: &[(usize, String)], line: usize, part: &str) {
        assert!(found.len() == 1 && found[0].0 == line && found[0].1.contains(part), "{found:?}");
    }

    #[test]
    fn functions_have_a_length_that_fits_a_screen() {
        assert_eq!(findings(&format!("//! Doc.\n{}", function(FUNCTION_LINES_MAX))), []);
        let long = function(FUNCTION_LINES_MAX + 1);
        assert_found(&findings(&format!("//! Doc.\n{long}")), 2, "`long` has 71 lines");
        assert_found(&findings(&format!("//! Doc.\nimpl A {{\n{long}}}")), 3, "`long` has 71 lines");
        assert_found(&findings(&format!("//! Doc.\ntrait A {{\n{long}}}")), 3, "`long` has 71 lines");
        assert_found(&findings(&format!("//! Doc.\nmod a {{\n{long}}}")), 3, "`long` has 71 lines");
    }

    #[test]
    fn tests_may_be_longer() {
        let long = function(FUNCTION_LINES_MAX + 1);
        assert_eq!(findings(&format!("//! Doc.\n#[cfg(test)]\nmod tests {{\n{long}}}")), []);
        assert_eq!(findings(&format!("//! Doc.\n#[tokio::test]\nasync {long}")), []);
        assert_eq!(findings_at("src/tests.rs", &long, true), []);
    }

    #[test]
    fn doc_comments_do_not_count_into_a_function() {
        let doc = "/// Why.\n".repeat(20);
        assert_eq!(findings(&format!("//! Doc.\n{doc}{}", function(FUNCTION_LINES_MAX))), []);
    }

    #[test]
    fn files_have_a_length_too() {
        let fits = format!("//! Doc.\n{}", "// why\n".repeat(FILE_LINES_MAX - 1));
        assert_eq!(findings(&fits), []);
        assert_found(&findings(&format!("{fits}// why\n")), 1, "601 lines are more than 600");
    }

    #[test]
    fn a_module_says_what_it_is_for() {
        assert_found(&findings("fn f() {}"), 1, "begins with `//!`");
        assert_eq!(findings_at("src/tests.rs", "fn f() {}", true), []);
    }

    #[test]
    fn unfinished_work_is_found_in_other_macros_too_and_not_in_text() {
        assert_found(&findings("//! Doc.\nfn f() {\n    todo!()\n}"), 3, "`todo!`");
        assert_found(&findings("//! Doc.\nfn f() { unimplemented!(\"later\") }"), 2, "`unimplemented!`");
        assert_found(&findings("//! Doc.\nfn f() { println!(\"{}\", dbg!(1)) }"), 2, "`dbg!`");
        assert_eq!(findings("//! Doc. todo!()\nfn todo() { let _ = \"todo!()\"; todo() }"), []);
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        assert_found(&findings("//! Doc.\nmod utils {}"), 2, "`utils`");
        assert_found(&findings_at("src/common.rs", "//! Doc.", false), 1, "`common`");
        assert_found(&findings_at("src/core/mod.rs", "//! Doc.", false), 1, "`core`");
        assert_eq!(findings_at("src/core_dump.rs", "//! Doc.", false), []);
    }
}
