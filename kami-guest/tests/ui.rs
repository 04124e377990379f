//! Every mistake a person can make with the macros has one clear error at the token that made it.

#[test]
fn mistakes_are_explained_where_they_are_made() {
    let cases = trybuild::TestCases::new();
    // With a case that passes, all are built and not only checked; two tools of one name in two
    // modules are found no earlier.
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/*.rs");
}
