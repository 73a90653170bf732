//! `conveyor:stage/state`: what a transform remembers. Linked for every stage; an instance that runs a transform has
//! somebody who answers.

use std::sync::Arc;

use model::limits::{STATE_KEY_BYTES_MAX, STATE_PAGE_ENTRIES_MAX};
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use super::State;
use crate::contract::{BlobColumnOut, VarlenOut};
use crate::keyed::{Entries, KeyedState, Packed, Page, Scan, StateError, Values, check_values};

/// `state.entries`.
#[derive(Debug, ComponentType, Lift)]
#[component(record)]
struct EntriesOut {
    keys: VarlenOut,
    names: VarlenOut,
}

/// `columns.varlen` that the host owns.
#[derive(Debug, ComponentType, Lower)]
#[component(record)]
struct VarlenAnswer {
    offsets: Vec<u32>,
    bytes: Vec<u8>,
}

/// `columns.blob-column` that the host owns.
#[derive(Debug, ComponentType, Lower)]
#[component(record)]
struct BlobsAnswer {
    valid: Option<Vec<u8>>,
    blobs: VarlenAnswer,
}

/// `state.page`.
#[derive(Debug, ComponentType, Lower)]
#[component(record)]
struct PageAnswer {
    names: VarlenAnswer,
    values: VarlenAnswer,
    more: bool,
}

type Context<'a> = StoreContextMut<'a, State>;
type ScanParams = (Vec<u8>, Vec<u8>, Option<Vec<u8>>, u32);

pub(crate) fn add(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut state = linker.instance("conveyor:stage/state@0.1.0")?;
    state.func_wrap_async("get", |store: Context<'_>, (entries,): (EntriesOut,)| {
        Box::new(async move {
            let keyed = here(&store)?;
            let values = keyed.get(&checked(entries)?).await?;
            Ok((BlobsAnswer::from(values),))
        })
    })?;
    state.func_wrap("set", |store: Context<'_>, (entries, values): (EntriesOut, BlobColumnOut)| {
        let keyed = here(&store)?;
        let entries = checked(entries)?;
        let BlobColumnOut { valid, blobs } = values;
        let values = Values::checked(valid, packed(blobs)?, entries.len())?;
        Ok(keyed.set(&entries, &values)?)
    })?;
    state.func_wrap_async("insert", |store: Context<'_>, (entries, values): (EntriesOut, VarlenOut)| {
        Box::new(async move {
            let keyed = here(&store)?;
            let entries = checked(entries)?;
            let values = packed(values)?;
            if !values.is_empty() && values.len() != entries.len() {
                let (values, entries) = (values.len(), entries.len());
                let message = format!("there are {values} values for {entries} entries");
                return Err(StateError::Malformed(message).into());
            }
            check_values(&values)?;
            Ok((keyed.insert(&entries, &values).await?,))
        })
    })?;
    state.func_wrap("delete", |store: Context<'_>, (entries,): (EntriesOut,)| {
        Ok(here(&store)?.delete(&checked(entries)?)?)
    })?;
    state.func_wrap_async("scan", |store: Context<'_>, (key, prefix, after, max): ScanParams| {
        Box::new(async move {
            let keyed = here(&store)?;
            for (what, bytes) in [("key", key.len()), ("name", prefix.len())] {
                if bytes > STATE_KEY_BYTES_MAX {
                    let limit_bytes = STATE_KEY_BYTES_MAX;
                    return Err(StateError::EntryTooLarge { what, bytes, limit_bytes }.into());
                }
            }
            let entries_max = (max as usize).clamp(1, STATE_PAGE_ENTRIES_MAX);
            let page = keyed.scan(&Scan { key, prefix, after, entries_max }).await?;
            Ok((PageAnswer::from(page),))
        })
    })
}

fn here(store: &Context<'_>) -> Result<Arc<dyn KeyedState>, StateError> {
    store.data().keyed.clone().ok_or(StateError::NotHere)
}

fn checked(EntriesOut { keys, names }: EntriesOut) -> Result<Entries, StateError> {
    Entries::checked(packed(keys)?, packed(names)?)
}

fn packed(VarlenOut { offsets, bytes }: VarlenOut) -> Result<Packed, StateError> {
    Packed::checked(offsets, bytes)
}

impl From<Packed> for VarlenAnswer {
    fn from(packed: Packed) -> Self {
        let (offsets, bytes) = packed.into_parts();
        Self { offsets, bytes }
    }
}

impl From<Values> for BlobsAnswer {
    fn from(values: Values) -> Self {
        let (valid, values) = values.into_parts();
        Self { valid, blobs: values.into() }
    }
}

impl From<Page> for PageAnswer {
    fn from(Page { names, values, more }: Page) -> Self {
        Self { names: names.into(), values: values.into(), more }
    }
}
