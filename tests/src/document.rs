//! The pages that people read, as tests take them: what they show is done, and must come out as they show it.
//!
//! | block | is |
//! |---|---|
//! | `console` | lines after `$ `, run in the sandbox of the page, each with all that it says on both streams |
//! | `console,host=debian-13` | the same on a booted host |
//! | `kdl,file=laptop.kdl`, `yaml,file=…` | a file that stands beside the next commands |
//! | `kdl` | a spec, or what stands in one, which must be valid |
//! | `text,seen=TEST` | what that test has seen: each line stands in it, or it takes this page |
//! | `text,form` | how something is written, with words in capitals: no output |
//! | `yaml,other`, `lua,other` | the language of another program |
//!
//! A comment that begins with `console` holds commands that prepare what a page shows and must succeed. `sudo` is left out, `make` is
//! looked up instead of run. `...` stands for lines, `[..]` for a part of a line.

mod checks;
mod links;
mod run;

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

pub use checks::{check_seen_by_test, mentioned_commands};
pub use links::{anchors, links};
pub use run::{run_all, run_as};

use crate::Image;

/// A page.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where it is below the root of the repository.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// Something that a page holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What it is.
    pub kind: BlockKind,
    /// Where its text stands in the page.
    pub range: Range<usize>,
}

/// What a block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Commands with what they say; on a booted host if one is named.
    Console(Option<Image>),
    /// Commands that prepare something, for readers of the source alone.
    Setup(Option<Image>),
    /// A file.
    File(String),
    /// A spec, or what stands in one.
    Spec,
    /// What a test has seen.
    SeenByTest(String),
    /// How something is written, or the language of another program.
    Form,
    /// Nothing that is known.
    Unknown(String),
}

/// Returns the root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Where the pages of the guide are.
pub const GUIDE: &str = "docs/guide/src";

/// Returns the README and the pages of the guide that are written by hand.
pub fn handwritten_pages() -> Vec<Page> {
    let guide = guide_pages().into_iter();
    let written = guide.filter(|page| !page.text.starts_with("<!-- Made from the code"));
    std::iter::once(Page::read("README.md"))
        .chain(written)
        .collect()
}

/// Returns all pages of the guide, in order of their paths.
pub fn guide_pages() -> Vec<Page> {
    let mut dirs = vec![PathBuf::from(GUIDE)];
    let mut paths = vec![];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(repository().join(&dir)).unwrap() {
            let path = dir.join(entry.unwrap().file_name());
            if repository().join(&path).is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.into_iter().map(Page::read).collect()
}

impl Page {
    /// Reads a page by its path below the root of the repository.
    pub fn read(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let text = fs::read_to_string(repository().join(&path)).unwrap();
        Self { path, text }
    }

    /// Returns its blocks, in order.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = vec![];
        let mut open: Option<Block> = None;
        for (event, range) in markdown_events(&self.text) {
            match event {
                Event::Start(Tag::CodeBlock(kind)) => {
                    let info = match &kind {
                        CodeBlockKind::Fenced(info) => info,
                        CodeBlockKind::Indented => "indented",
                    };
                    let is = BlockKind::from_info(info);
                    open = Some(Block {
                        kind: is,
                        range: 0..0,
                    });
                }
                Event::Text(_) => {
                    if let Some(block) = &mut open {
                        let begin = if block.range.end == 0 {
                            range.start
                        } else {
                            block.range.start
                        };
                        block.range = begin..range.end;
                    }
                }
                Event::End(TagEnd::CodeBlock) => blocks.extend(open.take()),
                Event::Html(text) if text.starts_with("<!-- console") => {
                    // It comes line by line.
                    let rest = &self.text[range.start..];
                    let end = rest.find("-->").unwrap();
                    let (info, _) = rest["<!-- ".len()..end].split_once('\n').unwrap();
                    let is = match BlockKind::from_info(info) {
                        BlockKind::Console(image) => BlockKind::Setup(image),
                        other => other,
                    };
                    let begin = range.start + "<!-- ".len() + info.len() + 1;
                    let range = begin..range.start + end;
                    blocks.push(Block { kind: is, range });
                }
                _ => {}
            }
        }
        blocks
    }

    /// Returns the text of a block.
    pub fn text_of(&self, block: &Block) -> &str {
        &self.text[block.range.clone()]
    }
}

impl BlockKind {
    /// Reads the words behind the fence.
    fn from_info(info: &str) -> Self {
        let words: Vec<&str> = info.trim().split(',').collect();
        let rest = |beginning: &str| {
            let word = words.get(1).filter(|_| words.len() == 2)?;
            word.strip_prefix(beginning)
        };
        match words[0] {
            "console" if words.len() == 1 => Self::Console(None),
            "console" => match rest("host=").map(|name| clap::ValueEnum::from_str(name, false)) {
                Some(Ok(image)) => Self::Console(Some(image)),
                _ => Self::Unknown(info.to_owned()),
            },
            "kdl" if words.len() == 1 => Self::Spec,
            "text" if words.get(1) == Some(&"form") => Self::Form,
            language if language != "text" && words.get(1) == Some(&"other") => Self::Form,
            "text" => match rest("seen=") {
                Some(test) => Self::SeenByTest(test.to_owned()),
                None => Self::Unknown(info.to_owned()),
            },
            _ => match rest("file=") {
                Some(file) => Self::File(file.to_owned()),
                None => Self::Unknown(info.to_owned()),
            },
        }
    }
}

/// Returns what a text consists of.
fn markdown_events(text: &str) -> impl Iterator<Item = (Event<'_>, Range<usize>)> {
    Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(text: &str) -> Vec<(BlockKind, String)> {
        let page = Page {
            path: "page.md".into(),
            text: text.to_owned(),
        };
        let blocks = page.blocks().into_iter();
        blocks
            .map(|block| (block.kind.clone(), page.text_of(&block).to_owned()))
            .collect()
    }

    #[test]
    fn block_kind_follows_its_fence() {
        for (info, is) in [
            ("console", BlockKind::Console(None)),
            (
                "console,host=debian-12",
                BlockKind::Console(Some(Image::Debian12)),
            ),
            (
                "console,host=windows",
                BlockKind::Unknown("console,host=windows".to_owned()),
            ),
            ("kdl", BlockKind::Spec),
            ("kdl,file=a.kdl", BlockKind::File("a.kdl".to_owned())),
            ("text,seen=it_is", BlockKind::SeenByTest("it_is".to_owned())),
            ("text,form", BlockKind::Form),
            ("lua,other", BlockKind::Form),
            ("text,other", BlockKind::Unknown("text,other".to_owned())),
            ("text", BlockKind::Unknown("text".to_owned())),
            ("sh", BlockKind::Unknown("sh".to_owned())),
            ("", BlockKind::Unknown(String::new())),
        ] {
            let text = format!("Words\n\n```{info}\n$ one\ntwo\n```\n\nmore\n");
            assert_eq!(blocks(&text), [(is, "$ one\ntwo\n".to_owned())], "{info}");
        }
        assert_eq!(
            blocks("a\n\n    $ indented\n\nb\n")[0].0,
            BlockKind::Unknown("indented".to_owned())
        );
    }

    #[test]
    fn console_comment_is_a_setup_block() {
        assert_eq!(
            blocks("a\n\n<!-- console,host=debian-13\n$ one\n$ two\n-->\n\nb\n"),
            [(
                BlockKind::Setup(Some(Image::Debian13)),
                "$ one\n$ two\n".to_owned()
            )]
        );
        assert_eq!(blocks("<!-- a remark -->\n\nb\n"), []);
    }
}
