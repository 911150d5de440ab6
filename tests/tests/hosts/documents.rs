//! What the README and the guide show of booted hosts: `UPDATE=1` writes down what comes of it.

use e2e::{Host, Image, document::run_all};

#[test]
fn documents_match_output_on_booted_hosts() {
    for image in [Image::Debian12, Image::Debian13] {
        run_all(Some(image), || Host::boot(image));
    }
}
