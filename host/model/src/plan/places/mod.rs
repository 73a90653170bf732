//! Which sources and sinks meet in one place: a file that one reads and another writes, or an address that one listens
//! on and another sends to. What stands at which path is found out by whoever asks; what of it may not be is decided
//! here.

mod pattern;

pub use pattern::{Name, PathPattern};

/// Somewhere outside of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file that is there.
    File { device: u64, inode: u64 },
    /// All files of these names, there or not.
    Names(PathPattern),
    /// What is posted there. All names and addresses of this machine alone are one host.
    Url { host: String, port: u16, path: String },
}

/// What a source or a sink does there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads what is there, and ends.
    Reads,
    /// Goes on with what comes.
    Follows,
    /// Writes, and nobody else may.
    Writes,
    /// Writes as others do: standard output, a server.
    Sends,
}

/// A source or a sink with its places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub access: Access,
    pub places: Vec<Place>,
}

/// Ends that cannot run together, by their indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clash {
    /// Both write.
    Writers(usize, usize),
    /// What is written is read at the same time, by somebody who does not wait for it.
    Torn { writer: usize, reader: usize },
    /// What is written comes back to who writes it: from the writer to a reader of its place, and so on.
    Circle(Vec<usize>),
}

impl End {
    pub fn writes(&self) -> bool {
        matches!(self.access, Access::Writes | Access::Sends)
    }

    /// What it writes, as whoever looks for files while it does has to know it. A file that has a name may be replaced under
    /// it, and then its inode is another file's.
    pub fn written(&self) -> Vec<Place> {
        let is_named = |place: &&Place| matches!(place, Place::Names(_));
        let named: Vec<Place> = self.places.iter().filter(is_named).cloned().collect();
        match self.writes() {
            false => Vec::new(),
            true if named.is_empty() => self.places.clone(),
            true => named,
        }
    }

    fn meets(&self, other: &Self) -> bool {
        self.places.iter().any(|one| other.places.iter().any(|other| one.meets(other)))
    }
}

impl Place {
    /// Whether there is a place that both stand for.
    pub fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Names(one), Self::Names(other)) => one.meets(other),
            (one, other) => one == other,
        }
    }
}

/// All that may not be. `flows`: what a source reads comes to a sink, by the indices of both.
pub fn clashes(ends: &[End], flows: &[(usize, usize)]) -> Vec<Clash> {
    let mut clashes = Vec::new();
    let mut ways = flows.to_vec();
    let writers: Vec<usize> = (0..ends.len()).filter(|&end| ends[end].writes()).collect();
    for (place, &writer) in writers.iter().enumerate() {
        for &other in &writers[place + 1..] {
            let are_alone = [writer, other].iter().any(|&end| ends[end].access == Access::Writes);
            if are_alone && ends[writer].meets(&ends[other]) {
                clashes.push(Clash::Writers(writer, other));
            }
        }
        let readers = (0..ends.len()).filter(|&end| !ends[end].writes() && ends[end].meets(&ends[writer]));
        ways.extend(readers.map(|reader| (writer, reader)));
    }
    let mut told: Vec<Vec<usize>> = Vec::new();
    for &(writer, reader) in &ways[flows.len()..] {
        if let Some(back) = way(&ways, reader, writer) {
            let mut circle = vec![writer];
            circle.extend(&back[..back.len() - 1]);
            let mut members = circle.clone();
            members.sort_unstable();
            // A circle through several places is met at each of them.
            if !told.contains(&members) {
                told.push(members);
                clashes.push(Clash::Circle(circle));
            }
        } else if ends[reader].access == Access::Reads {
            clashes.push(Clash::Torn { writer, reader });
        }
    }
    clashes
}

/// A shortest way, both ends included.
fn way(ways: &[(usize, usize)], from: usize, to: usize) -> Option<Vec<usize>> {
    let mut paths = vec![vec![from]];
    let mut seen = vec![from];
    while !paths.is_empty() {
        let mut longer = Vec::new();
        for path in paths {
            let last = path[path.len() - 1];
            if last == to {
                return Some(path);
            }
            for &(_, next) in ways.iter().filter(|(at, _)| *at == last) {
                if !seen.contains(&next) {
                    seen.push(next);
                    longer.push([&path[..], &[next]].concat());
                }
            }
        }
        paths = longer;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(access: Access, names: &[&str]) -> End {
        let place = |name: &&str| match name.strip_prefix('#') {
            Some(inode) => Place::File { device: 1, inode: inode.parse().expect("a number") },
            None => Place::Names(PathPattern::literal(["dir"]).then_glob(name)),
        };
        End { access, places: names.iter().map(place).collect() }
    }

    #[test]
    fn who_writes_what_somebody_reads_is_told() {
        use Access::*;
        let (reads, follows) = (|name| end(Reads, &[name]), |name| end(Follows, &[name]));
        let (writes, sends) = (|name| end(Writes, &[name]), |name| end(Sends, &[name]));
        let circle = |ends: &[usize]| Clash::Circle(ends.to_vec());
        type Case<'a> = (&'a str, Vec<End>, &'a [(usize, usize)], Vec<Clash>);
        let cases: Vec<Case<'_>> = vec![
            ("one path", vec![reads("a"), writes("a")], &[(0, 1)], vec![circle(&[1, 0])]),
            ("followed", vec![follows("a"), writes("a")], &[(0, 1)], vec![circle(&[1, 0])]),
            ("a hard link", vec![reads("#7"), end(Writes, &["b", "#7"])], &[(0, 1)], vec![circle(&[1, 0])]),
            ("a pattern", vec![reads("*"), writes("b")], &[(0, 1)], vec![circle(&[1, 0])]),
            ("two paths", vec![reads("a"), writes("b")], &[(0, 1)], vec![]),
            ("two writers", vec![writes("a"), writes("a")], &[], vec![Clash::Writers(0, 1)]),
            ("two that send", vec![sends("a"), sends("a")], &[], vec![]),
            ("one that sends", vec![writes("a"), sends("a")], &[], vec![Clash::Writers(0, 1)]),
            ("two readers", vec![reads("a"), follows("a")], &[], vec![]),
            ("a chain", vec![reads("a"), writes("b"), follows("b"), writes("c")], &[(0, 1), (2, 3)], vec![]),
            (
                "a chain that does not wait",
                vec![reads("a"), writes("b"), reads("b"), writes("c")],
                &[(0, 1), (2, 3)],
                vec![Clash::Torn { writer: 1, reader: 2 }],
            ),
            (
                "a circle of two",
                vec![follows("a"), writes("b"), follows("b"), writes("a")],
                &[(0, 1), (2, 3)],
                vec![circle(&[1, 2, 3, 0])],
            ),
            (
                "side by side",
                vec![follows("a"), writes("b"), follows("b"), writes("c")],
                &[(0, 3), (2, 3)],
                vec![],
            ),
        ];
        for (what, ends, flows, expected) in cases {
            assert_eq!(clashes(&ends, flows), expected, "{what}");
        }
    }
}
