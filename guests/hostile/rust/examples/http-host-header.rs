//! Asks a server that it is granted for what another one holds, by the `Host` header.

use hostile::http;

fn act(url: &str) -> String {
    http::told(http::get(url, Some("internal.example")))
}

hostile::stage!(act);
