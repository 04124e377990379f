//! Every mistake a person can make with the macros has one clear error at the token that made it.

#[test]
fn mistakes_are_explained_where_they_are_made() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
