//! Tries to reach what each record names, and tells what came of it: for tests of grants. It asks WASI
//! directly, as a hostile stage would.

use conveyor_sdk::{Batch, Emitter, Failure, NoConfig, Result, Transform, secret};
use wasip2::cli::environment;
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;
use wasip2::random::random;
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::IpAddressFamily;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

pub struct Probe;

impl Transform for Probe {
    type Config = NoConfig;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Probe)
    }

    fn process(&mut self, batch: &Batch, out: &mut Emitter) -> Result {
        for record in batch {
            let asked = std::str::from_utf8(record.bytes()).map_err(|_| Failure::fatal("no text"))?;
            out.emit(record, answer(asked).as_bytes());
        }
        Ok(())
    }
}

fn answer(asked: &str) -> String {
    let words: Vec<&str> = asked.split(' ').collect();
    match words[..] {
        ["env"] => format!("{:?}", environment::get_environment()),
        ["dirs"] => {
            let names: Vec<String> = preopens::get_directories().into_iter().map(|(_, name)| name).collect();
            names.join(",")
        }
        ["read", dir, path] => within(dir, |dir| read(dir, path)),
        ["write", dir, path, text] => within(dir, |dir| write(dir, path, text)),
        ["symlink", dir, to, path] => within(dir, |dir| {
            dir.symlink_at(to, path).map_err(|code| format!("{code:?}"))?;
            Ok("linked".to_owned())
        }),
        ["clock"] => format!("{}", wall_clock::now().seconds),
        ["ticks"] => format!("{}", monotonic_clock::now() % 1_000_000),
        ["random"] => format!("{}", random::get_random_u64()),
        ["secret", name] => secret(name).unwrap_or_else(|error| format!("error: {error}")),
        ["tcp"] => lookup(),
        ["get", url] => get(url, None).unwrap_or_else(|error| format!("error: {error}")),
        ["get", url, host] => get(url, Some(host)).unwrap_or_else(|error| format!("error: {error}")),
        _ => "error: it does not know that".to_owned(),
    }
}

fn within(name: &str, act: impl FnOnce(&Descriptor) -> Result<String, String>) -> String {
    let Some((dir, _)) = preopens::get_directories().into_iter().find(|(_, of)| of == name) else {
        return "error: no such directory".to_owned();
    };
    act(&dir).unwrap_or_else(|error| format!("error: {error}"))
}

fn read(dir: &Descriptor, path: &str) -> Result<String, String> {
    let file = dir.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ);
    let file = file.map_err(|code| format!("{code:?}"))?;
    let (bytes, _) = file.read(1 << 16, 0).map_err(|code| format!("{code:?}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write(dir: &Descriptor, path: &str, text: &str) -> Result<String, String> {
    let flags = DescriptorFlags::WRITE;
    let file = dir.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::CREATE | OpenFlags::TRUNCATE, flags);
    let file = file.map_err(|code| format!("{code:?}"))?;
    file.write(text.as_bytes(), 0).map_err(|code| format!("{code:?}"))?;
    Ok("written".to_owned())
}

/// Sockets: a name cannot be looked up and nothing can be connected.
fn lookup() -> String {
    let looked = match resolve_addresses(&instance_network(), "localhost") {
        Ok(stream) => {
            stream.subscribe().block();
            format!("{:?}", stream.resolve_next_address())
        }
        Err(code) => format!("{code:?}"),
    };
    let socket = create_tcp_socket(IpAddressFamily::Ipv4).map(|_| "a socket");
    format!("lookup {looked}, {socket:?}")
}

/// The status and the body, or the code of the error. With `host`, a header of that name is put in as well.
fn get(url: &str, host: Option<&str>) -> Result<String, String> {
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let headers = Fields::new();
    if let Some(host) = host {
        let set = headers.set("Host", &[host.as_bytes().to_vec()]);
        set.map_err(|error| format!("header: {error:?}"))?;
    }
    let request = OutgoingRequest::new(headers);
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_method(&Method::Get).map_err(|()| "method")?;
    request.set_scheme(Some(&scheme)).map_err(|()| "scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "authority")?;
    request.set_path_with_query(Some(&format!("/{path}"))).map_err(|()| "path")?;
    let body = request.body().map_err(|()| "body")?;
    OutgoingBody::finish(body, None).map_err(|code| format!("{code:?}"))?;
    let answer = outgoing_handler::handle(request, None).map_err(|code| format!("{code:?}"))?;
    answer.subscribe().block();
    let answer =
        answer.get().ok_or("not ready")?.map_err(|()| "taken")?.map_err(|code| format!("{code:?}"))?;
    let location: Vec<String> =
        answer.headers().get("location").iter().map(|value| String::from_utf8_lossy(value).into()).collect();
    let status = answer.status();
    let body = answer.consume().map_err(|()| "consumed")?;
    let stream = body.stream().map_err(|()| "streamed")?;
    let mut bytes = 0;
    let mut text = String::new();
    loop {
        match stream.blocking_read(1 << 16) {
            Ok(piece) => {
                bytes += piece.len();
                if text.len() < 100 {
                    text.push_str(&String::from_utf8_lossy(&piece));
                }
            }
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasip2::http::types::http_error_code(&error);
                return Err(format!("after {bytes} bytes: {code:?}"));
            }
        }
    }
    Ok(format!("{status} {}{text}", location.concat()))
}

conveyor_sdk::transform!(Probe);
