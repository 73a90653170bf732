//! Sources and sinks that meet in one place outside of their pipelines, told where they stand in the manifests.

use model::diagnostics::{Diagnostic, Span};
use model::manifest::Stage;
use model::plan::places::{Clash, End, Place, clashes};
use model::stage::Role;

use super::{Code, ResolvedPipeline};

/// A source or a sink that has a place.
struct Member<'a> {
    pipeline: &'a ResolvedPipeline,
    stage: &'a Stage,
}

/// All of some pipelines.
struct Members<'a> {
    all: Vec<Member<'a>>,
    ends: Vec<End>,
    flows: Vec<(usize, usize)>,
}

/// What of one pipeline cannot run together.
pub(super) fn within(pipeline: &ResolvedPipeline) -> Vec<Diagnostic> {
    let members = Members::of([pipeline]);
    clashes(&members.ends, &members.flows).iter().map(|clash| members.diagnostic(clash)).collect()
}

/// What of several pipelines cannot run together, each by itself being fine.
pub fn between(pipelines: &[ResolvedPipeline]) -> Vec<String> {
    let members = Members::of(pipelines);
    let told = |clash: &Clash| format!("{}; {}", members.line(clash), help(clash));
    clashes(&members.ends, &members.flows).iter().map(told).collect()
}

/// Tells pipelines that run together what their sinks write, so that no source takes it for a rotated file of its own.
pub fn tell_written(pipelines: &mut [ResolvedPipeline]) {
    let built_in = |code: &Code| match code {
        Code::BuiltIn(built_in) => built_in.end().written(),
        Code::Component(_) => Vec::new(),
    };
    let codes = pipelines.iter().flat_map(|pipeline| &pipeline.codes);
    let written: Vec<Place> = codes.flat_map(built_in).collect();
    for pipeline in pipelines {
        pipeline.written.clone_from(&written);
    }
}

impl<'a> Members<'a> {
    fn of(pipelines: impl IntoIterator<Item = &'a ResolvedPipeline>) -> Self {
        let mut members = Self { all: Vec::new(), ends: Vec::new(), flows: Vec::new() };
        for pipeline in pipelines {
            let mut indices = vec![None; pipeline.codes.len()];
            for (index, code) in pipeline.codes.iter().enumerate() {
                let Code::BuiltIn(built_in) = code else { continue };
                indices[index] = Some(members.all.len());
                members.all.push(Member { pipeline, stage: &pipeline.pipeline.stages[index] });
                members.ends.push(built_in.end().clone());
            }
            for (source, from) in indices.iter().enumerate() {
                let Some(from) = from else { continue };
                if pipeline.plan.stages[source].role == Role::Source {
                    let behind = behind(pipeline, source);
                    let sinks = indices.iter().zip(behind).filter(|(_, is_behind)| *is_behind);
                    members.flows.extend(sinks.filter_map(|(to, _)| Some((*from, (*to)?))));
                }
            }
        }
        members
    }

    fn diagnostic(&self, clash: &Clash) -> Diagnostic {
        let label = |diagnostic: Diagnostic, index: usize, text: &str| {
            diagnostic.label(path_of(self.all[index].stage), text)
        };
        let problem = Diagnostic::new("plan::place", self.line(clash)).help(help(clash));
        match clash {
            Clash::Writers(one, other) => label(label(problem, *other, "this"), *one, "and this"),
            Clash::Torn { writer, reader } => label(label(problem, *writer, "written"), *reader, "read"),
            Clash::Circle(circle) => {
                let problem = label(problem, circle[0], "written");
                circle.get(1).map_or(problem.clone(), |&reader| label(problem, reader, "read"))
            }
        }
    }

    /// One line that names the stages.
    fn line(&self, clash: &Clash) -> String {
        let name = |index: &usize| self.name(*index);
        match clash {
            Clash::Writers(one, other) => {
                format!("{} and {} both write to {}", name(one), name(other), self.place(*other))
            }
            Clash::Torn { writer, reader } => {
                let (reader, writer, place) = (name(reader), name(writer), self.place(*writer));
                format!("{reader} reads once what {writer} writes at the same time, {place}")
            }
            Clash::Circle(circle) => {
                let steps = circle.chunks(2).map(|step| match step {
                    [writer, reader] => {
                        format!(
                            "{} writes what {} reads, {}",
                            name(writer),
                            name(reader),
                            self.place(*writer)
                        )
                    }
                    _ => String::new(),
                });
                steps.collect::<Vec<_>>().join("; ")
            }
        }
    }

    /// As the manifest has it.
    fn place(&self, index: usize) -> String {
        let with = &self.all[index].stage.with.value;
        let place = ["path", "url"].iter().find_map(|key| with.get(*key));
        match place {
            Some(serde_json::Value::String(place)) => format!("`{place}`"),
            Some(place) => place.to_string(),
            None => self.all[index].stage.reference.value.to_string(),
        }
    }

    fn name(&self, index: usize) -> String {
        let Member { pipeline, stage } = &self.all[index];
        let is_one = self.all.iter().all(|member| std::ptr::eq(member.pipeline, *pipeline));
        if is_one {
            format!("`{}`", *stage.name)
        } else {
            format!("`{}` of `{}`", *stage.name, pipeline.name())
        }
    }
}

/// What to do about it.
fn help(clash: &Clash) -> &'static str {
    match clash {
        Clash::Writers(..) => "give each a file of its own",
        Clash::Torn { .. } => "let the source `follow: true`, or run one after the other",
        Clash::Circle(_) => "write somewhere else",
    }
}

/// Whether each stage gets what a source reads.
fn behind(pipeline: &ResolvedPipeline, source: usize) -> Vec<bool> {
    let plan = &pipeline.plan;
    let mut behind = vec![false; plan.stages.len()];
    let mut next = vec![source];
    while let Some(stage) = next.pop() {
        for edge in plan.stages[stage].ports.iter().flat_map(|port| &port.edges) {
            let to = plan.edges[*edge].to;
            if !std::mem::replace(&mut behind[to], true) {
                next.push(to);
            }
        }
    }
    behind
}

/// Where its manifest says which place that is.
fn path_of(stage: &Stage) -> Span {
    let key = if stage.with.value.contains_key("path") { "/path" } else { "/url" };
    stage.with.span_of(key)
}
