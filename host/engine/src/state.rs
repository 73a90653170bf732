//! What the host keeps for one instance: its meters, its voice, and WASI once it asks for it.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::link::log::Voice;
use crate::link::wasi;
use crate::meter::{Clock, MemoryMeter};

pub(crate) struct State {
    pub memory: MemoryMeter,
    pub clock: Clock,
    pub voice: Arc<Voice>,
    /// Made at the first call that needs it: most stages never do, and it costs more than an instance.
    wasi: Option<Box<Wasi>>,
}

struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
}

impl State {
    pub(crate) fn new(memory_bytes: usize, voice: Voice) -> Self {
        let memory = MemoryMeter::new(memory_bytes);
        Self { memory, clock: Clock::default(), voice: Arc::new(voice), wasi: None }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let voice = &self.voice;
        let wasi = self.wasi.get_or_insert_with(|| {
            let mut table = ResourceTable::new();
            table.set_max_capacity(model::limits::RESOURCES_MAX);
            Box::new(Wasi { ctx: wasi::denied(voice), table })
        });
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut wasi.table }
    }
}
