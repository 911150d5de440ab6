//! The surface of the command line: what is typed and what comes back.

#[test]
fn command_line_matches_recorded_sessions() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd");
}
