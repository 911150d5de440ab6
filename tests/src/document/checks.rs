//! What stands in a page without being run there.

use std::{fs, path::Path};

use pulldown_cmark::Event;

use super::{Page, markdown_events, repository};

/// Returns the commands that a text names in passing: `stead plan`.
pub fn mentioned_commands(page: &Page) -> Vec<String> {
    let codes = markdown_events(&page.text).filter_map(|(event, _)| match event {
        Event::Code(code) => Some(code.into_string()),
        _ => None,
    });
    codes
        .map(|code| code.trim_start_matches("sudo ").to_owned())
        .filter(|code| code.starts_with("stead "))
        .collect()
}

/// Says what is wrong if a test has not seen the lines of a text in a page.
pub fn check_seen_by_test(test: &str, shown: &str, page: &Path) -> Result<(), String> {
    let mut dirs = vec![repository().join("tests"), repository().join("crates")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(&path).unwrap();
                if let Some((_, body)) = source.split_once(&format!("fn {test}()")) {
                    let body = body.split("\n}\n").next().unwrap_or(body);
                    return check_lines_in_source(body, shown, page);
                }
            }
        }
    }
    Err(format!("there is no test {test}"))
}

fn check_lines_in_source(source: &str, shown: &str, page: &Path) -> Result<(), String> {
    let name = page.to_str().unwrap();
    if source.contains("include_str!") && source.contains(name) {
        return Ok(());
    }
    for line in shown.lines().filter(|line| !line.trim().is_empty()) {
        let escaped = line.trim().replace('"', "\\\"");
        if !source.contains(line.trim()) && !source.contains(&escaped) {
            return Err(format!("it does not say: {line}"));
        }
    }
    Ok(())
}
