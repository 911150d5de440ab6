//! What the README and the guide show of booted hosts: `UPDATE=1` writes down what comes of it.

use e2e::{Host, Image, document::run_all};

#[test]
fn what_the_documents_show_of_booted_hosts_is_what_comes_of_it() {
    for image in [Image::Debian12, Image::Debian13] {
        run_all(Some(image), || Host::boot(image));
    }
}
