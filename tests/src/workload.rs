//! What the benchmark works on: files and rules for any number, the same for stead and for the floor.

use std::fmt::Write as _;

/// The directory of the files that stead writes.
pub const MANAGED_DIR: &str = "/srv/managed";
/// The directory of the files that the floor writes.
pub const FLOOR_DIR: &str = "/srv/bare";

/// Bytes of one file.
const FILE_BYTES: usize = 200;

/// Returns the path of a file in a directory.
pub fn path(dir: &str, number: usize) -> String {
    format!("{dir}/f{number}")
}

/// Returns the contents of a file: a line of 200 bytes, like that of no other file.
pub fn text(number: usize) -> String {
    let mut text = format!("line of file {number} ").repeat(FILE_BYTES);
    text.truncate(FILE_BYTES - 1);
    text + "\n"
}

/// Writes a spec of so many files.
pub fn files_spec(count: usize) -> String {
    let mut spec = String::from("host \"many\" {\n");
    for number in 0..count {
        let (path, text) = (path(MANAGED_DIR, number), text(number));
        let line = text.trim_end();
        writeln!(
            spec,
            "    file \"{path}\" mode=\"0644\" {{\n        content \"{line}\\n\"\n    }}"
        )
        .unwrap();
    }
    spec + "}\n"
}

/// Writes a spec of so many iptables rules, in a chain of their own.
pub fn rules_spec(count: usize) -> String {
    let mut spec = String::from(
        "host \"rules\" {\n    iptables-chain \"filter/MANY\" persist=#false backend=\"nft\" family=\"ipv4\"\n",
    );
    for number in 0..count {
        let (high, low) = (number / 256, number % 256);
        writeln!(
            spec,
            "    iptables-rule \"rule-{number}\" chain=\"MANY\" persist=#false backend=\"nft\" family=\"ipv4\" {{ \
             match \"-s 10.1.{high}.{low}/32 -p tcp --dport 443\"; jump \"ACCEPT\"; }}"
        )
        .unwrap();
    }
    spec + "}\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_equal_size_and_distinct_text() {
        for number in [0, 9, 999_999] {
            assert_eq!(text(number).len(), FILE_BYTES);
        }
        assert_ne!(text(1), text(10));
    }
}
