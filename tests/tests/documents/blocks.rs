//! The blocks of a document that are run, and what they are to print.

/// Commands, and what the document says they print.
pub struct Block {
    /// The line of the document on which the commands begin, from 1.
    pub line: usize,
    pub commands: String,
    pub prints: Option<String>,
}

/// The `sh` blocks of a document, each with the `text` block right behind it.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = text.lines().enumerate();
    let mut right_behind = false;
    while let Some((number, line)) = lines.next() {
        match line.trim_end() {
            "```sh" => {
                let commands = body(&mut lines);
                blocks.push(Block { line: number + 2, commands, prints: None });
                right_behind = true;
            }
            "```text" => {
                let printed = body(&mut lines);
                if let (true, Some(block)) = (right_behind, blocks.last_mut()) {
                    block.prints = Some(printed);
                }
                right_behind = false;
            }
            "" => {}
            other => {
                if other.starts_with("```") {
                    body(&mut lines);
                }
                right_behind = false;
            }
        }
    }
    blocks
}

fn body<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>) -> String {
    let body: Vec<&str> = lines.map(|(_, line)| line).take_while(|line| line.trim_end() != "```").collect();
    body.join("\n")
}

/// Why `output` is not what was expected, if it is not.
pub fn mismatch(expected: &str, output: &str) -> Option<String> {
    let mut printed = output.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let mut skipping = false;
    for line in expected.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        if line.trim() == "..." {
            skipping = true;
            continue;
        }
        let found = match skipping {
            true => printed.any(|printed| fits(line, printed)),
            false => printed.next().is_some_and(|printed| fits(line, printed)),
        };
        if !found {
            return Some(format!("it does not print `{line}` where the document says so"));
        }
        skipping = false;
    }
    match printed.next() {
        Some(more) if !skipping => Some(format!("it prints more than the document says: `{more}`")),
        _ => None,
    }
}

fn fits(expected: &str, printed: &str) -> bool {
    let mut parts = expected.split("...");
    let Some(mut rest) = parts.next().and_then(|first| printed.strip_prefix(first)) else { return false };
    let mut open = false;
    for part in parts {
        open = true;
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty() || (open && expected.ends_with("..."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_what_they_print_are_found() {
        let text = "a\n```sh\necho 1\necho 2\n```\n\n```text\n1\n2\n```\n```yaml\nx: 1\n```\n```text\nno\n```\n```sh\ntrue\n```\n";
        let blocks = blocks(text);
        assert_eq!(blocks.len(), 2);
        assert_eq!((blocks[0].line, blocks[0].commands.as_str()), (3, "echo 1\necho 2"));
        assert_eq!(blocks[0].prints.as_deref(), Some("1\n2"));
        assert!(blocks[1].prints.is_none());
    }

    #[test]
    fn output_that_differs_is_told() {
        let cases = [
            ("a\nb", "a\nb\n", true),
            ("a\nb", "a\nc\nb", false),
            ("a\n...\nb", "a\nc\nb", true),
            ("a", "a\nb", false),
            ("a\n...", "a\nb", true),
            ("took ... ms", "took 12 ms", true),
            ("took ... ms", "took 12 s", false),
            ("b\na", "a\nb", false),
        ];
        for (expected, output, good) in cases {
            assert_eq!(mismatch(expected, output).is_none(), good, "{expected:?} against {output:?}");
        }
    }
}
