//! The tests of a manifest: records in, records out, through the belt and without connectors.

mod compare;
mod records;

use flow::trial::{Seen, Trial};
use model::diagnostics::{Diagnostic, Diagnostics};
use model::expand;
use model::manifest::{Expect, Test};
use model::stage::Role;
use serde_json::Value;

use crate::report::frames;
use crate::wiring::ResolvedPipeline;
use crate::words::Words;

/// How one test ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    pub name: String,
    /// Empty where all is as expected.
    pub problems: Vec<Words>,
}

impl Verdict {
    pub fn passes(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Runs all tests of a pipeline that was resolved with all columns kept. What a test says that cannot be (a
/// port that is not there, a record that does not fit) is a problem of the manifest.
pub async fn run(resolved: &ResolvedPipeline) -> Result<Vec<Verdict>, Diagnostics> {
    let tests = &resolved.pipeline.tests;
    let mut problems = Vec::new();
    let mut ready = Vec::with_capacity(tests.len());
    for test in tests {
        match (inputs(resolved, test, &mut problems), places(resolved, test, &mut problems)) {
            (Some(inputs), Some(places)) => ready.push((test, inputs, places)),
            _ => continue,
        }
    }
    Diagnostics::check(resolved.pipeline.text.clone(), problems)?;
    let mut verdicts = Vec::with_capacity(ready.len());
    for (test, inputs, places) in ready {
        let transforms = (0..resolved.plan.stages.len()).map(|stage| resolved.transform(stage)).collect();
        let problems = match (Trial { plan: resolved.plan.clone(), transforms, inputs }).run().await {
            Ok(seen) => compared(test, &places, &seen),
            Err(error) => {
                let mut problem = Words::from(error.to_string());
                problem.append(error.backtrace().map(frames).unwrap_or_default());
                vec![problem]
            }
        };
        verdicts.push(Verdict { name: test.name.value.clone(), problems });
    }
    Ok(verdicts)
}

type Inputs = Vec<(usize, model::batch::Batch)>;

fn inputs(resolved: &ResolvedPipeline, test: &Test, problems: &mut Vec<Diagnostic>) -> Option<Inputs> {
    let mut inputs = Vec::with_capacity(test.inputs.len());
    let before = problems.len();
    for input in &test.inputs {
        let stage = input.stage.value;
        let planned = &resolved.plan.stages[stage];
        let stream = match planned.role {
            Role::Source => planned.ports.first().map_or(&planned.input, |port| &port.stream),
            _ => &planned.input,
        };
        match records::batch(stream, &resolved.plan.pipeline, &planned.name, &input.records) {
            Ok(Some(batch)) => inputs.push((stage, batch)),
            Ok(None) => {}
            Err(bad) => {
                let message = format!("`{}` cannot be fed with this: {}", planned.name, bad.why);
                let at = bad.record.map_or(input.stage.span, |record| input.records[record].span);
                let help = "`conveyor graph` shows the columns that come";
                problems.push(Diagnostic::new("test::feed", message).label(at, "this").help(help));
            }
        }
    }
    (problems.len() == before).then_some(inputs)
}

/// For each expectation, the port to look at; none for a sink.
fn places(
    resolved: &ResolvedPipeline,
    test: &Test,
    problems: &mut Vec<Diagnostic>,
) -> Option<Vec<Option<usize>>> {
    let before = problems.len();
    let mut places = Vec::with_capacity(test.expect.len());
    for Expect { stage, port, .. } in &test.expect {
        let planned = &resolved.plan.stages[stage.value];
        if planned.role == Role::Sink {
            places.push(None);
            continue;
        }
        let named = |name: &str| planned.ports.iter().position(|port| &*port.name == name);
        match port.as_ref().map_or(Some(0), |port| named(port.as_str())) {
            Some(at) => places.push(Some(at)),
            None => {
                let ports: Vec<&str> = planned.ports.iter().map(|port| &*port.name).collect();
                let name = port.as_ref().map(|port| port.as_str()).unwrap_or_default();
                let message = format!("`{}` has no port `{name}`", planned.name);
                let problem = Diagnostic::new("test::port", message).label(stage.span, "no such port");
                problems.push(problem.help(format!("its ports are {}", ports.join(", "))));
            }
        }
    }
    (problems.len() == before).then_some(places)
}

fn compared(test: &Test, places: &[Option<usize>], seen: &Seen) -> Vec<Words> {
    let mut problems = Vec::new();
    for (expect, place) in test.expect.iter().zip(places) {
        let left =
            seen.batches.iter().filter(|(stage, port, _)| *stage == expect.stage.value && port == place);
        let mut found = Vec::new();
        for (_, _, batch) in left {
            if expand::cut(batch, None, 0, u64::MAX).is_some() {
                problems.push("what left takes more than 8 MiB in full: make the test smaller".into());
                continue;
            }
            match records::values(batch) {
                Ok(values) => found.extend(values),
                Err(error) => problems.push(format!("what left cannot be shown: {error}").into()),
            }
        }
        let expected: Vec<&Value> = expect.records.iter().map(|record| &record.value).collect();
        problems.extend(compare::difference(&place_name(expect), &expected, &found));
    }
    if !problems.is_empty() {
        let refused = seen.letters.iter();
        problems.extend(
            refused.map(|letter| {
                format!("{} refused: {}: {}", letter.stage, letter.code, letter.message).into()
            }),
        );
    }
    problems
}

fn place_name(expect: &Expect) -> String {
    expect.port.as_ref().map_or_else(|| "what was expected".to_owned(), |port| format!("port `{port}`"))
}
