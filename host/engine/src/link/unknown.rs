//! Imports that this host does not know become traps which name them, so that a component may import more
//! than it uses. What it cannot do without it says in `about`.
//!
//! wasmtime's own way to do so takes a WASI interface of another patch version for unknown, and shadows the
//! one that would have served.

use wasmtime::component::types::{ComponentItem, ResourceType};
use wasmtime::component::{Component, Linker, LinkerInstance};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable};

use super::State;

/// What `link` defines, in any 0.2 version of WASI and in the released versions of the contract.
const WASI: [(&str, &[&str]); 7] = [
    ("wasi:io/", &["error", "poll", "streams"]),
    ("wasi:clocks/", &["monotonic-clock", "wall-clock"]),
    ("wasi:random/", &["insecure", "insecure-seed", "random"]),
    (
        "wasi:cli/",
        &[
            "environment",
            "exit",
            "stderr",
            "stdin",
            "stdout",
            "terminal-input",
            "terminal-output",
            "terminal-stderr",
            "terminal-stdin",
            "terminal-stdout",
        ],
    ),
    ("wasi:filesystem/", &["preopens", "types"]),
    ("wasi:http/", &["outgoing-handler", "types"]),
    (
        "wasi:sockets/",
        &[
            "instance-network",
            "ip-name-lookup",
            "network",
            "tcp",
            "tcp-create-socket",
            "udp",
            "udp-create-socket",
        ],
    ),
];
const CONTRACT: [&str; 3] =
    ["conveyor:stage/log@0.1.0", "conveyor:stage/secrets@0.1.0", "conveyor:stage/state@0.1.0"];

fn is_known(import: &str) -> bool {
    let known = |(package, interfaces): &(&str, &[&str])| {
        let named = import.strip_prefix(package).and_then(|rest| rest.split_once("@0.2."));
        named.is_some_and(|(interface, _)| interfaces.contains(&interface))
    };
    CONTRACT.contains(&import) || WASI.iter().any(known)
}

/// Defines in `linker` whatever `component` imports and the linker lacks.
pub(crate) fn define_as_traps(linker: &mut Linker<State>, component: &Component) -> wasmtime::Result<()> {
    let engine = component.engine();
    let ty = component.component_type();
    // Resources of interfaces that are linked, as an unknown interface may refer to them again.
    let mut linked: Vec<(ResourceType, ResourceType)> = Vec::new();
    for (name, item) in ty.imports(engine) {
        match item.ty {
            ComponentItem::ComponentInstance(instance) if is_known(name) => {
                for (resource, item) in instance.exports(engine) {
                    if let (ComponentItem::Resource(ty), Some(host)) =
                        (item.ty, host_resource(name, resource))
                    {
                        linked.push((ty, host));
                    }
                }
            }
            ComponentItem::ComponentInstance(instance) => {
                let mut into = linker.instance(name)?;
                for (export, item) in instance.exports(engine) {
                    define(&mut into, export, item.ty, &format!("{name}#{export}"), &linked)?;
                }
            }
            ty => define(&mut linker.root(), name, ty, name, &linked)?,
        }
    }
    Ok(())
}

fn define(
    into: &mut LinkerInstance<'_, State>,
    name: &str,
    item: ComponentItem,
    full_name: &str,
    linked: &[(ResourceType, ResourceType)],
) -> wasmtime::Result<()> {
    match item {
        ComponentItem::ComponentFunc(_) => {
            let full_name = full_name.to_owned();
            into.func_new(name, move |_, _, _, _| {
                Err(wasmtime::Error::msg(format!("it called `{full_name}`, which this host does not offer")))
            })
        }
        ComponentItem::Resource(ty) => {
            let host = linked.iter().find(|(of, _)| *of == ty).map(|(_, host)| *host);
            into.resource(name, host.unwrap_or_else(ResourceType::host::<()>), |_, _| Ok(()))
        }
        ComponentItem::Component(_) | ComponentItem::Module(_) => Err(wasmtime::Error::msg(format!(
            "it imports code as `{full_name}`; a stage brings all of its own"
        ))),
        _ => Ok(()),
    }
}

/// The host's type of a resource that other interfaces use: streams and what belongs to them.
fn host_resource(interface: &str, resource: &str) -> Option<ResourceType> {
    if !interface.starts_with("wasi:io/") {
        return None;
    }
    match resource {
        "pollable" => Some(ResourceType::host::<DynPollable>()),
        "input-stream" => Some(ResourceType::host::<DynInputStream>()),
        "output-stream" => Some(ResourceType::host::<DynOutputStream>()),
        "error" => Some(ResourceType::host::<wasmtime::Error>()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_version_of_wasi_is_known_and_nothing_else() {
        for known in ["wasi:io/poll@0.2.0", "wasi:http/types@0.2.12", CONTRACT[0], CONTRACT[1]] {
            assert!(is_known(known), "{known}");
        }
        for unknown in [
            "wasi:http/incoming-handler@0.2.0",
            "wasi:io/poll@0.3.0",
            "wasi:clocks/timezone@0.2.1",
            "log",
            "wasi:io/poll",
        ] {
            assert!(!is_known(unknown), "{unknown}");
        }
    }

    /// What is said to be known is linked indeed, under the oldest version.
    #[test]
    fn everything_known_is_linked() {
        let engine = wasmtime::Engine::default();
        let linker = crate::link::with_wasi(&engine).expect("a linker");
        for (package, interfaces) in WASI {
            for interface in interfaces {
                let text = format!(r#"(component (import "{package}{interface}@0.2.0" (instance)))"#);
                let component =
                    Component::new(&engine, wat::parse_str(text).expect("text")).expect("a component");
                assert!(linker.instantiate_pre(&component).is_ok(), "{package}{interface} is not linked");
            }
        }
    }

    /// An unknown interface may refer to a resource of a known one.
    #[test]
    fn an_unknown_interface_shares_the_streams_of_a_known_one() {
        let text = r#"(component
            (import "wasi:io/poll@0.2.3" (instance $poll (export "pollable" (type (sub resource)))))
            (alias export $poll "pollable" (type $pollable))
            (import "wasi:blobstore/types@0.2.3" (instance
                (alias outer 1 $pollable (type $p))
                (export "pollable" (type $mine (eq $p)))
                (export "fields" (type $fields (sub resource)))
                (export "subscribe" (func (result (own $mine)))))))"#;
        let mut config = wasmtime::Config::new();
        config.concurrency_support(false);
        let engine = wasmtime::Engine::new(&config).expect("an engine");
        let component = Component::new(&engine, wat::parse_str(text).expect("text")).expect("a component");
        let mut linker = crate::link::with_wasi(&engine).expect("a linker");
        define_as_traps(&mut linker, &component).expect("traps");
        if let Err(error) = linker.instantiate_pre(&component) {
            panic!("{error:#}");
        }
    }
}
