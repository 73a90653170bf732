//! Writes to stdout for ever, without ever ending a line.

use wasip2::cli::stdout::get_stdout;

fn act(_: &str) -> String {
    let out = get_stdout();
    loop {
        if out.blocking_write_and_flush(b"\x1b[2Jwet wet wet wet wet wet wet wet").is_err() {
            return "it is closed".to_owned();
        }
    }
}

hostile::stage!(act);
