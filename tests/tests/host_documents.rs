//! What the README and the guide show of booted hosts: `UPDATE=1` writes down what comes of it.
#![expect(
    clippy::disallowed_methods,
    reason = "a test reads and writes the pages of the repository, and stops at the first surprise"
)]

use std::fs;

use e2e::{
    Host, Image,
    document::{Is, repository, run, written_pages},
};

#[test]
fn what_the_documents_show_of_booted_hosts_is_what_comes_of_it() {
    let mut all = vec![];
    for mut page in written_pages() {
        for image in [Image::Debian12, Image::Debian13] {
            let is_run = |is: &Is| *is == Is::Console(Some(image));
            if !page.blocks().iter().any(|block| is_run(&block.is)) {
                continue;
            }
            let (rewritten, differences) = run(&page, &Host::boot(image), Some(image));
            if std::env::var_os("UPDATE").is_some() {
                fs::write(repository().join(&page.path), &rewritten.text).unwrap();
                page = rewritten;
            } else {
                all.extend(differences);
            }
        }
    }
    assert!(
        all.is_empty(),
        "{}\n`make docs` writes down what comes of it now",
        all.join("\n")
    );
}
