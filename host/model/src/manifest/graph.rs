//! How stages hang together, as far as their names tell: inputs that lead somewhere, no cycle, nothing that
//! is made and never read.

use std::collections::HashMap;

use super::lower::{Draft, From};
use super::pipeline::{Input, Role};
use super::suggest::{did_you_mean, nearest, one_of, quoted};
use crate::diagnostics::{Diagnostic, Span};
use crate::limits::DIAGNOSTICS_MAX;

/// The inputs of each draft. Those that lead nowhere are reported and left out.
pub(super) fn link(drafts: &[Draft], problems: &mut Vec<Diagnostic>) -> Vec<Vec<Input>> {
    let index: HashMap<&str, usize> =
        drafts.iter().enumerate().map(|(nth, draft)| (draft.written.value.as_str(), nth)).collect();
    let mut read = vec![false; drafts.len()];
    let mut linked = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let mut inputs = Vec::new();
        for from in draft.from.iter().flatten() {
            match index.get(from.stage.as_str()) {
                Some(&stage) => {
                    read[stage] = true;
                    from_sink(draft, &drafts[stage], from, problems);
                    inputs.push(Input { stage, port: from.port.clone(), span: from.span });
                }
                None => {
                    let near = unknown(drafts, draft, from, problems);
                    // The stage that was likely meant is not reported as one that nothing reads.
                    if let Some(&stage) = near.and_then(|name| index.get(name)) {
                        read[stage] = true;
                    }
                }
            }
        }
        linked.push(inputs);
    }
    cycles(drafts, &linked, problems);
    let unknowable = drafts.iter().any(|draft| draft.from.is_none());
    for (draft, read) in drafts.iter().zip(read) {
        if !read && !unknowable {
            unread(draft, problems);
        }
    }
    linked
}

fn unknown<'a>(
    drafts: &'a [Draft],
    reader: &Draft,
    from: &From,
    problems: &mut Vec<Diagnostic>,
) -> Option<&'a str> {
    let readable = |draft: &&Draft| draft.role.is_none_or(|role| role.value != Role::Sink);
    let others = || {
        let not_itself = |draft: &&Draft| draft.written.value != reader.written.value;
        drafts.iter().filter(readable).filter(not_itself).map(|draft| draft.written.value.as_str())
    };
    // Of a flood of problems only the first are shown, and comparing is slow.
    let near = if problems.len() > DIAGNOSTICS_MAX { None } else { nearest(&from.stage, others()) };
    let message =
        format!("stage {} reads {}, which is no stage", quoted(&reader.written), quoted(&from.stage));
    let help = did_you_mean(near, || format!("it can read {}", one_of(others())));
    let diagnostic = Diagnostic::new("manifest::unknown-stage", message);
    problems.push(diagnostic.label(from.stage_span, "no such stage").help(help));
    near
}

fn from_sink(reader: &Draft, read: &Draft, from: &From, problems: &mut Vec<Diagnostic>) {
    let Some(role) = read.role.filter(|role| role.value == Role::Sink) else { return };
    let message = format!("stage {} reads the sink {}", quoted(&reader.written), quoted(&read.written));
    problems.push(
        Diagnostic::new("manifest::from-sink", message)
            .label(from.span, "nothing comes out of a sink")
            .label(role.span, "a sink")
            .help("read what the sink reads: a stage can be read by several"),
    );
}

fn unread(draft: &Draft, problems: &mut Vec<Diagnostic>) {
    let Some(role) = draft.role.filter(|role| role.value != Role::Sink) else { return };
    let message = format!("nothing reads the {} {}", role.value, quoted(&draft.written));
    problems.push(
        Diagnostic::new("manifest::unread", message)
            .label(draft.written.span, "its records would go nowhere")
            .help(format!(
                "name it in the `from` of another stage, or end it with `{{ sink: discard, from: {} }}`",
                draft.written.value
            )),
    );
}

/// Reports each cycle once: what is left when everything that is not on one, nor between two, is taken away.
fn cycles(drafts: &[Draft], linked: &[Vec<Input>], problems: &mut Vec<Diagnostic>) {
    let mut left = vec![true; drafts.len()];
    loop {
        while let Some(done) =
            (0..left.len()).find(|&nth| left[nth] && !linked[nth].iter().any(|input| left[input.stage]))
        {
            left[done] = false;
        }
        let Some(start) = left.iter().position(|left| *left) else { return };
        let path = cycle_behind(start, &left, linked);
        for (stage, _) in &path {
            left[*stage] = false;
        }
        report_cycle(drafts, &path, problems);
    }
}

/// Walks from a stage to what it reads until one comes again. Each step is the stage and the span of the entry
/// by which it reads the next.
fn cycle_behind(start: usize, left: &[bool], linked: &[Vec<Input>]) -> Vec<(usize, Span)> {
    let mut path: Vec<(usize, Span)> = Vec::new();
    let mut at = start;
    loop {
        if let Some(first) = path.iter().position(|(stage, _)| *stage == at) {
            return path.split_off(first);
        }
        let Some(input) = linked[at].iter().find(|input| left[input.stage]) else { return path };
        path.push((at, input.span));
        at = input.stage;
    }
}

fn report_cycle(drafts: &[Draft], path: &[(usize, Span)], problems: &mut Vec<Diagnostic>) {
    // The walk went against the stream; records go the other way. The one named first in the manifest begins.
    let mut stages: Vec<(usize, Span)> = path.iter().rev().copied().collect();
    let first = stages.iter().enumerate().min_by_key(|(_, (stage, _))| *stage).map_or(0, |(nth, _)| nth);
    stages.rotate_left(first);
    let names = stages.iter().chain(stages.first()).map(|(stage, _)| drafts[*stage].written.value.as_str());
    let names: Vec<&str> = names.collect();
    let mut diagnostic = Diagnostic::new(
        "manifest::cycle",
        format!("records would go round for ever: {}", names.join(" -> ")),
    );
    for (nth, (_, span)) in stages.iter().enumerate().take(8) {
        diagnostic = diagnostic.label(*span, if nth == 0 { "part of the cycle" } else { "and this" });
    }
    problems.push(diagnostic.help("remove one of these inputs: a pipeline flows one way"));
}
