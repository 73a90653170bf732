//! What the host keeps for one instance: its meters, its voice, what it may reach, and WASI once it asks for
//! it.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::http::Gate;
use super::log::Voice;
use super::wasi;
use crate::access::Access;
use crate::keyed::KeyedState;
use crate::meter::{Clock, MemoryMeter, StageLimits};

pub(crate) struct State {
    pub memory: MemoryMeter,
    pub clock: Clock,
    pub voice: Arc<Voice>,
    /// Handles to things of the host that are open at once.
    pub resources: usize,
    /// Bytes that one call into the host may hand over.
    pub host_call_bytes: usize,
    pub access: Access,
    /// What the stage remembers, once the instance is open and processes.
    pub keyed: Option<Arc<dyn KeyedState>>,
    /// Made at the first call that needs it: most stages never do, and it costs more than an instance.
    wasi: Option<Box<Wasi>>,
}

struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
    http: WasiHttpCtx,
    gate: Gate,
}

impl Wasi {
    fn new(access: &Access, voice: &Arc<Voice>, resources: usize) -> wasmtime::Result<Box<Self>> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(resources);
        let ctx = wasi::context(access, voice)?;
        let gate = Gate::new(access.clone(), voice.clone());
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(model::limits::HTTP_HEAD_BYTES_MAX);
        Ok(Box::new(Self { ctx, table, http, gate }))
    }
}

impl State {
    /// Fails where a granted directory cannot be opened.
    pub(crate) fn new(limits: &StageLimits, voice: Voice, access: Access) -> wasmtime::Result<Self> {
        let memory = MemoryMeter::new(limits.memory_bytes);
        let (resources, host_call_bytes) = (limits.resources, limits.host_call_bytes);
        let (clock, voice) = (Clock::default(), Arc::new(voice));
        let eager = !access.inner.dirs.is_empty();
        let wasi = if eager { Some(Wasi::new(&access, &voice, resources)?) } else { None };
        Ok(Self { memory, clock, voice, resources, host_call_bytes, access, keyed: None, wasi })
    }

    fn wasi(&mut self) -> &mut Wasi {
        let (access, voice, resources) = (&self.access, &self.voice, self.resources);
        self.wasi.get_or_insert_with(|| {
            Wasi::new(access, voice, resources).expect("directories are opened at the start")
        })
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi();
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut wasi.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let wasi = self.wasi();
        WasiHttpCtxView { ctx: &mut wasi.http, table: &mut wasi.table, hooks: &mut wasi.gate }
    }
}
