//! YAML as a tree in which everything knows its place in the text.
//!
//! Built on the parser's events rather than on serde, because a derive stops at the first thing that does not
//! fit, and because duplicate keys, the way a scalar was quoted and the ends of things are gone by then.
//! Aliases share what they name; what a document would be when written out is counted all the same, so a few
//! lines that stand for millions of values are refused before anything walks them.

use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, StructureStyle, Tag};

use super::suggest::quoted;
use super::variables::{Environment, expand};
use crate::diagnostics::{Diagnostic, Span, Spanned};
use crate::limits::{MANIFEST_DEPTH_MAX, MANIFEST_NODES_MAX};

/// A value and its place: for an alias, the place where it is used.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub span: Span,
    pub tree: Rc<Tree>,
    /// Values in it, itself included, with aliases written out; a long text counts as several.
    weight: u64,
    /// Levels in it; 0 for a scalar.
    depth: usize,
}

#[derive(Debug)]
pub(crate) enum Tree {
    /// `plain` scalars may mean a number, a truth value or nothing; the others are text.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key: Spanned<Rc<str>>,
    pub value: Node,
}

/// The one document of a text, or nothing when it cannot be read at all; either way the problems are told.
pub(crate) fn read(text: &str, env: Environment<'_>, problems: &mut Vec<Diagnostic>) -> Option<Node> {
    let mut builder =
        Builder { text, env, problems, stack: Vec::new(), anchors: HashMap::new(), root: None, documents: 0 };
    let mut options = Options::default();
    options.set_emit_comments(false);
    for event in Parser::new_from_str_with_options(text, options) {
        let step = match event {
            Ok((event, span)) => builder.step(event, place(text, &span)),
            Err(error) => Err(not_yaml(text, &error)),
        };
        if let Err(diagnostic) = step {
            builder.problems.push(diagnostic);
            return None;
        }
    }
    builder.root
}

struct Builder<'a, 'p> {
    text: &'a str,
    env: Environment<'a>,
    problems: &'p mut Vec<Diagnostic>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    documents: usize,
}

/// A list or a map that is still open.
struct Frame {
    span: Span,
    flow: bool,
    anchor: usize,
    weight: u64,
    depth: usize,
    open: Open,
}

enum Open {
    List(Vec<Node>),
    Map(OpenMap),
}

#[derive(Default)]
struct OpenMap {
    entries: Vec<Entry>,
    /// Where each key is in `entries`.
    keys: HashMap<Rc<str>, usize>,
    /// Maps that `<<` names, the first one winning.
    merged: Vec<Rc<Tree>>,
    awaiting: Awaiting,
}

#[derive(Default)]
enum Awaiting {
    #[default]
    Key,
    Value(Spanned<Rc<str>>),
    Merge,
    /// The key was no text; its value is read and dropped.
    Nothing,
}

impl Builder<'_, '_> {
    /// An error ends the reading; what can be read past is pushed to `problems` instead.
    fn step(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Diagnostic::new("manifest::yaml", "there is a second document in the file")
                        .label(span, "it begins here")
                        .help(
                            "keep one document in a file; `run` takes several pipelines from several files",
                        ));
                }
                Ok(())
            }
            Event::Scalar(value, style, anchor, tag) => {
                let node = self.scalar(&value, style, tag.as_deref(), span);
                self.finish(node, anchor)
            }
            Event::Alias(id) => self.alias(id, span),
            Event::SequenceStart(style, anchor, tag) => {
                self.known_tag(tag.as_deref(), span);
                self.open(Open::List(Vec::new()), style, anchor, span)
            }
            Event::MappingStart(style, anchor, tag) => {
                self.known_tag(tag.as_deref(), span);
                self.open(Open::Map(OpenMap::default()), style, anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            _ => Ok(()),
        }
    }

    fn scalar(&mut self, value: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Node {
        self.known_tag(tag, span);
        let mut plain = style == ScalarStyle::Plain && tag.and_then(Tag::core_suffix) != Some("str");
        let mut text = value.to_owned();
        if !self.awaits_key() && value.contains("${") {
            text = expand(value, span, self.text, self.env, self.problems);
            // A variable that is set to nothing is an empty text, not an absent value.
            plain &= !text.is_empty();
        }
        let weight = text_weight(&text);
        Node { span, tree: Rc::new(Tree::Scalar { text, plain }), weight, depth: 0 }
    }

    fn known_tag(&mut self, tag: Option<&Tag>, span: Span) {
        if let Some(tag) = tag.filter(|tag| tag.core_suffix().is_none()) {
            let message = format!("the tag `{}` means nothing here", tag.original());
            let diagnostic = Diagnostic::new("manifest::yaml", message).label(span, "this value has it");
            self.problems.push(diagnostic.help("remove the tag"));
        }
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), Diagnostic> {
        let Some(target) = self.anchors.get(&id) else {
            return Err(Diagnostic::new("manifest::yaml", "an alias stands inside of what it names")
                .label(span, "this would never end")
                .help("write the value out"));
        };
        let node = Node { span, ..target.clone() };
        if self.stack.len() + node.depth > MANIFEST_DEPTH_MAX {
            return Err(too_deep(span));
        }
        self.finish(node, 0)
    }

    fn open(
        &mut self,
        open: Open,
        style: StructureStyle,
        anchor: usize,
        span: Span,
    ) -> Result<(), Diagnostic> {
        if self.stack.len() >= MANIFEST_DEPTH_MAX {
            return Err(too_deep(span));
        }
        let flow = style == StructureStyle::Flow;
        self.stack.push(Frame { span, flow, anchor, weight: 1, depth: 1, open });
        Ok(())
    }

    fn close(&mut self, end: Span) -> Result<(), Diagnostic> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let Frame { mut span, flow, anchor, mut weight, mut depth, open } = frame;
        let mut last = span.end();
        let tree = match open {
            Open::List(items) => {
                last = items.last().map_or(last, |item| item.span.end());
                Tree::List(items)
            }
            Open::Map(map) => {
                last = map.entries.last().map_or(last, |entry| entry.value.span.end());
                let entries = map.with_merged(&mut weight, &mut depth);
                Tree::Map(entries)
            }
        };
        if flow {
            last = end.end();
        }
        span.len = last.saturating_sub(span.start);
        self.finish(Node { span, tree: Rc::new(tree), weight, depth }, anchor)
    }

    /// Puts a complete value where it belongs.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Diagnostic> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let span = node.span;
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.weight = frame.weight.saturating_add(node.weight);
        frame.depth = frame.depth.max(node.depth + 1);
        if frame.weight > MANIFEST_NODES_MAX {
            return Err(Diagnostic::new(
                "manifest::too-large",
                format!("the text stands for more than {MANIFEST_NODES_MAX} values"),
            )
            .label(span, "here it passes the limit, counting what aliases stand for")
            .help("write fewer aliases of aliases, or move data out of it into a file"));
        }
        match &mut frame.open {
            Open::List(items) => items.push(node),
            Open::Map(map) => map.take(node, self.problems),
        }
        Ok(())
    }

    fn awaits_key(&self) -> bool {
        match self.stack.last() {
            Some(Frame { open: Open::Map(map), .. }) => matches!(map.awaiting, Awaiting::Key),
            _ => false,
        }
    }
}

impl OpenMap {
    fn take(&mut self, node: Node, problems: &mut Vec<Diagnostic>) {
        match std::mem::take(&mut self.awaiting) {
            Awaiting::Key => self.awaiting = next_after_key(&node, problems),
            Awaiting::Nothing => {}
            Awaiting::Merge => self.merge(&node, problems),
            Awaiting::Value(key) => self.insert(key, node, problems),
        }
    }

    fn insert(&mut self, key: Spanned<Rc<str>>, value: Node, problems: &mut Vec<Diagnostic>) {
        if let Some(first) = self.keys.get(&key.value) {
            problems.push(
                Diagnostic::new("manifest::duplicate-key", format!("{} is given twice", quoted(&key.value)))
                    .label(key.span, "given again here")
                    .label(self.entries[*first].key.span, "first given here")
                    .help("keep one of them"),
            );
            return;
        }
        self.keys.insert(Rc::clone(&key.value), self.entries.len());
        self.entries.push(Entry { key, value });
    }

    fn merge(&mut self, node: &Node, problems: &mut Vec<Diagnostic>) {
        match &*node.tree {
            Tree::Map(_) => self.merged.push(Rc::clone(&node.tree)),
            Tree::List(items) if items.iter().all(|item| matches!(&*item.tree, Tree::Map(_))) => {
                self.merged.extend(items.iter().map(|item| Rc::clone(&item.tree)));
            }
            _ => problems.push(
                Diagnostic::new("manifest::type", "`<<` merges a map, or a list of maps")
                    .label(node.span, "this is neither")
                    .help("name the map to merge, such as `<<: *defaults`"),
            ),
        }
    }

    /// What the map says itself comes first, then what it merges in and does not say itself.
    fn with_merged(mut self, weight: &mut u64, depth: &mut usize) -> Vec<Entry> {
        for tree in std::mem::take(&mut self.merged) {
            let Tree::Map(entries) = &*tree else { continue };
            for entry in entries {
                if !self.keys.contains_key(&entry.key.value) {
                    self.keys.insert(Rc::clone(&entry.key.value), self.entries.len());
                    let key = text_weight(&entry.key.value);
                    *weight = weight.saturating_add(entry.value.weight).saturating_add(key);
                    *depth = (*depth).max(entry.value.depth + 1);
                    self.entries.push(entry.clone());
                }
            }
        }
        self.entries
    }
}

/// So that a long text with many aliases is no way around the limit.
fn text_weight(text: &str) -> u64 {
    1 + text.len() as u64 / 64
}

fn next_after_key(node: &Node, problems: &mut Vec<Diagnostic>) -> Awaiting {
    match &*node.tree {
        Tree::Scalar { text, plain: true } if text == "<<" => Awaiting::Merge,
        Tree::Scalar { text, .. } => Awaiting::Value(Spanned::new(text.as_str().into(), node.span)),
        _ => {
            problems.push(
                Diagnostic::new("manifest::type", "a key is one word or a text, not a list or a map")
                    .label(node.span, "this is a list or a map")
                    .help("if a variable such as ${NAME} stands here between { and }, put it in quotes"),
            );
            Awaiting::Nothing
        }
    }
}

fn place(text: &str, span: &granit_parser::Span) -> Span {
    let start = span.start.byte_offset().unwrap_or(0).min(text.len());
    let end = span.end.byte_offset().unwrap_or(start).clamp(start, text.len());
    Span::new(start, end - start)
}

fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::new(
        "manifest::too-large",
        format!("lists and maps stand more than {MANIFEST_DEPTH_MAX} deep in one another"),
    )
    .label(span, "here it passes the limit")
    .help("flatten the manifest, or move data out of it into a file")
}

fn not_yaml(text: &str, error: &ScanError) -> Diagnostic {
    let start = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
    let start = (0..=start).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let len = text[start..].chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    let line = &text[line_start..line_end];
    let help = if line.contains("${") {
        "between { and } or [ and ], a variable must stand in quotes: \"${NAME}\""
    } else if line.starts_with('\t') || line.trim_start_matches(' ').starts_with('\t') {
        "indent with spaces: YAML does not allow tabs there"
    } else {
        "correct the text here; what follows could not be read"
    };
    Diagnostic::new("manifest::yaml", format!("this is not YAML: {}", error.info()))
        .label(Span::new(start, len), "the reader stopped here")
        .help(help)
}
