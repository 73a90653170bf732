//! What the host keeps for one instance: its meters, its voice, and WASI once it asks for it.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::link::log::Voice;
use crate::link::wasi;
use crate::meter::{Clock, MemoryMeter, StageLimits};

pub(crate) struct State {
    pub memory: MemoryMeter,
    pub clock: Clock,
    pub voice: Arc<Voice>,
    /// Handles to things of the host that are open at once.
    pub resources: usize,
    /// Bytes that one call into the host may hand over.
    pub host_call_bytes: usize,
    /// Made at the first call that needs it: most stages never do, and it costs more than an instance.
    wasi: Option<Box<Wasi>>,
}

struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
}

impl State {
    pub(crate) fn new(limits: &StageLimits, voice: Voice) -> Self {
        let memory = MemoryMeter::new(limits.memory_bytes);
        let (resources, host_call_bytes) = (limits.resources, limits.host_call_bytes);
        let (clock, voice) = (Clock::default(), Arc::new(voice));
        Self { memory, clock, voice, resources, host_call_bytes, wasi: None }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (voice, resources) = (&self.voice, self.resources);
        let wasi = self.wasi.get_or_insert_with(|| {
            let mut table = ResourceTable::new();
            table.set_max_capacity(resources);
            Box::new(Wasi { ctx: wasi::denied(voice), table })
        });
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut wasi.table }
    }
}
