//! What the benchmark works on: files and rules for any number, the same for stead and for the floor.

use std::fmt::Write as _;

/// The folder of the files that stead writes.
pub const MANAGED: &str = "/srv/managed";
/// The folder of the files that the floor writes.
pub const BARE: &str = "/srv/bare";

/// Bytes of one file.
const BYTES: usize = 200;

/// Returns the path of a file in a folder.
pub fn path(folder: &str, number: usize) -> String {
    format!("{folder}/f{number}")
}

/// Returns the contents of a file: a line of 200 bytes, like that of no other file.
pub fn text(number: usize) -> String {
    let mut text = format!("line of file {number} ").repeat(BYTES);
    text.truncate(BYTES - 1);
    text + "\n"
}

/// Writes a spec of so many files.
pub fn files(count: usize) -> String {
    let mut spec = String::from("host \"many\" {\n");
    for number in 0..count {
        let (path, text) = (path(MANAGED, number), text(number));
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
pub fn rules(count: usize) -> String {
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
    fn each_file_has_as_many_bytes_and_no_other_text() {
        for number in [0, 9, 999_999] {
            assert_eq!(text(number).len(), BYTES);
        }
        assert_ne!(text(1), text(10));
    }
}
