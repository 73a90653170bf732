//! One engine per process, and the components that it holds.

mod component;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use model::limits;
use tokio::sync::Semaphore;
use wasmtime::component::Linker;

use crate::compile::Compiler;
use crate::config::config;
use crate::error::EngineError;
use crate::link::{self, State};
use crate::meter::Ticker;
pub use component::Component;
pub(crate) use component::{Compiled, Inner, Loaded};

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where compiled code is kept between runs; none keeps it in memory alone. It is made if it is not
    /// there, readable by its owner alone.
    pub cache_dir: Option<PathBuf>,
    /// Instances that can live at once. Each costs address space, and memory only once it is used.
    pub instances_max: u32,
    /// Whether fuel, running time and memory are counted and bounded. Without it a guest can run for ever: for
    /// measuring what the limits cost, and for nothing else.
    pub metered: bool,
    /// What compiles, so that it is held within bounds; without it, this process does. It has to be of this very
    /// version.
    pub compiler: Option<Compiler>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { cache_dir: None, instances_max: limits::INSTANCES_MAX, metered: true, compiler: None }
    }
}

/// Compiles and runs components. Cheap to clone; the last clone stops the epochs.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub wasm: wasmtime::Engine,
    pub cache_dir: Option<PathBuf>,
    pub metered: bool,
    pub compiler: Option<Compiler>,
    /// Room for components that are being compiled.
    pub compiling: Semaphore,
    pub loaded: Loaded,
    plain: Linker<State>,
    wasi: OnceLock<Linker<State>>,
    _ticker: Ticker,
}

impl Engine {
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let instances = options.instances_max;
        let wasm = wasmtime::Engine::new(&config(instances, options.metered))
            .map_err(|source| EngineError::Reserve { instances, source })?;
        let plain = link::plain(&wasm).map_err(EngineError::Link)?;
        let ticker = Ticker::start(&wasm)?;
        let shared = Shared {
            wasm,
            cache_dir: options.cache_dir,
            metered: options.metered,
            compiler: options.compiler,
            compiling: Semaphore::new(limits::COMPILATIONS_MAX),
            loaded: Loaded::default(),
            plain,
            wasi: OnceLock::new(),
            _ticker: ticker,
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    /// The linker for a component that imports WASI, or for one that does not and so need not wait until
    /// all of it is defined.
    pub(crate) fn linker(&self, wasi: bool) -> wasmtime::Result<&Linker<State>> {
        if !wasi {
            return Ok(&self.plain);
        }
        if let Some(linker) = self.wasi.get() {
            return Ok(linker);
        }
        let linker = link::with_wasi(&self.wasm)?;
        Ok(self.wasi.get_or_init(|| linker))
    }
}
