//! The way up: which columns anybody wants, and the plan that follows from it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::{
    Chain, ComponentSink, Conversion, Edge, Form, InputMapping, Key, MappedColumn, Plan, PlannedStage, Port,
    SinkWork, SourceWork, Stream, TransformWork, Work,
};
use crate::fields::{FieldSpec, Kind, places};
use crate::manifest::{Pipeline, Role};
use crate::outcome::{OutputColumn, OutputShape};
use crate::stage::{PortPlan, SinkPlan, TransformPlan};

/// A pipeline in which everything fits, before demand is known.
pub(super) struct Draft<'p> {
    pub pipeline: &'p Pipeline,
    /// Inputs first.
    pub order: Vec<usize>,
    /// In the order of the pipeline.
    pub stages: Vec<DraftStage>,
    pub edges: Vec<DraftEdge>,
    /// Whether every column is wanted by somebody outside.
    pub keeps_all: bool,
}

pub(super) struct DraftStage {
    pub index: usize,
    pub form: Form,
    pub offered: Stream,
    pub fields: Option<Vec<FieldSpec>>,
    pub inputs: Vec<usize>,
    pub ports: Vec<DraftPort>,
    pub key: Option<Key>,
    pub transform: Option<TransformPlan>,
    pub sink: Option<SinkPlan>,
    /// For a built-in sink.
    pub reads_all: bool,
}

pub(super) struct DraftEdge {
    pub from: usize,
    pub port: usize,
    pub to: usize,
    pub conversion: Conversion,
}

pub(super) struct DraftPort {
    pub name: String,
    pub offered: Stream,
    /// For tables, where each offered column comes from: the stage's offered input, or what it sets.
    pub columns: Vec<OutputColumn>,
}

impl DraftStage {
    pub fn new(
        index: usize,
        form: Form,
        offered: Stream,
        fields: Option<Vec<FieldSpec>>,
        inputs: Vec<usize>,
    ) -> Self {
        Self {
            index,
            form,
            offered,
            fields,
            inputs,
            ports: Vec::new(),
            key: None,
            transform: None,
            sink: None,
            reads_all: true,
        }
    }
}

impl DraftPort {
    /// What leaves by a port of a table stage: first what is selected, then what is set; a set column takes
    /// the place of a selected one of its name.
    pub fn of_table(input: &SchemaRef, output: &PortPlan) -> Result<Self, String> {
        let mut fields: Vec<Field> = Vec::new();
        let mut columns = Vec::new();
        let come = places(input);
        let mut left: HashMap<String, usize> = HashMap::new();
        let all =
            || input.fields().iter().map(|field| (field.name().clone(), field.name().clone())).collect();
        for (new, old) in output.select.clone().unwrap_or_else(all) {
            let index =
                *come.get(old.as_str()).ok_or_else(|| format!("it selects `{old}`, which does not come"))?;
            if left.insert(new.clone(), fields.len()).is_some() {
                return Err(format!("it selects two columns as `{new}`"));
            }
            fields.push(input.field(index).clone().with_name(new));
            columns.push(OutputColumn::Input(index));
        }
        let mut names_set = HashSet::new();
        for (at, set) in output.set.iter().enumerate() {
            let field = set.to_arrow().ok_or_else(|| format!("it sets `{}` as opaque", set.name))?;
            if !names_set.insert(set.name.as_str()) {
                return Err(format!("it sets `{}` twice", set.name));
            }
            match left.get(&set.name).copied() {
                Some(place) => (fields[place], columns[place]) = (field, OutputColumn::Set(at)),
                None => {
                    fields.push(field);
                    columns.push(OutputColumn::Set(at));
                }
            }
        }
        let offered = Stream::Rows(Arc::new(Schema::new(fields)));
        Ok(Self { name: output.name.clone(), offered, columns })
    }
}

/// What is wanted of a stage: columns of each port, and event times.
#[derive(Clone, Default)]
struct Demand {
    ports: Vec<BTreeSet<usize>>,
    times: bool,
}

impl Draft<'_> {
    pub fn into_plan(self) -> Plan {
        let outside = |port: &DraftPort| match &port.offered {
            Stream::Rows(schema) if self.keeps_all => (0..schema.fields().len()).collect(),
            _ => BTreeSet::new(),
        };
        let demand =
            |stage: &DraftStage| Demand { ports: stage.ports.iter().map(outside).collect(), times: false };
        let mut demands: Vec<Demand> = self.stages.iter().map(demand).collect();
        let mut inputs: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); self.stages.len()];
        for &index in self.order.iter().rev() {
            let stage = &self.stages[index];
            if let (Some(Key::Column(column)), [port]) = (&stage.key, &mut *demands[index].ports)
                && stage.inputs.is_empty()
            {
                port.insert(*column);
            }
            inputs[index] = stage.wanted(&demands[index]);
            let times = demands[index].times || stage.reads_times();
            for &edge in &stage.inputs {
                let edge = &self.edges[edge];
                let wanted = self.wanted_of_port(edge, &inputs[index]);
                demands[edge.from].ports[edge.port].extend(wanted);
                demands[edge.from].times |= times;
            }
        }
        let meets = self.meeting_edges();
        let mut stages: Vec<PlannedStage> = self
            .stages
            .iter()
            .map(|stage| self.stage(stage, &demands[stage.index], &inputs[stage.index]))
            .collect();
        let mut edges = Vec::with_capacity(self.edges.len());
        for (at, edge) in self.edges.iter().enumerate() {
            stages[edge.from].ports[edge.port].edges.push(at);
            edges.push(self.edge(edge, &stages, meets.contains(&at)));
        }
        let chains = chains(&self.order, &stages, &edges);
        Plan { pipeline: self.pipeline.name.as_str().into(), stages, edges, chains }
    }

    /// The columns of a port that an edge asks for, given those that its stage wants of what is offered.
    fn wanted_of_port(&self, edge: &DraftEdge, wanted: &BTreeSet<usize>) -> BTreeSet<usize> {
        let port = &self.stages[edge.from].ports[edge.port].offered;
        match (port, &self.stages[edge.to].offered) {
            (Stream::Rows(port), Stream::Rows(offered)) => {
                let leave = places(port);
                wanted.iter().filter_map(|&i| leave.get(offered.field(i).name().as_str()).copied()).collect()
            }
            (Stream::Rows(port), Stream::Opaque) => (0..port.fields().len()).collect(),
            (Stream::Opaque, _) => BTreeSet::new(),
        }
    }

    /// For each stage, the sources whose records can reach it.
    fn sources_of(&self) -> Vec<BTreeSet<usize>> {
        let mut sources = vec![BTreeSet::new(); self.stages.len()];
        for &index in &self.order {
            if self.stages[index].inputs.is_empty() {
                sources[index].insert(index);
            }
            for &edge in &self.stages[index].inputs {
                let reached = sources[self.edges[edge].from].clone();
                sources[index].extend(reached);
            }
        }
        sources
    }

    /// Edges into stages which records of one source reach by several edges.
    fn meeting_edges(&self) -> HashSet<usize> {
        let sources = self.sources_of();
        let mut meeting = HashSet::new();
        for stage in &self.stages {
            let mut first_by: BTreeMap<usize, usize> = BTreeMap::new();
            for &edge in &stage.inputs {
                for &source in &sources[self.edges[edge].from] {
                    let first = *first_by.entry(source).or_insert(edge);
                    if first != edge {
                        meeting.extend([first, edge]);
                    }
                }
            }
        }
        meeting
    }

    fn stage(&self, draft: &DraftStage, demand: &Demand, wanted: &BTreeSet<usize>) -> PlannedStage {
        let stage = &self.pipeline.stages[draft.index];
        let name: Arc<str> = stage.name.as_str().into();
        let input = narrow(&draft.offered, wanted);
        let ports = draft.ports.iter().zip(&demand.ports).map(|(port, wanted)| Port {
            name: port.name.as_str().into(),
            offered: port.offered.clone(),
            stream: narrow(&port.offered, wanted),
            edges: Vec::new(),
        });
        let ports: Vec<Port> = ports.collect();
        let work = match *stage.role {
            Role::Source => Work::Source(draft.source(demand)),
            Role::Transform => Work::Transform(draft.transform(&name, demand, wanted, &input, &ports)),
            Role::Sink => Work::Sink(SinkWork {
                form: draft.form,
                component: draft.sink.as_ref().map(|plan| ComponentSink {
                    mapping: draft.input_mapping(&plan.wanted, wanted, [plan.times, plan.keys, plan.headers]),
                    plan: plan.clone(),
                    fields: draft.fields.clone(),
                }),
            }),
        };
        PlannedStage {
            name,
            role: *stage.role,
            inputs: draft.inputs.clone(),
            offered: draft.offered.clone(),
            input,
            ports,
            work,
        }
    }

    /// `meets`: whether records of one source can come into its stage by another edge as well.
    fn edge(&self, edge: &DraftEdge, stages: &[PlannedStage], meets: bool) -> Edge {
        let (from, to) = (&stages[edge.from], &stages[edge.to]);
        let port = &from.ports[edge.port];
        let conversion = match (&edge.conversion, &to.input) {
            (Conversion::JsonToRows { declared, unknown, .. }, Stream::Rows(schema)) => {
                Conversion::JsonToRows {
                    schema: schema.clone(),
                    declared: declared.clone(),
                    unknown: *unknown,
                }
            }
            (conversion, _) => conversion.clone(),
        };
        let project = match (&port.stream, &to.input, &conversion) {
            (Stream::Rows(port), Stream::Rows(input), Conversion::None) if port != input => {
                let leave = places(port);
                let index = |field: &Arc<Field>| {
                    *leave.get(field.name().as_str()).expect("demanded columns leave the port")
                };
                Some(input.fields().iter().map(index).collect())
            }
            (Stream::Rows(stream), Stream::Opaque, Conversion::RowsToJson) => {
                debug_assert_eq!(Some(stream), port.offered.schema(), "JSON takes every column");
                None
            }
            _ => None,
        };
        let name = format!("{}.{}", from.name, port.name).into();
        Edge { from: edge.from, port: edge.port, to: edge.to, name, project, conversion, meets }
    }
}

impl DraftStage {
    /// Columns of the offered input that this stage or anybody behind it reads.
    fn wanted(&self, demand: &Demand) -> BTreeSet<usize> {
        let Stream::Rows(schema) = &self.offered else { return BTreeSet::new() };
        let mut wanted = BTreeSet::new();
        if let Some(Key::Column(index)) = self.key {
            wanted.insert(index);
        }
        let specs = match (&self.transform, &self.sink) {
            (Some(plan), _) => &plan.wanted,
            (None, Some(plan)) => &plan.wanted,
            (None, None) => {
                if self.reads_all {
                    wanted.extend(0..schema.fields().len());
                }
                return wanted;
            }
        };
        let come = places(schema);
        wanted.extend(specs.iter().filter_map(|spec| come.get(spec.name.as_str())));
        for (port, columns) in self.ports.iter().zip(&demand.ports) {
            wanted.extend(columns.iter().filter_map(|&column| match port.columns[column] {
                OutputColumn::Input(index) => Some(index),
                _ => None,
            }));
        }
        wanted
    }

    fn reads_times(&self) -> bool {
        self.transform.as_ref().is_some_and(|plan| plan.times)
            || self.sink.as_ref().is_some_and(|plan| plan.times)
    }

    fn source(&self, demand: &Demand) -> SourceWork {
        let Stream::Rows(_) = self.ports[0].offered else {
            return SourceWork { wanted: None, times: demand.times, key: self.key.clone() };
        };
        let wanted: Vec<usize> = demand.ports[0].iter().copied().collect();
        let key = self.key.clone().map(|key| place(key, &wanted));
        SourceWork { wanted: Some(wanted), times: demand.times, key }
    }

    fn transform(
        &self,
        name: &Arc<str>,
        demand: &Demand,
        wanted: &BTreeSet<usize>,
        input: &Stream,
        ports: &[Port],
    ) -> TransformWork {
        let plan = self.transform.clone().expect("a transform has answered with its plan");
        let wanted_list: Vec<usize> = wanted.iter().copied().collect();
        let shape = |(at, port): (usize, &Port)| {
            let schema = match (&port.stream, input) {
                // The very same schema, so that a batch that keeps its columns need not be rebuilt.
                (Stream::Rows(out), Stream::Rows(input)) if out == input => input.clone(),
                (stream, _) => stream.batch_schema(),
            };
            let draft = &self.ports[at];
            if port.stream == Stream::Opaque {
                let (columns, set) = (vec![OutputColumn::Value], vec![DataType::Binary]);
                return OutputShape { stage: name.clone(), schema, columns, set };
            }
            let column = |&column: &usize| match draft.columns[column] {
                OutputColumn::Input(index) => OutputColumn::Input(rank(&wanted_list, index)),
                set => set,
            };
            let columns = demand.ports[at].iter().map(column).collect();
            let set = plan.outputs[at].set.iter().filter_map(|spec| spec.kind.data_type()).collect();
            OutputShape { stage: name.clone(), schema, columns, set }
        };
        TransformWork {
            form: self.form,
            mapping: self.input_mapping(&plan.wanted, wanted, [plan.times, plan.keys, plan.headers]),
            fields: self.fields.clone(),
            outputs: ports.iter().enumerate().map(shape).collect(),
            plan,
        }
    }

    fn input_mapping(&self, specs: &[FieldSpec], wanted: &BTreeSet<usize>, parts: [bool; 3]) -> InputMapping {
        let wanted: Vec<usize> = wanted.iter().copied().collect();
        let columns = match &self.offered {
            Stream::Opaque => {
                vec![MappedColumn { input: 0, kind: Kind::Blobs, cast: false, required: false }]
            }
            Stream::Rows(schema) => {
                let come = places(schema);
                let index =
                    |spec: &FieldSpec| *come.get(spec.name.as_str()).expect("wanted columns were checked");
                specs.iter().map(|spec| mapped_column(schema, spec, index(spec), &wanted)).collect()
            }
        };
        let [times, keys, headers] = parts;
        InputMapping { key: self.key.clone().map(|key| place(key, &wanted)), columns, times, keys, headers }
    }
}

fn mapped_column(schema: &SchemaRef, spec: &FieldSpec, index: usize, wanted: &[usize]) -> MappedColumn {
    let field = schema.field(index);
    let here = FieldSpec::of(field).kind;
    let as_it_is = spec.kind.holds(field.data_type());
    let same = here == spec.kind || (here == Kind::Jsons && spec.kind == Kind::Texts);
    MappedColumn {
        input: rank(wanted, index),
        kind: spec.kind,
        cast: !(as_it_is && same),
        required: !spec.nullable && field.is_nullable(),
    }
}

/// The place of a column among those that are wanted.
fn rank(wanted: &[usize], index: usize) -> usize {
    wanted.binary_search(&index).expect("a column that is read is wanted")
}

fn place(key: Key, wanted: &[usize]) -> Key {
    match key {
        Key::Column(index) => Key::Column(rank(wanted, index)),
        pointer @ Key::Pointer(_) => pointer,
    }
}

fn narrow(stream: &Stream, wanted: &BTreeSet<usize>) -> Stream {
    match stream {
        Stream::Opaque => Stream::Opaque,
        Stream::Rows(schema) if wanted.len() == schema.fields().len() => Stream::Rows(schema.clone()),
        Stream::Rows(schema) => {
            let fields: Vec<Arc<Field>> =
                wanted.iter().map(|&index| schema.fields()[index].clone()).collect();
            Stream::Rows(Arc::new(Schema::new(fields)))
        }
    }
}

/// A chain begins with a source or where streams meet, and goes on through every stage with one input.
fn chains(order: &[usize], stages: &[PlannedStage], edges: &[Edge]) -> Vec<Chain> {
    let mut chain_of = vec![0; stages.len()];
    let mut chains: Vec<Chain> = Vec::new();
    for &index in order {
        match &*stages[index].inputs {
            [only] => {
                let chain = chain_of[edges[*only].from];
                chain_of[index] = chain;
                chains[chain].stages.push(index);
            }
            _ => {
                chain_of[index] = chains.len();
                chains.push(Chain { stages: vec![index] });
            }
        }
    }
    chains
}
