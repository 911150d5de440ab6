//! Where pages lead.

use pulldown_cmark::{Event, Tag, TagEnd};

use super::{Page, markdown_events};

/// Returns the targets of the links of a page.
pub fn links(page: &Page) -> Vec<String> {
    let targets = markdown_events(&page.text).filter_map(|(event, _)| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            Some(dest_url.into_string())
        }
        _ => None,
    });
    targets.collect()
}

/// Returns the anchors of the headings of a page, as GitHub and mdBook make them.
pub fn anchors(page: &Page) -> Vec<String> {
    let mut anchors: Vec<String> = vec![];
    let mut heading: Option<String> = None;
    for (event, _) in markdown_events(&page.text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                anchors.extend(heading.take().map(|heading| anchor(&heading)));
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            _ => {}
        }
    }
    anchors
}

fn anchor(heading: &str) -> String {
    let letters = heading.trim().chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ if letter.is_alphanumeric() => Some(letter.to_ascii_lowercase()),
        _ => None,
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_anchors_are_those_of_markdown() {
        let page = Page {
            path: "a.md".into(),
            text: "# What is `wrong` here?\n\n[a](b.md#c) and `[no](x)`\n".to_owned(),
        };
        assert_eq!(links(&page), ["b.md#c"]);
        assert_eq!(anchors(&page), ["what-is-wrong-here"]);
    }
}
