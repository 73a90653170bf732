//! To hosts, granted or not.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, Scheme};

/// What a server answered.
pub struct Answer {
    pub status: u16,
    pub location: String,
    pub body: String,
}

/// Asks for `url`, with a `Host` header if there is to be one.
pub fn get(url: &str, host: Option<&str>) -> Result<Answer, String> {
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let headers = Fields::new();
    if let Some(host) = host {
        headers.set("Host", &[host.as_bytes().to_vec()]).map_err(|error| format!("header: {error:?}"))?;
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
    let location: Vec<u8> = answer.headers().get("location").concat();
    let status = answer.status();
    let body = answer.consume().map_err(|()| "consumed")?;
    let stream = body.stream().map_err(|()| "streamed")?;
    let mut bytes = Vec::new();
    while let Ok(piece) = stream.blocking_read(1 << 16) {
        bytes.extend(piece);
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Answer { status, location: text(&location), body: text(&bytes) })
}

/// As one line.
pub fn told(answer: Result<Answer, String>) -> String {
    match answer {
        Ok(Answer { status, body, .. }) => format!("reached: {status} {body}"),
        Err(error) => format!("error: {error}"),
    }
}
