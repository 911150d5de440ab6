//! The surface of the command line: what is typed and what comes back.

#[test]
fn the_surface_is_as_written() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd");
}
