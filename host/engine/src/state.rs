//! What the host keeps for one instance: its meters, its voice, what it may reach, and WASI once it asks for
//! it.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::access::Access;
use crate::link::http::Gate;
use crate::link::log::Voice;
use crate::link::wasi;
use crate::meter::{Clock, MemoryMeter};

pub(crate) struct State {
    pub memory: MemoryMeter,
    pub clock: Clock,
    pub voice: Arc<Voice>,
    pub access: Access,
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
    fn new(access: &Access, voice: &Arc<Voice>) -> wasmtime::Result<Box<Self>> {
        let mut table = ResourceTable::new();
        table.set_max_capacity(model::limits::RESOURCES_MAX);
        let ctx = wasi::context(access, voice)?;
        let gate = Gate::new(access.clone(), voice.clone());
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(model::limits::HTTP_HEAD_BYTES_MAX);
        Ok(Box::new(Self { ctx, table, http, gate }))
    }
}

impl State {
    /// Fails where a granted directory cannot be opened.
    pub(crate) fn new(memory_bytes: usize, voice: Voice, access: Access) -> wasmtime::Result<Self> {
        let memory = MemoryMeter::new(memory_bytes);
        let voice = Arc::new(voice);
        let eager = !access.inner.dirs.is_empty();
        let wasi = if eager { Some(Wasi::new(&access, &voice)?) } else { None };
        Ok(Self { memory, clock: Clock::default(), voice, access, wasi })
    }

    fn wasi(&mut self) -> &mut Wasi {
        let (access, voice) = (&self.access, &self.voice);
        self.wasi
            .get_or_insert_with(|| Wasi::new(access, voice).expect("directories are opened at the start"))
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
