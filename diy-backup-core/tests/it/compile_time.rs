//! What must not compile: the order of lock, capture, release and complete is a matter of types.

#[test]
fn steps_out_of_their_order_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
