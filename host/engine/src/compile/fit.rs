//! Which stage a component is: what matters is which interfaces it exports, not the name of its world.

use model::stage::StageKind;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex};

use crate::error::LoadError;
use crate::signatures::FINGERPRINT;

const PACKAGE: &str = "conveyor:stage/";
/// The released versions of the contract that this host speaks.
const VERSION: &str = "@0.1.0";

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
