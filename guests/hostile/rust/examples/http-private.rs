//! Asks a server at the private address that its record names.

use hostile::http;

fn act(url: &str) -> String {
    http::told(http::get(url, None))
}

hostile::stage!(act);
