//! Asks a server by a name that is granted, and that leads to a private address.

use hostile::http;

fn act(url: &str) -> String {
    http::told(http::get(url, None))
}

hostile::stage!(act);
