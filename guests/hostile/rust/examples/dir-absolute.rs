//! Looks for a file by its place on the machine, which its record names.

use hostile::dir;

fn act(path: &str) -> String {
    dir::within(|dir| dir::read_any(dir, &[path, "/etc/passwd", "//etc/passwd"]))
}

hostile::stage!(act);
