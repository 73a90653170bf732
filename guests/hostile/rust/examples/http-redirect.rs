//! Asks a server that it is granted, and follows where that leads it.

use hostile::http;

fn act(url: &str) -> String {
    match http::get(url, None) {
        Ok(answer) if !answer.location.is_empty() => http::told(http::get(&answer.location, None)),
        other => http::told(other),
    }
}

hostile::stage!(act);
