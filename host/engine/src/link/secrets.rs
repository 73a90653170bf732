//! `conveyor:stage/secrets`: values that are granted by name. Linked for every stage; what is not granted is
//! denied, with the line that grants it.

use model::grants::Need;
use model::limits;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower, WasmStr};

use super::State;
use super::log::{self, Level};

/// `secrets.secret-error`.
#[derive(Clone, Debug, ComponentType, Lower)]
#[component(variant)]
enum SecretError {
    #[component(name = "denied")]
    Denied(String),
    #[component(name = "unavailable")]
    #[expect(dead_code, reason = "for stores that can be away; on one machine values are read before start")]
    Unavailable(String),
}

type Answer = (Result<String, SecretError>,);

pub(crate) fn add(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut secrets = linker.instance("conveyor:stage/secrets@0.1.0")?;
    secrets.func_wrap("get", |store: StoreContextMut<'_, State>, (name,): (WasmStr,)| {
        let name = name.to_str(&store)?;
        let state = store.data();
        if let Some(secret) = state.access.inner.secrets.get(&*name) {
            return Ok::<Answer, wasmtime::Error>((Ok(secret.reveal().to_owned()),));
        }
        let mut shown = String::new();
        log::push(&mut shown, &name[..name.floor_char_boundary(limits::GRANT_NAME_BYTES_MAX)]);
        let line = match format!("secret {shown}").parse::<Need>() {
            Ok(need) => format!("secret `{shown}` is not granted: add `{}` to the stage", need.line()),
            Err(_) => format!("`{shown}` is no name of a secret"),
        };
        if state.voice.admit() {
            state.voice.write(Level::Warn, &line);
        }
        Ok((Err(SecretError::Denied(line)),))
    })
}
