//! Which stage a component is: what matters is which interfaces it exports, not the name of its world.

use model::stage::StageKind;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, ComponentNamedList, Lift, Lower};

use super::Compiled;
use crate::contract::*;
use crate::error::LoadError;
use crate::instance::{Answer, Instance};

const PACKAGE: &str = "conveyor:stage/";
/// The released versions of the contract that this host speaks.
const VERSION: &str = "@0.1.0";

/// An interface that a stage may have beside that of its kind, and its one function.
pub(crate) const FINGERPRINT: &str = "fingerprint";

/// What a component exports and imports, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub exports: Vec<String>,
    pub imports: Vec<String>,
}

impl Names {
    pub(crate) fn of(component: &Component) -> Self {
        let (engine, ty) = (component.engine(), component.component_type());
        // A function at the root is named with its parentheses, so that it is not taken for an interface.
        let exports = ty.exports(engine).map(|(name, item)| match item.ty {
            ComponentItem::ComponentFunc(_) => format!("{name}()"),
            _ => name.to_owned(),
        });
        let imports = ty.imports(engine).map(|(name, _)| name.to_owned());
        Self { exports: exports.collect(), imports: imports.collect() }
    }

    pub(crate) fn import_wasi(&self) -> bool {
        self.imports.iter().any(|name| name.starts_with("wasi:"))
    }
}

/// The functions of a stage that are called, `about.describe` among them, found once per component.
pub(crate) type Functions = Vec<(&'static str, ComponentExportIndex)>;

/// The kind of a component, and where its functions are.
pub(crate) fn fit(component: &Component, names: &Names) -> Result<(StageKind, Functions), LoadError> {
    let not_a_stage = || LoadError::NotAStage { exports: names.exports.clone() };
    let interface =
        |name: &str| component.get_export_index(None, format!("{PACKAGE}{name}{VERSION}").as_str());
    let about = interface("about").ok_or_else(not_a_stage)?;
    let kinds = StageKind::ALL.into_iter();
    let mut kinds = kinds.filter_map(|kind| Some((kind, interface(kind.interface())?)));
    let (kind, exports) = kinds.next().ok_or_else(not_a_stage)?;
    let mut functions = Functions::new();
    let mut find = |of: &str, within: &ComponentExportIndex, name: &'static str| {
        let index = component.get_export_index(Some(within), name).ok_or_else(|| LoadError::Signature {
            interface: of.to_owned(),
            function: name,
            why: "it is not there".to_owned(),
        })?;
        functions.push((name, index));
        Ok(())
    };
    find("about", &about, "describe")?;
    for name in functions_of(kind) {
        find(kind.interface(), &exports, name)?;
    }
    if let Some(exports) = interface(FINGERPRINT) {
        find(FINGERPRINT, &exports, FINGERPRINT)?;
    }
    Ok((kind, functions))
}

fn functions_of(kind: StageKind) -> &'static [&'static str] {
    match kind {
        StageKind::Transform | StageKind::TableTransform => &["plan", "open", "process"],
        StageKind::Source => &["splits", "open", "assign", "pull", "committed"],
        StageKind::TableSource => &["schema", "splits", "open", "assign", "pull", "committed"],
        StageKind::Sink | StageKind::TableSink => &["plan", "open", "write", "prepare", "commit"],
    }
}

// The functions of the contract as types.
pub(crate) type Describe = ((), (AboutOut,));
pub(crate) type Open<'a> = ((&'a str,), Answer<()>);
pub(crate) type OpenTable<'a> = ((&'a str, &'a [Field]), Answer<()>);
pub(crate) type Plan<'a> = ((&'a str,), Answer<RecordPlanOut>);
pub(crate) type PlanTable<'a> = ((&'a str, &'a [Field]), Answer<TablePlanOut>);
pub(crate) type Process<'a> = ((BatchIn<'a>,), Answer<OutcomeOut>);
pub(crate) type ProcessTable<'a> = ((TableIn<'a>,), Answer<TableOutcomeOut>);
pub(crate) type Schema<'a> = ((&'a str,), Answer<Vec<Field>>);
pub(crate) type Splits<'a> = ((&'a str,), Answer<Vec<String>>);
pub(crate) type OpenTableSource<'a> = ((&'a str, &'a [u32]), Answer<()>);
pub(crate) type Assign<'a> = ((&'a [Split],), Answer<()>);
pub(crate) type Pull = ((u32, u32, u32), Answer<Option<(BatchOut, PlaceOut)>>);
pub(crate) type PullTable = ((u32, u32, u32), Answer<Option<(TableOut, PlaceOut)>>);
pub(crate) type Committed<'a> = ((u32, &'a [u8]), Answer<()>);
pub(crate) type PlanSink<'a> = ((&'a str,), Answer<SinkPlanOut>);
pub(crate) type PlanTableSink<'a> = ((&'a str, &'a [Field]), Answer<TableSinkPlanOut>);
pub(crate) type OpenSink<'a> = ((&'a str, &'a Context), Answer<()>);
pub(crate) type OpenTableSink<'a> = ((&'a str, &'a [Field], &'a Context), Answer<()>);
pub(crate) type Write<'a> = ((BatchIn<'a>, Option<&'a [u8]>), Answer<Vec<RejectionOut>>);
pub(crate) type WriteTable<'a> = ((TableIn<'a>, Option<&'a [u8]>), Answer<Vec<RejectionOut>>);
pub(crate) type Prepare = ((u64,), Answer<Vec<u8>>);
pub(crate) type Commit<'a> = ((&'a [u8],), Answer<()>);
pub(crate) type Fingerprint<'a> = ((&'a str,), Answer<Option<Vec<PartOut>>>);

/// Refuses a component that has the right names with other types, before anything runs.
pub(crate) fn check_signatures(compiled: &Compiled, instance: &mut Instance) -> Result<(), LoadError> {
    let mut check = Check { compiled, instance };
    check.of::<Describe>("describe")?;
    if compiled.function(FINGERPRINT).is_some() {
        check.of::<Fingerprint<'_>>(FINGERPRINT)?;
    }
    match compiled.kind {
        StageKind::Transform => {
            check.of::<Plan<'_>>("plan")?;
            check.of::<Open<'_>>("open")?;
            check.of::<Process<'_>>("process")
        }
        StageKind::TableTransform => {
            check.of::<PlanTable<'_>>("plan")?;
            check.of::<OpenTable<'_>>("open")?;
            check.of::<ProcessTable<'_>>("process")
        }
        StageKind::Source => {
            check.of::<Open<'_>>("open")?;
            check.of::<Pull>("pull")?;
            check.source()
        }
        StageKind::TableSource => {
            check.of::<Schema<'_>>("schema")?;
            check.of::<OpenTableSource<'_>>("open")?;
            check.of::<PullTable>("pull")?;
            check.source()
        }
        StageKind::Sink => {
            check.of::<PlanSink<'_>>("plan")?;
            check.of::<OpenSink<'_>>("open")?;
            check.of::<Write<'_>>("write")?;
            check.sink()
        }
        StageKind::TableSink => {
            check.of::<PlanTableSink<'_>>("plan")?;
            check.of::<OpenTableSink<'_>>("open")?;
            check.of::<WriteTable<'_>>("write")?;
            check.sink()
        }
    }
}

struct Check<'a> {
    compiled: &'a Compiled,
    instance: &'a mut Instance,
}

/// The parameters and results of a function of the contract.
pub(crate) trait Signature {
    type Params: ComponentNamedList + Lower;
    type Results: ComponentNamedList + Lift;
}

impl<P: ComponentNamedList + Lower, R: ComponentNamedList + Lift> Signature for (P, R) {
    type Params = P;
    type Results = R;
}

impl Check<'_> {
    fn of<S: Signature>(&mut self, function: &'static str) -> Result<(), LoadError> {
        let found = self.instance.func::<S::Params, S::Results>(self.compiled, function);
        let interface = match function {
            "describe" => "about",
            FINGERPRINT => FINGERPRINT,
            _ => self.compiled.kind.interface(),
        };
        found.map(|_| ()).map_err(|error| LoadError::Signature {
            interface: interface.to_owned(),
            function,
            why: error.to_string(),
        })
    }

    fn source(&mut self) -> Result<(), LoadError> {
        self.of::<Splits<'_>>("splits")?;
        self.of::<Assign<'_>>("assign")?;
        self.of::<Committed<'_>>("committed")
    }

    fn sink(&mut self) -> Result<(), LoadError> {
        self.of::<Prepare>("prepare")?;
        self.of::<Commit<'_>>("commit")
    }
}
