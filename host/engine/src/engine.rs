//! One engine per process: how wasmtime is set up, and what all components share.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use model::limits;
use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails,
};

use crate::compile::{Compiler, Loaded};
use crate::error::EngineError;
use crate::link;
use crate::meter::Ticker;
use crate::state::State;

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

/// The same for whoever compiles and whoever runs what was compiled; `instances` does not change the code.
pub(crate) fn config(instances: u32, metered: bool) -> Config {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .consume_fuel(metered)
        .epoch_interruption(metered)
        // With it on, the async path costs twice as much per call.
        .concurrency_support(false)
        // `compile::Symbols` looks up where a stage died, once and not at every trap.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .memory_init_cow(true)
        .async_stack_size(limits::FIBER_STACK_BYTES)
        .max_wasm_stack(limits::GUEST_STACK_BYTES)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances)));
    config
}

fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    // A component from an ordinary toolchain is one to four core modules, one memory and up to two tables;
    // those that bring an interpreter are up to thirty modules around one memory and one table.
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(4))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(2))
        .total_stacks(instances)
        .max_core_instances_per_component(limits::CORE_INSTANCES_MAX)
        .max_memories_per_component(limits::CORE_MEMORIES_MAX)
        .max_tables_per_component(limits::CORE_TABLES_MAX)
        .max_memories_per_module(limits::CORE_MEMORIES_MAX)
        .max_tables_per_module(limits::CORE_TABLES_MAX)
        .table_elements(limits::TABLE_ELEMENTS_MAX)
        .max_memory_size(limits::STAGE_MEMORY_BYTES_MAX)
        .linear_memory_keep_resident(limits::SLOT_RESIDENT_BYTES)
        .table_keep_resident(limits::SLOT_TABLE_RESIDENT_BYTES)
        .max_unused_warm_slots(limits::WARM_SLOTS_MAX)
        // Where the kernel can say which pages were written, only those are wiped.
        .pagemap_scan(Enabled::Auto);
    pool
}
